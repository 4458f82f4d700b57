"""Progress of a loop: a bar on a terminal, a line now and then in a log or a notebook."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from autometa.printable import printable
from autometa.runs.budget import format_duration

FIRST, EVERY = 10.0, 60.0
"""Seconds until the first line, and between lines."""


def progress(
    total: int | None, done: int, name: str, tell: Callable[[str], None], *, quiet: bool = False, **about: Any
) -> Any:
    """A tqdm bar, which draws nothing where quiet, or `Lines` off a terminal. about: further arguments of tqdm."""
    from tqdm import tqdm

    if not quiet and not (sys.stderr is not None and sys.stderr.isatty()):
        return Lines(total, done, name, tell, unit=about.get("unit", "step"), scaled=about.get("unit_scale", False))
    try:  # a terminal in a container may claim 0 x 0, where tqdm draws nothing
        wide = os.get_terminal_size(2).columns > 0
    except OSError:
        wide = False
    width = {"dynamic_ncols": wide, "ncols": None if wide else 80, "nrows": None if wide else 24}
    return tqdm(total=total, initial=done, desc=printable(name) or None, disable=quiet, **width, **about)


class Lines:
    """As much of tqdm's bar as loops use; every line ends with what `set_postfix` was told last.

    scaled: the unit is bytes, told in MB.
    """

    disable = True
    """Other notices need not go through it."""

    def __init__(
        self, total: int | None, done: int, name: str, tell: Callable[[str], None], unit: str, scaled: bool = False
    ) -> None:
        self.total, self.n, self._name, self._tell = total, done, name, tell
        self._unit, self._scaled = unit, scaled
        self._begun, self._before, self._told = time.monotonic(), done, ""
        self._due = self._begun + FIRST

    def update(self, n: int = 1) -> None:
        """So many more are done."""
        self.n += n
        self.refresh()

    def refresh(self) -> None:
        """A line where one is due."""
        now = time.monotonic()
        if now >= self._due and self.n != self.total:
            self._due = now + EVERY
            self._tell(self._line(now))

    def set_postfix(self, values: Mapping[str, str], refresh: bool = True) -> None:
        """Figures that the next lines show."""
        self._told = "".join(f", {name} {value}" for name, value in values.items())

    def set_description(self, name: str, refresh: bool = True) -> None:
        """What is being done now."""
        self._name = name

    def close(self) -> None:
        """Nothing is left open."""

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _line(self, now: float) -> str:
        parts = [f"{self._amount(self.n)} of {self._amount(self.total)}" if self.total else self._amount(self.n)]
        done = self.n - self._before
        if self.total and done > 0:
            parts.append(f"{format_duration((self.total - self.n) * (now - self._begun) / done)} left")
        name = f"{self._name}: " if self._name else ""
        return f"{name}{', '.join(parts)}{self._told}"

    def _amount(self, count: int) -> str:
        return f"{count / 1e6:.0f} MB" if self._scaled else f"{count:,}"
