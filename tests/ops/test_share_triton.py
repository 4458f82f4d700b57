"""Sharing with Triton: gradients summed in one launch; opcheck of what joins them."""

from __future__ import annotations

import pytest
import torch

from autometa.ops.share import share
from autometa.ops.share.triton import sum_activations_triton
from autometa.ops.split_columns.triton import join_columns_triton
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


def test_opcheck(monkeypatch):
    monkeypatch.delenv("AUTOMETA_DEBUG")
    # they have no gradient of their own
    checks = ("test_schema", "test_faketensor")
    maps = [normal(2, 2, 3, 4, 4, seed=i) for i in range(3)]
    assert torch.library.opcheck(sum_activations_triton.custom, (maps,), test_utils=checks)
    like = normal(2, 5)
    assert torch.library.opcheck(join_columns_triton.custom, ([like, None], [5, 3], 2, like), test_utils=checks)
