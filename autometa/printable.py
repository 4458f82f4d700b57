"""Text from elsewhere made harmless: what a terminal would obey, or a reader would not see, is written as an escape.

Names of files and classes, and all that stands in a stranger's run, may hold escape sequences, line breaks and
characters that reverse the reading order. None of them reaches a terminal, a log or a page as it is.
"""

from __future__ import annotations

import json
import re
from typing import Any

_UNSAFE = (
    "\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f"  # control characters, among them the beginnings of escape sequences
    "\\xad\\u061c\\u180e\\u200b\\u200e\\u200f"
    "\\u2028-\\u202e\\u2060-\\u206f\\ufeff\\ufff9-\\ufffb"  # invisible or reordering
    "\\ud800-\\udfff\\U000e0000-\\U000e007f"  # undecodable bytes of a file name, invisible tags
)
_IN_A_LINE = re.compile(f"[\\t\\n{_UNSAFE}]")
_IN_TEXT = re.compile(f"[{_UNSAFE}]")
_ESCAPED = re.compile(r"\\(?:[tnr]|x[0-9a-f]{2}|u[0-9a-f]{4}|U000e[0-9a-f]{4})")


def printable(text: str) -> str:
    """One line for a person: every unsafe character, line breaks and tabs too, as `\\x1b`, `\\n`, `\\u202e`.

    Joiners within words and emoji stay. What is printable already comes back unchanged.
    """
    return _IN_A_LINE.sub(_escape, text)


def unprinted(text: str) -> str:
    """What `printable` showed as this line, which a person copied; a line that it shows otherwise is itself."""
    made = _ESCAPED.sub(lambda found: found[0].encode("ascii").decode("unicode_escape"), text)
    return made if printable(made) == text else text


def printable_text(text: str) -> str:
    """The same for text of several lines: line breaks and tabs stay."""
    return _IN_TEXT.sub(_escape, text)


def json_text(value: Any, indent: int | None = 2) -> str:
    """A JSON document that parses to exactly `value`; unsafe characters are written as JSON's own escapes.

    Raises ValueError for numbers that are not finite.
    """
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    return _IN_TEXT.sub(lambda found: json.dumps(found[0])[1:-1], text)


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
