"""Clipping by norm, slot by slot: laws, and cpp against the reference."""

import pytest
import torch

from autometa.ops.clip_grad import clip_grad_
from autometa.ops.clip_grad.native import clip_grad_native
from tests.ops.arenas import ARENAS, DTYPES, PADDING, assert_close, native, shape, ways_to_run

__all__ = ["shape"]

BACKENDS = ("reference", pytest.param("cpp", marks=native))
BOUND = {torch.float32: 2e-7, torch.float64: 1e-14}


def limits(shape):
    """Limits of which some bind and some do not; infinity in one place."""
    made = shape.per_group(3, 1.0, 20.0)
    made[0, 0] = float("inf")
    return made


@native
@pytest.mark.parametrize("dtype", DTYPES)
def test_cpp_agrees_with_the_reference(shape, dtype):
    before, live = shape.random(0, dtype), shape.live()
    found, expected = before.clone(), before.clone()
    norms = clip_grad_(found, limits(shape), shape.rows, backend="cpp")
    assert_close(norms, clip_grad_(expected, limits(shape), shape.rows, backend="reference"), BOUND[dtype])
    assert_close(found[live], expected[live], BOUND[dtype])
    assert bool((found[~live] == PADDING).all())
    for context in ways_to_run():
        with context:
            again = before.clone()
            assert torch.equal(clip_grad_(again, limits(shape), shape.rows, backend="cpp"), norms)
            assert torch.equal(again, found)


@pytest.mark.parametrize("backend", BACKENDS)
def test_norms_after_clipping_are_at_most_the_limits(shape, backend):
    before, max_norm = shape.random(0), limits(shape)
    grad = before.clone()
    norms = clip_grad_(grad, max_norm, shape.rows, backend=backend)
    limit = max_norm[shape.group_of_slot]
    for kind in range(shape.kinds):
        mask = shape.kind_mask(kind)
        was, now = (torch.where(mask, value, 0.0).norm(dim=1) for value in (before, grad))
        assert torch.allclose(norms[:, kind], was, rtol=1e-13, atol=0)
        assert torch.allclose(now, torch.minimum(was, limit[:, kind]), rtol=1e-13, atol=0)
        within = mask & (was <= limit[:, kind])[:, None]
        assert torch.equal(grad[within], before[within])


@pytest.mark.parametrize("backend", BACKENDS)
def test_equals_torch_clipping(backend):
    shape = ARENAS["row of 63, one kind"]
    grad = shape.random(0)
    parameter = torch.zeros(63, dtype=torch.float64, requires_grad=True)
    parameter.grad = grad[1].clone()
    expected = torch.nn.utils.clip_grad_norm_([parameter], 2.0)
    norms = clip_grad_(grad, torch.tensor([[2.0]], dtype=torch.float64), shape.rows, backend=backend)
    assert_close(norms[1, 0], expected, 1e-14)
    assert_close(grad[1], parameter.grad, 1e-6)  # torch adds 1e-6 to the norm


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_gradient_that_is_not_finite_is_left_alone(backend):
    shape = ARENAS["row of 7"]
    before = shape.random(0, torch.float32)
    before[0, 1], before[1, 5] = float("nan"), float("inf")
    grad = before.clone()
    tight = torch.full((1, 2), 1e-3, dtype=torch.float64)
    norms = clip_grad_(grad, tight, shape.rows, backend=backend)
    assert torch.equal(grad[0, :3].nan_to_num(), before[0, :3].nan_to_num())
    assert torch.equal(grad[1, 3:], before[1, 3:])
    assert not bool(norms[0, 0].isfinite()) and not bool(norms[1, 1].isfinite())
    assert bool((grad[2].abs() < 1e-3 + 1e-9).all())


@pytest.mark.parametrize("backend", BACKENDS)
def test_large_float32_gradients_do_not_overflow(backend):
    shape = ARENAS["row of 63, one kind"]
    grad = shape.random(0, torch.float32).sign() * 1e30
    norms = clip_grad_(grad, torch.ones(1, 1, dtype=torch.float64), shape.rows, backend=backend)
    assert_close(norms, torch.full((2, 1), 63**0.5 * 1e30), 1e-6)
    assert_close(grad.norm(dim=1), torch.ones(2), 1e-6)


@native
def test_opcheck():
    shape = ARENAS["two layouts, three groups"]
    grad, norms = shape.random(0, torch.float32), torch.zeros(shape.slots, shape.kinds)
    assert torch.library.opcheck(clip_grad_native.custom, (grad, norms, limits(shape), *shape.rows.tensors))


@pytest.mark.parametrize("backend", BACKENDS)
def test_bad_arguments(backend):
    shape = ARENAS["two layouts, three groups"]
    grad, max_norm = shape.random(0), limits(shape)
    with pytest.raises(ValueError, match="grad must be contiguous"):
        clip_grad_(grad.t().contiguous().t(), max_norm, shape.rows, backend=backend)
    with pytest.raises(ValueError, match="max_norm must be"):
        clip_grad_(grad, max_norm[:, :1], shape.rows, backend=backend)
    with pytest.raises(ValueError, match="group_of_slot must lie in 0..1"):
        clip_grad_(grad, max_norm[:2], shape.rows, backend=backend)
