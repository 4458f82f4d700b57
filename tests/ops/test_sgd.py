"""Gradient descent over an arena: against torch.optim, cpp against the reference."""

import pytest
import torch

from autometa.ops.sgd import sgd_
from autometa.ops.sgd.native import sgd_native
from tests.ops.arenas import (
    ARENAS,
    DTYPES,
    PADDING,
    assert_close,
    assert_moved,
    native,
    shape,
    ways_to_run,
)

__all__ = ["shape"]

UPDATE_BOUND = {torch.float32: 1e-6, torch.float64: 2e-15}


def step(shape, arguments, backend, **options):
    """Copies of (phi, grad, velocity, lr, weight_decay) after one step."""
    phi, grad, velocity, lr, weight_decay = (None if value is None else value.clone() for value in arguments)
    sgd_(phi, grad, lr, weight_decay, shape.rows, velocity=velocity, backend=backend, **options)
    return phi, grad, velocity, lr, weight_decay


def state(shape, dtype, with_velocity):
    return (
        shape.random(0, dtype),
        shape.random(1, dtype, padding=float("nan")),
        shape.random(2, dtype) if with_velocity else None,
        shape.per_group(3, 0.01, 0.1),
        shape.per_group(4, 0.0, 0.1),
    )


@native
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("momentum", (None, 0.0, 0.9))
def test_cpp_agrees_with_the_reference(shape, dtype, momentum):
    before = state(shape, dtype, momentum is not None)
    exact = tuple(None if value is None else value.double() for value in before)
    found = step(shape, before, "cpp", momentum=momentum or 0.0)
    expected = step(shape, exact, "reference", momentum=momentum or 0.0)
    live = shape.live()
    for number in (0, 2) if momentum is not None else (0,):
        values = (found[number], before[number], expected[number], exact[number])
        assert_moved(*(value[live] for value in values), UPDATE_BOUND[dtype])
        assert bool((found[number][~live] == PADDING).all())


@pytest.mark.parametrize("backend", ("reference", pytest.param("cpp", marks=native)))
def test_equals_torch_sgd(backend):
    shape = ARENAS["gap before and after"]
    live = shape.live()
    phi, velocity = shape.random(0), torch.zeros(shape.slots, shape.row, dtype=torch.float64)
    lr, weight_decay = (torch.full((1, 2), value, dtype=torch.float64) for value in (0.1, 0.01))
    theirs = phi[live].clone().requires_grad_()
    optimizer = torch.optim.SGD([theirs], 0.1, momentum=0.9, weight_decay=0.01)
    for number in range(4):
        grad = shape.random(10 + number)
        theirs.grad = grad[live].clone()
        optimizer.step()
        sgd_(
            phi,
            grad,
            lr,
            weight_decay,
            shape.rows,
            momentum=0.9,
            velocity=velocity,
            backend=backend,
        )
    assert_close(phi[live], theirs.detach(), 1e-14)


@pytest.mark.parametrize("backend", ("reference", pytest.param("cpp", marks=native)))
def test_a_frozen_kind_stays_untouched(backend):
    shape = ARENAS["two layouts, three groups"]
    before = state(shape, torch.float64, True)
    before[3][0, 1] = 0.0
    frozen = (shape.group_of_slot == 0)[:, None] & shape.kind_mask(1)
    before[1][frozen] = float("nan")
    after = step(shape, before, backend, momentum=0.5)
    moving = shape.live() & ~frozen
    for number in (0, 2):
        assert torch.equal(after[number][frozen], before[number][frozen])
        assert bool((after[number][moving] != before[number][moving]).all())


@native
@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_depend_on_nothing_but_the_slot(shape, dtype):
    before = state(shape, dtype, True)
    expected = step(shape, before, "cpp", momentum=0.5)
    for context in ways_to_run():
        with context:
            assert torch.equal(step(shape, before, "cpp", momentum=0.5)[0], expected[0])
    for slot in range(min(shape.slots, 5)):
        pick = slice(slot, slot + 1)
        alone = (*(value[pick] for value in before[:3]), *before[3:])
        assert torch.equal(step(shape.only(slot), alone, "cpp", momentum=0.5)[0], expected[0][pick])


@native
def test_opcheck():
    shape = ARENAS["row of 63, one kind"]
    phi, grad, velocity, lr, weight_decay = state(shape, torch.float32, True)
    assert torch.library.opcheck(sgd_native.custom, (phi, grad, velocity, lr, weight_decay, *shape.rows.tensors, 0.9))


@pytest.mark.parametrize("backend", ("reference", pytest.param("cpp", marks=native)))
def test_bad_arguments(backend):
    shape = ARENAS["two layouts, three groups"]
    phi, grad, _, lr, weight_decay = state(shape, torch.float64, False)
    with pytest.raises(ValueError, match="needs velocity="):
        sgd_(phi, grad, lr, weight_decay, shape.rows, momentum=0.9, backend=backend)
    with pytest.raises(ValueError, match="momentum must be at least 0"):
        sgd_(phi, grad, lr, weight_decay, shape.rows, momentum=-0.1, backend=backend)
    with pytest.raises(ValueError, match="grad must be contiguous"):
        strided = grad.t().contiguous().t()
        sgd_(phi, strided, lr, weight_decay, shape.rows, backend=backend)
    with pytest.raises(ValueError, match="group_of_slot must lie in 0..1"):
        sgd_(phi, grad, lr[:2], weight_decay[:2], shape.rows, backend=backend)
