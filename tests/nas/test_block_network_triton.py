"""Different cells side by side through the Triton kernels: the right numbers, each cell's bits its own, and as many
launches for many cells as for a few."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from autometa.nas.networks.many_cells import BlockNetwork
from autometa.nas.spaces.blocks import level_one
from autometa.ops._triton import kernels
from autometa.slots.statistics import Given, Recorder
from tests.nas.test_block_network import batch, cells, macro, op_by_op
from tests.ops.triton_device import DEVICE, assert_same_bits, triton_ready
from tests.tolerances import assert_agree

pytestmark = triton_ready
SMALL = {"filters": 2, "image_shape": (1, 5, 4)}
SOME = ("0c1m", "0i0f", "0m1f|2a2i", "0f1a|0c2c")
"""All ops; one input and both; a block that reads another; one and two states put out."""


@pytest.fixture
def by_triton(monkeypatch):
    monkeypatch.setenv("AUTOMETA_BACKEND", "triton")
    monkeypatch.setenv("AUTOMETA_DEBUG", "1")


def here(*tensors):
    return [x.to(DEVICE) for x in tensors]


def test_a_batch_of_cells_is_each_cell_alone_and_agrees_with_the_reference(by_triton, monkeypatch):
    """Alone a cell has no tables, other kernels, and columns of its own."""
    network, of_slot = BlockNetwork(macro(**SMALL), cells(*SOME)), torch.tensor([3, 0, 2, 1])
    phi, x, y = batch(network, of_slot, torch.float32, images=2)
    found = op_by_op(network, *here(phi, x, y, of_slot))
    for s, g in enumerate(of_slot[:2].tolist()):
        one, own = BlockNetwork(network.macro, [cells(*SOME)[g]]), slice(s, s + 1)
        row = one.layouts[0].pack(network.layouts[g].unpack(phi[s]))[None]
        logits, loss, grad = op_by_op(one, *here(row, x[own], y[own], torch.zeros(1, dtype=torch.int64)))
        due = network.layouts[g].pack(one.layouts[0].unpack(grad[0].cpu()))
        assert_same_bits([part[own].cpu() for part in found], [logits.cpu(), loss.cpu(), due[None]])
    monkeypatch.setenv("AUTOMETA_BACKEND", "reference")
    wide = op_by_op(network, phi.double(), x.double(), y, of_slot)
    assert_agree(found[1].cpu(), wide[1], "forward", torch.float32)
    assert_agree(found[2].cpu(), wide[2], "discrete gradient", torch.float32)


def test_statistics_of_different_cells_are_kept_and_given(by_triton, monkeypatch):
    network, of_slot = BlockNetwork(macro(**SMALL), cells(*SOME[:2])), torch.tensor([1, 0])
    phi, x, _ = batch(network, of_slot, torch.float32, images=2)
    recorder = Recorder()
    with torch.no_grad():
        first = network.logits(*here(phi, x, of_slot), recorder)
        again = network.logits(*here(phi, x.flip(1), of_slot), Given(recorder.kept))
    assert_agree(again.flip(1).cpu(), first.cpu(), "forward", torch.float32)
    monkeypatch.setenv("AUTOMETA_BACKEND", "reference")
    with torch.no_grad():
        wide = network.logits(phi.double(), x.double(), of_slot)
    assert_agree(first.cpu(), wide, "forward", torch.float32)


def test_launches_do_not_grow_with_the_number_of_cells(by_triton, monkeypatch):
    monkeypatch.delenv("AUTOMETA_DEBUG")

    def launches(some) -> Counter:
        network, of_slot = BlockNetwork(macro(**SMALL), some), torch.arange(len(some))
        found: Counter[str] = Counter()
        phi, x, y = batch(network, of_slot, torch.float32, images=1)
        with kernels("launch").observed(lambda kernel, *_: found.update([kernel.__name__])):
            op_by_op(network, *here(phi, x, y, of_slot))
        return found

    every = list(level_one())
    assert launches(every) == launches(every[::2])
    alone = sum(launches([cell]).total() for cell in every[:3])
    assert launches(every).total() < alone
