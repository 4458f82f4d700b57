"""The compiled mixed node op against the reference in float64, over ugly shapes and tables."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autometa.ops import backend
from autometa.ops._memory import memory_held
from autometa.ops.mixed_op import PRIMITIVE, STATE
from autometa.ops.primitives import BY_CODE, aligned
from tests.ops.arenas import instruction_set, native, threads
from tests.ops.node_case import (
    ALL,
    BAD_TABLES,
    METANAS,
    Node,
    assert_cpp_agrees,
    damping,
    parameter_slices,
    random_node,
    strided,
)
from tests.tolerances import assert_agree

pytestmark = native
STRIDES = pytest.mark.parametrize("stride", [1, 2])
AFFINE = pytest.mark.parametrize("affine", [False, True], ids=["plain", "affine"])
FLOAT = torch.float32


def ugly_names(stride: int, channels: int) -> tuple[str, ...]:
    return tuple(n for n in ALL if not (stride == 2 and n == "skip_connect" and channels < 2))


# slots, batch, channels, size
SHAPES = [
    (1, 1, 1, (1, 1)),
    (3, 2, 7, (1, 1)),
    (3, 1, 2, (7, 1)),
    (1, 2, 8, (1, 5)),
    (3, 2, 9, (3, 3)),
    (3, 20, 1, (5, 4)),
    (3, 1, 16, (6, 5)),
    (1, 2, 17, (13, 14)),
    (3, 2, 28, (7, 7)),
    (1, 1, 33, (9, 2)),
    (1, 2, 17, (31, 9)),
    (1, 2, 64, (5, 6)),
    (1, 1, 128, (4, 7)),
    (40, 2, 2, (4, 5)),
    (1, 20, 5, (28, 28)),
]


@STRIDES
@AFFINE
@pytest.mark.parametrize("slots, batch, channels, size", SHAPES)
def test_all_primitives_together(slots, batch, channels, size, stride, affine):
    names = ugly_names(stride, channels)
    node = random_node(names, slots=slots, batch=batch, channels=channels, size=size, stride=stride, affine=affine)
    assert_cpp_agrees(node, eps=damping(node))


@STRIDES
@AFFINE
@pytest.mark.parametrize("name", [name for name in ALL if name != "none"])
def test_each_primitive(name, stride, affine):
    for slots, batch, channels, size in ((2, 3, 9, (7, 6)), (1, 2, 20, (5, 5))):
        node = random_node(
            (name,), slots=slots, batch=batch, channels=channels, size=size, stride=stride, affine=affine, seed=channels
        )
        assert_cpp_agrees(node, eps=damping(node))


@STRIDES
@pytest.mark.parametrize("size", [(1, 1), (1, 5), (7, 1), (6, 6), (7, 9)])
def test_ties_in_pools_go_to_the_same_pixel(size, stride):
    node = random_node(("max_pool_3x3", "conv_3x3"), size=size, batch=3, channels=9, stride=stride)
    node = replace(node, states=[x.round().clamp(-1, 1) for x in node.states])
    assert_cpp_agrees(node, eps=damping(node))


@STRIDES
def test_constant_channels(stride):
    node = random_node(METANAS, batch=3, channels=9, stride=stride, affine=True)
    for k, x in enumerate(node.states):
        x[:, :, k] = 0.75
        x[:, :, 7 + k] = -2.0
    assert_cpp_agrees(node, eps=0.01)


@STRIDES
@pytest.mark.parametrize("name", ["avg_pool_3x3", "max_pool_3x3", "conv_3x3", "sep_conv_5x5", "skip_connect"])
def test_means_of_100_standard_deviations(name, stride):
    node = random_node((name,), batch=8, channels=9, size=(10, 9), stride=stride)
    node = replace(node, states=[x + 100 for x in node.states]).to(FLOAT)
    expected = node.to(torch.float64).gradients(backend="reference")
    for isa in backend.compiled().isa_names():
        with instruction_set(isa):
            for a, b in zip(node.gradients(backend="cpp"), expected, strict=True):
                assert_agree(a, b, "shifted", FLOAT)


def pruned_node(stride: int) -> tuple[Node, torch.Tensor]:
    """Each slot prunes other instances, slot 3 all; what is pruned has NaN for parameters."""
    node = random_node(ALL, slots=4, stride=stride, affine=True).to(FLOAT)
    pruned = torch.rand(node.op_weight.shape, generator=torch.Generator().manual_seed(3)) < 0.5
    pruned[3] = True
    params = node.params.clone()
    for i, own in enumerate(parameter_slices((*ALL, *ALL), 4, [stride] * len(ALL) + [1] * len(ALL), True)):
        params[pruned[:, i], own] = torch.nan
    return replace(node, params=params, op_weight=node.op_weight.masked_fill(pruned, 0.0)), pruned


def arguments(node: Node, keep: bool = True, statistics: bool = False) -> tuple:
    """Of `autometa::mixed_op`."""
    return (
        node.states, node.params, node.op_weight, node.input_weight, node.table, None, None, node.affine, None, 1e-5,
        statistics, keep, list(node.gy.shape[3:]), list(range(len(node.states))),
    )  # fmt: skip


def kept(node: Node) -> int:
    """Floats that the forward keeps for the backward."""
    return torch.ops.autometa.mixed_op(*arguments(node))[2].numel()


@STRIDES
def test_pruned_instances(stride):
    node, pruned = pruned_node(stride)
    assert_cpp_agrees(node)
    y, *_, d_params, d_op, _ = node.gradients(backend="cpp")
    assert not y[3].any() and not d_params[3].any() and not d_op[pruned].any()


@STRIDES
def test_what_is_pruned_is_not_kept(stride):
    node, _ = pruned_node(stride)
    whole = random_node(ALL, slots=4, stride=stride, affine=True).to(FLOAT)
    assert kept(node.slot(3)) == 0 < kept(node.slot(0)) < 0.8 * kept(whole.slot(0))
    assert kept(node) == sum(kept(node.slot(s)) for s in range(4))
    edge = whole.input_weight.clone()
    edge[:, 0] = 0.0
    assert kept(replace(whole, input_weight=edge)) < 0.8 * kept(whole)
    pools = random_node(("max_pool_3x3", "avg_pool_3x3")).to(FLOAT)
    assert kept(pools) == 3 * 4 * 2 * 8  # a mean and a variance of 8 lanes each


@STRIDES
def test_an_edge_of_weight_0(stride):
    node = random_node(METANAS, stride=stride)
    edge = node.input_weight.clone()
    edge[0], edge[1, 1] = 0.0, 0.0
    assert_cpp_agrees(replace(node, input_weight=edge))


def test_one_state_twice_with_two_sets_of_parameters():
    for name in ("conv_3x3", "sep_conv_3x3", "max_pool_3x3", "skip_connect"):
        node = random_node((name,), affine=True)
        table = node.table.clone()
        table[0, 1, STATE] = 0
        assert_cpp_agrees(replace(node, table=table))


@STRIDES
@AFFINE
def test_statistics_and_given_ones(stride, affine):
    node = random_node(ALL, stride=stride, affine=affine).to(FLOAT)
    other = random_node(ALL, stride=stride, affine=affine, seed=9)
    wide = node.to(torch.float64)
    for options in ({}, {"given": other.run(want_statistics=True, backend="reference")[1]}):
        expected, due = wide.run(want_statistics=True, backend="reference", **options)
        y, statistics = node.run(want_statistics=True, backend="cpp", **options)
        assert statistics.shape == due.shape and not statistics.requires_grad
        assert_agree(y, expected, "node, y", FLOAT)
        for part in range(2):
            assert_agree(statistics[..., part, :], due[..., part, :], "node, statistics", FLOAT)
            assert not statistics[due.abs().sum(dim=-1) == 0].any()
    due = due.to(FLOAT).double()
    assert_cpp_agrees(node, given=due)
    assert node.run(backend="cpp", given=due)[1] is None


@STRIDES
def test_drop_path(stride):
    node = random_node(METANAS, batch=4, stride=stride, affine=True)
    drop = (torch.rand(3, 4, 2 * len(METANAS), generator=torch.Generator().manual_seed(1)) < 0.6).double() / 0.6
    drop[0, 1], drop[1, :, 2] = 0.0, 0.0
    assert_cpp_agrees(node, drop=drop)


def test_without_gradients_nothing_is_kept():
    node = random_node(ALL, slots=3, batch=8, channels=16, size=(14, 14)).to(FLOAT)
    before = memory_held(reset_peak=True).in_use
    with torch.no_grad():
        y, _ = node.run(backend="cpp")
        held = memory_held().in_use - before
    leaves = [x.clone().requires_grad_(True) for x in node.states]
    again, _ = replace(node, states=leaves).run(backend="cpp")
    assert torch.equal(y, again) and again.requires_grad and not y.requires_grad
    assert held <= 2 * 4 * y.numel()
    assert torch.ops.autometa.mixed_op(*arguments(node, keep=False))[2].numel() == 0


@pytest.mark.parametrize("empty", ["slots", "batch"])
def test_nothing_to_compute(empty):
    node = random_node(METANAS, **{empty: 0}).to(FLOAT)
    found, due = node.gradients(backend="cpp"), node.gradients(backend="reference")
    assert all(torch.equal(a, b) for a, b in zip(found, due, strict=True))


@STRIDES
def test_strided_inputs_give_the_same_bits(stride):
    node = random_node(METANAS, channels=9, stride=stride).to(FLOAT)
    due = node.gradients(backend="cpp")
    wide = torch.full((3, node.params.shape[1] + 37), torch.nan)
    wide[:, 5:-32] = node.params
    same = replace(
        node,
        states=[strided(x) for x in node.states],
        params=wide[:, 5:-32],
        op_weight=node.op_weight.T.contiguous().T,
        gy=strided(node.gy),
    )
    y, _ = same.run(backend="cpp")
    assert torch.equal(y, due[0])
    every_second = replace(node, params=strided(node.params))
    for found in (same.gradients(backend="cpp"), every_second.gradients(backend="cpp")):
        assert all(torch.equal(a, b) for a, b in zip(found, due, strict=True))


def test_a_gradient_that_is_one_number_expanded():
    node = random_node(METANAS).to(FLOAT)
    params = node.params.clone().requires_grad_(True)
    replace(node, params=params).run(backend="cpp")[0].sum().backward()
    due = replace(node, gy=torch.ones_like(node.gy)).gradients(backend="cpp")[3]
    assert torch.equal(params.grad, due)


@STRIDES
@pytest.mark.parametrize("batch, channels, size", [(1, 3, (6, 5)), (20, 9, (8, 7)), (3, 28, (14, 14))])
def test_bits_do_not_depend_on_threads_position_or_neighbours(batch, channels, size, stride):
    node = random_node(METANAS, slots=5, batch=batch, channels=channels, size=size, stride=stride).to(FLOAT)
    due = node.gradients(backend="cpp")
    order = [3, 0, 4, 2, 1]
    poisoned = node.params.clone()
    poisoned[1] = torch.nan
    for count in (1, 2):
        with threads(count):
            same = node.gradients(backend="cpp")
            moved = node.slots(order).gradients(backend="cpp")
            alone = node.slot(2).gradients(backend="cpp")
            beside = replace(node, params=poisoned).gradients(backend="cpp")
        for a, b, c, d, e in zip(due, same, moved, alone, beside, strict=True):
            assert torch.equal(a, b) and torch.equal(a[order], c) and torch.equal(a[2:3], c[3:4])
            assert torch.equal(a[2:3], d) and torch.equal(a[2:], e[2:]) and torch.equal(a[:1], e[:1])


@pytest.mark.parametrize("name", [name for name in ALL if name != "none"])
@STRIDES
def test_what_is_not_finite_stays_visible(name, stride):
    """A slot with a pixel that is infinite, or all undefined, does not come out as healthy."""
    node = random_node((name,), slots=3, channels=9, stride=stride).to(FLOAT)
    states = [x.clone() for x in node.states]
    for x in states:
        x[0, 0, :, 0, 0], x[1] = torch.inf, torch.nan
    y = replace(node, states=states).run(backend="cpp")[0]
    assert not bool(y[0].isfinite().all()) and bool(y[1].isnan().all()) and bool(y[2].isfinite().all())


@st.composite
def tables(draw):
    """Random tables over states of two sizes, of parameters that do not overlap; weights and drop masks with zeros."""
    slots, channels, affine = draw(st.integers(1, 4)), draw(st.sampled_from([2, 5, 8, 9])), draw(st.booleans())
    size = draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    out = tuple(-(-n // 2) for n in size)
    halving = draw(st.lists(st.booleans(), min_size=1, max_size=3))
    count, edges, width, made = draw(st.integers(1, 5)), draw(st.integers(1, 3)), 16, []
    for _ in range(draw(st.integers(1, 3))):
        rows, offset = [], 16 * draw(st.integers(0, 2))
        for _ in range(count):
            state, code = draw(st.integers(0, len(halving) - 1)), draw(st.integers(-1, len(ALL) - 1))
            stride = 2 if halving[state] else 1
            rows.append([state, draw(st.integers(0, edges - 1)), code, stride, offset])
            if code >= 0:
                offset += sum(aligned(p.size) for p in BY_CODE[code].parameters(channels, stride, affine))
        made.append(rows)
        width = max(width, offset)
    made[0][0][PRIMITIVE] = max(0, made[0][0][PRIMITIVE])
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    batch = draw(st.integers(1, 3))

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    def sparse(*shape: int) -> torch.Tensor:
        return (0.2 + uniform(*shape)) * (uniform(*shape) < 0.8)

    sizes = [size if halved else out for halved in halving]
    node = Node(
        states=[4 * uniform(slots, batch, channels, *s) - 2 for s in sizes],
        params=2 * uniform(slots, width) - 1,
        op_weight=sparse(slots, count),
        input_weight=sparse(slots, edges),
        table=torch.tensor(made),
        gy=2 * uniform(slots, batch, channels, *out) - 1,
        affine=affine,
    )
    which = torch.randint(0, len(made), (slots,), generator=generator)
    return node, which, (uniform(slots, batch, count) < 0.7).double() / 0.7 if draw(st.booleans()) else None


@settings(max_examples=40, deadline=None, derandomize=True)
@given(tables())
def test_random_tables(case):
    node, which, drop = case
    node = node.to(FLOAT)
    expected = node.to(torch.float64).gradients(backend="reference", table_of_slot=which, drop=drop, eps=0.1)
    found = node.gradients(backend="cpp", table_of_slot=which, drop=drop, eps=0.1)
    for k, (a, b) in enumerate(zip(found, expected, strict=True)):
        assert_agree(a, b, "node, gradient" if k else "node, y", FLOAT)
    for s in range(len(which)):
        alone = node.slot(s).gradients(
            backend="cpp", table_of_slot=which[s : s + 1], drop=None if drop is None else drop[s : s + 1], eps=0.1
        )
        assert all(torch.equal(a[s : s + 1], b) for a, b in zip(found, alone, strict=True))


@STRIDES
def test_opcheck(stride):
    node = random_node(METANAS, stride=stride, affine=True).to(FLOAT)
    assert torch.library.opcheck(torch.ops.autometa.mixed_op, arguments(node, keep=False))
    for x in (*node.states, node.params, node.op_weight, node.input_weight):
        x.requires_grad_(True)
    assert torch.library.opcheck(torch.ops.autometa.mixed_op, arguments(node, statistics=True))
    y, _, saved = torch.ops.autometa.mixed_op(*arguments(node))
    dropped, _, _ = torch.ops.autometa.mixed_op(*arguments(node, keep=False))
    assert torch.equal(y, dropped)
    with pytest.raises(ValueError, match="keep=False"):
        dropped.sum().backward()
    # its own gradient is meant to raise
    checks = ("test_schema", "test_faketensor")
    backward = (node.gy, saved, [0, 1], *arguments(node)[:10])
    assert torch.library.opcheck(torch.ops.autometa.mixed_op_backward, backward, test_utils=checks)


def test_a_second_derivative_is_refused():
    node = random_node(METANAS).to(FLOAT)
    params = node.params.requires_grad_(True)
    y, _ = node.run(backend="cpp")
    (grad,) = torch.autograd.grad(y.square().sum(), params, create_graph=True)
    with pytest.raises(backend.BackendError, match="first derivatives only"):
        grad.square().sum().backward()


@pytest.mark.parametrize("message", BAD_TABLES)
@pytest.mark.parametrize("grad", [True, False])
def test_bad_tables_are_named(message, grad):
    node = BAD_TABLES[message](random_node(("conv_3x3", "max_pool_3x3", "skip_connect")).to(FLOAT))
    with pytest.raises(ValueError, match=message), torch.set_grad_enabled(grad):
        node.gradients(backend="cpp")


def test_a_slot_without_its_table_is_named():
    node = random_node(("conv_3x3",)).to(FLOAT)
    for last in (-1, 1):
        with pytest.raises(ValueError, match="table_of_slot"):
            node.run(backend="cpp", table_of_slot=torch.tensor([0, 0, last]))
