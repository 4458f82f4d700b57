"""Adam over an arena: the reference against torch.optim and the fixture, cpp against the reference."""

import pytest
import torch

from autometa.ops.adam import adam_
from autometa.ops.adam.native import adam_native
from autometa.ops.rows import Rows
from tests.ops.arenas import (
    ARENAS,
    DTYPES,
    PADDING,
    arena,
    assert_close,
    assert_moved,
    golden,
    native,
    shape,
    ways_to_run,
)

__all__ = ["shape"]

# Largest error of an update relative to the largest update, beside the rounding of the sum.
UPDATE_BOUND = {torch.float32: 2e-6, torch.float64: 4e-15}


def state(shape, dtype, with_first, seed=0):
    """Fresh arguments of adam_ after a few steps were made."""
    arguments = {
        "phi": shape.random(seed, dtype),
        "grad": shape.random(seed + 1, dtype, padding=float("nan")),
        "second": shape.random(seed + 2, dtype).abs(),
        "steps": torch.randint(0, 50, (shape.slots, shape.kinds), generator=torch.Generator().manual_seed(3)),
        "lr": shape.per_group(seed + 4, 1e-3, 1e-2),
        "weight_decay": shape.per_group(seed + 5, 0.0, 1e-2),
    }
    if with_first:
        arguments["first"] = shape.random(seed + 6, dtype)
    return arguments


def step(shape, arguments, backend, **options):
    """Copies of the arguments after one step."""
    made = {name: value.clone() for name, value in arguments.items()}
    first = made.get("first")
    positional = [value for name, value in made.items() if name != "first"]
    adam_(*positional, shape.rows, first=first, backend=backend, **options)
    return made


@native
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("beta1", (None, 0.0, 0.9))
def test_cpp_agrees_with_the_reference(shape, dtype, beta1):
    before = state(shape, dtype, beta1 is not None)
    exact = {name: value.double() if value.is_floating_point() else value for name, value in before.items()}
    found = step(shape, before, "cpp", beta1=beta1 or 0.0)
    expected = step(shape, exact, "reference", beta1=beta1 or 0.0)
    assert torch.equal(found["steps"], expected["steps"])
    live = shape.live()
    for name in {"phi", "second", "first"} & before.keys():
        values = (found[name], before[name], expected[name], exact[name])
        assert_moved(*(value[live] for value in values), UPDATE_BOUND[dtype])
        assert bool((found[name][~live] == PADDING).all())
    assert torch.equal(found["grad"][live], before["grad"][live])


@pytest.mark.parametrize("backend", ("reference", pytest.param("cpp", marks=native)))
def test_equals_torch_adam(backend):
    shape, options = ARENAS["gap before and after"], {"beta1": 0.9, "beta2": 0.99, "eps": 1e-6}
    arguments = state(shape, torch.float64, True)
    for name in ("second", "first", "steps"):
        arguments[name].zero_()
    arguments["lr"].fill_(0.01)
    arguments["weight_decay"].fill_(0.1)
    live = shape.live()
    theirs = arguments["phi"][live].clone().requires_grad_()
    torch_adam = torch.optim.Adam([theirs], 0.01, betas=(0.9, 0.99), eps=1e-6, weight_decay=0.1)
    for number in range(5):
        arguments["grad"] = shape.random(100 + number)
        theirs.grad = arguments["grad"][live].clone()
        torch_adam.step()
        arguments = step(shape, arguments, backend, **options)
    assert_close(arguments["phi"][live], theirs.detach(), 1e-14)
    assert bool((arguments["steps"] == 5).all())


@pytest.mark.parametrize("backend", ("reference", pytest.param("cpp", marks=native)))
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("decay", ("wd0", "wd0.001"))
def test_golden(backend, dtype, decay):
    arrays = golden("adam.npz")
    bound = 1e-9 if dtype == torch.float64 else 1.1e-5
    shape = arena(48, [[0, 48]], [0], [0])
    phi = torch.tensor(arrays["p0"], dtype=dtype)[None]
    first, second = torch.zeros_like(phi), torch.zeros_like(phi)
    steps = torch.zeros(1, 1, dtype=torch.int64)
    lr, weight_decay = (
        torch.tensor([[float(value)]], dtype=torch.float64) for value in (arrays["lr"], arrays[f"{decay}/weight_decay"])
    )
    for number, grad in enumerate(arrays["grads"]):
        grad = torch.tensor(grad, dtype=dtype)[None]
        adam_(phi, grad, second, steps, lr, weight_decay, shape.rows, first=first, backend=backend)
        for name, found in (("p", phi), ("m", first), ("v", second)):
            assert_close(found[0], torch.tensor(arrays[f"{decay}/{name}"][number]), bound)


