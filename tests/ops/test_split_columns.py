"""A block of rows cut into columns: views forward, one joined gradient backward."""

from __future__ import annotations

import pytest
import torch

from autometa.ops.split_columns import split_columns
from tests.ops.arenas import native, threads
from tests.ops.triton_device import DEVICE, triton_ready

BACKENDS = (
    "reference",
    pytest.param("cpp", marks=native),
    pytest.param("triton", marks=triton_ready),
)
WIDTHS = [[5], [16, 0, 2048, 1, 35], [7] * 9 + [1040]]


def normal(*shape: int, seed: int = 0, backend: str = "cpp") -> torch.Tensor:
    made = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return made.to(DEVICE) if backend == "triton" else made


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("slots", [0, 1, 3])
@pytest.mark.parametrize("widths", WIDTHS, ids=len)
def test_the_gradient_is_joined(slots, widths, backend, monkeypatch):
    """With Triton the last list takes three launches."""
    monkeypatch.setenv("AUTOMETA_DEBUG", "1")
    if backend == "triton":
        monkeypatch.setattr("autometa.kernels.split_columns.MOST", 4)
    rows = normal(slots, sum(widths), backend=backend).requires_grad_(True)
    parts = split_columns(rows, widths, backend=backend)
    assert [p.shape for p in parts] == [(slots, w) for w in widths]
    assert torch.equal(torch.cat(parts, dim=1), rows)
    grads = [normal(slots, w, seed=i, backend=backend) for i, w in enumerate(widths)]
    (found,) = torch.autograd.grad(parts, rows, grads, retain_graph=True)
    assert torch.equal(found, torch.cat(grads, dim=1))
    strided = [torch.stack([g, g * torch.nan], dim=2).flatten(1)[:, ::2] for g in grads]
    assert torch.equal(torch.autograd.grad(parts, rows, strided, retain_graph=True)[0], found)
    (found,) = torch.autograd.grad(parts[::2], rows, grads[::2])
    assert torch.equal(found, torch.cat([torch.zeros_like(g) if i % 2 else g for i, g in enumerate(grads)], dim=1))


@native
def test_bits_do_not_depend_on_threads():
    widths = [1000, 24, 3000]
    rows = normal(7, sum(widths)).requires_grad_(True)
    parts = split_columns(rows, widths, backend="cpp")
    grads = [normal(7, w, seed=i) for i, w in enumerate(widths)]
    for count in (1, 3):
        with threads(count):
            (found,) = torch.autograd.grad(parts, rows, grads, retain_graph=True)
            assert torch.equal(found, torch.cat(grads, dim=1))


@pytest.mark.parametrize("backend", BACKENDS)
def test_widths_must_cover_the_row(backend):
    with pytest.raises(ValueError, match="widths must add up to 9, not to 8"):
        split_columns(normal(2, 9, backend=backend), [4, 4], backend=backend)
