"""What meta-training leaves behind, by name, and how slots begin from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from autometa.brief import brief
from autometa.nas.networks.network import Network
from autometa.slots.arena import Arena, steps_by_kind
from autometa.slots.layout import KINDS, Layout

LEARNER = "learner."
"""What the names of a meta-learner's state begin with in a checkpoint."""
OWN = ("theta", "second", "steps")


@brief
@dataclass(frozen=True)
class Learned(Mapping[str, Tensor]):
    """What meta-training leaves, by name: theta `[row]`, where Adam goes on if it is carried (second `[row]`, steps
    `[kinds]`), and what the meta-learner keeps beside them."""

    theta: Tensor
    second: Tensor
    steps: Tensor
    state: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, captured: Mapping[str, Tensor]) -> Learned:
        """From what `Trainer.capture` gives: Adam goes on from the slots' mean second moment and largest count."""
        steps = steps_by_kind(captured["steps"]).amax(dim=0)
        state = {name.removeprefix(LEARNER): value for name, value in captured.items() if name.startswith(LEARNER)}
        return cls(captured["theta"][0].clone(), captured["second"].mean(dim=0), steps, state)

    @classmethod
    def named(cls, tensors: Mapping[str, Tensor], *, earlier: bool = False) -> Learned:
        """From tensors by the names of this mapping; earlier: of a version that may have counted steps otherwise.

        Raises `KeyError` where one is missing.
        """
        steps = steps_by_kind(tensors["steps"]) if earlier else tensors["steps"]
        state = {name.removeprefix(LEARNER): value for name, value in tensors.items() if name.startswith(LEARNER)}
        return cls(tensors["theta"], tensors["second"], steps, state)

    @classmethod
    def untrained(cls, network: Network, seed: int, device: torch.device | str = "cpu") -> Learned:
        """The initialisation itself, the yardstick that a search must beat."""
        theta = network.initial(seed).to(device)
        return cls(theta, torch.zeros_like(theta), torch.zeros(len(KINDS), dtype=torch.int64, device=device))

    def __getitem__(self, name: str) -> Tensor:
        if name.startswith(LEARNER):
            return self.state[name.removeprefix(LEARNER)]
        if name not in OWN:
            raise KeyError(name)
        return getattr(self, name)

    def __iter__(self) -> Iterator[str]:
        return iter((*OWN, *(f"{LEARNER}{name}" for name in self.state)))

    def __len__(self) -> int:
        return len(OWN) + len(self.state)

    def to(self, device: torch.device | str) -> Learned:
        """The same on another device."""
        return Learned.named({name: value.to(device) for name, value in self.items()})

    def only(self, names: Sequence[str]) -> Learned:
        """With nothing but these of what the meta-learner keeps, of which an initialisation has none."""
        return replace(self, state={name: self.state[name] for name in names if name in self.state})

    def arena(self, layout: Layout, slots: int, adam_state: str) -> Arena:
        """An arena whose slots start here."""
        arena = Arena.single(layout, self.theta, slots)
        if adam_state == "carry":
            arena.second.copy_(self.second)
            arena.steps.copy_(self.steps)
        return arena
