"""Numbers in settings as they must be written: decimal, finite, within 64 bits. Neither `1_0` nor `0x10` nor `true`."""

from __future__ import annotations

import math
import re
from typing import Any

LARGEST = 2**63 - 1
_WHOLE = re.compile(r"[+-]?(0|[1-9][0-9]{0,18})")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def whole_number(text: str) -> int:
    """The whole number that `text` is. Raises ValueError with what it must be."""
    text = text.strip()
    if not _WHOLE.fullmatch(text) or abs(int(text)) > LARGEST:
        raise ValueError("a whole number" if len(text) < 19 else "a whole number below 2**63")
    return int(text)


def finite_number(text: str) -> float:
    """The same of any number."""
    text = text.strip()
    if not _NUMBER.fullmatch(text):
        raise ValueError("a number")
    if not math.isfinite(float(text)):
        raise ValueError("a finite number")
    return float(text)


def check_numbers(text: str, hint: Any) -> None:
    """Raise ValueError, with what it must be, where a setting's type holds numbers and `text` writes none of them."""
    if hint == int | None and text.strip() in ("null", "~"):
        return
    if hint in (int, int | None):
        whole_number(text)
    elif hint is float:
        finite_number(text)
    elif hint == tuple[int, ...]:
        for item in filter(str.strip, text.strip().strip("[]").split(",")):
            whole_number(item)
