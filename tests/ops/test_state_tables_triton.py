"""Tables of states in the Triton kernels: slots that read different states, side by side in one launch."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch

from autometa.ops import backend, preprocess
from autometa.ops._triton import kernels
from tests.ops.test_state_tables import EACH, OF_SLOT, WRONG, Case, case
from tests.ops.triton_device import DEVICE, MODES, assert_all_agree, assert_same_bits, triton_ready

pytestmark = triton_ready


@pytest.fixture(autouse=True)
def _poison(monkeypatch):
    monkeypatch.setenv("AUTOMETA_DEBUG", "1")


def here(own: Case) -> Case:
    moved = {name: getattr(own, name).to(DEVICE) for name in ("params", "gy", "table", "table_of_slot")}
    return replace(own, states=[x.to(DEVICE) for x in own.states], **moved)


def gradients(own: Case, mode: str = "fp32") -> list[torch.Tensor]:
    with backend.precision(mode):
        return here(own).gradients("triton")


SHAPES = [(17, 2, (5, 6)), (33, 1, (3, 1)), (1, 2, (1, 1))]


@EACH
@pytest.mark.parametrize("channels, batch, size", SHAPES)
def test_agrees_with_the_reference(head, reduce, channels, batch, size):
    own = case(head, reduce, channels=channels, batch=batch, size=size)
    assert_all_agree(gradients(own), own.to(torch.float64).gradients("reference"), "fp32")


def test_agrees_with_the_reference_in_bf16():
    own = case(False, True, channels=17, batch=3, size=(5, 4))
    assert_all_agree(gradients(own, "bf16"), own.to(torch.float64).gradients("reference"), "bf16")


def test_programs_of_several_tiles():
    own = case(False, channels=3, batch=3, size=(17, 13)).picked([0, 3])
    assert_all_agree(gradients(own), own.to(torch.float64).gradients("reference"), "fp32")


@EACH
def test_a_slot_with_a_table_is_that_slot_on_the_states_it_reads(head, reduce):
    """The same bits, whatever the slots beside it read: what the kernels without tables give for it alone."""
    own = here(case(head, reduce, channels=9, batch=3, size=(5, 6)))
    found = own.gradients("triton")
    for slot in range(len(OF_SLOT)):
        if own.reads(slot) == sorted(own.reads(slot)):
            assert_same_bits([part[slot : slot + 1] for part in found], own.alone(slot, "triton"))


@EACH
@MODES
def test_bits_do_not_depend_on_position_or_neighbours(head, reduce, mode):
    own, order = here(case(head, reduce, batch=2, size=(4, 3))), [3, 0, 4, 2, 1]
    due = gradients(own, mode)
    assert_same_bits(gradients(own.picked(order), mode), [x[order] for x in due])
    assert_same_bits(gradients(own.picked([2]), mode), [x[2:3] for x in due])


@EACH
def test_what_is_not_read_may_hold_anything_and_has_no_gradient(head, reduce):
    own = here(case(head, reduce, batch=2, size=(3, 4)))
    due = own.gradients("triton")
    for slot in range(len(OF_SLOT)):
        for j in set(range(3)) - set(own.reads(slot)):
            assert not due[2 + j][slot].any()
            own.states[j][slot] = torch.nan
    assert_same_bits(own.gradients("triton"), due)


@EACH
def test_one_table_for_all_slots(head, reduce):
    own = case(head, reduce, batch=1, size=(4, 3))
    own = replace(own, table=own.table[3:], table_of_slot=torch.zeros(len(OF_SLOT), dtype=torch.int64))
    due = gradients(own)
    leaves = [x.detach().requires_grad_(True) for x in (here(own).params, *here(own).states)]
    y = own.run(leaves[1:], leaves[0], table=here(own).table, backend="triton")
    assert_same_bits([y.detach(), *torch.autograd.grad(y, leaves, here(own).gy)], due)


@pytest.mark.parametrize("reduce", [False, True])
def test_a_slot_that_reads_nothing_is_0(reduce):
    own = case(False, reduce, batch=2, size=(4, 3))
    own.table[1] = -1
    own.params[[0, 4]] = torch.nan
    own = here(own)
    for part in own.gradients("triton"):
        assert not part[[0, 4]].any() and bool(part.any())
    options = dict(reduce=reduce, affine=True, table=own.table, table_of_slot=own.table_of_slot, backend="triton")
    y, statistics = preprocess(own.states, own.params, 4, want_statistics=True, **options)
    assert not statistics[0].any() and bool(statistics[1].any())
    again, _ = preprocess(own.states, own.params, 4, given=statistics, **options)
    assert_all_agree([again], [y.cpu().double()], "fp32")


def test_without_gamma_and_beta():
    own = case(False)
    tables = dict(table=own.table, table_of_slot=own.table_of_slot)
    wide = preprocess([x.double() for x in own.states], own.params.double(), 4, backend="reference", **tables)[0]
    moved = {name: value.to(DEVICE) for name, value in tables.items()}
    found = preprocess(here(own).states, here(own).params, 4, backend="triton", **moved)[0]
    assert_all_agree([found], [wide], "fp32")


@EACH
def test_launches_do_not_grow_with_the_tables(head, reduce):
    def launches(own: Case) -> Counter:
        found: Counter[str] = Counter()
        with kernels("launch").observed(lambda kernel, *_: found.update([kernel.__name__])):
            own.gradients("triton")
        return found

    own = here(case(head, reduce))
    every, one = launches(own), launches(own.picked([1]))
    assert every == one and sum(every.values()) == (2 if head else 7)


@EACH
@pytest.mark.parametrize("message", ["table must be int64", "table ", "table"])
def test_what_does_not_fit_is_named(message, head, reduce):
    with pytest.raises(ValueError, match=message.strip()):
        WRONG[message](here(case(head, reduce))).gradients("triton")
    own = here(case(head, reduce))
    with pytest.raises(ValueError, match=r"params must be \[5, \d+\] or wider"):
        replace(own, params=own.params[:, :12]).gradients("triton")


def test_states_of_different_widths_are_left_to_others():
    own = here(case(False))
    states = [own.states[0][:, :, :3], *own.states[1:]]
    with pytest.raises(backend.BackendError, match="equal channels only"):
        preprocess(states, own.params, 4, table=own.table, table_of_slot=own.table_of_slot, backend="triton")


def test_a_classifier_needs_something_to_read():
    own = here(case(True))
    own.table[1] = -1
    with pytest.raises(ValueError, match="nothing to classify"):
        own.gradients("triton")


@pytest.mark.parametrize("head", [True, False])
def test_opcheck(head, monkeypatch):
    monkeypatch.delenv("AUTOMETA_DEBUG")
    own = here(case(head, batch=1, size=(2, 3)).picked([0, 2]))
    tables = own.table, own.table_of_slot
    leaves = [x.requires_grad_(True) for x in own.states]
    params = own.params.requires_grad_(True)
    if head:
        assert torch.library.opcheck(torch.ops.autometa.linear_head_triton, (leaves, params, 3, False, *tables))
    else:
        arguments = leaves, params, 4, False, True, *tables, None, 0.1, True, True, "fp32"
        assert torch.library.opcheck(torch.ops.autometa.preprocess_triton, arguments)
