"""The memory pool and the memory format of activations."""

from __future__ import annotations

import os
import random
import signal
import threading
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autometa.ops import backend
from autometa.ops._memory import (
    POOLED,
    activation,
    as_activation,
    floats,
    is_activation,
    memory_held,
    padded_channels,
    release_memory,
)
from tests.ops.arenas import native

MIB = 1 << 20
SHAPES = [(1, 1, 1, 1, 1), (2, 3, 5, 7, 1), (3, 1, 8, 1, 9), (1, 2, 9, 3, 3), (2, 1, 28, 5, 4), (1, 1, 64, 1, 1)]


@pytest.fixture(autouse=True)
def _empty_pool(monkeypatch):
    monkeypatch.delenv("AUTOMETA_DEBUG", raising=False)
    release_memory()
    memory_held(reset_peak=True)


@native
@pytest.mark.parametrize("count", [POOLED // 4, 40_000, MIB // 4 + 1, MIB, 3 * MIB + 5])
def test_a_buffer_is_used_again_when_its_last_view_dies(count):
    first = floats(count)
    address, view = first.data_ptr(), first[5:9]
    first.fill_(1.0)
    del first
    other = floats(count)
    assert other.data_ptr() != address and view.tolist() == [1.0] * 4
    del view
    again = floats(count)
    assert again.data_ptr() == address and again.shape == (count,) and again.dtype == torch.float32


@native
@given(st.integers(0, 4 * MIB))
@settings(max_examples=60, deadline=None)
def test_alignment_and_waste(count):
    release_memory()
    before = memory_held().in_use
    made = floats(count)
    assert made.shape == (count,) and made.data_ptr() % 64 == 0
    granted = memory_held().in_use - before
    if 4 * count < POOLED:
        assert granted == 0
    else:
        assert 4 * count <= granted <= 4.5 * count


@native
def test_what_lies_free_serves_other_sizes():
    """A backward's buffers go where a forward's have been, two in one's place or one in two's: no fresh pages."""
    address = floats(4 * MIB).data_ptr()
    held = memory_held().cached
    halves = [floats(2 * MIB) for _ in range(2)]
    assert [x.data_ptr() - address for x in halves] == [0, 8 * MIB]
    assert memory_held() == (held, 0, held)
    del halves[:]
    assert floats(3 * MIB).data_ptr() == address and memory_held().in_use + memory_held().cached == held


@native
def test_a_hole_is_filled_and_a_larger_buffer_goes_behind():
    a, b, c = (floats(MIB).fill_(k) for k in range(3))
    hole = b.data_ptr()
    del b
    larger, smaller = floats(MIB + 5000), floats(MIB // 2)
    assert larger.data_ptr() > c.data_ptr() and smaller.data_ptr() == hole
    larger.fill_(4.0), smaller.fill_(5.0)
    assert bool((a == 0).all()) and bool((c == 2).all()) and bool((larger == 4).all())


@native
def test_what_is_held_stays_near_the_peak_in_use():
    draw, live = random.Random(3), []
    start = memory_held().in_use
    for _ in range(3000):
        if live and (len(live) > 12 or draw.random() < 0.5):
            live.pop(draw.randrange(len(live)))
        else:
            live.append(floats(draw.randrange(POOLED // 4, 8 * POOLED)))
        held = memory_held()
        assert held.in_use + held.cached <= 1.25 * held.peak
        assert held.in_use - start >= sum(4 * x.numel() for x in live)
    assert memory_held().cached > 0


@native
def test_a_past_peak_is_forgotten():
    del [floats(4 * MIB) for _ in range(4)][:]
    assert memory_held().cached >= 64 * MIB
    for _ in range(2 * 4096):
        floats(POOLED // 4)
    assert memory_held().cached < MIB


@native
def test_reports_and_release():
    start = memory_held().in_use
    made = floats(MIB)
    assert memory_held().in_use - start == 4 * MIB
    del made
    assert memory_held() == (start, 4 * MIB, start + 4 * MIB)
    release_memory()
    assert memory_held(reset_peak=True) == (start, 0, start + 4 * MIB)
    assert memory_held().peak == start


@native
def test_sizes_that_cannot_be_had():
    block = backend.compiled().Block
    assert memoryview(block(100)).nbytes == 100
    with pytest.raises(ValueError, match="negative"):
        block(-1)
    for size in (1 << 45, (1 << 63) - 1):
        with pytest.raises(MemoryError):
            block(size)


@native
def test_threads_share_the_pool():
    wrong = []

    def work(number):
        draw = random.Random(number)
        for step in range(300):
            made = [floats(draw.randrange(POOLED // 4, POOLED)) for _ in range(3)]
            for i, x in enumerate(made):
                x.fill_(number * 1000 + step + i / 4)
            wrong.extend(1 for i, x in enumerate(made) if not bool((x == number * 1000 + step + i / 4).all()))

    start = memory_held().in_use
    callers = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert not wrong and memory_held().in_use == start


@native
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_forked_child_has_the_pool_to_itself():
    kept, stop = floats(MIB).fill_(3.0), threading.Event()

    def take_and_give():
        while not stop.is_set():
            floats(POOLED)

    busy = threading.Thread(target=take_and_give)
    busy.start()
    try:
        for _ in range(20):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of fork beside threads
                child = os.fork()
            if child == 0:
                signal.alarm(60)
                try:
                    made, other = floats(MIB), memoryview(backend.compiled().Block(POOLED))
                    other[0] = 1
                    alone = made.data_ptr() != kept.data_ptr() and kept[-1].item() == 3.0
                    os._exit(0 if alone else 1)
                finally:
                    os._exit(2)
            assert os.waitpid(child, 0)[1] == 0, "the child died or hung"
    finally:
        stop.set()
        busy.join()
    assert bool((kept == 3.0).all())


def test_without_the_compiled_module(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "autometa._C", None)
    assert floats(POOLED).shape == (POOLED,) and memory_held() == (0, 0, 0)
    release_memory()
    assert is_activation(activation(2, 3, 28, 20, 20))


@pytest.mark.parametrize("count", [7, POOLED])
def test_debug_poisons(monkeypatch, count):
    monkeypatch.setenv("AUTOMETA_DEBUG", "1")
    assert bool(floats(count).isnan().all())


def test_padded_channels():
    found = [padded_channels(c) for c in (1, 3, 8, 9, 16, 17, 28, 64, 65, 128)]
    assert found == [8, 8, 8, 16, 16, 32, 32, 64, 80, 128]


@pytest.mark.parametrize("shape", SHAPES)
def test_activation_format(shape):
    slots, batch, channels, height, width = shape
    x, pixel = activation(*shape), padded_channels(channels)
    assert tuple(x.shape) == shape and x.data_ptr() % 64 == 0
    assert x.stride() == (batch * height * width * pixel, height * width * pixel, 1, width * pixel, pixel)
    assert x.untyped_storage().nbytes() == 4 * slots * batch * height * width * pixel
    assert as_activation(x) is x


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_as_activation_copies_other_formats(shape, dtype):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)
    found = as_activation(x)
    assert (found is x) == is_activation(x) and is_activation(found) and torch.equal(found, x.float())
    slots, batch, channels, height, width = shape
    padded = found.as_strided((slots, batch, padded_channels(channels), height, width), found.stride())
    assert not bool(padded[:, :, channels:].any())
    assert torch.equal(as_activation(x.permute(1, 0, 2, 4, 3)), x.float().permute(1, 0, 2, 4, 3))


@pytest.mark.parametrize("channels", [3, 8, 28, 32])
def test_views_of_activations(channels):
    x = as_activation(torch.randn(3, 2, channels, 4, 5))
    assert as_activation(x[1:2]).data_ptr() == x[1].data_ptr()
    wrong = [x[..., ::2], x[:, :, 1:], x[:, ::2], x[..., 1:], x.transpose(0, 1), x.transpose(3, 4)]
    for view in wrong:
        assert not is_activation(view) and torch.equal(as_activation(view), view)


def test_lengths_of_one_have_any_stride():
    x = as_activation(torch.randn(1, 4, 28, 3, 1))
    assert is_activation(x.as_strided(x.shape, (1, *x.stride()[1:4], 77)))
    assert not is_activation(x.as_strided(x.shape, (1, 5, *x.stride()[2:])))
    one = as_activation(torch.randn(2, 2, 1, 3, 3))
    assert is_activation(one.as_strided(one.shape, (*one.stride()[:2], 9, *one.stride()[3:])))


def test_a_base_out_of_line_or_a_cut_last_pixel_is_copied():
    base = torch.randn(2 * 3 * 3 * 32 + 64)
    shape, strides = (2, 1, 28, 3, 3), (288, 288, 1, 96, 32)
    assert is_activation(base.as_strided(shape, strides, 16))
    for offset in (1, 8):
        view = base.as_strided(shape, strides, offset)
        assert not is_activation(view) and torch.equal(as_activation(view), view)
    cut = torch.randn(2 * 3 * 3 * 32 - 4).as_strided(shape, strides)
    assert not is_activation(cut) and torch.equal(as_activation(cut), cut)
    narrow = base.as_strided((2, 1, 3, 3, 3), (72, 72, 1, 24, 8), 8)
    assert is_activation(narrow) and not is_activation(base.as_strided((2, 1, 3, 3, 3), (72, 72, 1, 24, 8), 4))


def test_nothing_at_all():
    for shape in [(0, 2, 3, 4, 4), (2, 0, 28, 4, 4), (2, 2, 0, 4, 4)]:
        assert as_activation(torch.randn(shape, dtype=torch.float64)).shape == shape
