"""What watches interpreted kernels finds planted faults: addresses outside tensors, programs that meet."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest
import torch

from tests.access_checker import SELECTED, AccessError, interpreting, watched

triton = pytest.importorskip("triton")
tl = pytest.importorskip("triton.language")
pytestmark = pytest.mark.skipif(not interpreting(), reason="kernels are not interpreted here")


@triton.jit
def copied(x, y, count, END: tl.constexpr, STEP: tl.constexpr, SIZE: tl.constexpr):
    """Correct where END is 0 and STEP is SIZE."""
    i = tl.program_id(0) * STEP + tl.arange(0, SIZE)
    tl.store(y + i, tl.load(x + i, mask=i < count), mask=i < count + END)


@triton.jit
def shifted(x, count, BACK: tl.constexpr, SIZE: tl.constexpr):
    """In place: a program reads what another one writes, unless BACK is 0."""
    i = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    value = tl.load(x + i - BACK, mask=(i < count) & (i >= BACK), other=0.0)
    tl.store(x + i, value, mask=i < count)


@triton.jit
def summed(x, total, count, SIZE: tl.constexpr):
    """Atomic additions of all programs to one element."""
    i = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    tl.atomic_add(total, tl.sum(tl.load(x + i, mask=i < count, other=0.0), axis=0))


@triton.jit
def one_reads(x, y, SIZE: tl.constexpr):
    """All programs may read what nobody writes."""
    tl.store(y + tl.program_id(0), tl.sum(tl.load(x + tl.arange(0, SIZE)), axis=0))


X = torch.arange(13.0)


def run(kernel, grid: int, *args, **options) -> Counter:
    with watched() as launched:
        kernel[(grid,)](*args, **options)
    return launched


def test_what_is_right_passes_and_computes_the_same():
    y = torch.empty(13)
    assert run(copied, 4, X, y, 13, END=0, STEP=4, SIZE=4) == {"copied": 1} and torch.equal(y, X)
    total = torch.zeros(1)
    run(summed, 4, X, total, 13, SIZE=4)
    assert total.item() == X.sum()
    x = X.clone()
    run(shifted, 4, x, 13, BACK=0, SIZE=4)
    found = torch.empty(3)
    run(one_reads, 3, X, found, SIZE=8)
    assert torch.equal(x, X) and found.tolist() == [28.0] * 3


def test_an_address_outside_is_found_before_anything_is_written():
    memory = torch.full((20,), 7.0)
    with pytest.raises(Exception, match="copied: program 3 writes outside its tensors .1 of 2 elements"):
        run(copied, 4, X, memory[:13], 13, END=1, STEP=4, SIZE=4)
    assert memory[13:].tolist() == [7.0] * 7
    with pytest.raises(Exception, match="copied: program 3 reads outside its tensors .3 of 4 elements"):
        run(copied, 4, X, torch.empty(16), 16, END=0, STEP=4, SIZE=4)
    with pytest.raises(Exception, match="reads outside its tensors"):
        run(copied, 1, X[4:], torch.empty(13), 13, END=0, STEP=16, SIZE=16)


def test_programs_that_write_the_same_element_are_found():
    with pytest.raises(AccessError, match="copied: several programs write the same 9 elements"):
        run(copied, 4, X, torch.empty(13), 13, END=0, STEP=1, SIZE=4)


def test_a_program_that_reads_what_another_one_writes_is_found():
    with pytest.raises(AccessError, match="shifted: programs read 3 elements that another program writes"):
        run(shifted, 4, X.clone(), 13, BACK=1, SIZE=4)


def test_nothing_is_watched_afterwards():
    with pytest.raises(AccessError):
        run(shifted, 4, X.clone(), 13, BACK=1, SIZE=4)
    shifted[(4,)](X.clone(), 13, BACK=1, SIZE=4)


@pytest.mark.parametrize("name", SELECTED)
def test_the_selected_tests_exist(name):
    tree = ast.parse((Path(__file__).parent / name).read_text(encoding="utf-8"))
    tests = [node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
    for wanted in SELECTED[name]:
        assert wanted.partition("[")[0] in tests or not wanted, wanted
