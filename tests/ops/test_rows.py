"""The tables of an arena: checked and bound once, bound anew where memory moves, read as they stand at every call."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from autometa.ops import backend
from autometa.ops.rows import Rows
from autometa.ops.sgd import sgd_
from tests.ops.arenas import native

HALF = torch.full((2, 2), 0.5, dtype=torch.float64)


def tables() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.tensor([[0, 4, 6]]), torch.tensor([0, 1, 0]), torch.zeros(3, dtype=torch.int64)


def step(rows: Rows, phi: torch.Tensor, name: str = "cpp") -> torch.Tensor:
    sgd_(phi, torch.ones_like(phi), HALF, torch.zeros_like(HALF), rows, backend=name)
    return phi


@native
def test_tables_are_bound_once():
    rows, module = Rows(*tables()), backend.compiled()
    first = rows.bound(module, 6, 2)
    step(rows, torch.zeros(3, 6))
    assert rows.bound(module, 6, 2) is first
    assert rows.bound(module, 7, 2) is not first


@native
def test_values_are_read_at_every_call():
    rows = Rows(*tables())
    assert step(rows, torch.zeros(3, 6)).eq(-0.5).all()
    rows.bounds.copy_(torch.tensor([[0, 2, 3]]))
    assert step(rows, torch.zeros(3, 6)).eq(-0.5).sum(dim=1).tolist() == [3, 3, 3]
    rows.group_of_slot.fill_(2)
    with pytest.raises(ValueError, match=r"group_of_slot must lie in 0\.\.1"):
        step(rows, torch.zeros(3, 6))


@native
def test_memory_that_moved_is_bound_anew():
    rows, module = Rows(*tables()), backend.compiled()
    before = rows.bound(module, 6, 2)
    rows.bounds.set_(torch.tensor([[0, 1, 2]]))
    assert rows.bound(module, 6, 2) is not before
    assert step(rows, torch.zeros(3, 6)).eq(-0.5).sum(dim=1).tolist() == [2, 2, 2]
    rows.group_of_slot.untyped_storage().resize_(0)
    with pytest.raises(ValueError, match="group_of_slot: its address is null"):
        step(rows, torch.zeros(3, 6))


@native
def test_a_table_that_was_resized_is_refused():
    rows = Rows(*tables())
    step(rows, torch.zeros(3, 6))
    rows.layout_of_slot.resize_(5000)
    with pytest.raises(ValueError, match="layout_of_slot must be"):
        step(rows, torch.zeros(3, 6))


@native
def test_threads_may_share_them():
    rows = Rows(*tables())
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: step(rows, torch.full((3, 6), float(i))), range(200)))
    assert all(bool((phi == i - 0.5).all()) for i, phi in enumerate(found))


@native
@pytest.mark.parametrize("copied", (copy.deepcopy, lambda rows: pickle.loads(pickle.dumps(rows))))
def test_copies_are_bound_for_themselves(copied):
    rows = Rows(*tables())
    step(rows, torch.zeros(3, 6))
    twin = copied(rows)
    rows.group_of_slot.fill_(7)
    assert twin.group_of_slot.data_ptr() != rows.group_of_slot.data_ptr()
    assert step(twin, torch.zeros(3, 6)).eq(-0.5).all()


@pytest.mark.parametrize("name", ("reference", pytest.param("cpp", marks=native)))
def test_bad_tables(name):
    bounds, groups, layouts = tables()
    for wrong, message in (
        ((bounds[0], groups, layouts), "bounds must be"),
        ((bounds[:, :1], groups, layouts), "bounds must be"),
        ((bounds.int(), groups, layouts), "bounds must be"),
        ((bounds, groups.int(), layouts), "group_of_slot must be"),
        ((bounds, groups, layouts[:2]), "layout_of_slot must be"),
        ((bounds, groups, torch.zeros(6, dtype=torch.int64)[::2]), "layout_of_slot must be contiguous"),
    ):
        with pytest.raises(ValueError, match=message):
            Rows(*wrong)
    with pytest.raises(ValueError, match="phi must have 3 slots on cpu, as group_of_slot has; it has 4"):
        step(Rows(*tables()), torch.zeros(4, 6), name)
