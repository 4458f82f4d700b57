"""The Triton preprocessing against the reference in float64, over ugly shapes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from autometa.ops import backend
from tests.ops.test_preprocess_cpp import REDUCE, WRONG, Case, case, strided
from tests.ops.triton_device import DEVICE, MODES, assert_all_agree, assert_same_bits, in_mode, triton_ready
from tests.tolerances import assert_agree

pytestmark = triton_ready


@pytest.fixture(autouse=True)
def _poison(monkeypatch):
    monkeypatch.setenv("AUTOMETA_DEBUG", "1")


def here(own: Case) -> Case:
    return own.each(lambda x: x.to(DEVICE))


def assert_triton_agrees(own: Case, mode: str = "fp32", **options) -> None:
    """y and all gradients; columns between parameters get exactly 0."""
    wide = {name: value.double() if isinstance(value, torch.Tensor) else value for name, value in options.items()}
    expected = own.to(torch.float64).gradients(backend="reference", eps=own.eps, **wide)
    options = {name: value.to(DEVICE) if isinstance(value, torch.Tensor) else value for name, value in options.items()}
    found = in_mode(mode, here(own).gradients, eps=own.eps, **options)
    assert_all_agree(found, expected, mode)
    assert not found[1][:, (expected[1] == 0).all(dim=0).to(DEVICE)].any()


# slots, batch, widths of the states, channels, size
SHAPES = [
    (2, 20, (7,), 9, (1, 1)),
    (2, 5, (2, 2), 8, (7, 1)),
    (1, 1, (16, 3), 17, (9, 8)),
    (1, 1, (28, 28, 28), 28, (7, 7)),
    (1, 2, (33,), 70, (4, 7)),
    (2, 2, (5, 1, 2), 8, (6, 6)),
]
SHAPE = pytest.mark.parametrize("slots, batch, widths, channels, size", SHAPES)


@SHAPE
@REDUCE
def test_agrees_with_the_reference(slots, batch, widths, channels, size, reduce):
    assert_triton_agrees(case(reduce, slots=slots, batch=batch, widths=widths, channels=channels, size=size))


@SHAPE
def test_agrees_with_the_reference_in_bf16(slots, batch, widths, channels, size):
    reduce = size[0] > 7
    own = case(reduce, slots=slots, batch=batch, widths=widths, channels=channels, size=size)
    assert_triton_agrees(own, "bf16")


def test_programs_of_several_tiles():
    """The last of them is not full."""
    assert_triton_agrees(case(False, slots=1, batch=5, widths=(3,), channels=4, size=(17, 13)))


@MODES
@REDUCE
def test_with_gamma_and_beta(reduce, mode):
    assert_triton_agrees(case(reduce, True, slots=2, widths=(9, 9), channels=9), mode)


def test_one_channel_one_image_one_pixel():
    assert_triton_agrees(case(False, True, slots=1, channels=1, batch=3))
    assert_triton_agrees(case(False, slots=1, batch=1, widths=(1,), channels=2, size=(1, 1)))


def test_tf32_is_a_mode():
    """Interpreted it computes in float32; the gradient keeps the mode of its forward."""
    assert_all_agree(
        in_mode("tf32", here(case(False)).gradients),
        case(False).to(torch.float64).gradients(backend="reference"),
        "bf16" if DEVICE.type == "cuda" else "fp32",
    )


@REDUCE
def test_zeros_pass_nothing_on(reduce):
    own = case(reduce, True, slots=1, widths=(4, 4), batch=5)
    own.states[0][:, :, 1], own.states[1][:, :, 2] = 0.0, 3.0
    own.states[1][:, :, 0].round_()
    assert_triton_agrees(own)


@REDUCE
def test_means_of_100_standard_deviations(reduce):
    own = case(reduce, slots=1, widths=(9, 9), channels=9, batch=4, size=(10, 9))
    own = replace(own, states=[x + 100 for x in own.states])
    expected = own.to(torch.float64).gradients(backend="reference")
    for a, b in zip(here(own).gradients(backend="triton"), expected, strict=True):
        assert_agree(a, b, "shifted, kernel", torch.float32)


@REDUCE
def test_statistics_and_given_ones(reduce):
    own, wide = case(reduce, True), case(reduce, True).to(torch.float64)
    given = case(reduce, True, seed=9).run(want_statistics=True, backend="reference")[1]
    for options in ({}, {"given": given}):
        moved = {name: value.to(DEVICE) for name, value in options.items()}
        y, statistics = here(own).run(want_statistics=True, backend="triton", **moved)
        options = {name: value.double() for name, value in options.items()}
        expected = wide.run(want_statistics=True, backend="reference", **options)
        assert statistics.shape == (3, 2, 5) and not statistics.requires_grad
        assert_all_agree([y, statistics], expected, "fp32")
    assert_triton_agrees(own, given=given)
    assert here(own).run(backend="triton")[1] is None


@MODES
@REDUCE
def test_bits_do_not_depend_on_position_or_neighbours(reduce, mode):
    own = here(case(reduce, True, slots=3, batch=1, widths=(9, 9), channels=9, size=(8, 9)))
    due, order = in_mode(mode, own.gradients), [2, 0, 1]
    poisoned = own.params.clone()
    poisoned[1] = torch.nan
    moved = in_mode(mode, own.slots(order).gradients)
    alone = in_mode(mode, own.slots(slice(2, 3)).gradients)
    beside = in_mode(mode, replace(own, params=poisoned).gradients)
    assert_same_bits(moved, [x[order] for x in due])
    assert_same_bits(alone, [x[2:] for x in due])
    assert_same_bits([x[::2] for x in beside], [x[::2] for x in due])


@REDUCE
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # NumPy's, where kernels are interpreted
def test_what_is_not_finite_stays_visible(reduce):
    own = here(case(reduce))
    own.states[0][0, 0, 0, 0, 0], own.states[1][1] = torch.inf, torch.nan
    y, _ = own.run(backend="triton")
    assert not bool(y[0].isfinite().all()) and bool(y[1].isnan().all()) and bool(y[2].isfinite().all())


@REDUCE
@pytest.mark.parametrize("empty", ["slots", "batch"])
def test_nothing_to_compute(reduce, empty):
    own = here(case(reduce, True, **{empty: 0}))
    y, d_params, *_ = own.gradients(backend="triton")
    assert y.shape == own.gy.shape and d_params.shape == own.params.shape and not d_params.any()


def test_strided_inputs_give_the_same_bits():
    own = here(case(True, True, widths=(3, 3)))
    due = own.gradients(backend="triton")
    wide = torch.full((3, own.params.shape[1] + 37), torch.nan, device=DEVICE)
    wide[:, 5:-32] = own.params
    for same in (here(own.each(lambda x: strided(x.cpu()))), replace(own, params=wide[:, 5:-32])):
        assert_same_bits(same.gradients(backend="triton"), due)


def arguments(own: Case, keep: bool = True, statistics: bool = False) -> tuple:
    """Of `autometa::preprocess_triton`."""
    settings = own.gy.shape[2], own.reduce, own.affine, None, None
    return own.states, own.params, *settings, None, 1e-5, statistics, keep, "fp32"


def test_opcheck(monkeypatch):
    monkeypatch.delenv("AUTOMETA_DEBUG")
    own = here(case(True, True, slots=1, widths=(3, 3)))
    forward = torch.ops.autometa.preprocess_triton
    assert torch.library.opcheck(forward, arguments(own, keep=False))
    for x in (own.params, *own.states):
        x.requires_grad_(True)
    assert torch.library.opcheck(forward, arguments(own, statistics=True))
    _, _, z, factors = forward(*arguments(own))
    # its own gradient is meant to raise
    checks = ("test_schema", "test_faketensor")
    backward = (own.gy, z.detach(), factors.detach(), *arguments(own)[:7], True, "fp32")
    assert torch.library.opcheck(torch.ops.autometa.preprocess_triton_backward, backward, test_utils=checks)
    dropped, _, z, factors = forward(*arguments(own, keep=False))
    assert z.numel() == 0 and factors.numel() == 0
    with pytest.raises(ValueError, match="keep=False"):
        dropped.sum().backward()


def test_a_second_derivative_is_refused():
    own = here(case(False))
    params = own.params.requires_grad_(True)
    (grad,) = torch.autograd.grad(own.run(backend="triton")[0].square().sum(), params, create_graph=True)
    with pytest.raises(backend.BackendError, match="first derivatives only"):
        grad.square().sum().backward()


@pytest.mark.parametrize("message", WRONG)
def test_what_does_not_fit_is_named(message):
    with pytest.raises(ValueError, match=message):
        WRONG[message](here(case(False, True))).run(backend="triton")
    with pytest.raises(backend.BackendError, match="works in float32 here, not in torch.float64"):
        here(case(False)).to(torch.float64).run(backend="triton")
