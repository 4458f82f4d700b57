"""Batches of support images: both modes against their definition, and C++ against NumPy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autometa.ops.batch_indices import MODES, batch_indices
from autometa.ops.batch_indices.native import batch_indices_native
from autometa.ops.philox import BATCH, bounded, philox_uint32
from tests.ops.arenas import native

BACKENDS = ("reference", pytest.param("cpp", marks=native))


def indices(backend, ids=(0, 1, 5), **options):
    settings = {"n_items": 50, "batch": 10, "steps": 5, "seed": 3, "mode": "passes", **options}
    return batch_indices(torch.tensor(ids, dtype=torch.int64), **settings, backend=backend)


@native
@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 2**63 - 1), max_size=4),
    st.integers(1, 40),
    st.integers(1, 30),
    st.integers(0, 6),
    st.integers(0, 2**32 - 1),
    st.sampled_from(MODES),
    st.integers(0, 20),
)
def test_cpp_equals_numpy(ids, n_items, batch, steps, seed, mode, first_step):
    options = {
        "n_items": n_items,
        "batch": batch,
        "steps": steps,
        "seed": seed,
        "mode": mode,
        "first_step": first_step,
    }
    found, expected = (indices(backend, ids, **options) for backend in ("cpp", "reference"))
    assert found.shape == (len(ids), steps, batch) and torch.equal(found, expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_replacement_takes_the_documented_draws(backend):
    found = indices(backend, [8], mode="replacement", n_items=7, batch=3, steps=4, first_step=2)
    draws = np.arange(2 * 3, 6 * 3)
    assert found.flatten().tolist() == bounded(philox_uint32(3, BATCH, 8, draws), 7).tolist()


@pytest.mark.parametrize("backend", BACKENDS)
def test_passes_are_shuffles_one_after_another(backend):
    n_items, batch, steps = 12, 5, 12
    found = indices(backend, [4], n_items=n_items, batch=batch, steps=steps).flatten().reshape(5, n_items)
    numbers = philox_uint32(3, BATCH, 4, np.arange(5 * n_items)).reshape(5, n_items)
    for row, drawn in zip(found.tolist(), numbers, strict=True):
        order = list(range(n_items))
        for j in range(n_items - 1, 0, -1):
            other = int(bounded(drawn[j], j + 1))
            order[j], order[other] = order[other], order[j]
        assert row == order
    assert len({tuple(row) for row in found.tolist()}) == 5


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("mode", MODES)
def test_steps_do_not_depend_on_where_the_call_begins(backend, mode):
    options = {"mode": mode, "n_items": 13, "batch": 4}
    whole = indices(backend, steps=20, **options)
    for first_step in (1, 3, 7, 19):
        part = indices(backend, [1], steps=1, first_step=first_step, **options)
        assert torch.equal(part[0, 0], whole[1, first_step])


@pytest.mark.parametrize("backend", BACKENDS)
def test_replacement_is_uniform(backend):
    found = indices(backend, range(100), mode="replacement", n_items=20, batch=20, steps=10)
    counts = np.bincount(found.flatten().numpy(), minlength=20)
    assert ((counts - 1000) ** 2 / 1000).sum() < 43.8  # chi-square, 19 degrees of freedom: 0.1%


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("options", "message"),
    (
        ({"mode": "shuffle"}, "mode must be one of replacement, passes"),
        ({"n_items": 0}, "n_items must lie in"),
        ({"batch": 0}, "batch >= 1"),
        ({"first_step": -1}, "first_step >= 0"),
        ({"first_step": 2**33}, "more than the generator's"),
        ({"seed": 2**32}, "seed must lie"),
        ({"ids": (1, -2)}, "task_ids must be at least 0"),
    ),
)
def test_bad_arguments(backend, options, message):
    with pytest.raises(ValueError, match=message):
        indices(backend, **options)


@native
def test_opcheck():
    index = torch.zeros(3, 2, 4, dtype=torch.int64)
    assert torch.library.opcheck(batch_indices_native.custom, (torch.arange(3), 9, 4, 2, 5, True, 1, index))
