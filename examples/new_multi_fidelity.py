"""A search strategy of several fidelities in one file: trainings that fall behind are stopped on their way.

    autometa search auto-meta --preset quick --plugin examples/new_multi_fidelity.py --strategy median-stopping

or, here, on made-up learning curves that cost nothing:

    python examples/new_multi_fidelity.py

Trials are scored at the meta-iterations that `reports` names; `judge` then lets one go on, pause or stop. It sees the
rounds before alone, so that a verdict does not depend on who trains beside.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median

from autometa.nas.spaces.block_space import BlockSpace
from autometa.nas.strategies.strategy import STRATEGIES, Proposal, SearchSpec, Strategy, Verdict, batches, drawn
from autometa.search.simulated import Curve, simulate


@dataclass(frozen=True)
class MedianStopping(Strategy):
    """Median stopping: random architectures, each stopped where it is below the median of those before it.

    The rule of Golovin et al. 2017 (Google Vizier, section 3.2), with accuracies as they stand for their running mean.

    Args:
        parts: of a training, after each of which it is scored.
    """

    parts: int = 4

    def reports(self, spec):
        return tuple(spec.iterations * part // self.parts for part in range(1, self.parts))

    def judge(self, trial, history, spec):
        done = max(trial.reports)
        others = [other.reports[done] for other in history if done in other.reports]
        return Verdict.STOP if others and trial.reports[done] < median(others) else Verdict.GO

    def room(self, history, spec):
        spent = sum(max(trial.reports, default=0) for trial in history)
        return spec.budget - math.ceil(spent / spec.iterations)

    def rounds(self, spec):
        return batches(min(spec.batch, spec.budget), spec)

    def round(self, history, spec):
        known = {trial.key for trial in history}
        return [Proposal(made.key) for made in drawn(spec, spec.batch, known, len(history))]


STRATEGIES.register("median-stopping", MedianStopping)


def learning_curve(key: str) -> Curve:
    """The more convolutions the better, from the beginning on."""
    at = (25, 50, 75, 100)
    accuracy = tuple(20.0 + 10.0 * key.count("c") * done / 100 for done in at)
    return Curve(at, accuracy, tuple(map(float, at)), (0.0,) * 4, parameters=1000, macs=1000)


def main() -> None:
    """Cells of three blocks, for what 100 full trainings cost."""
    history = simulate(MedianStopping(), SearchSpec(BlockSpace(3), budget=100, iterations=100), learning_curve)
    stopped = sum(trial.state == "stopped" for trial in history)
    best = max((trial for trial in history if trial.state == "done"), key=lambda trial: trial.accuracy)
    print(f"{len(history)} cells for 100 full trainings, {stopped} of them stopped on their way")
    print(f"the best, {best.key}, has {best.key.count('c')} convolutions of 6")


if __name__ == "__main__":
    main()
