"""The Reptile update and the slots that count in it: laws, the fixture, cpp against the reference."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autometa.ops.reptile import reptile_
from autometa.ops.reptile.native import reptile_native
from autometa.ops.rows import Rows
from tests.ops.arenas import (
    ARENAS,
    DTYPES,
    arena,
    assert_close,
    assert_moved,
    golden,
    native,
    shape,
    ways_to_run,
)

__all__ = ["shape"]

BACKENDS = ("reference", pytest.param("cpp", marks=native))


def problem(shape, dtype, seed=0):
    """theta, phi, step sizes and the slots that count (about three quarters)."""
    made = torch.Generator().manual_seed(seed)
    theta = torch.randn(shape.groups, shape.row, generator=made, dtype=torch.float64).to(dtype)
    finite = torch.rand(shape.slots, generator=made) < 0.75
    phi = shape.random(seed + 1, dtype, padding=float("nan"))
    phi[~finite] = float("nan")
    return theta, phi, shape.per_group(seed + 2, 0.1, 1.0), finite


def update(theta, *rest, backend):
    theta = theta.clone()
    reptile_(theta, *rest, backend=backend)
    return theta


def by_hand(theta, phi, step_size, finite, shape):
    """The formula, group by group and column by column, in float64."""
    result = theta.double().clone()
    for group in range(shape.groups):
        slots = [s for s in range(shape.slots) if int(shape.group_of_slot[s]) == group and bool(finite[s])]
        if not slots:
            continue
        edges = shape.bounds[shape.layout_of_slot[slots[0]]].tolist()
        for kind in range(shape.kinds):
            columns = slice(edges[kind], edges[kind + 1])
            start = theta[group, columns].double()
            mean = (phi[slots, columns].double() - start).mean(dim=0)
            result[group, columns] = start + step_size[group, kind] * mean
    return result


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_equals_the_formula(shape, dtype, backend):
    theta, phi, step_size, finite = problem(shape, dtype)
    found = update(theta, phi, step_size, finite, shape.rows, backend=backend)
    expected = by_hand(theta, phi, step_size, finite, shape)
    assert_moved(found, theta, expected, theta, 1e-14)


@native
@pytest.mark.parametrize("dtype", DTYPES)
def test_cpp_has_the_bits_of_the_reference(shape, dtype):
    theta, *rest = problem(shape, dtype)
    expected = update(theta, *rest, shape.rows, backend="reference")
    for context in ways_to_run():
        with context:
            assert torch.equal(update(theta, *rest, shape.rows, backend="cpp"), expected)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_one_task_and_step_size_1_give_the_adapted_weights(dtype, backend):
    shape = arena(100, [[0, 60, 90]], [0], [0])
    made = torch.Generator().manual_seed(0)
    scale = 10.0 ** torch.randint(-3, 4, (1, 100), generator=made)
    theta, phi = shape.random(1, dtype), (shape.random(2) * scale).to(dtype)
    one = torch.ones(1, 2, dtype=torch.float64)
    found = update(theta, phi, one, torch.tensor([True]), shape.rows, backend=backend)
    assert_close(found[:, :90], phi[:, :90], torch.finfo(dtype).eps)
    assert torch.equal(found[:, 90:], theta[:, 90:])


@pytest.mark.parametrize("backend", BACKENDS)
def test_slots_that_do_not_count_change_nothing(backend):
    shape = arena(33, [[0, 20, 33]], [0, 1, 0, 1, 0], [0, 0])
    theta, phi, step_size, _ = problem(shape, torch.float64)
    phi = shape.random(5)
    finite = torch.tensor([True, False, False, False, True])
    phi[2] = float("inf")
    found = update(theta, phi, step_size, finite, shape.rows, backend=backend)
    assert torch.equal(found[1], theta[1])
    fewer = arena(33, [[0, 20, 33]], [0, 0], [0, 0])
    expected = update(theta, phi[[0, 4]], step_size, finite[[0, 4]], fewer.rows, backend=backend)
    assert torch.equal(found[0], expected[0]) and not torch.equal(found[0], theta[0])


@pytest.mark.parametrize("backend", BACKENDS)
def test_step_size_0_leaves_a_kind_alone(backend):
    shape = arena(40, [[0, 16, 40]], [0, 0, 0], [0])
    theta, phi, step_size, _ = problem(shape, torch.float32)
    phi, step_size[0, 1] = shape.random(3, torch.float32), 0.0
    phi[:, 16:] = float("nan")
    finite = torch.ones(3, dtype=torch.bool)
    found = update(theta, phi, step_size, finite, shape.rows, backend=backend)
    assert torch.equal(found[:, 16:], theta[:, 16:]) and bool((found[:, :16] != theta[:, :16]).all())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", (1.0, 0.6))
def test_golden(backend, dtype, size):
    arrays = golden("reptile.npz")
    phi = torch.tensor(arrays["phi"], dtype=dtype)
    shape = arena(64, [[0, 64]], [0] * 10, [0])
    theta = torch.tensor(arrays["theta"], dtype=dtype)[None]
    step_size = torch.full((1, 1), size, dtype=torch.float64)
    reptile_(theta, phi, step_size, torch.ones(10, dtype=torch.bool), shape.rows, backend=backend)
    expected = torch.tensor(arrays[f"theta_new/{size}"])
    assert_close(theta[0], expected, 1e-9 if dtype == torch.float64 else 1e-6)


@native
@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 3), max_size=12), st.integers(1, 70), st.integers(0, 2**20))
def test_any_grouping(groups, row, seed):
    shape = arena(row, [[0, row // 2, row]], groups, [0] * 4)
    theta, phi, step_size, finite = problem(shape, torch.float32, seed)
    found = update(theta, phi, step_size, finite, shape.rows, backend="cpp")
    assert_moved(found, theta, by_hand(theta, phi, step_size, finite, shape), theta, 1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_bad_arguments(backend):
    shape = ARENAS["two layouts, three groups"]
    theta, phi, step_size, finite = problem(shape, torch.float64)
    bounds, groups, layouts = shape.rows.tensors
    with pytest.raises(ValueError, match="the slots of group 2 have several layouts"):
        mixed = layouts.clone()
        mixed[0] = 1
        reptile_(theta, phi, step_size, finite, Rows(bounds, groups, mixed), backend=backend)
    with pytest.raises(ValueError, match="finite must be"):
        reptile_(theta, phi, step_size, finite.long(), shape.rows, backend=backend)
    with pytest.raises(ValueError, match="phi must have the row"):
        reptile_(theta, phi[:, :-1].contiguous(), step_size, finite, shape.rows, backend=backend)
    with pytest.raises(ValueError, match="theta must be contiguous"):
        reptile_(theta.t().contiguous().t(), phi, step_size, finite, shape.rows, backend=backend)
    with pytest.raises(ValueError, match="group_of_slot must lie in 0..2"):
        reptile_(theta, phi, step_size, finite, Rows(bounds, groups + 1, layouts), backend=backend)


@native
def test_opcheck():
    shape = ARENAS["two layouts, three groups"]
    theta, phi, step_size, finite = problem(shape, torch.float32)
    theta, phi = theta.nan_to_num(), phi.nan_to_num()
    assert torch.library.opcheck(reptile_native.custom, (theta, phi, step_size, finite, *shape.rows.tensors))
