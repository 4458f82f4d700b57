"""Philox-4x32-10 against the vectors its authors publish, and C++ against NumPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autometa.ops import backend
from autometa.ops.philox import BATCH, DROP_PATH, INIT, TASK, bounded, philox_block, philox_uint32
from tests.ops.arenas import native

ONES = 0xFFFFFFFF
# Random123 1.14, file kat_vectors, lines "philox4x32 10".
KNOWN_ANSWERS = (
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ONES, ONES, ONES, ONES), (ONES, ONES), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
)


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN_ANSWERS)
def test_known_answers(counter, key, words):
    assert philox_block(counter, key).tolist() == list(words)


@native
@pytest.mark.parametrize(("counter", "key", "words"), KNOWN_ANSWERS)
def test_known_answers_of_the_compiled_module(counter, key, words):
    assert tuple(backend.compiled().philox_block(*counter, *key)) == words


def test_counter_layout():
    item, draw = 5 + (9 << 32), 4 * 1234 + 2
    assert philox_uint32(17, BATCH, item, draw) == philox_block((5, 9, 1234, 0), (17, BATCH))[2]


@native
@given(st.integers(0, 2**32 - 1), st.integers(0, 3), st.integers(0, 2**63 - 1), st.integers(0, 2**34 - 1))
def test_cpp_equals_numpy(seed, stream, item, draw):
    expected = int(philox_uint32(seed, stream, item, draw))
    assert backend.compiled().philox_uint32(seed, stream, item, draw) == expected


def test_streams_and_broadcasting():
    items, draws = np.arange(3)[:, None], np.arange(8)[None]
    block = philox_uint32(1, TASK, items, draws)
    assert block.shape == (3, 8) and block.dtype == np.uint32
    assert block[2, 7] == philox_uint32(1, TASK, 2, 7)
    numbers = {int(philox_uint32(1, stream, 0, 0)) for stream in (TASK, BATCH, DROP_PATH, INIT)}
    assert len(numbers) == 4


def test_bounded_covers_the_range_evenly():
    numbers = philox_uint32(3, INIT, 0, np.arange(70000))
    counts = np.bincount(bounded(numbers, 7), minlength=7)
    assert counts.size == 7
    assert ((counts - 10000) ** 2 / 10000).sum() < 22.5  # chi-square, 6 degrees: 0.1%
    assert bounded(np.array([0, ONES], dtype=np.uint32), 2**31 - 1).tolist() == [0, 2**31 - 2]


@pytest.mark.parametrize(("seed", "stream"), ((-1, 0), (2**32, 0), (0, 2**32)))
def test_bad_keys(seed, stream):
    with pytest.raises(ValueError, match="must lie in 0..2\\^32 - 1"):
        philox_uint32(seed, stream, 0, 0)
