"""Tables of states in `preprocess` and `linear_head`: slots that read different states, side by side."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from autometa.ops import backend, linear_head, preprocess
from autometa.ops.linear_head import head_parameters
from autometa.ops.preprocess import preprocess_parameters
from autometa.ops.primitives import aligned
from autometa.ops.share import share
from tests.ops.arenas import instruction_set, native, threads
from tests.tolerances import assert_agree

CLASSES = 3
TABLES = [[0, 5, -1], [5, 0, 10], [-1, -1, 0], [0, -1, 5]]  # channels; the second in an order of its own
OF_SLOT = [1, 0, 3, 2, 1]


@dataclass(frozen=True)
class Case:
    """Slots that follow different rows; `head`: `linear_head`, else `preprocess`."""

    states: list[Tensor]
    params: Tensor
    gy: Tensor
    table: Tensor
    table_of_slot: Tensor
    head: bool
    reduce: bool = False

    def reads(self, slot: int) -> list[int]:
        row = self.table[self.table_of_slot[slot]].tolist()
        return sorted((j for j, at in enumerate(row) if at >= 0), key=lambda j: row[j])

    def run(self, states, params, **options) -> Tensor:
        if self.head:
            return linear_head(states, params, CLASSES, **options)
        return preprocess(states, params, self.gy.shape[2], reduce=self.reduce, affine=True, eps=0.1, **options)[0]

    def gradients(self, name: str) -> list[Tensor]:
        """Result and gradients of params and states."""
        leaves = [x.detach().requires_grad_(True) for x in (self.params, *self.states)]
        y = self.run(leaves[1:], leaves[0], table=self.table, table_of_slot=self.table_of_slot, backend=name)
        return [y.detach(), *torch.autograd.grad(y, leaves, self.gy)]

    def alone(self, slot: int, name: str) -> list[Tensor]:
        """The same of one slot without tables, on the states it reads; 0 for the others."""
        reads, own = self.reads(slot), slice(slot, slot + 1)
        leaves = [x[own].detach().requires_grad_(True) for x in (self.params, *(self.states[j] for j in reads))]
        y = self.run(leaves[1:], leaves[0], backend=name)
        d_params, *found = torch.autograd.grad(y, leaves, self.gy[own])
        d_states = dict(zip(reads, found, strict=True))
        none = torch.zeros_like(self.states[0][own])
        return [y.detach(), d_params, *(d_states.get(j, none) for j in range(len(self.states)))]

    def to(self, dtype) -> Case:
        return replace(
            self, states=[x.to(dtype) for x in self.states], params=self.params.to(dtype), gy=self.gy.to(dtype)
        )

    def picked(self, slots) -> Case:
        return replace(
            self,
            states=[x[slots] for x in self.states],
            params=self.params[slots],
            gy=self.gy[slots],
            table_of_slot=self.table_of_slot[slots],
        )


def case(head: bool, reduce: bool = False, *, channels=5, batch=6, size=(6, 7), dtype=torch.float32) -> Case:
    generator = torch.Generator().manual_seed(3)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    slots, widest = len(OF_SLOT), 3 * channels
    shapes = head_parameters(widest, CLASSES) if head else preprocess_parameters(widest, 4, reduce, True)
    out = tuple(-(-n // 2) for n in size) if reduce else size
    table = torch.tensor(TABLES)
    return Case(
        [normal(slots, batch, channels, *size) for _ in range(3)],
        normal(slots, sum(aligned(p.size) for p in shapes)),
        normal(slots, batch, CLASSES) if head else normal(slots, batch, 4, *out),
        torch.where(table > 0, table // 5 * channels, table),
        torch.tensor(OF_SLOT),
        head,
        reduce,
    )


EACH = pytest.mark.parametrize("head, reduce", [(True, False), (False, False), (False, True)], ids=str)
NAMES = pytest.mark.parametrize("name", ["reference", pytest.param("cpp", marks=native)])


@EACH
@NAMES
def test_a_slot_with_a_table_is_that_slot_on_the_states_it_reads(head, reduce, name):
    """The places of a table say in which order its states are concatenated."""
    own = case(head, reduce, dtype=torch.float64 if name == "reference" else torch.float32)
    found = own.gradients(name)
    for slot in range(len(OF_SLOT)):
        in_order = own.reads(slot) == sorted(own.reads(slot))
        for part, due in zip(found, own.alone(slot, name), strict=True):
            if name == "cpp" and in_order:
                assert torch.equal(part[slot : slot + 1], due)
            else:
                assert_agree(part[slot : slot + 1], due, "slots, node", own.params.dtype)


@native
@EACH
def test_cpp_agrees_with_the_reference(head, reduce):
    for channels, batch, size in [(5, 6, (6, 7)), (17, 3, (9, 8)), (8, 20, (14, 14))]:
        own = case(head, reduce, channels=channels, batch=batch, size=size)
        expected = own.to(torch.float64).gradients("reference")
        for isa in backend.compiled().isa_names():
            with instruction_set(isa):
                for a, b in zip(own.gradients("cpp"), expected, strict=True):
                    assert_agree(a, b, "node, gradient", torch.float32)


@EACH
@NAMES
def test_what_is_not_read_may_hold_anything_and_has_no_gradient(head, reduce, name):
    own = case(head, reduce)
    due = own.gradients(name)
    for slot in range(len(OF_SLOT)):
        for j in set(range(3)) - set(own.reads(slot)):
            assert not due[2 + j][slot].any()
            own.states[j][slot] = torch.nan
    for a, b in zip(own.gradients(name), due, strict=True):
        assert torch.equal(a, b)


@native
@EACH
def test_bits_do_not_depend_on_threads_position_or_neighbours(head, reduce):
    own = case(head, reduce)
    due = own.gradients("cpp")
    order = [3, 0, 4, 2, 1]
    for count in (1, 2):
        with threads(count):
            for a, same, moved, alone in zip(
                due,
                own.gradients("cpp"),
                own.picked(order).gradients("cpp"),
                own.picked([2]).gradients("cpp"),
                strict=True,
            ):
                assert torch.equal(a, same) and torch.equal(a[order], moved) and torch.equal(a[2:3], alone)


@NAMES
@pytest.mark.parametrize("reduce", [False, True])
def test_a_slot_that_reads_nothing_is_0(reduce, name):
    own = case(False, reduce)
    own.table[1] = -1
    own.params[[0, 4]] = torch.nan
    found = own.gradients(name)
    for part in found:
        assert not part[[0, 4]].any() and bool(part.any())
    y, statistics = preprocess(
        own.states, own.params, 4, reduce=reduce, affine=True, want_statistics=True,
        table=own.table, table_of_slot=own.table_of_slot, backend=name,
    )  # fmt: skip
    assert torch.equal(statistics[0], torch.zeros(2, 4)) and bool(statistics[1].any())
    again, _ = preprocess(
        own.states, own.params, 4, reduce=reduce, affine=True, given=statistics,
        table=own.table, table_of_slot=own.table_of_slot, backend=name,
    )  # fmt: skip
    assert_agree(again, y, "formula", torch.float32)


@native
@pytest.mark.parametrize("reduce", [False, True])
def test_readers_add_their_gradients(reduce):
    """Of a shared state: what a slot does not read is not added, and does not wipe what others added."""
    own = case(False, reduce)
    leaves = [x.detach().requires_grad_(True) for x in own.states]
    pairs = [share(x, 2, backend="cpp") for x in leaves]
    total = 0
    for k in range(2):
        y = own.run([p[k] for p in pairs], own.params, table=own.table, table_of_slot=own.table_of_slot, backend="cpp")
        total = total + (y * own.gy).sum()
    found = torch.autograd.grad(total, leaves)
    for a, b in zip(found, own.gradients("cpp")[2:], strict=True):
        assert torch.equal(a, 2 * b)


@EACH
def test_gradcheck(head, reduce):
    own = case(head, reduce, channels=2, batch=2, size=(3, 2), dtype=torch.float64)
    own = replace(own, table=torch.tensor([[0, 2, -1], [2, 0, 4], [-1, -1, 0], [0, -1, 2]])).picked([0, 3])
    leaves = [x.requires_grad_(True) for x in (own.params, *own.states)]

    def evaluate(params, *states):
        return own.run(list(states), params, table=own.table, table_of_slot=own.table_of_slot, backend="reference")

    assert torch.autograd.gradcheck(evaluate, leaves, fast_mode=True)
    assert torch.autograd.gradgradcheck(evaluate, leaves, fast_mode=True, atol=1e-4)


WRONG = {
    r"table must be int64 \[tables, 3\]": lambda c: replace(c, table=c.table[:, :2]),
    r"table must be int64": lambda c: replace(c, table=c.table.int()),
    r"table_of_slot must be int64 \[5\]": lambda c: replace(c, table_of_slot=c.table_of_slot[:3]),
    "table_of_slot": lambda c: replace(c, table_of_slot=c.table_of_slot + 4),
    "table": lambda c: replace(c, table=torch.tensor([[0, 0, -1]] * 4)),
    "table ": lambda c: replace(c, table=torch.tensor([[0, 10, -1]] * 4)),
}


@NAMES
@EACH
@pytest.mark.parametrize("message", WRONG)
def test_what_does_not_fit_is_named(message, head, reduce, name):
    with pytest.raises(ValueError, match=message.strip()):
        WRONG[message](case(head, reduce)).gradients(name)


@native
@EACH
def test_opcheck(head, reduce):
    own = case(head, reduce)
    tables = own.table, own.table_of_slot
    leaves = [x.requires_grad_(True) for x in own.states]
    params = own.params.requires_grad_(True)
    if head:
        arguments = leaves, params, CLASSES, False, *tables
        assert torch.library.opcheck(torch.ops.autometa.linear_head, arguments)
    else:
        arguments = leaves, params, 4, reduce, True, None, 0.1, *tables, True, True
        assert torch.library.opcheck(torch.ops.autometa.preprocess, arguments)
