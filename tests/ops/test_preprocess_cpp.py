"""The compiled preprocessing against the reference in float64, over ugly shapes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from autometa.ops import backend, preprocess
from autometa.ops._memory import memory_held
from autometa.ops.preprocess import preprocess_parameters
from autometa.ops.primitives import aligned
from tests.ops.arenas import instruction_set, native, threads
from tests.tolerances import assert_agree

pytestmark = native
FLOAT = torch.float32
REDUCE = pytest.mark.parametrize("reduce", [False, True], ids=["same size", "halved"])
AFFINE = pytest.mark.parametrize("affine", [False, True], ids=["plain", "affine"])


@dataclass(frozen=True)
class Case:
    """Arguments of `preprocess`."""

    states: list[Tensor]
    params: Tensor
    gy: Tensor
    reduce: bool = False
    affine: bool = False

    def run(self, **options) -> tuple[Tensor, Tensor | None]:
        return preprocess(self.states, self.params, self.gy.shape[2], reduce=self.reduce, affine=self.affine, **options)

    def gradients(self, **options) -> list[Tensor]:
        """y, then gradients of `sum(y * gy)` for params and states."""
        leaves = [x.detach().requires_grad_(True) for x in (self.params, *self.states)]
        y, _ = replace(self, params=leaves[0], states=leaves[1:]).run(**options)
        return [y.detach(), *torch.autograd.grad(y, leaves, self.gy)]

    def to(self, dtype: torch.dtype) -> Case:
        return self.each(lambda x: x.to(dtype))

    def slots(self, chosen) -> Case:
        return self.each(lambda x: x[chosen])

    def each(self, change) -> Case:
        return replace(self, states=[change(x) for x in self.states], params=change(self.params), gy=change(self.gy))

    @property
    def shapes(self):
        return preprocess_parameters(sum(x.shape[2] for x in self.states), self.gy.shape[2], self.reduce, self.affine)

    @property
    def eps(self) -> float:
        """Keeps gradients well conditioned: those of normalisations over a handful of values, or of the one weight
        before a normalisation, vanish with eps."""
        _, batch, channels, height, width = self.gy.shape
        if sum(x.shape[2] for x in self.states) == 1 or channels == 1:
            return 1.0
        return 1e-5 if batch * height * width >= 30 else 0.1


def case(reduce, affine=False, *, slots=3, batch=2, widths=(2, 3), channels=5, size=(6, 7), seed=0) -> Case:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    width = sum(aligned(p.size) for p in preprocess_parameters(sum(widths), channels, reduce, affine))
    out = tuple(-(-n // 2) for n in size) if reduce else size
    states = [normal(slots, batch, c, *size) for c in widths]
    return Case(states, normal(slots, width), normal(slots, batch, channels, *out), reduce, affine)


def assert_same(own: Case, found, expected) -> None:
    """y and all gradients within the table; columns between parameters get exactly 0."""
    assert [x.shape for x in found] == [x.shape for x in expected]
    assert_agree(found[0], expected[0], "node, y", FLOAT)
    start, gaps = 0, torch.ones(own.params.shape[1], dtype=torch.bool)
    for p in own.shapes:
        columns = slice(start, start + p.size)
        assert_agree(found[1][:, columns], expected[1][:, columns], "node, gradient", FLOAT)
        gaps[columns] = False
        start += aligned(p.size)
    assert not found[1][:, gaps].any()
    for a, b in zip(found[2:], expected[2:], strict=True):
        assert_agree(a, b, "node, gradient", FLOAT)


def assert_cpp_agrees(own: Case, **options) -> None:
    """Every instruction set against the reference in float64."""
    options = {"eps": own.eps, **options}
    expected = own.to(torch.float64).gradients(backend="reference", **options)
    for name in backend.compiled().isa_names():
        with instruction_set(name):
            assert_same(own, own.gradients(backend="cpp", **options), expected)


# slots, batch, widths of the states, channels, size
SHAPES = [
    (1, 1, (1,), 2, (1, 1)),
    (3, 2, (7,), 9, (1, 1)),
    (3, 1, (2, 2), 8, (7, 1)),
    (1, 2, (8, 8, 8), 7, (1, 5)),
    (3, 20, (9, 9), 2, (3, 3)),
    (1, 2, (16, 3), 17, (13, 14)),
    (3, 2, (28, 28, 28), 28, (7, 7)),
    (2, 2, (17,), 33, (9, 2)),
    (1, 1, (64, 64), 64, (5, 6)),
    (1, 1, (33,), 128, (4, 7)),
    (1, 2, (128, 128, 128), 16, (6, 5)),
    (40, 2, (2, 2, 2), 3, (4, 5)),
    (1, 20, (6,), 5, (28, 28)),
    (2, 3, (5, 1, 2), 8, (6, 6)),
]


@REDUCE
@AFFINE
@pytest.mark.parametrize("slots, batch, widths, channels, size", SHAPES)
def test_agrees_with_the_reference(slots, batch, widths, channels, size, reduce, affine):
    assert_cpp_agrees(case(reduce, affine, slots=slots, batch=batch, widths=widths, channels=channels, size=size))


@AFFINE
def test_one_channel_of_output(affine):
    assert_cpp_agrees(case(False, affine, channels=1, batch=20))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.booleans(),
    st.booleans(),
    st.integers(1, 4),
    st.integers(1, 4),
    st.lists(st.integers(1, 18), min_size=1, max_size=4),
    st.integers(2, 18),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
)
def test_random_shapes(reduce, affine, slots, batch, widths, channels, size):
    own = case(reduce, affine, slots=slots, batch=batch, widths=widths, channels=channels, size=size)
    assert_cpp_agrees(own, eps=1.0)


@REDUCE
def test_zeros_and_constant_channels(reduce):
    """At exactly 0 the ReLU passes nothing on."""
    own = case(reduce, True, widths=(4, 4), batch=5)
    own.states[0][:, :, 1], own.states[1][:, :, 2] = 0.0, 3.0
    own.states[1][:, :, 0].round_()
    assert_cpp_agrees(own)


@REDUCE
def test_means_of_100_standard_deviations(reduce):
    own = case(reduce, widths=(9, 9), channels=9, batch=8, size=(10, 9))
    own = replace(own, states=[x + 100 for x in own.states])
    expected = own.to(torch.float64).gradients(backend="reference")
    for name in backend.compiled().isa_names():
        with instruction_set(name):
            for a, b in zip(own.gradients(backend="cpp"), expected, strict=True):
                assert_agree(a, b, "shifted", FLOAT)


@REDUCE
@AFFINE
def test_statistics_and_given_ones(reduce, affine):
    own, wide = case(reduce, affine), case(reduce, affine).to(torch.float64)
    for options in ({}, {"given": case(reduce, affine, seed=9).run(want_statistics=True, backend="reference")[1]}):
        y, statistics = own.run(want_statistics=True, backend="cpp", **options)
        options = {name: value.double() for name, value in options.items()}
        expected, due = wide.run(want_statistics=True, backend="reference", **options)
        assert statistics.shape == (3, 2, 5) and not statistics.requires_grad
        assert_agree(y, expected, "node, y", FLOAT)
        assert_agree(statistics, due, "node, statistics", FLOAT)
    assert_cpp_agrees(own, **options)
    assert own.run(backend="cpp", **options)[1] is None


@REDUCE
@pytest.mark.parametrize("batch, widths, size", [(1, (3,), (6, 5)), (20, (9, 9), (8, 7)), (3, (28, 28), (14, 14))])
def test_bits_do_not_depend_on_threads_position_or_neighbours(reduce, batch, widths, size):
    own = case(reduce, True, slots=5, batch=batch, widths=widths, channels=9, size=size)
    due = own.gradients(backend="cpp")
    order = [3, 0, 4, 2, 1]
    poisoned = own.params.clone()
    poisoned[1] = torch.nan
    for count in (1, 2):
        with threads(count):
            same = own.gradients(backend="cpp")
            moved = own.slots(order).gradients(backend="cpp")
            alone = own.slots(slice(2, 3)).gradients(backend="cpp")
            beside = replace(own, params=poisoned).gradients(backend="cpp")
        for a, b, c, d, e in zip(due, same, moved, alone, beside, strict=True):
            assert torch.equal(a, b) and torch.equal(a[order], c) and torch.equal(a[2:3], d)
            assert torch.equal(a[2:], e[2:]) and torch.equal(a[:1], e[:1])


@REDUCE
def test_what_is_not_finite_stays_visible(reduce):
    own = case(reduce)
    own.states[0][0, 0, 0, 0, 0], own.states[1][1] = torch.inf, torch.nan
    y, _ = own.run(backend="cpp")
    assert not bool(y[0].isfinite().all()) and bool(y[1].isnan().all()) and bool(y[2].isfinite().all())


@REDUCE
@pytest.mark.parametrize("empty", ["slots", "batch"])
def test_nothing_to_compute(reduce, empty):
    own = case(reduce, True, **{empty: 0})
    y, d_params, *_ = own.gradients(backend="cpp")
    assert y.shape == own.gy.shape and d_params.shape == own.params.shape and not d_params.any()


def strided(x: Tensor) -> Tensor:
    """The same values in every second column, NaN between them."""
    wide = torch.full((*x.shape[:-1], 2 * x.shape[-1]), torch.nan)
    wide[..., ::2] = x
    return wide[..., ::2]


@REDUCE
@pytest.mark.parametrize("widths", [(9, 9), (2, 3)])
def test_strided_inputs_give_the_same_bits(reduce, widths):
    own = case(reduce, True, widths=widths)
    due = own.gradients(backend="cpp")
    wide = torch.full((3, own.params.shape[1] + 37), torch.nan)
    wide[:, 5:-32] = own.params
    for same in (own.each(strided), replace(own, params=wide[:, 5:-32])):
        found = same.gradients(backend="cpp")
        assert all(torch.equal(a, b) for a, b in zip(found, due, strict=True))


@REDUCE
@pytest.mark.parametrize("gamma", [0.0, 1e-3, -0.07])
def test_the_output_need_not_tell_the_convolution(reduce, gamma):
    """Where gamma is nothing beside beta in one channel of the second slot; where it is just enough."""
    own = case(reduce, True)
    own.params[:, -32:-16] = 1.0
    own.params[1, -30], own.params[1, -14] = gamma, 1.0
    assert_cpp_agrees(own)


@REDUCE
def test_without_gradients_nothing_is_kept(reduce):
    own = case(reduce, batch=8, widths=(16, 16), channels=16, size=(28, 28))
    before = memory_held(reset_peak=True).in_use
    y, _ = own.run(backend="cpp")
    held = memory_held().in_use - before
    again, _ = replace(own, params=own.params.clone().requires_grad_(True)).run(backend="cpp")
    assert torch.equal(y, again) and again.requires_grad and not y.requires_grad
    assert held <= 2 * 4 * y.numel()
    kept = torch.ops.autometa.preprocess(*arguments(own))[2]
    assert kept.numel() == own.params.shape[0] * 2 * 16  # statistics alone
    assert torch.ops.autometa.preprocess(*arguments(own, keep=False))[2].numel() == 0


def arguments(own: Case, keep: bool = True, statistics: bool = False) -> tuple:
    """Of `autometa::preprocess`."""
    return own.states, own.params, own.gy.shape[2], own.reduce, own.affine, None, 1e-5, None, None, statistics, keep


@REDUCE
def test_opcheck(reduce):
    own = case(reduce, True, widths=(3, 3))
    assert torch.library.opcheck(torch.ops.autometa.preprocess, arguments(own, keep=False))
    for x in (own.params, *own.states):
        x.requires_grad_(True)
    assert torch.library.opcheck(torch.ops.autometa.preprocess, arguments(own, statistics=True))
    y, _, saved = torch.ops.autometa.preprocess(*arguments(own))
    # its own gradient is meant to raise
    checks = ("test_schema", "test_faketensor")
    backward = (own.gy, saved, y, *arguments(own)[:9])
    assert torch.library.opcheck(torch.ops.autometa.preprocess_backward, backward, test_utils=checks)
    dropped, _, _ = torch.ops.autometa.preprocess(*arguments(own, keep=False))
    with pytest.raises(ValueError, match="keep=False"):
        dropped.sum().backward()


def test_a_second_derivative_is_refused():
    own = case(False)
    params = own.params.requires_grad_(True)
    (grad,) = torch.autograd.grad(own.run(backend="cpp")[0].square().sum(), params, create_graph=True)
    with pytest.raises(backend.BackendError, match="first derivatives only"):
        grad.square().sum().backward()


WRONG = {
    r"params must be \[3, 64\] or wider, not \[3, 63\]": lambda c: replace(c, params=c.params[:, :-1]),
    r"params must have 3 rows, one per slot, not \[2, 64\]": lambda c: replace(c, params=c.params[:2]),
    "states must all be torch.float32": lambda c: replace(c, states=[x.double() for x in c.states]),
    "states must all be": lambda c: replace(c, states=[c.states[0], c.states[1][:2]]),
}


@pytest.mark.parametrize("name", ["reference", "cpp"])
@pytest.mark.parametrize("message", WRONG)
def test_what_does_not_fit_is_named(message, name):
    with pytest.raises(ValueError, match=message):
        WRONG[message](case(False, True)).run(backend=name)


def test_wrong_statistics_are_named():
    with pytest.raises(ValueError, match=r"given must be \[3, 2, 5\] of real numbers"):
        case(False).run(backend="cpp", given=torch.ones(3, 2, 4))
