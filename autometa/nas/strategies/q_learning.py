"""Q-learning (MetaQNN; Baker et al. 2017, Designing Neural Network Architectures using Reinforcement Learning,
arXiv 1611.02167, sections 3 and 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autometa.errors import InputError
from autometa.nas.spaces.draws import Draws
from autometa.nas.strategies.learning import Learning, reward
from autometa.nas.strategies.strategy import SearchSpec, Trial

REPLAYS = 1 << 32
"""Numbers of draws for replays begin here, behind those of proposals."""


class Table:
    """Values of each option by decision and choice before, and the choices and rewards of the trials so far."""

    def __init__(self, options: tuple[int, ...]) -> None:
        before = (1, *options)
        self.values = [[[0.5] * many for _ in range(before[i])] for i, many in enumerate(options)]
        self.trials: list[tuple[tuple[int, ...], float]] = []

    def update(self, choices: Sequence[int], reward: float, rate: float) -> None:
        """Towards the best that may follow, from the last decision to the first (section 3.1, equation 3)."""
        target = reward
        for i in reversed(range(len(choices))):
            row = self.values[i][choices[i - 1] if i else 0]
            row[choices[i]] += rate * (target - row[choices[i]])
            target = max(row)

    def draw(self, draws: Draws, epsilon: float) -> list[int]:
        """Choices, each of them random with probability epsilon and else the one worth most."""
        made: list[int] = []
        for i, rows in enumerate(self.values):
            row = rows[made[-1] if i else 0]
            random = draws.uniform() < epsilon
            made.append(draws.below(len(row)) if random else row.index(max(row)))
        return made


@dataclass(frozen=True)
class QLearning(Learning):
    """Q-learning (MetaQNN): a table of what each choice is worth after the one before, explored epsilon-greedily.

    A state is the decision's number with the choice before it (the paper's: a layer with its depth); experience is
    replayed after each trial. Architectures are taken in canonical form, and none is trained twice.

    Args:
        explore: share of the budget for which all choices are random (paper: 1,500 of 2,700 models); over the rest
            epsilon falls to 0.1.
        rate: step size of an update (paper: 0.01).
        replays: trials of the past that the table learns from again after each trial (paper: 100).
    """

    explore: float = 0.55
    rate: float = 0.01
    replays: int = 100

    def check(self, spec: SearchSpec) -> None:
        if not (0 <= self.explore <= 1 and 0 < self.rate <= 1 and self.replays >= 0):
            raise InputError(
                "q-learning needs explore within 0 and 1, rate above 0 and up to 1 and replays of 0 or more, not "
                f"{self.explore:g}, {self.rate:g} and {self.replays}"
            )

    def epsilon(self, number: int, spec: SearchSpec) -> float:
        """How likely a choice of trial `number` is random."""
        begin = self.explore * spec.budget
        return 1.0 if number < begin else 1.0 - 0.9 * (number - begin) / max(1.0, spec.budget - begin)

    def begin(self, spec: SearchSpec) -> Table:
        return Table(spec.space.decisions(spec.space.levels))

    def learn(self, policy: Table, trials: Sequence[Trial], done: int, spec: SearchSpec) -> None:
        for number, trial in enumerate(trials, done):
            policy.trials.append((spec.space.choices(spec.space.parse(trial.key)), reward(trial)))
            policy.update(*policy.trials[-1], self.rate)
            draws = Draws(spec.seed, REPLAYS + number)
            for _ in range(self.replays):
                policy.update(*policy.trials[draws.below(len(policy.trials))], self.rate)

    def sample(self, policy: Table, draws: Mapping[int, Draws], spec: SearchSpec) -> list[list[int]]:
        return [policy.draw(own, self.epsilon(number, spec)) for number, own in draws.items()]
