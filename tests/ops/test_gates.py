"""Slots in pairs: the second half decides as the first does, in every op and on every backend that knows pairs."""

from __future__ import annotations

import pytest
import torch

from autometa.ops import ConvBlock, backend, conv_block, gates, mixed_op, preprocess
from autometa.ops.conv_block.cpp import _forward as of_block
from autometa.ops.conv_block.cpp import _sizes
from autometa.ops.conv_stack import conv_stack
from autometa.ops.conv_stack.cpp import _described
from autometa.ops.conv_stack.cpp import _forward as of_stack
from autometa.ops.preprocess import preprocess_parameters
from autometa.ops.primitives import aligned
from tests.ops.arenas import instruction_set, native
from tests.ops.node_case import METANAS, random_node
from tests.tolerances import assert_agree

BLOCKS = {
    "ReLU": ConvBlock(3, 20, bias=True, relu=True, norm=False),
    "normalised, ReLU": ConvBlock(3, 9, stride=2, padding="same", bias=True, relu=True),
    "pool": ConvBlock(3, 9, pool=True),
    "pool to the edge, ReLU": ConvBlock(20, 16, pool=True, pool_ceil=True, relu=True, bias=True),
    "neither": ConvBlock(3, 9),
}
GIVEN = pytest.mark.parametrize("given", [False, True], ids=["of the batch", "given"])
PAIRS = 2


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def evaluated(run, *leaves):
    """The result of run and its gradients for leaves, within pairs."""
    leaves = [value.clone().requires_grad_() for value in leaves]
    with gates.paired():
        y = run(*leaves)
    weights = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).to(y).view(y.shape)
    return [y.detach(), *torch.autograd.grad(y, leaves, weights)]


@native
@GIVEN
@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_on_every_instruction_set(name, given):
    block = BLOCKS[name]
    x, params = normal(2 * PAIRS, 3, block.c_in, 9, 7), 0.5 * normal(2 * PAIRS, block.columns, seed=1)
    seen = torch.rand(2 * PAIRS, 2, block.c_out, dtype=torch.float64) + 0.5 if given and block.norm else None

    def run(forced: str, dtype: torch.dtype):
        own = None if seen is None else seen.to(dtype)
        return evaluated(
            lambda *both: conv_block(*both, block, given=own, backend=forced)[0], x.to(dtype), params.to(dtype)
        )

    expected = run("reference", torch.float64)
    for isa in backend.compiled().isa_names():
        with instruction_set(isa):
            for found, due in zip(run("cpp", torch.float32), expected, strict=True):
                assert_agree(found, due, "formula", torch.float32)


@native
def test_stacks():
    """Whole, with and without memory kept for a backward; slots alone as together."""
    blocks = [BLOCKS["normalised, ReLU"], ConvBlock(9, 20), BLOCKS["pool to the edge, ReLU"]]
    columns = sum(block.columns for block in blocks) + aligned(5 * 16 * 4) + 16
    x, params = normal(2 * PAIRS, 3, 3, 7, 7), 0.3 * normal(2 * PAIRS, columns, seed=1)
    expected = evaluated(lambda *both: conv_stack(*both, blocks, 5, backend="reference"), x, params)
    found = evaluated(lambda *both: conv_stack(*both, blocks, 5, backend="cpp"), x.float(), params.float())
    for own, due in zip(found, expected, strict=True):
        assert_agree(own, due, "formula", torch.float32)
    with gates.paired(), torch.no_grad():
        assert torch.equal(conv_stack(x.float(), params.float(), blocks, 5, backend="cpp"), found[0])
        pair = [1, PAIRS + 1]
        assert torch.equal(conv_stack(x[pair].float(), params[pair].float(), blocks, 5, backend="cpp"), found[0][pair])


def test_the_first_half_is_what_it_is_alone():
    block = BLOCKS["pool to the edge, ReLU"]
    x, params = normal(2 * PAIRS, 3, block.c_in, 9, 7), normal(2 * PAIRS, block.columns, seed=1)
    with gates.paired():
        both, _ = conv_block(x, params, block)
    alone, _ = conv_block(x[:PAIRS], params[:PAIRS], block)
    assert torch.equal(both[:PAIRS], alone)


@pytest.mark.parametrize("stride", [1, 2])
def test_nodes_and_preprocessing_are_linear_between_pairs(stride):
    """With given statistics all but the decisions is linear in the images: halfway between two pairs that decide alike
    lies the mean of what both give."""
    node = random_node(METANAS, slots=2, stride=stride)
    statistics = torch.rand(6, node.table.shape[1], 2, 2, 4, dtype=torch.float64) + 0.5
    own = [value.repeat(6 // len(value), *(1,) * (value.dim() - 1)) for value in (*node.states, node.params)]
    states, params = [own[0][:6], own[1][:6]], own[2][:6]
    *states, params = (torch.cat([value[:1].expand(6, *value.shape[1:])]).clone() for value in (*states, params))
    for state in states:
        state[3:] = normal(3, *state.shape[1:], seed=7)
        state[5] = (state[3] + state[4]) / 2
    op, edges = (value[:1].expand(6, -1).clone() for value in (node.op_weight, node.input_weight))
    same = statistics[:1].expand(statistics.shape).clone()
    with gates.paired():
        y, _ = mixed_op(states, params, op, edges, node.table, given=same)
        width = sum(aligned(p.size) for p in preprocess_parameters(4, 9, stride == 2, False))
        row = normal(1, width).expand(6, -1).clone()
        z, _ = preprocess(
            states[:1], row, 9, reduce=stride == 2, given=torch.rand(1, 2, 9).double().expand(6, 2, 9) + 0.5
        )
    for found in (y, z):
        assert torch.allclose(found[5], (found[3] + found[4]) / 2)
        assert not torch.allclose(found[3], found[4])


def test_odd_slots_and_other_backends_are_refused():
    block = BLOCKS["ReLU"]
    x, params = torch.randn(3, 1, 3, 5, 5), torch.randn(3, block.columns)
    with gates.paired():
        for forced in ("reference", "cpp"):
            with pytest.raises(ValueError, match="an even number, not 3"):
                conv_block(x, params, block, backend=forced)
        with pytest.raises(backend.BackendError, match="in pairs"):
            node = random_node(METANAS, slots=2, dtype=torch.float32)
            node.run(backend="cpp")


def test_pairs_that_evaluate_other_ops_are_refused():
    node = random_node(METANAS, slots=2)
    node.op_weight[0, 0] = 0.0
    with gates.paired(), pytest.raises(ValueError, match="the same operations"):
        node.run()


@native
def test_opcheck():
    block, checks = BLOCKS["normalised, ReLU"], ("test_schema", "test_faketensor")
    flags = [block.bias, block.norm, block.relu, block.pool]
    x, params = torch.randn(4, 2, 3, 8, 8), torch.randn(4, block.columns)
    own = (None, _sizes(block, 8, 8), flags, block.eps, True)
    leaves = [value.clone().requires_grad_() for value in (x, params)]
    assert torch.library.opcheck(of_block.custom, (*leaves, *own, True, True))
    rows = torch.randn(4, block.columns + aligned(2 * 9) + 16)
    stack = (*map(list, _described((block,), 8, 8)), 2, False, True)
    leaves = [value.clone().requires_grad_() for value in (x, rows)]
    assert torch.library.opcheck(of_stack.custom, (*leaves, *stack, True), test_utils=checks)
