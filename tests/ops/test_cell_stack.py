"""Networks of cells slot by slot in one call: the reference's numbers, bits that depend on the slot alone."""

from __future__ import annotations

import pytest
import torch

from autometa.ops.backend import BackendError
from autometa.ops.cell_stack import Program, Step, cell_stack, slotwise
from autometa.ops.conv_block import ConvBlock
from autometa.ops.linear_head import head_parameters
from autometa.ops.preprocess import preprocess_parameters
from autometa.ops.primitives import PRIMITIVES, aligned
from tests.ops.arenas import native, ways_to_run
from tests.tolerances import assert_agree

CHANNELS, WAYS, IMAGE = 3, 4, (7, 6)
STEM = (-1, 0)


def width(shapes) -> int:
    return sum(aligned(p.size) for p in shapes)


def program(*ops: str) -> Program:
    """A stem, a preprocessing, a node that adds these ops of its output, a head on the node."""
    stem = ConvBlock(1, CHANNELS)
    rows, node = [], 0
    for name in ops:
        rows.append([0, 0, PRIMITIVES[name].code, 1, node])
        node += width(PRIMITIVES[name].parameters(CHANNELS, 1, True))
    before = width(preprocess_parameters(CHANNELS, CHANNELS, False, True))
    head = width(head_parameters(CHANNELS, WAYS))
    columns, at = {}, 0
    for name, size in (("stem", stem.columns), ("before", before), ("node", node), ("head", head)):
        columns[name] = (at, at + size)
        at += size
    steps = (
        Step("before", (STEM,), None, (0, 0), CHANNELS),
        Step("node", ((0, 0),), torch.tensor([rows]), (0, 2), CHANNELS, node=True),
    )
    readers = {STEM: 1, (0, 0): 1, (0, 2): 1}
    return Program(stem, steps, Step("head", ((0, 2),), None, (0, 3), 0), readers, columns, WAYS, IMAGE)


PROGRAMS = [program("conv_3x3", "max_pool_3x3"), program("full_conv_3x3"), program("skip_connect", "conv_1x5_5x1")]
OF_SLOT = (2, 0, 1, 0)


def case(dtype: torch.dtype = torch.float32):
    made = torch.Generator().manual_seed(0)
    row = max(stop for p in PROGRAMS for _, stop in p.columns.values())
    params = torch.randn(len(OF_SLOT), row, generator=made, dtype=torch.float64) * 0.5 + 0.1
    images = torch.randn(len(OF_SLOT), 5, 1, *IMAGE, generator=made, dtype=torch.float64)
    labels = torch.randint(WAYS, (len(OF_SLOT), 5), generator=made)
    return params.to(dtype).requires_grad_(True), images.to(dtype), labels


def run(backend: str, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    """Losses, logits and the gradient of the losses."""
    params, images, labels = case(dtype)
    losses, logits = cell_stack(params, images, labels, PROGRAMS, OF_SLOT, backend=backend)
    assert not logits.requires_grad
    return [losses.detach(), logits, *torch.autograd.grad(losses.sum(), params)]


@native
def test_cpp_agrees_with_the_reference_in_float64():
    for a, b in zip(run("cpp"), run("reference", torch.float64), strict=True):
        assert_agree(a, b, "discrete gradient", torch.float32)


@native
def test_a_slots_bits_depend_on_nothing_but_the_slot():
    params, images, labels = case()
    together = run("cpp")
    for way in ways_to_run():
        with way:
            again = run("cpp")
            assert torch.equal(again[0], run("cpp")[0])
    for s, k in enumerate(OF_SLOT):
        leaf = params.detach()[s : s + 1].clone().requires_grad_(True)
        losses, logits = cell_stack(leaf, images[s : s + 1], labels[s : s + 1], PROGRAMS, [k], backend="cpp")
        found = [losses.detach(), logits, *torch.autograd.grad(losses.sum(), leaf)]
        assert all(torch.equal(a[0], b[s]) for a, b in zip(found, together, strict=True))


@pytest.mark.parametrize("backend", ("reference", pytest.param("cpp", marks=native)))
def test_bad_arguments(backend):
    params, images, labels = case()
    call = dict(backend=backend)
    with pytest.raises(ValueError, match="agree in the batch"):
        cell_stack(params, images, labels[:, 1:], PROGRAMS, OF_SLOT, **call)
    with pytest.raises(ValueError, match=r"of_slot must name programs 0\.\.2"):
        cell_stack(params, images, labels, PROGRAMS, (0, 1, 2, 3), **call)
    with pytest.raises(ValueError, match=r"images must be \[slots, batch, 1, 7, 6\]"):
        cell_stack(params, images[..., :5], labels, PROGRAMS, OF_SLOT, **call)
    with pytest.raises(ValueError, match="columns wide or wider"):
        cell_stack(params[:, :50], images, labels, PROGRAMS, OF_SLOT, **call)
    with pytest.raises(BackendError, match="provided by"):
        cell_stack(params, images, labels, PROGRAMS, OF_SLOT, backend="triton")


@native
def test_it_is_the_way_of_the_processor():
    assert slotwise(torch.device("cpu"), torch.float32)
