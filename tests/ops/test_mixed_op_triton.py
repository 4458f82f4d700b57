"""The Triton backend of `mixed_op`, interpreted where no GPU is, against the reference in float64."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from autometa.ops import PRIMITIVES, backend
from autometa.ops.primitives import BY_CODE, aligned
from tests.ops.node_case import (
    ALL,
    BAD_TABLES,
    METANAS,
    Node,
    assert_triton_agrees,
    damping,
    on_triton_device,
    parameter_slices,
    random_node,
    strided,
    triton_gradients,
)
from tests.ops.triton_device import DEVICE, triton_ready
from tests.tolerances import assert_agree

pytestmark = triton_ready
FLOAT = torch.float32
AFFINE = pytest.mark.parametrize("affine", [False, True])


@pytest.fixture(autouse=True)
def poisoned(monkeypatch):
    """Fresh buffers hold NaN, so that what is not written shows."""
    monkeypatch.setenv("AUTOMETA_DEBUG", "1")


@AFFINE
def test_all_primitives_at_both_strides(affine):
    node = random_node(ALL, slots=1, channels=5, size=(6, 5), stride=2, affine=affine)
    assert_triton_agrees(node, eps=damping(node))


@pytest.mark.parametrize(
    "names, batch, channels, size, stride",
    [
        (METANAS, 1, 1, (1, 1), 1),
        (METANAS, 1, 3, (1, 7), 2),
        (("max_pool_3x3", "sep_conv_3x3"), 2, 16, (5, 1), 1),
        (("conv_1x5_5x1", "sep_conv_3x3", "max_pool_3x3"), 1, 33, (3, 2), 2),
        (("skip_connect",), 1, 100, (3, 3), 2),
        (("conv_3x3",), 5, 17, (15, 15), 1),
    ],
)
def test_ugly_shapes(names, batch, channels, size, stride):
    node = random_node(names, slots=1, batch=batch, channels=channels, size=size, stride=stride)
    assert_triton_agrees(node, eps=damping(node))


def test_ties_in_pools_go_to_the_same_pixel():
    node = random_node(("max_pool_3x3", "conv_3x3"), size=(7, 6), batch=2, channels=9, stride=2)
    node = replace(node, states=[x.round().clamp(-1, 1) for x in node.states])
    assert_triton_agrees(node, eps=damping(node))


def test_means_of_100_standard_deviations():
    node = random_node(("avg_pool_3x3", "conv_3x3", "skip_connect"), batch=8, channels=9, size=(10, 9), stride=2)
    node = replace(node, states=[x + 100 for x in node.states]).to(FLOAT)
    expected = node.to(torch.float64).gradients(backend="reference")
    for a, b in zip(triton_gradients(node), expected, strict=True):
        assert_agree(a, b, "shifted", FLOAT)


def test_pruned_instances_and_edges():
    """Each slot prunes other instances, slot 3 all; slot 2 an edge; what is pruned has NaN for parameters."""
    node = random_node(METANAS, slots=4, stride=2, affine=True).to(FLOAT)
    pruned = torch.rand(node.op_weight.shape, generator=torch.Generator().manual_seed(3)) < 0.5
    pruned[3] = True
    params, edge = node.params.clone(), node.input_weight.clone()
    edge[2, 0] = 0.0
    off = pruned.clone()
    off[2, : len(METANAS)] = True
    slices = parameter_slices((*METANAS, *METANAS), 4, [2] * len(METANAS) + [1] * len(METANAS), True)
    for i, own in enumerate(slices):
        params[off[:, i], own] = torch.nan
    op_weight = node.op_weight.masked_fill(pruned, 0.0)
    node = replace(node, params=params, op_weight=op_weight, input_weight=edge)
    assert_triton_agrees(node)
    y, *_, d_params, d_op, d_input = triton_gradients(node)
    assert not y[3].any() and not d_params[3].any() and not d_op[off].any() and not d_input[2, 0]


def test_one_state_twice_with_two_sets_of_parameters():
    node = random_node(("conv_3x3", "max_pool_3x3", "skip_connect"), affine=True)
    table = node.table.clone()
    table[0, :, 0] = 0
    assert_triton_agrees(replace(node, table=table))


@AFFINE
def test_statistics_and_given_ones(affine):
    names = ("sep_conv_3x3", "conv_1x5_5x1", "max_pool_3x3", "skip_connect")
    node = random_node(names, slots=2, stride=2, affine=affine).to(FLOAT)
    other = random_node(names, slots=2, stride=2, affine=affine, seed=9)
    wide = node.to(torch.float64)
    for options in ({}, {"given": other.run(want_statistics=True, backend="reference")[1]}):
        expected, due = wide.run(want_statistics=True, backend="reference", **options)
        here = {name: value.to(DEVICE) for name, value in options.items()}
        found = on_triton_device(node).run(want_statistics=True, backend="triton", **here)
        y, statistics = (x.cpu() for x in found)
        assert statistics.shape == due.shape and not statistics.requires_grad
        assert_agree(y, expected, "node, y", FLOAT)
        for part in range(2):
            assert_agree(statistics[..., part, :], due[..., part, :], "node, statistics", FLOAT)
            assert not statistics[due.abs().sum(dim=-1) == 0].any()
    due = due.to(FLOAT).double()
    assert_triton_agrees(node, given=due)
    assert on_triton_device(node).run(backend="triton", given=due.to(DEVICE))[1] is None


def test_drop_path():
    node = random_node(METANAS, slots=2, batch=4, size=(4, 4), stride=2, affine=True)
    drop = (torch.rand(2, 4, 2 * len(METANAS), generator=torch.Generator().manual_seed(1)) < 0.6).double() / 0.6
    drop[0, 1], drop[1, :, 2] = 0.0, 0.0
    assert_triton_agrees(node, drop=drop)


def several_tables() -> tuple[Node, torch.Tensor]:
    """Slots that follow three tables; unused rows among them."""
    names = (("sep_conv_3x3", "skip_connect", "none"), ("max_pool_3x3", "conv_1x5_5x1", "conv_3x3"), ("avg_pool_3x3",))
    channels, rows, width = 5, [], 0
    for chosen in names:
        offset, own = 16, []
        for k, name in enumerate(chosen):
            own.append([k % 2, k % 2, PRIMITIVES[name].code, 1, offset])
            offset += sum(aligned(p.size) for p in BY_CODE[own[-1][2]].parameters(channels, 1, True))
        rows.append(own + [[0, 0, -1, -1, -1]] * (3 - len(own)))
        width = max(width, offset)
    node = random_node(("conv_3x3",), slots=5, channels=channels)
    generator = torch.Generator().manual_seed(2)
    weights = [torch.rand(5, n, generator=generator, dtype=torch.float64) + 0.2 for n in (width, 3, 2)]
    node = replace(node, params=weights[0], op_weight=weights[1], input_weight=weights[2], table=torch.tensor(rows))
    return replace(node, affine=True), torch.tensor([2, 0, 1, 0, 2])


def test_a_table_for_every_slot():
    node, which = several_tables()
    node = node.to(FLOAT)
    expected = node.to(torch.float64).gradients(backend="reference", table_of_slot=which, eps=0.1)
    found = triton_gradients(node, table_of_slot=which, eps=0.1)
    for k, (a, b) in enumerate(zip(found, expected, strict=True)):
        assert_agree(a, b, "node, gradient" if k else "node, y", FLOAT)
    for s in (1, 4):
        alone = triton_gradients(node.slot(s), table_of_slot=which[s : s + 1], eps=0.1)
        assert all(torch.equal(a[s : s + 1], b) for a, b in zip(found, alone, strict=True))


def test_bits_do_not_depend_on_position_or_neighbours():
    names = ("conv_1x5_5x1", "sep_conv_3x3", "max_pool_3x3", "skip_connect")
    node = random_node(names, slots=3, batch=2, channels=9, size=(5, 6), stride=2).to(FLOAT)
    order = [2, 1, 0]
    poisoned = node.params.clone()
    poisoned[1] = torch.nan
    due = triton_gradients(node)
    moved = triton_gradients(replace(node, params=poisoned).slots(order))
    alone = triton_gradients(node.slot(2))
    for a, b, c in zip(due, moved, alone, strict=True):
        assert torch.equal(a[2:], b[:1]) and torch.equal(a[:1], b[2:]) and torch.equal(a[2:], c)


@pytest.mark.parametrize("mode", ["tf32", "bf16"])
def test_other_precisions(mode):
    """Gradients of all sorts of ops stay within what eight bits of mantissa allow; nothing rounds to tf32 here."""
    node = random_node(("conv_3x3", "conv_1x5_5x1"), slots=2, batch=4, channels=9, size=(8, 7), stride=2).to(FLOAT)
    expected = node.to(torch.float64).gradients(backend="reference", eps=0.1)
    with backend.precision(mode):
        found = triton_gradients(node, eps=0.1)
    for a, b in zip(found, expected, strict=True):
        error = float((a.double() - b).norm() / b.norm())
        assert error < (2e-2 if mode == "bf16" else 1e-3)
    rounded = [float((a.double() - b).norm() / b.norm()) > 1e-3 for a, b in zip(found, expected, strict=True)]
    assert any(rounded) == (mode == "bf16")


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # NumPy's, where kernels are interpreted
def test_what_is_not_finite_stays_visible():
    node = random_node(METANAS, slots=3, channels=5, stride=2).to(FLOAT)
    states = [x.clone() for x in node.states]
    for x in states:
        x[0, 0, :, 0, 0], x[1] = torch.inf, torch.nan
    y = on_triton_device(replace(node, states=states)).run(backend="triton")[0]
    assert not bool(y[0].isfinite().all()) and bool(y[1].isnan().all()) and bool(y[2].isfinite().all())


def test_strided_inputs_give_the_same_bits():
    node = random_node(("conv_3x3", "max_pool_3x3"), slots=2, channels=9).to(FLOAT)
    due = triton_gradients(node)
    same = replace(
        node,
        states=[strided(x) for x in node.states],
        params=strided(node.params),
        op_weight=node.op_weight.T.contiguous().T,
        gy=strided(node.gy),
    )
    assert all(torch.equal(a, b) for a, b in zip(triton_gradients(same), due, strict=True))


@pytest.mark.parametrize("empty", ["slots", "batch"])
def test_nothing_to_compute(empty):
    node = random_node(METANAS, **{empty: 0}).to(FLOAT)
    found, due = triton_gradients(node), node.gradients(backend="reference")
    assert all(torch.equal(a, b) for a, b in zip(found, due, strict=True))


def arguments(node: Node, keep: bool = True, statistics: bool = False) -> tuple:
    """Of `autometa::mixed_op_triton`."""
    return (
        node.states, node.params, node.op_weight, node.input_weight, node.table, None, None, node.affine, None, 1e-5,
        "fp32", statistics, keep, list(node.gy.shape[3:]), [0, 1],
    )  # fmt: skip


def test_opcheck():
    node = random_node(("conv_3x3", "max_pool_3x3"), slots=1, batch=1, size=(3, 2), affine=True).to(FLOAT)
    node = on_triton_device(node)
    op = torch.ops.autometa.mixed_op_triton
    assert torch.library.opcheck(op, arguments(node, keep=False), test_utils=("test_schema", "test_faketensor"))
    for x in (*node.states, node.params, node.op_weight, node.input_weight):
        x.requires_grad_(True)
    assert torch.library.opcheck(op, arguments(node, statistics=True))
    y, maps, bytes_, moments = op(*arguments(node))
    dropped, *_ = op(*arguments(node, keep=False))
    assert torch.equal(y, dropped)
    with pytest.raises(ValueError, match="keep=False"):
        dropped.sum().backward()
    backward = (node.gy, maps, bytes_, moments, [0, 1], *arguments(node)[:11])
    checks = ("test_schema", "test_faketensor")  # its own gradient is meant to raise
    assert torch.library.opcheck(torch.ops.autometa.mixed_op_triton_backward, backward, test_utils=checks)


def test_a_second_derivative_is_refused():
    node = on_triton_device(random_node(("conv_3x3",), slots=1).to(FLOAT))
    params = node.params.requires_grad_(True)
    y, _ = node.run(backend="triton")
    (grad,) = torch.autograd.grad(y.square().sum(), params, create_graph=True)
    with pytest.raises(backend.BackendError, match="first derivatives only"):
        grad.square().sum().backward()


@pytest.mark.parametrize("message", BAD_TABLES)
def test_bad_tables_are_named(message):
    node = on_triton_device(BAD_TABLES[message](random_node(("conv_3x3", "max_pool_3x3", "skip_connect")).to(FLOAT)))
    with pytest.raises(ValueError, match=message):
        node.run(backend="triton")


def test_more_channels_than_registers_hold_are_refused():
    with pytest.raises(ValueError, match="at most 128 channels"):
        on_triton_device(random_node(("skip_connect",), channels=129).to(FLOAT)).run(backend="triton")
