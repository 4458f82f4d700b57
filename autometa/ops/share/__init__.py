"""One activation for several readers, its gradient the sum of theirs.

Autograd alone would hold the gradients of all readers and add them two by two, each time into fresh memory and in a
format of its own.  Here a reader's backward that knows `GradientSum` adds its part to those before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from autometa.ops._memory import activation
from autometa.ops._native import recording, refuses_unless, watched
from autometa.ops._triton import triton_refuses
from autometa.ops.backend import dispatch, implements
from autometa.ops.share.cpp import sum_activations
from autometa.ops.share.triton import sum_activations_triton

MOST_READERS = 2**16


def share(x: Tensor, readers: int, *, backend: str | None = None) -> tuple[Tensor, ...]:
    """x `[S, N, C, H, W]` -> `readers` tensors that are x; the gradient of x is the sum of theirs.

    Raises `ValueError` where x is no activation, or readers no number of ops.
    """
    if x.dim() != 5 or not 0 <= readers <= MOST_READERS:
        raise ValueError(
            f"x must be an activation and readers lie in 0..{MOST_READERS}, not {list(x.shape)}, {readers}"
        )
    if readers < 2:
        return (x,) * readers
    return dispatch("share", x.device, x.dtype, backend)(x, readers)


@implements("share", "reference")
def _reference(x: Tensor, readers: int) -> tuple[Tensor, ...]:
    return (x,) * readers


_SUM = "_autometa_gradient_sum"


class GradientSum:
    """The gradient of a shared activation while its readers' backwards run, one after another."""

    def __init__(self) -> None:
        self._value: Tensor | None = None
        self._task = -1

    @staticmethod
    def of(x: Tensor) -> GradientSum | None:
        """That of a tensor from `share`, None for others."""
        return getattr(x, _SUM, None)

    def target(self, shape: Sequence[int]) -> tuple[Tensor, bool]:
        """Where a backward leaves its part, and whether to add it to what stands there."""
        # A backward that stopped half-way left its sum behind.
        task = torch._C._current_graph_task_id()
        add = self._value is not None and self._task == task
        if not add:
            self._value, self._task = activation(*shape), task
        return self._value, add

    def finish(self) -> Tensor | None:
        """The sum; forgets it."""
        value = self._value if self._task == torch._C._current_graph_task_id() else None
        self._value = None
        return value


def targets(states: Sequence[Tensor], sums: Sequence[GradientSum | None], reads: Iterable[int]):
    """State number -> where its gradient goes and whether to add, for those that a backward reads; and state number ->
    gradient for those that autograd is to be handed."""
    found = {j: sums[j].target(states[j].shape) if sums[j] else (activation(*states[j].shape), False) for j in reads}
    return found, {j: found[j][0] for j in found if sums[j] is None}


class _Share(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, readers: int, total: Callable, gathered: GradientSum | None) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.total, ctx.gathered = total, gathered
        return tuple(x.view_as(x) for _ in range(readers))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, *grads: Tensor | None) -> tuple[Tensor | None, None, None, None]:
        found = [g for g in grads if g is not None]
        value = None if ctx.gathered is None else ctx.gathered.finish()
        if value is not None:
            found.append(value)
        if len(found) < 2:
            return (found[0] if found else None), None, None, None
        return ctx.total(found), None, None, None


def _shared(total: Callable, gathers: bool) -> Callable:
    """total: how gradients add up; gathers: whether backwards of this backend know `GradientSum`."""

    def call(x: Tensor, readers: int) -> tuple[Tensor, ...]:
        if not recording(x):
            return (x,) * readers
        gathered = GradientSum() if gathers and not watched() else None
        found = _Share.apply(x, readers, total, gathered)
        if gathered is not None:
            for reader in found:
                setattr(reader, _SUM, gathered)
        return found

    return call


implements("share", "cpp", refuses=refuses_unless(torch.float32))(_shared(sum_activations, True))
implements("share", "triton", refuses=triton_refuses)(_shared(sum_activations_triton, False))
