"""Text of a run's files inside Markdown: shown as it is, never a tag, a link, a heading or the end of a code block."""

from __future__ import annotations

import re
from typing import Any

from autometa.printable import printable, printable_text


def words(value: Any) -> str:
    """One line of prose, what Markdown would read as markup escaped."""
    text = re.sub(r"([\\`*<>\[\]|&])", r"\\\1", printable(str(value)))
    return re.sub(r"^(\s*)([#+=-])", r"\1\\\2", text)


def code(value: Any) -> str:
    """One line between as many backticks as it takes; not for cells of a table, where a bar would end the cell."""
    text = printable(str(value))
    marks = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{marks}{space}{text}{space}{marks}"


def block(value: Any, language: str = "") -> list[str]:
    """Lines of a fenced code block that nothing in it can end."""
    text = printable_text(str(value))
    marks = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return [f"{marks}{language}", *text.split("\n"), marks]
