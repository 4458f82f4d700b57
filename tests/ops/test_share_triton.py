"""Sharing and splitting with Triton: gradients summed, or joined, in one launch."""

from __future__ import annotations

import pytest
import torch

from autometa.ops.share import _sum_triton, share
from autometa.ops.split_columns import _join_triton, split_columns
from tests.ops.triton_device import DEVICE, triton_ready

pytestmark = triton_ready


@pytest.fixture(autouse=True)
def _poison(monkeypatch):
    monkeypatch.setenv("AUTOMETA_DEBUG", "1")


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


@pytest.mark.parametrize(
    "shape", [(3, 2, 5, 4, 7), (1, 1, 1, 1, 1), (2, 3, 28, 9, 9), (0, 2, 3, 4, 4), (2, 0, 3, 4, 4)]
)
@pytest.mark.parametrize("readers", [2, 5])
def test_the_gradient_is_the_sum_in_order(shape, readers):
    x = normal(*shape).requires_grad_(True)
    grads = [normal(*shape, seed=i) for i in range(readers)]
    shared = share(x, readers, backend="triton")
    assert len(shared) == readers and all(torch.equal(y, x) for y in shared)
    (found,) = torch.autograd.grad(shared, x, grads)
    expected = grads[0]
    for g in grads[1:]:
        expected = expected + g
    assert torch.equal(found, expected)


def test_readers_without_a_gradient_count_for_nothing():
    x = normal(2, 2, 3, 4, 4).requires_grad_(True)
    a, _, c = share(x, 3, backend="triton")
    (found,) = torch.autograd.grad((2 * a + 3 * c).sum(), x)
    assert torch.equal(found, torch.full_like(x, 5.0))
    assert torch.equal(torch.autograd.grad(share(x, 3, backend="triton")[1].sum(), x)[0], torch.ones_like(x))
    with torch.no_grad():
        assert all(y is x for y in share(x, 3, backend="triton"))


WIDTHS = [[5], [16, 0, 2048, 1, 35], [7] * 9 + [1040]]


@pytest.mark.parametrize("slots", [0, 1, 3])
@pytest.mark.parametrize("widths", WIDTHS, ids=len)
def test_the_gradient_is_joined(slots, widths, monkeypatch):
    """The last list takes three launches."""
    monkeypatch.setattr("autometa.kernels.split_columns.MOST", 4)
    rows = normal(slots, sum(widths)).requires_grad_(True)
    parts = split_columns(rows, widths, backend="triton")
    assert [p.shape for p in parts] == [(slots, w) for w in widths]
    grads = [normal(slots, w, seed=i) for i, w in enumerate(widths)]
    (found,) = torch.autograd.grad(parts, rows, grads, retain_graph=True)
    assert torch.equal(found, torch.cat(grads, dim=1))
    strided = [torch.stack([g, g * torch.nan], dim=2).flatten(1)[:, ::2] for g in grads]
    assert torch.equal(torch.autograd.grad(parts, rows, strided, retain_graph=True)[0], found)
    (found,) = torch.autograd.grad(parts[::2], rows, grads[::2])
    assert torch.equal(found, torch.cat([torch.zeros_like(g) if i % 2 else g for i, g in enumerate(grads)], dim=1))


def test_opcheck(monkeypatch):
    monkeypatch.delenv("AUTOMETA_DEBUG")
    # they have no gradient of their own
    checks = ("test_schema", "test_faketensor")
    maps = [normal(2, 2, 3, 4, 4, seed=i) for i in range(3)]
    assert torch.library.opcheck(_sum_triton.custom, (maps,), test_utils=checks)
    like = normal(2, 5)
    assert torch.library.opcheck(_join_triton.custom, ([like, None], [5, 3], 2, like), test_utils=checks)
