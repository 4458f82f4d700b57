"""A result as report, model card, comparison and command line tell it: the one place that picks result.json apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from autometa.meta.bn_modes import FROZEN
from autometa.report.words import MODES, plural, score

FIRST = "support_statistics"
"""The BN mode of the accuracy that is told where one is: that of `predict`."""
OWN_BEFORE = "before pruning"
RIVALS = {"untrained": "untrained, pruned", "four-layer": "four-layer net"}
"""What a network is compared with, in words."""
TERMS = {"split": "split", "part": "classes", "ways": "ways", "shots": "shots", "queries": "queries"} | {
    "tasks": "test tasks",
    "test_seed": "seed of tasks",
}
"""Of a result's protocol: what a test accuracy must be read with, by its title."""
OTHERS = "other classes (95%)"
FEW = 20
"""Test classes from which on an interval over them is not called one of few."""
YARDSTICKS = {"pixels": "pixels", "gradients": "gradients (histogram)", "colours": "colours (histogram)"}


@dataclass(frozen=True)
class View:
    """A result.json, whole or not: older runs, and what was not measured, leave things out."""

    result: Mapping[str, Any]

    def part(self, name: str) -> Mapping[str, Any]:
        """A group of the result, empty where an older run, or a stranger's, has none."""
        found = self.result.get(name)
        return found if isinstance(found, Mapping) else {}

    @property
    def kind(self) -> str:
        """The word of the command line in full."""
        return str(self.result.get("kind", ""))

    @property
    def protocol(self) -> Mapping[str, Any]:
        """Split, ways, shots, queries, tasks, seeds."""
        return self.part("protocol")

    @property
    def tasks(self) -> str:
        """How many tasks of which sort it was tested on, in words."""
        p = self.protocol
        images = f"{plural(p['shots'], 'support image')} and {plural(p['queries'], 'query image')} per class"
        return f"{plural(p['tasks'], 'new task')} of {p['ways']} classes, {images}"

    @property
    def classes(self) -> str:
        """Whose classes these were, in words."""
        return f"split {self.protocol['split']}, {self.protocol['part']} classes"

    @property
    def accuracy(self) -> float | None:
        """In percent; None where it was not tested, or no task stayed finite."""
        found = self.result.get("accuracy")
        return None if found is None else float(found)

    @property
    def score(self) -> Mapping[str, Any]:
        """Mean and interval in the mode of `predict`."""
        return self.part("scores").get(FIRST) or {}

    @property
    def parameters(self) -> float | None:
        return self.result.get("parameters")

    @property
    def macs(self) -> float | None:
        return self.result.get("macs")

    @property
    def size(self) -> Mapping[str, Any]:
        """Accuracy, parameters and MACs."""
        return {"accuracy": self.accuracy, "parameters": self.parameters, "macs": self.macs}

    @cached_property
    def networks(self) -> dict[str, Mapping[str, Any]]:
        """Scores by BN mode of the network and of what it is compared with, by name; the run's own first."""
        own, before = self.part("scores"), self.result.get("scores_before_pruning")
        made = {"best cell" if "cell" in self.result else "this network": own}
        if before is not None:
            made = {"pruned cells": own, OWN_BEFORE: before}
        return made | {title: self.rivals[name]["scores"] for name, title in RIVALS.items() if name in self.rivals}

    @property
    def rivals(self) -> Mapping[str, Any]:
        """What it is compared with, by name."""
        return self.part("compare")

    @property
    def modes(self) -> dict[str, str]:
        """The BN modes in which anything was scored, with their meaning."""
        return {
            mode: title for mode, title in MODES.items() if any(found.get(mode) for found in self.networks.values())
        }

    @property
    def table(self) -> list[list[str]]:
        """Accuracies by BN mode and network, and of its own what to expect on other classes; a head first."""
        head, scores = ["normalised with statistics of", *self.networks], self.networks.values()
        rows = [[title, *(score(one.get(mode)) for one in scores)] for mode, title in self.modes.items()]
        if other := self.part("new_classes").get("modes"):
            head.insert(2, OTHERS)
            for row, mode in zip(rows, self.modes, strict=True):
                row.insert(2, _of_others(other.get(mode)))
        return [head, *rows]

    @property
    def sizes(self) -> dict[str, Mapping[str, Any]]:
        """`parameters` and `macs` of the networks, by name."""
        made, pruned = {}, "scores_before_pruning" in self.result
        if "search_network" in self.result:
            made["search network"] = self.result["search_network"]
        if self.parameters is not None:
            made["pruned, median over tasks" if pruned else "this network"] = self.result
        for name, rival in self.rivals.items():
            if "filters" in rival:
                made[f"{RIVALS.get(name, name)}, {rival['filters']} filters"] = rival
        return made

    @property
    def seconds(self) -> dict[str, float]:
        """Of each loop, those of trained rivals among them."""
        found = {name: value for name, value in self.part("seconds").items() if value is not None}
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
        costs = [cost for cost in self.part("pruning_cost").values() if cost.get("mean") is not None]
        return max(costs, key=lambda cost: cost["mean"], default=None)

    @property
    def reduced_precision(self) -> str | None:
        """The precision of its arithmetic, where that is less exact than fp32."""
        mode = self.result.get("precision", "fp32")
        return None if mode == "fp32" else mode

    @property
    def caveats(self) -> list[str]:
        """What its accuracies are to be read with beside intervals, in sentences."""
        found = []
        if FROZEN in self.modes:
            found.append(
                f"With {MODES[FROZEN]}: mean and variance of training tasks normalise every picture, while a task is "
                "learned too, as on a device that sees one picture at a time."
            )
        if self.pruning_cost is not None:
            cost = score(self.pruning_cost)
            found.append(f"Pruning costs {cost} points or less (mean of before minus after, task by task).")
        if self.lost:
            told = "left the finite numbers: their answers count as wrong; try a smaller --inner.lr"
            found.append(f"{plural(self.lost, 'task')} {told}.")
        if self.reduced_precision:
            found.append(f"Precision {self.reduced_precision}: less exact than fp32, which is the default.")
        return found

    @property
    def terms(self) -> dict[str, Any]:
        """Images, tasks and BN mode of the accuracy, None what is not told."""
        modes = [mode for mode, one in self.part("scores").items() if one.get("mean") == self.result.get("accuracy")]
        images = self.result.get("data_hash")
        return {
            "images (sha256)": None if images is None else str(images)[:12],
            **{title: self.protocol.get(name) for name, title in TERMS.items()},
            "BN mode": FIRST if FIRST in modes else modes[0] if modes else None,
        }

    @property
    def over_tasks(self) -> str:
        """What an interval beside an accuracy is over: tasks, and of how many classes where that is known."""
        classes = self.part("new_classes").get("classes")
        return "over tasks" if classes is None else f"over tasks of the same {plural(classes, 'class')}"

    @property
    def bounds(self) -> str | None:
        """The interval over classes in short: `38 to 92`."""
        found = self.part("new_classes")
        return None if found.get("low") is None else f"{found['low']:.0f} to {found['high']:.0f}"

    @property
    def other_classes(self) -> str | None:
        """What to expect on other classes than those tested; None where that was not measured."""
        found, within = self.part("new_classes"), self.bounds
        if within is None:
            return None
        many = found["classes"]
        tested = f"{'only ' if many < FEW else ''}{plural(many, 'class')} {'was' if many == 1 else 'were'} tested"
        if found.get("mean") is None:
            return f"On other classes: unknown, since {tested}, which shows nothing about others"
        turns = "; quarter turns of a class are no classes of their own here" if found.get("turned") else ""
        little = ", which says little" if many < FEW / 2 else ""
        return f"On other classes: about {found['mean']:.1f} %, 95% interval {within}: {tested}{little}{turns}"

    @property
    def without_learning(self) -> str | None:
        """Chance, and class means of simple features, on the same tasks."""
        found = self.part("baselines")
        if not found:
            return None
        means = ", ".join(f"{title} {score(found[name])}" for name, title in YARDSTICKS.items() if name in found)
        return (
            f"Without learning: chance {found['chance']:.1f} %; nearest class mean of {means} %, on "
            f"{found['tasks']} of these tasks"
        )

    @property
    def verdict(self) -> str | None:
        """Where the network does not beat one of these."""
        return self.part("baselines").get("verdict")

    @property
    def sentences(self) -> list[str]:
        """How far the result is to be trusted: other classes, what needs no learning, unknown classes."""
        told = (self.other_classes, self.without_learning, self.verdict, refusing(self.part("confidence")))
        return [one for one in told if one is not None]


def _of_others(found: Mapping[str, Any] | None) -> str:
    """An interval over classes in a table; `-` where there is none."""
    if not found or found.get("mean") is None or found.get("low") is None:
        return "-"
    return f"{found['mean']:.1f} ({found['low']:.0f} to {found['high']:.0f})"


def refusing(found: Mapping[str, Any]) -> str | None:
    """What `predict --min-confidence calibrated` refuses, from what confidence.json holds."""
    if "unmeasured" in found:
        return f"Unknown classes: not measured, {found['unmeasured']}"
    rows = {name: found[name]["refused"] for name in ("1-shot", "5-shot") if name in found}
    if not rows or "min_confidence" not in found:
        return None
    parts = [
        f"{row['unknown']:.0f} % of pictures of unknown classes and {row['right']:.0f} % of right answers "
        f"({plural(int(name.removesuffix('-shot')), 'picture')} of each class)"
        for name, row in rows.items()
    ]
    least = f"below {found['min_confidence']:g} (--min-confidence calibrated)"
    return f"Unknown classes: predict refuses, {least}, {', '.join(parts)}"
