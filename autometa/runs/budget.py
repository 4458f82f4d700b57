"""Durations as people write them: 30m, 1h30m, 90s."""

from __future__ import annotations

import math
import re

from autometa.errors import InputError

_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_PATTERN = re.compile("".join(rf"(?:(?P<{unit}>\d+(?:\.\d+)?){unit})?" for unit in _UNITS))


def parse_duration(text: str | float) -> float:
    """Seconds of a duration such as ``30m``, ``1h30m``, ``90s``, ``1.5h``; a bare number is seconds.

    Raises `InputError` where it is not a positive duration.
    """
    if isinstance(text, bool):
        raise InputError(f"{text!r} is not a duration; write for example 30m, 1h30m or 90s")
    if isinstance(text, str):
        compact = re.sub(r"\s+", "", text.lower())
        match = _PATTERN.fullmatch(compact)
        if match and compact:
            seconds = sum(float(n) * _UNITS[unit] for unit, n in match.groupdict().items() if n)
        elif re.fullmatch(r"\d+(\.\d+)?", compact):
            seconds = float(compact)
        else:
            raise InputError(f"{text!r} is not a duration; write for example 30m, 1h30m or 90s")
    else:
        seconds = float(text)
    if not (math.isfinite(seconds) and seconds > 0):
        raise InputError(f"a duration must be more than zero, not {text!r}")
    return seconds


def format_duration(seconds: float) -> str:
    """The two largest units of a duration: 5400 -> ``1h30m``, 0.2 -> ``0s``."""
    left = max(0, round(seconds))
    if left >= 3600:
        left = round(left / 60) * 60
    parts = []
    for unit, size in _UNITS.items():
        count, left = divmod(left, int(size))
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts[:2]) or "0s"
