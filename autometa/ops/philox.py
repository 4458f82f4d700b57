"""Philox-4x32-10, the counter-based generator behind every random integer of the package.

Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011. The key is (seed, stream), the
counter (item, draw): any number can be computed from its coordinates alone, in any order and place.
"""

from __future__ import annotations

import numpy as np

TASK, BATCH, DROP_PATH, INIT, SHAPE, AUGMENT = range(6)

_ROUNDS = 10
_M0, _M1 = 0xD2511F53, 0xCD9E8D57
_W0, _W1 = 0x9E3779B9, 0xBB67AE85
_MASK, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


def philox_words(c0, c1, c2, c3, k0: int, k1: int) -> tuple:
    """Ten rounds on four 32-bit counter words: integers of Python, or uint64 arrays of one shape (not of none)."""
    for _ in range(_ROUNDS):
        low, high = _M0 * c0, _M1 * c2
        c0, c2 = (high >> 32) ^ c1 ^ k0, (low >> 32) ^ c3 ^ k1
        c1, c3 = high & 0xFFFFFFFF, low & 0xFFFFFFFF
        k0, k1 = (k0 + _W0) & 0xFFFFFFFF, (k1 + _W1) & 0xFFFFFFFF
    return c0, c1, c2, c3


def philox_block(counter: tuple, key: tuple[int, int]) -> np.ndarray:
    """`philox_words` of counter words that broadcast; uint32 `[..., 4]`."""
    words = np.broadcast_arrays(*(np.asarray(word, dtype=np.uint64) for word in counter))
    found = philox_words(*(np.atleast_1d(word) for word in words), int(key[0]), int(key[1]))
    return np.stack(found, axis=-1).astype(np.uint32).reshape(*words[0].shape, 4)


def check_key(seed: int, stream: int) -> tuple[int, int]:
    """The key (seed, stream); raises `ValueError` where one is not a 32-bit number."""
    for name, value in (("seed", seed), ("stream", stream)):
        if not 0 <= int(value) < 2**32:
            raise ValueError(f"{name} must lie in 0..2^32 - 1, it is {value}")
    return int(seed), int(stream)


def philox_uint32(seed: int, stream: int, item, draw) -> np.ndarray:
    """Random 32-bit numbers of stream `stream` at (item, draw); item and draw broadcast.

    Counter words are (item mod 2^32, item div 2^32, draw div 4, 0); the number is output word draw mod 4.

    Args:
        seed, stream: key words, 0 .. 2^32 - 1.
        item: integers in 0 .. 2^63 - 1.
        draw: integers in 0 .. 2^34 - 1.

    Raises:
        ValueError: a key word out of range.
    """
    key = check_key(seed, stream)
    item, draw = np.broadcast_arrays(np.asarray(item, dtype=np.uint64), np.asarray(draw, dtype=np.uint64))
    words = philox_block((item & _MASK, item >> _HALF, draw >> np.uint64(2), np.uint64(0)), key)
    which = (draw & np.uint64(3)).astype(np.int64)
    return np.take_along_axis(words, which[..., None], axis=-1)[..., 0]


def bounded(number: np.ndarray, limit) -> np.ndarray:
    """Map 32-bit random numbers to integers in 0 .. limit - 1, ``(number * limit) >> 32``; int64."""
    product = number.astype(np.uint64) * np.asarray(limit, dtype=np.uint64)
    return (product >> _HALF).astype(np.int64)
