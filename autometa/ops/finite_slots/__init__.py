"""Which slots of an arena hold finite numbers only."""

from __future__ import annotations

import torch

from autometa.ops._checks import check_matrix
from autometa.ops.backend import dispatch, implements
from autometa.ops.finite_slots import native as native


def finite_slots(phi: torch.Tensor, *, backend: str | None = None) -> torch.Tensor:
    """True for every slot whose row has neither NaN nor infinity; bool `[slots]`.

    Args:
        phi: `[slots, row]`, float32 or float64, contiguous.

    Raises:
        ValueError: phi is not a contiguous matrix of float32 or float64.
        BackendError: the forced backend cannot run.
    """
    check_matrix("phi", phi)
    finite = torch.empty(phi.shape[0], dtype=torch.bool, device=phi.device)
    dispatch("finite_slots", phi.device, phi.dtype, backend)(phi, finite)
    return finite


@implements("finite_slots", "reference")
@torch.no_grad()
def _reference(phi: torch.Tensor, finite: torch.Tensor) -> None:
    finite.copy_(torch.isfinite(phi).all(dim=1))
