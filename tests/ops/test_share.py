"""One activation for several readers: their gradients add up, whoever adds them and however often."""

from __future__ import annotations

import pytest
import torch

from autometa.ops import preprocess
from autometa.ops._memory import activation, memory_held
from autometa.ops.preprocess import preprocess_parameters
from autometa.ops.primitives import aligned
from autometa.ops.share import GradientSum, share
from tests.ops.arenas import native
from tests.tolerances import assert_agree

pytestmark = native
CHANNELS = 5


def leaf(*shape: int, seed: int = 0) -> torch.Tensor:
    made = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return activation(*shape).copy_(made).requires_grad_(True)


def reader(x: torch.Tensor, seed: int, backend: str = "cpp") -> torch.Tensor:
    """A preprocessing, whose backward adds to sums."""
    width = sum(aligned(p.size) for p in preprocess_parameters(CHANNELS, 3, False, False))
    made = torch.Generator().manual_seed(seed)
    params = torch.randn(x.shape[0], width, generator=made).to(x.dtype)
    y, _ = preprocess([x], params, 3, backend=backend)
    return (y * torch.randn(y.shape, generator=made).to(x.dtype)).sum()


def gradient(x: torch.Tensor, losses) -> torch.Tensor:
    return torch.autograd.grad(sum(losses), x)[0]


@pytest.mark.parametrize("readers", [1, 2, 4])
def test_gradients_of_all_readers_add_up(readers):
    x = leaf(2, 3, CHANNELS, 4, 6)
    found = gradient(x, [reader(part, i) for i, part in enumerate(share(x, readers))])
    twin = x.detach().double().requires_grad_(True)
    due = gradient(twin, [reader(twin, i, "reference") for i in range(readers)])
    assert_agree(found, due, "node, gradient", torch.float32)


def test_readers_of_other_kinds_and_readers_that_nobody_follows():
    x = leaf(1, 2, CHANNELS, 3, 3)
    parts = share(x, 4)
    found = gradient(x, [reader(parts[0], 0), (3.0 * parts[1]).sum(), reader(parts[2], 2)])
    due = gradient(x, [reader(x, 0)]) + 3.0 + gradient(x, [reader(x, 2)])
    assert_agree(found, due, "node, gradient", torch.float32)


def test_a_graph_may_be_run_again():
    x = leaf(1, 2, CHANNELS, 3, 3)
    loss = sum(reader(part, i) for i, part in enumerate(share(x, 3)))
    first = torch.autograd.grad(loss, x, retain_graph=True)[0].clone()
    assert torch.equal(torch.autograd.grad(loss, x)[0], first)


def test_what_a_backward_left_behind_is_forgotten():
    """Of the first run, which fails after one reader, nothing reaches the second."""
    x = leaf(1, 2, CHANNELS, 3, 3)
    parts, fails = share(x, 2), [True]

    class Fails(torch.autograd.Function):
        @staticmethod
        def forward(ctx, y):
            return y.clone()

        @staticmethod
        def backward(ctx, grad):
            if fails.pop():
                raise RuntimeError("on purpose")
            return grad

    loss = reader(Fails.apply(parts[0]), 0) + reader(parts[1], 1)
    with pytest.raises(RuntimeError, match="on purpose"):
        torch.autograd.grad(loss, x, retain_graph=True)
    fails.append(False)
    found = torch.autograd.grad(loss, x)[0]
    assert_agree(found, gradient(x, [reader(x, 0), reader(x, 1)]), "node, gradient", torch.float32)


def test_only_readers_of_one_sum_share_it():
    x, other = leaf(1, 1, CHANNELS, 2, 2), leaf(1, 1, CHANNELS, 2, 2, seed=1)
    a, b = share(x, 2), share(other, 2)
    assert GradientSum.of(a[0]) is GradientSum.of(a[1]) is not GradientSum.of(b[0])
    assert GradientSum.of(x) is None
    with torch.no_grad():
        assert all(part is x for part in share(x, 2))


def test_gradients_do_not_wait_for_one_another():
    """However many readers, one map holds their gradients."""

    def peak(readers: int) -> int:
        x = leaf(1, 8, CHANNELS, 64, 64)
        loss = sum(reader(part, i) for i, part in enumerate(share(x, readers)))
        before = memory_held(reset_peak=True).in_use
        torch.autograd.grad(loss, x)
        return memory_held().peak - before

    assert peak(6) < peak(2) + 1.5 * 8 * 64 * 64 * 8 * 4
