"""Watch over slots that are no longer finite (ARCHITECTURE: named, counted, above 10% the run stops)."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from typing import Any

import torch

from autometa.errors import DivergedError, InputError
from autometa.runs.forms import many, pair, record, table, text, whole

WATCHED = record({"recent": many(pair(whole(1), many(text))), "counts": table(whole())})
"""The form of `NonFiniteWatch.state`: (slots, names of those lost) of each iteration."""


class NonFiniteWatch:
    """Counts slots that are not finite over the last `window` iterations.

    limit: the share of slots in a full window from which on the run is taken to have diverged.
    """

    def __init__(self, limit: float = 0.1, window: int = 100):
        if not 0 <= limit <= 1 or window < 1:
            raise InputError(f"limit must lie in [0, 1] and window be at least 1, not {limit} and {window}")
        self.limit = limit
        self.window = window
        self.counts: Counter[str] = Counter()
        self._recent: deque[tuple[int, list[str]]] = deque(maxlen=window)

    def update(self, finite: torch.Tensor | Sequence[bool], names: Sequence[str] | None = None) -> int:
        """Count one iteration; returns how many of its slots were not finite.

        finite: bool [slots].  names: of the slots, "slot 0", ... where None.
        Raises `DivergedError` once the lost slots are more than `limit` of a full window's.
        """
        flags = finite.tolist() if isinstance(finite, torch.Tensor) else list(finite)
        if names is not None and len(names) != len(flags):
            raise InputError(f"{len(names)} names for {len(flags)} slots")
        lost = [names[i] if names is not None else f"slot {i}" for i, flag in enumerate(flags) if not flag]
        self.counts.update(lost)
        self._recent.append((len(flags), lost))
        bad = sum(len(names) for _, names in self._recent)
        slots = sum(slots for slots, _ in self._recent)
        full_window = slots / len(self._recent) * self.window
        if bad > self.limit * full_window:
            raise DivergedError(self._message(bad, slots))
        return len(lost)

    def state(self) -> dict[str, Any]:
        """What `restore` needs, in JSON's types."""
        return {"recent": [[slots, names] for slots, names in self._recent], "counts": dict(self.counts)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        self._recent = deque(((slots, list(names)) for slots, names in state["recent"]), maxlen=self.window)
        self.counts = Counter(state["counts"])

    def _message(self, bad: int, slots: int) -> str:
        worst = Counter(name for _, names in self._recent for name in names).most_common(5)
        named = ", ".join(f"{name} ({count} times)" for name, count in worst)
        return (
            f"training diverged: {bad} of {slots} slots in the last {len(self._recent)} iterations were not "
            f"finite, most of all {named}; a smaller inner learning rate usually helps"
        )
