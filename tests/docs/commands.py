"""The commands that README.md and docs/*.md show, read from code blocks, indented examples and inline code."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
STARTS = r"(?:[A-Z_]+=\S+ )?(?:(?:autometa|torchrun|python|pip|sphinx-build) |\.ci/)"


@dataclass(frozen=True)
class Command:
    """A command as it is shown: its page, its words, and the file that its output goes to."""

    page: str
    words: tuple[str, ...]
    to: str | None = None


def commands() -> list[Command]:
    """Every one once, page by page, in order."""
    found: dict[tuple, Command] = {}
    for page in PAGES:
        for line in _lines(page.read_text(encoding="utf-8")):
            for part in line.split("&&"):
                words = shlex.split(part, comments=True)
                to = words[words.index(">") + 1] if ">" in words else None
                words = words[: words.index(">")] if to else words
                if words:
                    found.setdefault((*words, to), Command(page.name, tuple(words), to))
    return list(found.values())


def _lines(text: str) -> Iterator[str]:
    parts = re.split(r"(?m)^```(.*)$", text)  # prose, language, code, the end of the block, prose, ...
    prose = parts[::4]
    for language, code in zip(parts[1::4], parts[2::4], strict=True):
        if language.strip() in ("sh", "bash", "console"):
            yield from (line for line in code.replace("\\\n", " ").split("\n") if re.match(STARTS, line))
    for line in "\n".join(prose).split("\n"):
        if re.match(rf"    {STARTS}", line):
            yield re.split(r"(?<=\S)  +| \(", line.strip())[0]  # what it does stands in a second column
    for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", "\n".join(prose)):
        if re.match(STARTS, span) and ("--" in span or "/" in span):
            yield " ".join(span.split())
