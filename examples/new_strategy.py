"""A search strategy of your own in one file: hill climbing from the best architecture so far.

    autometa search auto-meta --preset quick --plugin examples/new_strategy.py --strategy climbing --strategy.first 10

or, here, on made-up accuracies that cost nothing:

    python examples/new_strategy.py

What a strategy decides is a pure function of its settings, the search's seed and the history, so that a search that is
cut off goes on to the same end.
"""

from __future__ import annotations

from dataclasses import dataclass

from autometa.nas.spaces.block_space import BlockSpace
from autometa.nas.strategies.strategy import STRATEGIES, Proposal, SearchSpec, Strategy, Trial, drawn


@dataclass(frozen=True)
class Climbing(Strategy):
    """Hill climbing: all neighbours of the best architecture so far, then those of the best of them, and so on.

    Args:
        first: random architectures to begin with.
    """

    first: int = 10

    def rounds(self, spec):
        return (min(self.first, spec.budget), *([spec.batch] * ((spec.budget - self.first) // spec.batch)))

    def round(self, history, spec):
        known = {trial.key for trial in history}
        if not history:
            return [Proposal(made.key) for made in drawn(spec, self.first, known, 0)]
        for trial in sorted((t for t in history if t.scored), key=lambda t: (-t.accuracy, t.key)):
            new = [n for n in spec.space.neighbours(spec.space.parse(trial.key)) if n.key not in known and spec.fits(n)]
            if new:
                return [Proposal(made.key) for made in new[: spec.batch]]
        return []


STRATEGIES.register("climbing", Climbing)


def played(strategy: Strategy, spec: SearchSpec, accuracy) -> list[Trial]:
    """The history of a search whose accuracies are a function of the key."""
    history: list[Trial] = []
    while proposals := strategy.ask(history, spec):
        number = history[-1].round + 1 if history else 1
        history += [
            Trial(len(history) + place, number, place, p.key, "done", accuracy=accuracy(p.key))
            for place, p in enumerate(proposals)
        ]
    return history


def main() -> None:
    """The more convolutions the better, in cells of three blocks."""
    history = played(Climbing(), SearchSpec(BlockSpace(3), budget=100), lambda key: float(key.count("c")))
    best = max(history, key=lambda trial: trial.accuracy)
    print(f"{len(history)} cells; the best, {best.key}, has {best.accuracy:.0f} convolutions of 6")


if __name__ == "__main__":
    main()
