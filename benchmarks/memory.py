"""Peak memory of a step, counted by the system: it sees torch's buffers and the pool's alike."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path

from autometa.ops._memory import release_memory

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def _status(field: str) -> int:
    (line,) = [line for line in STATUS.read_text().splitlines() if line.startswith(f"{field}:")]
    return 1024 * int(line.split()[1])


def _return_memory() -> None:
    gc.collect()
    release_memory()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except AttributeError:
        pass  # a C library that keeps nothing back, or will not say


def peak_growth(step: Callable[[], None], steps: int = 2) -> int | None:
    """Bytes by which the resident memory grows during steps after the first; None where the system does not tell."""
    step()
    _return_memory()
    try:
        CLEAR.write_text("5")  # the high-water mark starts anew
        before = _status("VmRSS")
        for _ in range(steps):
            step()
        return _status("VmHWM") - before
    except (OSError, ValueError):
        return None
