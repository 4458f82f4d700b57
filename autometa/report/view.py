"""A result as report, model card and command line tell it: the one place that picks result.json apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from autometa.report.words import MODES

OWN_BEFORE = "before pruning"
RIVALS = {"untrained": "untrained, pruned", "four-layer": "four-layer net"}
"""What a network is compared with, in words."""


@dataclass(frozen=True)
class View:
    """A result.json, whole or not: older runs, and what was not measured, leave things out."""

    result: Mapping[str, Any]

    @property
    def protocol(self) -> Mapping[str, Any]:
        """Split, ways, shots, queries, tasks, seeds."""
        return self.result.get("protocol") or {}

    @cached_property
    def networks(self) -> dict[str, Mapping[str, Any]]:
        """Scores by BN mode of the network and of what it is compared with, by name; the run's own first."""
        own, before = self.result.get("scores") or {}, self.result.get("scores_before_pruning")
        made = {"best cell" if "cell" in self.result else "this network": own}
        if before is not None:
            made = {"pruned cells": own, OWN_BEFORE: before}
        return made | {title: self.rivals[name]["scores"] for name, title in RIVALS.items() if name in self.rivals}

    @property
    def rivals(self) -> Mapping[str, Any]:
        """What it is compared with, by name."""
        return self.result.get("compare") or {}

    @property
    def modes(self) -> dict[str, str]:
        """The BN modes in which anything was scored, with their meaning."""
        return {
            mode: title for mode, title in MODES.items() if any(found.get(mode) for found in self.networks.values())
        }

    @property
    def sizes(self) -> dict[str, Mapping[str, Any]]:
        """`parameters` and `macs` of the networks, by name."""
        made, pruned = {}, "scores_before_pruning" in self.result
        if "search_network" in self.result:
            made["search network"] = self.result["search_network"]
        if self.result.get("parameters") is not None:
            made["pruned, median over tasks" if pruned else "this network"] = self.result
        for name, rival in self.rivals.items():
            if "filters" in rival:
                made[f"{RIVALS.get(name, name)}, {rival['filters']} filters"] = rival
        return made

    @property
    def seconds(self) -> dict[str, float]:
        """Of each loop, those of trained rivals among them."""
        found = {name: value for name, value in (self.result.get("seconds") or {}).items() if value is not None}
        for name, rival in self.rivals.items():
            times = rival.get("seconds", {})
            found |= {new: times[old] for new, old in ((name, "train"), (f"test-{name}", "test")) if old in times}
        return found

    @property
    def lost(self) -> int:
        """Test tasks that left the finite numbers."""
        tasks = self.protocol.get("tasks", 0)
        return tasks - self.result.get("finite_tasks", tasks)

    @property
    def pruning_cost(self) -> Mapping[str, Any] | None:
        """The score of the mode in which pruning costs most."""
        costs = [cost for cost in (self.result.get("pruning_cost") or {}).values() if cost.get("mean") is not None]
        return max(costs, key=lambda cost: cost["mean"], default=None)

    @property
    def four_layer(self) -> Mapping[str, Any] | None:
        """The four-layer net that it is compared with."""
        return self.rivals.get("four-layer")

    @property
    def reduced_precision(self) -> str | None:
        """The precision of its arithmetic, where that is less exact than fp32."""
        mode = self.result.get("precision", "fp32")
        return None if mode == "fp32" else mode
