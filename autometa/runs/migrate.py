"""Configs of earlier versions, brought to today's form once, when they are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

STRATEGY_SETTINGS = {"progressive": (), "random": (), "evolution": ("population", "sample"), "surrogate": ("pool",)}
"""Of version 1, in which a config held the settings of all strategies side by side."""
ALGORITHMS = {"arch_lr": "metanas", "beam": "auto-meta", "network": "train"}
"""The algorithm by a setting that it alone had, in configs of before it was written down."""


def migrated(config: Mapping[str, Any]) -> dict[str, Any]:
    """A run's config as this version writes it. What is in today's form already stays as it is."""
    found = dict(config)
    old = next((name for setting, name in ALGORITHMS.items() if setting in found), None)
    if "algorithm" not in found and old is not None:
        found = {"algorithm": old, **found}
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
