"""Base of strategies that learn a policy: a fold over the history, which makes architectures choice by choice."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from autometa.nas.spaces.draws import Draws
from autometa.nas.strategies.strategy import Proposal, SearchSpec, Strategy, Trial, batches, drawn, mutated

TRIES = 50
"""Architectures that the policy may give again before a known one is mutated instead."""


@dataclass(frozen=True)
class Learning(Strategy):
    """A strategy with a policy that learns from each trial that has ended, in the order of proposals.

    The first batch is random. The policy after a history is kept for the next one that goes on from it, and made anew
    for any other: what is proposed depends on settings, seed and history alone.
    """

    @abstractmethod
    def begin(self, spec: SearchSpec) -> Any:
        """A policy that has learned nothing."""

    @abstractmethod
    def learn(self, policy: Any, trials: Sequence[Trial], done: int, spec: SearchSpec) -> None:
        """Change the policy by the trials of one round, which came after `done` others."""

    @abstractmethod
    def sample(self, policy: Any, draws: Draws, number: int, spec: SearchSpec) -> Sequence[int]:
        """Choices (`Space.choices`) of trial `number`, for an architecture of full size."""

    def policy(self, history: Sequence[Trial], spec: SearchSpec) -> Any:
        """The policy after a history whose trials have all ended."""
        of = (spec.space, spec.seed, spec.budget, spec.batch, spec.iterations)
        before, known, policy = self.__dict__.get("_kept", (None, [], None))
        if before != of or known != list(history[: len(known)]):
            known, policy = [], self.begin(spec)
        done = len(known)
        while done < len(history):
            own = [trial for trial in history[done:] if trial.round == history[done].round]
            self.learn(policy, own, done, spec)
            done += len(own)
        object.__setattr__(self, "_kept", (of, list(history), policy))
        return policy

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_kept"}

    def rounds(self, spec: SearchSpec) -> tuple[int, ...]:
        return batches(min(spec.batch, spec.budget), spec)

    def round(self, history: Sequence[Trial], spec: SearchSpec) -> list[Proposal]:
        known, done = {trial.key for trial in history}, len(history)
        if not history:
            return [Proposal(made.key) for made in drawn(spec, spec.batch, known, 0)]
        policy = self.policy(history, spec)
        made = (self._fresh(policy, known, number, spec) for number in range(done, done + spec.batch))
        return [Proposal(key) for key in made if key is not None]

    def _fresh(self, policy: Any, known: set[str], number: int, spec: SearchSpec) -> str | None:
        draws = Draws(spec.seed, number)
        for _ in range(TRIES):
            made = spec.space.decide(self.sample(policy, draws, number, spec))
            if made.key not in known and spec.fits(made):
                known.add(made.key)
                return made.key
        near = mutated(spec, made, known, draws)
        return None if near is None else near.key


def reward(trial: Trial) -> float:
    """Accuracy in 0 .. 1; 0 of a trial that failed."""
    return trial.accuracy / 100 if trial.scored else 0.0
