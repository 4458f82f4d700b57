"""Every public op: random calls against the reference in float64, and hostile ones in a process of their own."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from autometa import ops
from autometa.ops import backend
from tests.ops.arenas import instruction_set, native
from tests.ops.fuzz import MAKERS, call_of
from tests.tolerances import assert_agree

pytestmark = native
CALLS = 2000


@pytest.mark.parametrize("part", range(len(MAKERS)), ids=[f"{i}-{make.__name__}" for i, make in enumerate(MAKERS)])
def test_random_calls_agree_with_float64(part):
    names, seen = backend.compiled().isa_names(), set()
    for seed in range(part, CALLS, len(MAKERS)):
        call = call_of(seed)
        expected = call.results(torch.float64, "reference")
        with instruction_set(names[seed // len(MAKERS) % len(names)]):
            found = call.results(torch.float32, "cpp")
        seen.add(call.op)
        assert len(found) == len(expected)
        for number, (own, due) in enumerate(zip(found, expected, strict=True)):
            assert own.shape == due.shape, f"call {seed}, {call.op}, result {number}"
            if not due.is_floating_point():
                level = int(call.op == "read_ink")  # computed in float64, then rounded
                assert ((own.long() - due.long()).abs() <= level).all(), f"call {seed}, {call.op}, result {number}"
                continue
            try:
                assert_agree(own, due, "fuzz", torch.float32)
            except AssertionError as error:
                raise AssertionError(f"call {seed}, {call.op}, result {number}: {error}") from None
    assert seen


def test_every_public_op_is_called():
    called = {call_of(seed).op for seed in range(400)}
    named = {"drop": "drop_masks", "batch": "batch_indices", "sample": "sample_tasks", "gather": "gather_images"}
    named["augment"] = "augment_images"
    assert {named.get(op, op) for op in called} == set(ops.__all__) - {"PRIMITIVES", "Augment", "ConvBlock", "Rows"}


def test_hostile_calls_neither_crash_nor_hang():
    done = subprocess.run(
        [sys.executable, "-m", "tests.ops.hostile"], capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    made, refused = (int(word) for word in done.stdout.split() if word.isdecimal())
    assert made > 2000 and made > refused > made // 2
