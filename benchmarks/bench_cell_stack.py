"""Networks of cells slot by slot in one call, beside the same op by op: 10 cells x 5 tasks, 10 images of 28x28."""

import pytest
import torch

from autometa.nas.networks.many_cells import BlockNetwork
from autometa.nas.networks.side_by_side import Macro
from autometa.ops.cross_entropy import cross_entropy
from benchmarks.candidates import WAYS, some_cells
from benchmarks.measure import side_by_side


@pytest.mark.parametrize("filters", (4, 10))
def test_cell_stack(benchmark, filters):
    made = torch.Generator().manual_seed(0)
    network = BlockNetwork(Macro(filters, 0, 1, WAYS, (1, 28, 28)), some_cells(10, 1))
    of_slot = torch.arange(10).repeat_interleave(5)
    phi = network.initial(0)[of_slot].requires_grad_(True)
    images = torch.rand(50, 10, 1, 28, 28, generator=made)
    labels = torch.randint(WAYS, (50, 10), generator=made)

    def gradient(losses):
        return losses.detach(), *torch.autograd.grad(losses.sum(), phi)

    def slot_by_slot():
        return gradient(network.losses(phi, images, labels, of_slot))

    def op_by_op():
        return gradient(cross_entropy(network.logits(phi, images, of_slot), labels))

    assert all(torch.equal(a, b) for a, b in zip(slot_by_slot(), op_by_op(), strict=True))
    ratios = side_by_side(benchmark, slot_by_slot, {"op by op": op_by_op}, rounds=8)
    assert ratios["op by op"] > 0.8
