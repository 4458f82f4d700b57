"""Laws of the mixed node op."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autometa.ops import PRIMITIVES, mixed_op
from autometa.ops.mixed_op import OFFSET, PRIMITIVE
from tests.ops.node_case import ALL, METANAS, parameter_slices, random_node
from tests.tolerances import assert_agree

DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
STRIDES = pytest.mark.parametrize("stride", [1, 2])
BOTH = st.sampled_from([1, 2])


def columns(node, names, stride):
    strides = [stride] * len(names) + [1] * len(names)
    return parameter_slices((*names, *names), node.states[0].shape[2], strides, node.affine)


@DTYPES
@STRIDES
@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("channels", [4, 1])
def test_slots_in_one_batch_equal_slots_alone(dtype, stride, affine, channels):
    names = ALL if channels > 1 or stride == 1 else tuple(n for n in ALL if n != "skip_connect")
    node = random_node(names, stride=stride, dtype=dtype, affine=affine, channels=channels)
    together = node.gradients()
    for s in range(3):
        for a, b in zip(together, node.slot(s).gradients(), strict=True):
            assert_agree(a[s : s + 1], b, "slots, node", dtype)


@settings(max_examples=15, deadline=None)
@given(st.permutations(range(3)), BOTH, st.integers(0, 2**31))
def test_a_slot_does_not_see_its_position_or_neighbours(order, stride, seed):
    node = random_node(stride=stride, seed=seed)
    shuffled = node.slots(list(order)).gradients()
    for a, b in zip(node.gradients(), shuffled, strict=True):
        assert_agree(b, a[list(order)], "slots, node", torch.float64)


@STRIDES
@pytest.mark.parametrize("chosen", range(2 * len(METANAS)))
def test_one_hot_weights_give_the_chosen_op(stride, chosen):
    """Forward and backward; parameters of all other ops are NaN, and their gradients exactly 0."""
    node = random_node(stride=stride, seed=chosen)
    weight = torch.zeros_like(node.op_weight)
    weight[:, chosen] = 1.0
    own = columns(node, METANAS, stride)[chosen]
    params = torch.full_like(node.params, torch.nan)
    params[:, own] = node.params[:, own]
    y, *_, d_params, d_op, d_input = replace(node, params=params, op_weight=weight).gradients()

    row = node.table[:, chosen : chosen + 1].clone()
    row[..., OFFSET] = 0
    alone, *_, d_alone, d_op_alone, d_input_alone = replace(
        node,
        params=params[:, own] if own.stop > own.start else params.new_zeros(3, 0),
        op_weight=weight[:, chosen : chosen + 1],
        table=row,
    ).gradients()
    assert_agree(y, alone, "formula", torch.float64)
    assert_agree(d_params[:, own], d_alone, "formula", torch.float64)
    assert_agree(d_op[:, chosen], d_op_alone[:, 0], "formula", torch.float64)
    assert_agree(d_input, d_input_alone, "formula", torch.float64)
    d_params[:, own], d_op[:, chosen] = 0.0, 0.0
    assert not d_params.any() and not d_op.any()


@STRIDES
def test_ops_pruned_in_some_slots_only(stride):
    """Each slot prunes other ops; each equals that slot with those rows left out of its table."""
    node = random_node(stride=stride, slots=4)
    pruned = torch.rand(node.op_weight.shape, generator=torch.Generator().manual_seed(3)) < 0.5
    pruned[3] = True
    params = node.params.clone()
    for i, own in enumerate(columns(node, METANAS, stride)):
        params[pruned[:, i], own] = torch.nan
    node = replace(node, params=params, op_weight=node.op_weight.masked_fill(pruned, 0.0))
    together = node.gradients()
    assert not together[0][3].any()
    assert all(bool(torch.isfinite(value).all()) for value in together)
    assert not together[4][pruned].any()
    for s in range(3):
        table = node.table.clone()
        table[0, pruned[s], PRIMITIVE] = -1
        for a, b in zip(together, replace(node.slot(s), table=table).gradients(), strict=True):
            assert_agree(a[s : s + 1], b, "slots, node", torch.float64)


@STRIDES
def test_an_edge_of_weight_0_is_pruned(stride):
    node = random_node(stride=stride)
    half = len(METANAS)
    params = node.params.clone()
    params[:, columns(node, METANAS, stride)[half].start :] = torch.nan
    edge = node.input_weight.clone()
    edge[:, 1] = 0.0
    y, dx0, dx1, d_params, d_op, d_edge = replace(node, params=params, input_weight=edge).gradients()
    only = replace(node, op_weight=node.op_weight[:, :half], table=node.table[:, :half], input_weight=edge)
    assert_agree(y, only.gradients()[0], "formula", torch.float64)
    assert dx0.any() and not dx1.any() and not d_op[:, half:].any() and not d_edge[:, 1].any()
    assert not d_params[:, columns(node, METANAS, stride)[half].start :].any()


@STRIDES
def test_output_is_linear_in_the_weights(stride):
    node = random_node(ALL, stride=stride)
    whole, _ = node.run()
    parts = torch.zeros_like(whole)
    for i in range(node.op_weight.shape[1]):
        weight = torch.zeros_like(node.op_weight)
        weight[:, i] = 1.0
        edge = int(node.table[0, i, 1])
        one, _ = replace(node, op_weight=weight, input_weight=torch.ones_like(node.input_weight)).run()
        scale = node.op_weight[:, i] * node.input_weight[:, edge]
        parts += scale[:, None, None, None, None] * one
    assert_agree(whole, parts, "formula", torch.float64)


@DTYPES
def test_a_table_per_slot_equals_one_table_at_a_time(dtype):
    """Different cells in every slot: states, primitives and offsets differ, one row is unused."""
    node = random_node(("conv_3x3", "max_pool_3x3", "skip_connect"), slots=5, dtype=dtype)
    first = node.table[0, :4]
    second = first[[2, 0, 1, 3]].clone()
    second[0, 0], second[1, OFFSET], second[3, PRIMITIVE] = 1, first[3, OFFSET], -1
    tables = torch.stack([first, second])
    node = replace(node, table=tables, op_weight=node.op_weight[:, :4])
    which = torch.tensor([0, 1, 1, 0, 1])
    together = node.gradients(table_of_slot=which)
    for s in range(5):
        alone = replace(node.slot(s), table=tables[which[s]][None]).gradients()
        for a, b in zip(together, alone, strict=True):
            assert_agree(a[s : s + 1], b, "slots, node", dtype)


@STRIDES
@pytest.mark.parametrize("affine", [False, True])
def test_own_statistics_given_back_change_nothing(stride, affine):
    node = random_node(ALL, stride=stride, affine=affine)
    y, statistics = node.run(want_statistics=True)
    again, none = node.run(given=statistics)
    assert none is None and statistics.shape == (3, 2 * len(ALL), 2, 2, 4)
    assert_agree(again, y, "formula", torch.float64)


def test_given_statistics_make_images_independent():
    node = random_node(batch=4)
    _, statistics = random_node(seed=9, batch=4).run(want_statistics=True)
    together, _ = node.run(given=statistics)
    one = replace(node, states=[x[:, 2:3] for x in node.states], gy=node.gy[:, 2:3])
    assert_agree(one.run(given=statistics)[0], together[:, 2:3], "formula", torch.float64)


def test_statistics_are_mean_and_biased_variance_of_what_is_normalised():
    node = random_node(("avg_pool_3x3", "sep_conv_3x3"))
    y, statistics = node.run(want_statistics=True)
    pooled = torch.nn.functional.avg_pool2d(node.states[0].flatten(0, 1), 3, 1, 1, count_include_pad=False)
    pooled = pooled.view(node.states[0].shape)
    assert_agree(statistics[:, 0, 0, 0], pooled.mean(dim=(1, 3, 4)), "formula", torch.float64)
    variance = ((pooled - pooled.mean(dim=(1, 3, 4), keepdim=True)) ** 2).mean(dim=(1, 3, 4))
    assert_agree(statistics[:, 0, 0, 1], variance, "formula", torch.float64)
    assert not statistics[:, 0, 1].any() and statistics[:, 1, 1, 1].all()
    assert not statistics.requires_grad
    assert_agree(y, node.run()[0], "exact", torch.float64)


def test_statistics_of_pruned_ops_are_0():
    node = random_node()
    weight = node.op_weight.clone()
    weight[1, 4] = 0.0
    _, statistics = replace(node, op_weight=weight).run(want_statistics=True)
    assert not statistics[1, 4].any() and statistics[0, 4, 0, 1].all()


@STRIDES
def test_drop_masks_scale_each_op_per_image(stride):
    node = random_node(stride=stride, batch=3)
    count = node.op_weight.shape[1]
    drop = (torch.rand(3, 3, count, generator=torch.Generator().manual_seed(1)) < 0.6).double() / 0.6
    dropped, _ = node.run(drop=drop)
    expected = torch.zeros_like(dropped)
    for i in range(count):
        only = torch.zeros_like(node.op_weight)
        only[:, i] = node.op_weight[:, i]
        expected += drop[:, :, i, None, None, None] * replace(node, op_weight=only).run()[0]
    assert_agree(dropped, expected, "formula", torch.float64)
    alone, _ = node.slot(1).run(drop=drop[1:2])
    assert_agree(dropped[1:2], alone, "slots, node", torch.float64)


@STRIDES
@pytest.mark.parametrize("name", [name for name in ALL if name != "none"])
def test_gradcheck(name, stride):
    node = random_node((name,), slots=2, batch=2, channels=2, size=(3, 4), stride=stride, seed=2, affine=True)

    def evaluate(x0, x1, params, op, edge):
        return mixed_op([x0, x1], params, op, edge, node.table, affine=True)[0]

    leaves = [x.clone().requires_grad_(True) for x in (*node.states, node.params, node.op_weight, node.input_weight)]
    assert torch.autograd.gradcheck(evaluate, leaves, fast_mode=True)
    if stride == 2:
        assert torch.autograd.gradgradcheck(evaluate, leaves, fast_mode=True, atol=1e-4)


SHAPES = [
    (3, 1, 2, (5, 4)),
    (1, 1, 1, (1, 1)),
    (1, 1, 2, (1, 1)),
    (2, 1, 3, (7, 1)),
    (1, 2, 1, (1, 5)),
    (2, 3, 5, (9, 7)),
    (1, 1, 17, (3, 2)),
]


@STRIDES
@pytest.mark.parametrize("slots, batch, channels, size", SHAPES)
def test_ugly_shapes(slots, batch, channels, size, stride):
    names = tuple(n for n in ALL if not (stride == 2 and n == "skip_connect" and channels < 2))
    node = random_node(names, slots=slots, batch=batch, channels=channels, size=size, stride=stride)
    found = node.gradients()
    assert found[0].shape == node.gy.shape
    assert all(bool(torch.isfinite(value).all()) for value in found)
    assert bool(found[0].any()) == ("skip_connect" in names or node.gy[0, :, 0].numel() > 1)
    for a, b in zip(found, node.slot(0).gradients(), strict=True):
        assert_agree(a[:1], b, "slots, node", torch.float64)


def test_strided_states_give_the_same():
    node = random_node()
    strided = [
        torch.empty(*x.shape[:-1], 2 * x.shape[-1], dtype=x.dtype).fill_(torch.nan)[..., ::2] for x in node.states
    ]
    for target, x in zip(strided, node.states, strict=True):
        target.copy_(x)
    wide = torch.full((3, 2 * node.params.shape[1]), torch.nan, dtype=torch.float64)
    wide[:, : node.params.shape[1]] = node.params
    params = wide[:, : node.params.shape[1]]
    assert not strided[0].is_contiguous() and not params.is_contiguous()
    assert_agree(replace(node, states=strided, params=params).run()[0], node.run()[0], "exact", torch.float64)


def test_inputs_are_not_changed():
    node = random_node(ALL)
    copies = [x.clone() for x in (*node.states, node.params, node.op_weight, node.input_weight)]
    node.gradients()
    for x, copy in zip((*node.states, node.params, node.op_weight, node.input_weight), copies, strict=True):
        assert torch.equal(x, copy)


@pytest.mark.parametrize("name", ["avg_pool_3x3", "max_pool_3x3", "conv_3x3"])
def test_means_of_100_standard_deviations(name):
    """Batch normalisation in float32 survives inputs far from 0."""
    node = random_node((name,), batch=8, size=(9, 9))
    node = replace(node, states=[x + 100 for x in node.states])
    narrow = node.to(torch.float32)
    assert_agree(narrow.run()[0], narrow.to(torch.float64).run()[0], "shifted", torch.float32)


def test_an_op_twice_on_one_state_has_two_sets_of_parameters():
    node = random_node(("conv_3x3",))
    table = node.table.clone()
    table[0, 1, 0] = 0
    y, *_, d_params, _, _ = replace(node, table=table).gradients()
    width = int(table[0, 1, OFFSET])
    assert d_params[:, :width].any() and d_params[:, width:].any()
    assert not torch.equal(d_params[:, :width], d_params[:, width : 2 * width])


WRONG = {
    "states": lambda n: replace(n, states=[n.states[0], n.states[1][:, :1]]),
    "table must be": lambda n: replace(n, table=n.table[0]),
    "table_of_slot is needed": lambda n: replace(n, table=n.table.repeat(2, 1, 1)),
    "op_weight must be": lambda n: replace(n, op_weight=n.op_weight[:, 1:]),
    "rows, one per slot": lambda n: replace(n, params=n.params[:2]),
    "must be torch.float64 on cpu": lambda n: replace(n, op_weight=n.op_weight.float()),
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_sizes_are_named(message):
    with pytest.raises(ValueError, match=message):
        WRONG[message](random_node()).run()


@pytest.mark.parametrize(
    "name, value",
    [
        ("drop", torch.ones(3, 2, 1)),
        ("given", torch.ones(3, 14, 2, 4)),
        ("table_of_slot", torch.zeros(2, dtype=torch.int64)),
        ("table_of_slot", torch.zeros(3, dtype=torch.int32)),
    ],
)
def test_wrong_options_are_named(name, value):
    with pytest.raises(ValueError, match=f"{name} must be"):
        random_node().run(**{name: value})


def test_codes_of_tables_are_those_of_the_primitives():
    assert [PRIMITIVES[name].code for name in ALL] == list(range(len(ALL)))
