"""MAML++ (Antoniou et al. 2019, arXiv 1810.09502, section 4): MAML that trains steadily, with rates of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from autometa.errors import InputError
from autometa.meta.learner import State
from autometa.meta.maml import SecondOrder, Update
from autometa.slots.arena import Arena

RATES, NORMS, LOSSES = "rates", "norms", "loss_weights"


@dataclass(frozen=True)
class MAMLPlusPlus(SecondOrder):
    """MAML++: query losses after every inner step, second derivatives late, a learned rate for every layer and step,
    and weights and biases of batch normalisations for every step (section 4).

    Rates are kept as multiples of the run's `inner.lr`, 1 at first, of any sign, one for every parameter tensor and
    inner step. Steps of a task beyond those of training take what the last one has.

    What differs in normalisation: networks here normalise every batch by its own mean and variance, while training and
    in every inner step, so that each step has its statistics; no running averages exist that could be kept for each
    step, and answers are given in the three BN modes, by statistics at the adapted weights. Weights and biases of step
    t come with the rows that step t gives, for its query loss and the next step's support loss; those of theta are for
    the first step's. The inner loop does not move them (it does in MAML), the outer optimiser learns them. The
    paper's code lets a query loss and the support loss of the same step share a set.

    The paper's cosine of the meta step size is the run's: `--meta.schedule cosine`.

    Args:
        multi_step: share of the meta-iterations in which query losses of earlier steps count, equally at first, then
            linearly less, in favour of the last one's, which is alone afterwards.
        first_order: share of the meta-iterations that take first-order gradients, before exact ones, which are many
            times slower (paper: the first 50 epochs); 1: all of them.
        layer_rates: whether rates are learned.
        step_norms: whether every step has weights and biases of normalisations.
    """

    multi_step: float = 0.1
    first_order: float = 0.5
    layer_rates: bool = True
    step_norms: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("multi_step", "first_order"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise InputError(f"learner.{name} must be a share from 0 to 1, not {getattr(self, name):g}")

    @property
    def second_order(self) -> bool:  # type: ignore[override]  # a setting here
        return self.first_order == 0.0

    @property
    def learns(self) -> tuple[str, ...]:  # type: ignore[override]  # likewise
        return tuple(name for name, on in ((RATES, self.layer_rates), (NORMS, self.step_norms)) if on)

    @property
    def adapts_with(self) -> tuple[str, ...]:  # type: ignore[override]  # likewise
        return self.learns

    @property
    def stages(self) -> tuple[float, ...]:
        return self.multi_step, self.first_order

    def begun(self, arena: Arena, steps: int) -> dict[str, Tensor]:
        """rates `[groups, steps, E]` of the E entries of a layout, norms `[groups, steps, N]`, loss_weights
        `[groups, steps]`."""
        like: dict[str, Any] = {"dtype": arena.theta.dtype, "device": arena.theta.device}
        kept = {LOSSES: torch.full((arena.groups, steps), 1.0 / steps, **like)}
        if self.layer_rates:
            kept[RATES] = torch.ones(arena.groups, steps, arena.starts.shape[1], **like)
        if self.step_norms:
            own = F.pad(arena.theta, (0, 1)).gather(1, arena.norms.index_select(0, arena.layout_of_group))
            kept[NORMS] = own[:, None].repeat(1, steps, 1)
        return kept

    def at(self, share: float, state: State) -> MAMLPlusPlus:
        """Of what is annealed, what is left."""
        over = min(share / self.multi_step, 1.0) if self.multi_step else 1.0
        weights = state[LOSSES]
        weights.fill_((1.0 - over) / weights.shape[1])
        weights[:, -1].add_(over)
        multi_step = self.multi_step if over < 1.0 else 0.0
        first_order = self.first_order if share < self.first_order else 0.0
        return replace(self, multi_step=multi_step, first_order=first_order)

    def query_weights(self, arena: Arena, state: State) -> Tensor | None:
        return state[LOSSES].index_select(0, arena.group_of_slot) if self.multi_step else None

    def sizes_of(self, name: str, arena: Arena, size: Tensor) -> Tensor:
        """That of an entry's first column, and of BN's columns."""
        columns = arena.starts if name == RATES else arena.norms
        return F.pad(size, (0, 1)).gather(1, columns.index_select(0, arena.layout_of_group))

    def update_of(self, arena: Arena, lr: Tensor, own: Mapping[str, Tensor]) -> Update:
        """Descend by the step's rates, then take the step's weights and biases of normalisations."""
        starts, norms = (table.index_select(0, arena.layout_of_slot) for table in (arena.starts, arena.norms))
        every = torch.arange(lr.shape[1], device=lr.device).expand(lr.shape)
        entry = torch.searchsorted(starts, every.contiguous(), right=True) - 1  # [S, row]

        def update(row: Tensor, grad: Tensor, t: int) -> Tensor:
            rates = lr
            if RATES in own:
                rates = lr * Spread.apply(of_step(own[RATES], t), entry, starts)
            row = row - rates * grad
            return placed(row, norms, of_step(own[NORMS], t)) if NORMS in own else row

        return update


def of_step(values: Tensor, t: int) -> Tensor:
    """Of `[S, steps, n]` those of inner step t, or of the last one."""
    return values[:, min(t, values.shape[1] - 1)]


def placed(row: Tensor, columns: Tensor, values: Tensor) -> Tensor:
    """Rows `[S, row]` with values `[S, N]` in these columns; those behind the end are dropped."""
    return F.pad(row, (0, 1)).scatter(1, columns, values)[:, : row.shape[1]].contiguous()


class Spread(torch.autograd.Function):
    """Values of entries for their columns: values `[S, E]`, entry of each column `[S, row]`, first columns `[S, E]` ->
    `[S, row]`. The gradient is summed in the order of columns, on every device."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, entry: Tensor, starts: Tensor) -> Tensor:
        ctx.save_for_backward(starts)
        return values.gather(1, entry)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (starts,) = ctx.saved_tensors
        edges = F.pad(starts, (0, 1), value=grad.shape[1])
        found = torch.segment_reduce(grad.double().contiguous(), "sum", offsets=edges, axis=1, unsafe=True)
        return found.to(grad.dtype), None, None
