"""Base of strategies that learn a policy: a fold over the history, which makes architectures choice by choice."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from autometa.nas.spaces.draws import Draws
from autometa.nas.strategies.choosing import one_thread
from autometa.nas.strategies.strategy import Proposal, SearchSpec, Strategy, Trial, batches, drawn, mutated


@dataclass(frozen=True)
class Learning(Strategy):
    """A strategy with a policy that learns from each trial that has ended, in the order of proposals.

    The first batch is random. The policy after a history is kept for the next one that goes on from it, and made anew
    for any other: what is proposed depends on settings, seed and history alone.
    """

    tries: ClassVar[int] = 50
    """Times that the policy is asked for what is not known before what it gives last is mutated."""

    @abstractmethod
    def begin(self, spec: SearchSpec) -> Any:
        """A policy that has learned nothing."""

    @abstractmethod
    def learn(self, policy: Any, trials: Sequence[Trial], done: int, spec: SearchSpec) -> None:
        """Change the policy by the trials of one round, which came after `done` others."""

    @abstractmethod
    def sample(self, policy: Any, draws: Mapping[int, Draws], spec: SearchSpec) -> list[list[int]]:
        """Choices (`Space.choices`) of an architecture of full size for each trial, by its number, in that order."""

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
        with one_thread():
            policy = self.policy(history, spec)
            waiting = {number: Draws(spec.seed, number) for number in range(done, done + spec.batch)}
            keys: dict[int, str] = {}
            for attempt in range(self.tries):
                for number, choices in zip(list(waiting), self.sample(policy, waiting, spec), strict=True):
                    made = spec.space.decide(choices)
                    if attempt == self.tries - 1:
                        made = mutated(spec, made, known, waiting[number])
                    elif made.key in known or not spec.fits(made):
                        continue
                    if made is not None:
                        known.add(made.key)
                        keys[number] = made.key
                    del waiting[number]
                if not waiting:
                    break
        return [Proposal(keys[number]) for number in sorted(keys)]


def reward(trial: Trial) -> float:
    """Accuracy in 0 .. 1; 0 of a trial that failed."""
    return trial.measured / 100 if trial.scored else 0.0
