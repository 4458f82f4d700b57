"""Drop path's masks: the documented draws, the same in C++ and NumPy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autometa.ops.drop_masks import drop_masks
from autometa.ops.drop_masks.native import drop_masks_native
from autometa.ops.philox import DROP_PATH, philox_uint32
from tests.ops.arenas import DTYPES, native

BACKENDS = ("reference", pytest.param("cpp", marks=native))


def masks(backend, ids=(3, 2**40 + 1), exempt=(False, True, False), **options):
    settings = {"keep": 0.8, "seed": 1, "step": 0, "batch": 4, **options}
    return drop_masks(torch.tensor(ids, dtype=torch.int64), torch.tensor(exempt), **settings, backend=backend)


@native
@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 2**63 - 1), max_size=4),
    st.lists(st.booleans(), min_size=1, max_size=9),
    st.sampled_from((1.0, 0.8, 1 / 3, 1e-6)),
    st.integers(0, 2**32 - 1),
    st.integers(0, 20),
    st.integers(1, 9),
    st.sampled_from(DTYPES),
)
def test_cpp_equals_numpy(ids, exempt, keep, seed, step, batch, dtype):
    options = {"keep": keep, "seed": seed, "step": step, "batch": batch, "dtype": dtype}
    found, expected = (masks(backend, ids, exempt, **options) for backend in ("cpp", "reference"))
    assert found.shape == (len(ids), batch, len(exempt)) and found.dtype == dtype and torch.equal(found, expected)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_takes_the_documented_draws(backend, dtype):
    found = masks(backend, [8], step=2, batch=5, dtype=dtype)
    numbers = philox_uint32(1, DROP_PATH, 8, np.arange(2 * 5 * 3, 3 * 5 * 3)).reshape(5, 3)
    kept = torch.from_numpy(numbers < 0.8 * 2.0**32)
    assert torch.equal(found[0, :, [0, 2]] != 0, kept[:, [0, 2]]) and bool((found[..., 1] == 1).all())
    assert found[found > 1].unique().tolist() == [float(torch.ones((), dtype=dtype) / 0.8)]


@pytest.mark.parametrize("backend", BACKENDS)
def test_keep_1_keeps_everything(backend):
    assert bool((masks(backend, keep=1.0) == 1).all())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("options", "message"),
    (
        ({"keep": 0.0}, "keep must lie above 0"),
        ({"keep": 1.5}, "keep must lie above 0"),
        ({"batch": 0}, "batch >= 1"),
        ({"step": -1}, "step >= 0"),
        ({"step": 2**33}, "more than the generator's"),
        ({"seed": 2**32}, "seed must lie"),
        ({"ids": (1, -2)}, "task_ids must be at least 0"),
        ({"dtype": torch.float16}, "masks are float32 or float64"),
        ({"exempt": (1, 0)}, "exempt must be"),
    ),
)
def test_bad_arguments(backend, options, message):
    with pytest.raises(ValueError, match=message):
        masks(backend, **options)


@native
def test_opcheck():
    mask = torch.zeros(3, 2, 4)
    op = getattr(drop_masks_native, "custom", drop_masks_native)
    assert torch.library.opcheck(op, (torch.arange(3), torch.tensor([True, False, False, True]), 0.5, 1, 2, mask))