@pytest.mark.parametrize("backend", ("reference", pytest.param("cpp", marks=native)))
def test_a_frozen_kind_stays_untouched(backend):
    shape = ARENAS["two layouts, three groups"]
    before = state(shape, torch.float64, True)
    before["lr"][1, 0] = before["lr"][2, 1] = 0.0
    frozen = torch.zeros(shape.slots, shape.row, dtype=torch.bool)
    for group, kind in ((1, 0), (2, 1)):
        frozen |= (shape.group_of_slot == group)[:, None] & shape.kind_mask(kind)
    before["grad"][frozen] = float("nan")
    after = step(shape, before, backend, beta1=0.9)
    for name in ("phi", "second", "first"):
        assert torch.equal(after[name][frozen], before[name][frozen])
        moving = shape.live() & ~frozen
        assert bool((after[name][moving] != before[name][moving]).all())
    grown = after["steps"] - before["steps"]
    assert torch.equal(grown, (before["lr"] != 0)[shape.group_of_slot].long())


@native
@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_depend_on_nothing_but_the_slot(shape, dtype):
    before = state(shape, dtype, True)
    expected = step(shape, before, "cpp", beta1=0.5)
    for context in ways_to_run():
        with context:
            found = step(shape, before, "cpp", beta1=0.5)
        assert torch.equal(found["phi"], expected["phi"]) and torch.equal(found["second"], expected["second"])
    for slot in range(min(shape.slots, 5)):
        pick = slice(slot, slot + 1)
        alone = {name: value if name in ("lr", "weight_decay") else value[pick] for name, value in before.items()}
        found = step(shape.only(slot), alone, "cpp", beta1=0.5)
        assert torch.equal(found["phi"], expected["phi"][pick])


@native
def test_opcheck():
    shape = ARENAS["two layouts, three groups"]
    made = state(shape, torch.float32, True)
    made["grad"].nan_to_num_()
    order = ("phi", "grad", "second", "first", "steps", "lr", "weight_decay")
    arguments = (*(made[name] for name in order), *shape.rows.tensors, 0.9, 0.999, 1e-8)
    assert torch.library.opcheck(adam_native.custom, arguments)


@pytest.mark.parametrize("backend", ("reference", pytest.param("cpp", marks=native)))
@pytest.mark.parametrize(
    ("change", "message"),
    (
        ({"phi": lambda v: v.t().contiguous().t()}, "phi must be contiguous"),
        ({"grad": lambda v: v[:, :-1]}, "grad must be like phi"),
        ({"grad": lambda v: v.float()}, "grad must be like phi"),
        ({"second": lambda v: v.t().contiguous().t()}, "second must be contiguous"),
        ({"steps": lambda v: v.int()}, "steps must be"),
        ({"lr": lambda v: v.float()}, "lr must be"),
        ({"lr": lambda v: v[:1], "weight_decay": lambda v: v[:1]}, "group_of_slot must lie in 0..0"),
        ({"phi": lambda v: v.half()}, "float32 or float64"),
    ),
)
def test_bad_arguments(backend, change, message):
    shape = ARENAS["two layouts, three groups"]
    arguments = state(shape, torch.float64, False)
    for name, spoil in change.items():
        arguments[name] = spoil(arguments[name])
    untouched = arguments["phi"].clone()
    with pytest.raises(ValueError, match=message):
        adam_(*arguments.values(), shape.rows, backend=backend)
    assert torch.equal(arguments["phi"], untouched)


@pytest.mark.parametrize("backend", ("reference", pytest.param("cpp", marks=native)))
def test_bad_tables(backend):
    shape = ARENAS["two layouts, three groups"]
    values = state(shape, torch.float64, False).values()
    bounds, groups, layouts = shape.rows.tensors
    for wrong in (bounds + 300, bounds.flip(1)):
        with pytest.raises(ValueError, match="bounds must rise along each row and lie in 0..333"):
            adam_(*values, Rows(wrong, groups, layouts), backend=backend)
    with pytest.raises(ValueError, match="layout_of_slot must lie in 0..1"):
        adam_(*values, Rows(bounds, groups, layouts - 1), backend=backend)
    with pytest.raises(ValueError, match="pass first="):
        adam_(*values, shape.rows, beta1=0.9, backend=backend)
    with pytest.raises(ValueError, match="0 <= beta1, beta2 < 1"):
        adam_(*values, shape.rows, beta2=1.0, backend=backend)
