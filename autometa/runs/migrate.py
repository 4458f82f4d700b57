"""Configs of earlier versions, brought to today's form once, when they are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

STRATEGY_SETTINGS = {"progressive": (), "random": (), "evolution": ("population", "sample"), "surrogate": ("pool",)}
"""Of version 1, in which a config held the settings of all strategies side by side."""


def migrated(config: Mapping[str, Any]) -> dict[str, Any]:
    """A run's config as this version writes it. What is in today's form already stays as it is."""
    found = dict(config)
    if "network" in found or "arch_lr" in found or "beam" in found:
        found["learner"] = _named(found.get("learner", "reptile"))
    strategy = found.get("strategy")
    if isinstance(strategy, str):
        own = {name: found[name] for name in STRATEGY_SETTINGS.get(strategy, ()) if name in found}
        found["strategy"] = {"name": strategy, **own}
        for name in ("population", "sample", "pool"):
            found.pop(name, None)
    return found


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value
