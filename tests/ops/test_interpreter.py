"""Triton's interpreter as it is repaired: less work, the same language before and after a kernel."""

from __future__ import annotations

import pytest
import torch

from autometa.ops._triton import kernels
from tests.ops.triton_device import triton_ready

triton = pytest.importorskip("triton")
tl = pytest.importorskip("triton.language")
interpreter = pytest.importorskip("triton.runtime.interpreter")
pytestmark = [
    triton_ready,
    pytest.mark.skipif(torch.cuda.is_available(), reason="kernels run on the GPU that is here"),
]


@triton.jit
def doubled(x):
    return x + x


@triton.jit
def doubling(x, y, SIZE: tl.constexpr, TIMES: tl.constexpr):
    at = tl.arange(0, SIZE)
    value = tl.load(x + at)
    for _ in range(TIMES):
        value = doubled(value)
    tl.static_assert(TIMES < 9)
    tl.store(y + at, value)


def run(times: int) -> torch.Tensor:
    x = torch.arange(8, dtype=torch.int32)
    y = torch.empty_like(x)
    kernels("launch").launch(doubling, (1,), x, y, SIZE=8, TIMES=times)
    return y


@pytest.mark.skipif(not hasattr(interpreter, "_LangPatchScope"), reason="this Triton patches its language for good")
def test_functions_of_a_kernel_do_not_patch_the_language_again(monkeypatch):
    run(1)
    before, made, patch = tl.load, [], interpreter._patch_builtin
    monkeypatch.setattr(interpreter, "_patch_builtin", lambda *some: (made.append(some[0]), patch(*some)))
    counts = []
    for times in (1, 5):
        assert run(times).tolist() == [n * 2**times for n in range(8)]
        counts.append(len(made))
        made.clear()
    assert counts[0] == counts[1] > 0 and tl.load is before
    with pytest.raises(Exception, match="AssertionError"):
        run(9)
    assert tl.load is before
    made.clear()
    assert run(2).tolist() == [4 * n for n in range(8)] and len(made) == counts[0]


def test_overflow_is_not_computed_where_nobody_asks():
    kernels("launch")
    options = interpreter.interpreter_builder.options
    assert options.debug or not getattr(options, "sanitize_overflow", False)
