"""The mixed node op, forward and backward, beside the reference: a whole node, and every primitive alone."""

import pytest
import torch

from autometa.nas.spaces.cells import METANAS_PRIMITIVES, one_shot_cell, op_table
from autometa.ops import mixed_op
from autometa.ops._memory import as_activation
from benchmarks.measure import side_by_side

CHANNELS, BATCH, NODE = 28, 20, 2  # the last node of a cell has four inputs
SHAPES = {"28x28": (1, 28), "14x14": (1, 14), "7x7": (1, 7), "14x14, 10 slots": (10, 14)}


def node(primitives: tuple[str, ...], slots: int, size: int):
    """A call of the node with its gradients, by backend."""
    generator = torch.Generator().manual_seed(0)
    cell = one_shot_cell(primitives, NODE + 1)
    table, width = op_table(cell, NODE, CHANNELS, False, False)
    edges = cell.edges(NODE)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    images = [normal(slots, BATCH, CHANNELS, size, size) for _ in range(edges)]
    params = (0.1 * normal(slots, max(width, 16))).requires_grad_(True)
    weights = torch.softmax(normal(slots, len(primitives) * edges), dim=1).requires_grad_(True)
    inputs = torch.ones(slots, edges).requires_grad_(True)
    gy = normal(slots, BATCH, CHANNELS, size, size)
    states = {
        "reference": [x.clone().requires_grad_(True) for x in images],
        "cpp": [as_activation(x).requires_grad_(True) for x in images],
    }
    grads = {"reference": gy, "cpp": as_activation(gy)}

    def call(backend: str):
        y, _ = mixed_op(states[backend], params, weights, inputs, table, backend=backend)
        leaves = [*states[backend], params, weights, inputs]
        return torch.autograd.grad(y, leaves, grads[backend], allow_unused=True)

    return call


@pytest.mark.parametrize("shape", SHAPES)
def test_node(benchmark, shape):
    call = node(METANAS_PRIMITIVES, *SHAPES[shape])
    ratios = side_by_side(benchmark, lambda: call("cpp"), {"reference": lambda: call("reference")}, rounds=8)
    assert ratios["reference"] > 1


@pytest.mark.parametrize("primitive", METANAS_PRIMITIVES)
def test_primitive(benchmark, primitive):
    call = node((primitive,), 1, 28)
    ratios = side_by_side(benchmark, lambda: call("cpp"), {"reference": lambda: call("reference")}, rounds=8)
    assert ratios["reference"] > 1
