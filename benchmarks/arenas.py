"""Arenas of the sizes that the presets use."""

from dataclasses import dataclass

import torch

from autometa.ops.rows import Rows

# name -> slots, weights, architecture parameters
SIZES = {
    "MetaNAS 28 channels, 10 slots": (10, 462272, 160),
    "Reptile Omniglot, 5 slots": (5, 113232, 0),
    "Reptile Mini, 10 slots": (10, 34672, 0),
}


@dataclass(frozen=True)
class Arena:
    """Tensors of one arena with one group and two kinds."""

    phi: torch.Tensor
    grad: torch.Tensor
    second: torch.Tensor
    rows: Rows

    @property
    def elements(self) -> int:
        return self.phi.numel()


def make(size: str, device: str = "cpu") -> Arena:
    """Random numbers of positive variance; the same on every device."""
    slots, weights, architecture = SIZES[size]
    row = weights + architecture
    made = torch.Generator().manual_seed(0)
    phi, grad, second = (torch.randn(slots, row, generator=made).to(device) for _ in range(3))
    group = torch.zeros(slots, dtype=torch.int64, device=device)
    return Arena(phi, grad, second.abs(), Rows(torch.tensor([[0, weights, row]], device=device), group, group.clone()))


def table(value: float, device: str = "cpu") -> torch.Tensor:
    """float64 [1 group, 2 kinds]."""
    return torch.full((1, 2), value, dtype=torch.float64, device=device)
