"""Registered primitives: the numbers of a built-in one of the same formula, other instances on their kernels."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from autometa.errors import InputError
from autometa.ops import PRIMITIVES, backend
from autometa.ops.primitives import BUILT_IN, BY_CODE, Shape, conv, primitive_named, register, registered
from tests.ops.node_case import Node, assert_same, random_node
from tests.registries import restored

NAMES = ("max_pool_3x3", "skip_connect", "conv_3x3", "sep_conv_3x3")
TWINS = {"conv_3x3": "own_conv", "sep_conv_3x3": "own_sep"}


@pytest.fixture
def vocabulary():
    with restored():
        yield


@pytest.fixture
def twins(vocabulary):
    """Registered primitives with the formulas of built-in ones."""
    for name, twin in TWINS.items():
        known = PRIMITIVES[name]
        register(twin, known.convolutions, known.run, known.macs)


def with_twins(node: Node) -> Node:
    codes = {PRIMITIVES[name].code: PRIMITIVES[twin].code for name, twin in TWINS.items()}
    table = node.table.clone()
    table[..., 2] = torch.tensor([[codes.get(code, code) for code in row] for row in table[..., 2].tolist()])
    return replace(node, table=table)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("affine", [False, True])
def test_a_registered_twin_gives_what_the_built_in_gives(twins, stride, affine):
    node = random_node(NAMES, stride=stride, affine=affine, dtype=torch.float32)
    node.op_weight[0, 2] = 0.0  # a pruned instance of a twin
    expected = random_node(NAMES, stride=stride, affine=affine)
    expected.op_weight[0, 2] = 0.0
    assert_same(node, with_twins(node).gradients(), expected.gradients(backend="reference"))


def test_the_other_instances_stay_on_their_kernels(twins, monkeypatch):
    node, seen = with_twins(random_node(NAMES, dtype=torch.float32)), []
    known = backend._REGISTRY["mixed_op"]["cpp"]

    def spied(*arguments):
        seen.append([BY_CODE[code].name for code in arguments[4][0, :, 2].tolist() if code >= 0])
        return known.call(*arguments)

    monkeypatch.setitem(backend._REGISTRY["mixed_op"], "cpp", replace(known, call=spied))
    node.run()
    assert seen == [["max_pool_3x3", "skip_connect"] * 2]


def test_statistics_come_from_where_an_instance_ran(twins):
    node = random_node(NAMES, dtype=torch.float32)
    y, found = with_twins(node).run(want_statistics=True)
    _, expected = node.run(want_statistics=True, backend="reference")
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    again, _ = with_twins(node).run(given=found)
    torch.testing.assert_close(again, y, rtol=1e-4, atol=1e-4)


def test_slots_may_differ_in_who_has_one(twins):
    node = random_node(NAMES, dtype=torch.float32)
    tables = torch.cat([node.table, with_twins(node).table])
    other = torch.tensor([0, 1, 1])
    y, found = replace(node, table=tables).run(table_of_slot=other, want_statistics=True)
    expected, statistics = node.run(want_statistics=True)
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found, statistics, rtol=1e-4, atol=1e-4)


def test_a_node_of_registered_primitives_alone(vocabulary):
    known = PRIMITIVES["conv_3x3"]
    register("own_conv", known.convolutions, known.run, known.macs)
    node = random_node(("own_conv",), dtype=torch.float32)
    assert_same(node, node.gradients(), random_node(("conv_3x3",)).gradients(backend="reference"))


def test_a_forced_backend_says_that_it_cannot(twins):
    node = with_twins(random_node(NAMES, dtype=torch.float32))
    with pytest.raises(backend.BackendError, match="no kernel for own_conv, own_sep, which a plugin registered"):
        node.run(backend="cpp")


def conv_1x1(channels, stride):
    return ((Shape("weight", (channels, channels, 1, 1)),),)


def run_1x1(x, relu_x, weights, slots, stride):
    return conv(relu_x, weights[0], slots, stride)


def no_macs(channels, height, width, stride):
    return 0


def across_slots(x, relu_x, weights, slots, stride):
    return run_1x1(x, relu_x, weights, slots, stride).mean(dim=1, keepdim=True).expand_as(x[..., ::stride, ::stride])


BAD = {
    "has no stride": (conv_1x1, lambda x, r, w, slots, stride: conv(r, w[0], slots), no_macs, "must give"),
    "sees other slots": (conv_1x1, across_slots, no_macs, "depends on the slots beside it"),
    "counts in fractions": (conv_1x1, run_1x1, lambda *_: 0.5, "whole number"),
    "has three stages": (lambda c, s: ((), (), ()), run_1x1, no_macs, "one or two stages"),
    "names roles twice": (lambda c, s: conv_1x1(c, s) * 2, run_1x1, no_macs, "must differ"),
    "breaks": (conv_1x1, lambda *_: 1 / 0, no_macs, "ZeroDivisionError"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_primitive_that_does_not_keep_to_the_contract_is_refused(vocabulary, what):
    convolutions, run, macs, says = BAD[what]
    with pytest.raises(InputError, match=says):
        register("bad", convolutions, run, macs)
    assert "bad" not in PRIMITIVES and registered() == ()


def test_names(vocabulary):
    register("own", conv_1x1, run_1x1, no_macs)
    assert primitive_named("own").code == BUILT_IN and registered() == ("own",)
    for name, says in {"own": "registered already", "conv_3x3": "primitive of autometa", "a b": "letters"}.items():
        with pytest.raises(InputError, match=says):
            register(name, conv_1x1, run_1x1, no_macs)
    again = register("own", conv_1x1, run_1x1, lambda *_: 7, replace=True)
    assert again.code == BUILT_IN and BY_CODE[BUILT_IN] is again and primitive_named("own").macs(1, 1, 1, 1) == 7
    with pytest.raises(InputError, match="--plugin"):
        primitive_named("elsewhere")
