"""`max_params` and `max_macs`, read."""

from __future__ import annotations

import re
from typing import Any

from autometa.api.numbers import LARGEST
from autometa.api.settings import value_of

UNITS = {"": 1, "k": 1_000, "m": 1_000_000, "b": 1_000_000_000, "g": 1_000_000_000}


def count(value: Any) -> int:
    """50000, 50k, 2M, 1.5m -> a whole number. Raises ValueError with what it must be."""
    text = str(value).strip().lower().replace(",", "").replace("_", "")
    match = re.fullmatch(r"(\d{1,18}(?:\.\d+)?)\s*([kmbg]?)", text)
    found = int(float(match[1]) * UNITS[match[2]]) if match else 0
    if not 1 <= found <= LARGEST:
        raise ValueError("a number such as 50000, 50k or 2M")
    return found


def limits_of(max_params: str | int | None, max_macs: str | int | None) -> dict[str, int]:
    """The settings that these limits are. Raises `InputError`."""
    limits = {"max_params": max_params, "max_macs": max_macs}
    return {
        name: value_of(value, count, f"--{name.replace('_', '-')}")
        for name, value in limits.items()
        if value is not None
    }
