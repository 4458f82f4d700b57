"""`--max-params` and `--max-macs`, read."""

from __future__ import annotations

import re

from autometa.api.numbers import LARGEST
from autometa.errors import InputError

UNITS = {"": 1, "k": 1_000, "m": 1_000_000, "b": 1_000_000_000, "g": 1_000_000_000}


def parse_count(text: str | int | None, option: str) -> int | None:
    """50000, 50k, 2M, 1.5m -> a whole number. Raises `InputError` for anything else, naming the option."""
    if text is None:
        return None
    match = re.fullmatch(
        r"(\d{1,18}(?:\.\d+)?)\s*([kmbg]?)", str(text).strip().lower().replace(",", "").replace("_", "")
    )
    count = int(float(match[1]) * UNITS[match[2]]) if match else 0
    if not 1 <= count <= LARGEST:
        raise InputError(f"{option} must be a number such as 50000, 50k or 2M, not {text}")
    return count


def limits_of(max_params: str | int | None, max_macs: str | int | None) -> dict[str, int]:
    """The settings that these options are."""
    found = {
        "max_params": parse_count(max_params, "--max-params"),
        "max_macs": parse_count(max_macs, "--max-macs"),
    }
    return {name: count for name, count in found.items() if count is not None}
