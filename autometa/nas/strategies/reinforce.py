"""REINFORCE with an LSTM controller (Zoph and Le 2017, Neural Architecture Search with Reinforcement Learning,
arXiv 1611.01578, sections 3.1 and 3.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor, nn

from autometa.errors import InputError
from autometa.nas.spaces.draws import Draws
from autometa.nas.strategies.learning import Learning, reward
from autometa.nas.strategies.strategy import SearchSpec, Trial


class Controller(nn.Module):
    """A two-layer LSTM that reads the choice before and gives logits of the options of the next."""

    def __init__(self, options: Sequence[int], units: int, lr: float, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embedding = nn.Embedding(1 + sum(options), units)
            self.recurrent = nn.LSTM(units, units, 2, batch_first=True)
            self.out = nn.ModuleList(nn.Linear(units, many) for many in options)
            for weights in self.parameters():
                nn.init.uniform_(weights, -0.08, 0.08)
        self.first_token = [1, *(1 + total for total in accumulate(options))]
        self.optimiser = torch.optim.Adam(self.parameters(), lr=lr)
        self.baseline: float | None = None

    def forward(self, choices: Tensor) -> Tensor:
        """Log probabilities of rows of choices: int64 `[n, decisions]` -> `[n]`."""
        tokens = torch.zeros_like(choices)
        tokens[:, 1:] = choices[:, :-1] + choices.new_tensor(self.first_token[: choices.shape[1] - 1])
        states, _ = self.recurrent(self.embedding(tokens))
        each = [out(states[:, i]).log_softmax(dim=1) for i, out in enumerate(self.out)]
        return torch.stack([row.gather(1, choices[:, i : i + 1]) for i, row in enumerate(each)]).sum(dim=(0, 2))

    @torch.no_grad()
    def draw(self, draws: Sequence[Draws]) -> list[list[int]]:
        """Choices as likely as the controller says, one row for each source of random numbers."""
        made: list[list[int]] = [[] for _ in draws]
        tokens, memory = torch.zeros(len(draws), 1, dtype=torch.int64, device="cpu"), None
        for i, out in enumerate(self.out):
            states, memory = self.recurrent(self.embedding(tokens), memory)
            for row, own, chances in zip(made, draws, out(states[:, 0]).softmax(dim=1).tolist(), strict=True):
                row.append(own.weighted(chances))
            tokens = torch.tensor([[self.first_token[i] + row[-1]] for row in made], device="cpu")
        return made


@dataclass(frozen=True)
class Reinforce(Learning):
    """REINFORCE: an LSTM controller that draws architectures choice by choice and follows the policy gradient.

    The reward is the accuracy less a moving average of earlier ones. Each trial is one step of Adam; a search has
    hundreds of trials, not 12,800, so the step size is larger. Architectures are taken in canonical form; none is
    trained twice.

    Args:
        units: of either layer (paper: 35).
        lr: step size of Adam (paper: 6e-4).
        decay: of the moving average (the paper gives none).
    """

    units: int = 35
    lr: float = 0.003
    decay: float = 0.9

    def check(self, spec: SearchSpec) -> None:
        if self.units < 1 or not self.lr > 0 or not 0 <= self.decay < 1:
            raise InputError(
                "reinforce needs units of 1 or more, lr above 0 and decay from 0 to below 1, not "
                f"{self.units}, {self.lr:g} and {self.decay:g}"
            )

    def begin(self, spec: SearchSpec) -> Controller:
        return Controller(spec.space.decisions(spec.space.levels), self.units, self.lr, spec.seed)

    def learn(self, policy: Controller, trials: Sequence[Trial], done: int, spec: SearchSpec) -> None:
        for trial in trials:
            gained = reward(trial)
            before = gained if policy.baseline is None else policy.baseline
            policy.baseline = self.decay * before + (1 - self.decay) * gained
            choices = torch.tensor([spec.space.choices(spec.space.parse(trial.key))], device="cpu")
            policy.optimiser.zero_grad()
            (-(gained - before) * policy(choices).sum()).backward()
            policy.optimiser.step()

    def sample(self, policy: Controller, draws: Mapping[int, Draws], spec: SearchSpec) -> list[list[int]]:
        return policy.draw(list(draws.values()))
