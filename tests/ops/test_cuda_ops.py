"""The CUDA kernels, on a GPU and compiled for the host: against the float64 reference on the CPU, and slot by slot."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from autometa.ops._cuda import cuda_refuses
from autometa.ops.adam import adam_
from autometa.ops.augment_images import Augment, augment_images
from autometa.ops.batch_indices import MODES, batch_indices
from autometa.ops.clip_grad import clip_grad_
from autometa.ops.drop_masks import drop_masks
from autometa.ops.finite_slots import finite_slots
from autometa.ops.gather_images import gather_images
from autometa.ops.sample_tasks import sample_tasks
from autometa.ops.sgd import sgd_
from tests.ops import (
    cuda_on_host,
    test_adam,
    test_augment_images,
    test_clip_grad,
    test_gather_images,
    test_reptile,
    test_sample_tasks,
    test_sgd,
)
from tests.ops.arenas import ARENAS, DTYPES, PADDING, Arena, arena, assert_close, assert_moved, generator, golden, shape

__all__ = ["shape"]

REASON = cuda_refuses(torch.device("cuda"), torch.float32)
gpu = pytest.mark.skipif(REASON is not None, reason=str(REASON))
DEVICE, BACKEND = "cuda", "cuda"
# The device's pow may be two roundings off; 1 - 0.999^2 magnifies that five hundred times. All else is IEEE's.
ADAM_BOUND = {**test_adam.UPDATE_BOUND, torch.float64: 1e-13}


@pytest.fixture(params=("host", pytest.param("gpu", marks=(gpu, pytest.mark.gpu))), autouse=True)
def place(request, monkeypatch) -> str:
    """Every test runs twice."""
    if request.param == "host":
        cuda_on_host.use(monkeypatch)
        monkeypatch.setitem(globals(), "DEVICE", "cpu")
    return request.param


def there(value):
    """A tensor, or the tensors of a tuple, dict or arena, on the device; copies."""
    if isinstance(value, torch.Tensor):
        return value.clone().to(DEVICE)
    if isinstance(value, dict):
        return {name: there(one) for name, one in value.items()}
    if isinstance(value, Arena):
        tables = ("bounds", "group_of_slot", "layout_of_slot")
        return replace(value, **{name: there(getattr(value, name)) for name in tables})
    return tuple(there(one) for one in value) if isinstance(value, tuple) else value


def exact(value):
    """Floating-point tensors in float64."""
    if isinstance(value, dict):
        return {name: exact(one) for name, one in value.items()}
    return value.double() if isinstance(value, torch.Tensor) and value.is_floating_point() else value


def adam_step(shape, arguments, **options):
    """Like test_adam.step, on the device; the results come back."""
    made = test_adam.step(there(shape), there(arguments), BACKEND, **options)
    return {name: value.cpu() for name, value in made.items()}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("beta1", (None, 0.0, 0.9))
def test_adam_agrees_with_the_reference(shape, dtype, beta1):
    before = test_adam.state(shape, dtype, beta1 is not None)
    found = adam_step(shape, before, beta1=beta1 or 0.0)
    expected = test_adam.step(shape, exact(before), "reference", beta1=beta1 or 0.0)
    assert torch.equal(found["steps"], expected["steps"])
    live = shape.live()
    for name in {"phi", "second", "first"} & before.keys():
        values = (found[name], before[name], expected[name], exact(before)[name])
        assert_moved(*(value[live] for value in values), ADAM_BOUND[dtype])
        assert bool((found[name][~live] == PADDING).all())


def test_adam_leaves_a_frozen_kind_alone():
    shape = ARENAS["two layouts, three groups"]
    before = test_adam.state(shape, torch.float32, True)
    before["lr"][1, 0] = before["lr"][2, 1] = 0.0
    frozen = (shape.group_of_slot == 1)[:, None] & shape.kind_mask(0)
    frozen |= (shape.group_of_slot == 2)[:, None] & shape.kind_mask(1)
    before["grad"][frozen] = float("nan")
    after = adam_step(shape, before, beta1=0.9)
    for name in ("phi", "second", "first"):
        assert torch.equal(after[name][frozen], before[name][frozen])
        assert bool((after[name] != before[name])[shape.live() & ~frozen].all())
    assert torch.equal(after["steps"] - before["steps"], (before["lr"] != 0)[shape.group_of_slot].long())


@pytest.mark.parametrize("dtype", DTYPES)
def test_adams_bits_depend_on_nothing_but_the_slot(shape, dtype):
    before = test_adam.state(shape, dtype, True)
    together = adam_step(shape, before, beta1=0.5)
    again = adam_step(shape, before, beta1=0.5)
    assert all(torch.equal(again[name], together[name]) for name in ("phi", "second", "first"))
    for slot in range(min(shape.slots, 5)):
        pick = slice(slot, slot + 1)
        alone = {name: value if name in ("lr", "weight_decay") else value[pick] for name, value in before.items()}
        found = adam_step(shape.only(slot), alone, beta1=0.5)
        assert all(torch.equal(found[name], together[name][pick]) for name in ("phi", "second", "first"))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("decay", ("wd0", "wd0.001"))
def test_golden_adam(dtype, decay):
    arrays = golden("adam.npz")
    phi = there(torch.tensor(arrays["p0"], dtype=dtype)[None])
    first, second = torch.zeros_like(phi), torch.zeros_like(phi)
    steps = torch.zeros(1, 1, dtype=torch.int64, device=DEVICE)
    values = (float(arrays["lr"]), float(arrays[f"{decay}/weight_decay"]))
    lr, weight_decay = (torch.full((1, 1), value, dtype=torch.float64, device=DEVICE) for value in values)
    rows = there(arena(48, [[0, 48]], [0], [0])).rows
    for number, grad in enumerate(arrays["grads"]):
        grad = there(torch.tensor(grad, dtype=dtype)[None])
        adam_(phi, grad, second, steps, lr, weight_decay, rows, first=first, backend=BACKEND)
        for name, found in (("p", phi), ("m", first), ("v", second)):
            expected = torch.tensor(arrays[f"{decay}/{name}"][number])
            assert_close(found[0].cpu(), expected, 1e-9 if dtype == torch.float64 else 1.1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("momentum", (None, 0.0, 0.9))
def test_sgd_agrees_with_the_reference_and_has_the_bits_of_cpp(shape, dtype, momentum):
    before = test_sgd.state(shape, dtype, momentum is not None)
    options = {"momentum": momentum or 0.0}
    found = [None if v is None else v.cpu() for v in test_sgd.step(there(shape), there(before), BACKEND, **options)]
    high = tuple(exact(value) for value in before)
    expected = test_sgd.step(shape, high, "reference", **options)
    on_cpu = test_sgd.step(shape, before, "cpp", **options)
    live = shape.live()
    for number in (0, 2) if momentum is not None else (0,):
        values = (found[number], before[number], expected[number], high[number])
        assert_moved(*(value[live] for value in values), test_sgd.UPDATE_BOUND[dtype])
        assert torch.equal(found[number], on_cpu[number])


def clip(shape, grad, max_norm):
    grad, device_shape = there(grad), there(shape)
    norms = clip_grad_(grad, there(max_norm), device_shape.rows, backend=BACKEND)
    return grad.cpu(), norms.cpu()


@pytest.mark.parametrize("dtype", DTYPES)
def test_clip_grad_agrees_with_the_reference_slot_by_slot(shape, dtype):
    before, live, max_norm = shape.random(0, dtype), shape.live(), test_clip_grad.limits(shape)
    found, norms = clip(shape, before, max_norm)
    expected = before.to(torch.float64, copy=True)
    expected_norms = clip_grad_(expected, max_norm, shape.rows, backend="reference")
    assert_close(norms, expected_norms, test_clip_grad.BOUND[dtype])
    assert_close(found[live], expected[live], test_clip_grad.BOUND[dtype])
    assert bool((found[~live] == PADDING).all())
    for slot in range(min(shape.slots, 5)):
        alone, its_norms = clip(shape.only(slot), before[slot : slot + 1], max_norm)
        assert torch.equal(alone[0], found[slot]) and torch.equal(its_norms[0], norms[slot])


def test_clip_grad_leaves_what_is_not_finite_and_does_not_overflow():
    shape = ARENAS["row of 7"]
    before = shape.random(0, torch.float32)
    before[0, 1], before[1, 5], before[2] = float("nan"), float("inf"), 1e30
    found, norms = clip(shape, before, torch.full((1, 2), 1e-3, dtype=torch.float64))
    assert torch.equal(found[0, :3].nan_to_num(), before[0, :3].nan_to_num())
    assert torch.equal(found[1, 3:], before[1, 3:])
    assert not bool(norms[0, 0].isfinite()) and not bool(norms[1, 1].isfinite())
    assert_close(norms[2], torch.tensor([3.0, 4.0]).sqrt() * 1e30, 1e-6)
    assert_close(found[2, :3].norm(), torch.tensor(1e-3), 1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_reptile_has_the_bits_of_the_reference(shape, dtype):
    theta, *rest = test_reptile.problem(shape, dtype)
    expected = test_reptile.update(theta, *rest, shape.rows, backend="reference")
    found = test_reptile.update(there(theta), *there(tuple(rest)), there(shape).rows, backend=BACKEND)
    assert torch.equal(found.cpu(), expected)
    assert_moved(found.cpu(), theta, test_reptile.by_hand(theta, *rest, shape), theta, 1e-14)


def test_reptile_with_more_slots_than_threads():
    shape = arena(48, [[0, 32, 48]], [i * i % 3 for i in range(700)], [0] * 3)
    theta, *rest = test_reptile.problem(shape, torch.float32)
    expected = test_reptile.update(theta, *rest, shape.rows, backend="reference")
    found = test_reptile.update(there(theta), *there(tuple(rest)), there(shape).rows, backend=BACKEND)
    assert torch.equal(found.cpu(), expected) and not torch.equal(expected, theta)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("row", (1, 7, 63, 64, 200, 8193))
def test_finite_slots_finds_every_place(row, dtype):
    phi = torch.full((row + 2, row), torch.finfo(dtype).max, dtype=dtype) if row < 300 else torch.ones(3, row).to(dtype)
    bad = (float("nan"), float("inf"), -float("inf"))
    for slot in range(1, phi.shape[0] - 1):
        phi[slot, (slot - 1) if row < 300 else row - 1] = bad[slot % 3]
    expected = torch.isfinite(phi).all(dim=1)
    assert expected.sum() == 2
    assert torch.equal(finite_slots(there(phi), backend=BACKEND).cpu(), expected)


@pytest.mark.parametrize(("channels", "side"), ((1, 28), (3, 84), (2, 1), (1, 7), (3, 17)))
@pytest.mark.parametrize("picks", ((3, 5), (7,), (2, 0)))
@pytest.mark.parametrize("skipped", (0, 1))
def test_images_are_turned_and_scaled_to_the_bit(channels, side, picks, skipped):
    """Without the first image or element, memory begins where 16 bytes do not divide its address."""
    images = test_gather_images.store(20, channels, side, side)
    index = torch.randint(0, 20 - skipped, picks, generator=generator(1))
    rotation = torch.randint(-4, 8, picks, generator=generator(2))
    scaling = test_gather_images.scaling(channels)
    expected = torch.empty(*picks, channels, side, side)
    gather_images(images[skipped:], index, rotation, *scaling, out=expected, backend="reference")
    out = torch.full((expected.numel() + skipped,), float("nan"), device=DEVICE)[skipped:].view(expected.shape)
    device_images = there(images)[skipped:]
    found = gather_images(device_images, there(index), there(rotation), *there(scaling), out=out, backend=BACKEND)
    assert found is out and torch.equal(found.cpu(), expected)


@pytest.mark.parametrize("shape", test_augment_images.SHAPES)
@pytest.mark.parametrize("augment", [*test_augment_images.SINGLE, test_augment_images.ALL, Augment()])
def test_images_are_changed_at_random_to_the_bit(shape, augment):
    images, ids, places = test_augment_images.case(shape)
    expected = augment_images(images, ids, places, augment, seed=4, backend="reference")
    found = augment_images(there(images), there(ids), there(places), augment, seed=4, backend=BACKEND)
    assert torch.equal(found.cpu(), expected)


def test_images_that_are_not_square():
    images, index = test_gather_images.store(6, 2, 9, 6), torch.tensor([3, 0, 5])
    half, scaling = torch.tensor([2, 0, -2]), test_gather_images.scaling(2)
    expected = gather_images(images, index, half, *scaling, backend="reference")
    assert torch.equal(
        gather_images(there(images), there(index), there(half), *there(scaling), backend=BACKEND).cpu(), expected
    )


@pytest.mark.parametrize(
    "options",
    (
        {},
        {"rotations": 1, "ways": 20, "shots": 10, "queries": 5},
        {"shots": 0, "queries": 0},
        {"ways": 20, "group_start": (0, 5, 19, 30)},
        {"ways": 120, "shots": 20, "queries": 0},
        {"ways": 110, "shots": 15, "queries": 5, "seed": 2**32 - 1},
    ),
)
def test_tasks_are_those_of_numpy(options):
    settings = {"rotations": 4, "ways": 5, "shots": 2, "queries": 3, "seed": 1, **options}
    tables = (test_sample_tasks.starts(*(20, 27) * 20), torch.arange(5, 35), torch.tensor([0, 7, 2**40 + 3, 2**63 - 1]))
    groups = torch.tensor(settings.pop("group_start", (0, 30)))
    found = sample_tasks(*there(tables), **settings, group_start=groups.to(DEVICE), backend=BACKEND)
    expected = sample_tasks(*tables, **settings, group_start=groups, backend="reference")
    for one, wanted in zip(found, expected, strict=True):
        assert one.device.type == DEVICE and torch.equal(one.cpu(), wanted)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("n_items", "batch", "steps"), ((1, 3, 2), (50, 10, 5), (13, 5, 40), (300, 20, 7)))
@pytest.mark.parametrize("first_step", (0, 6))
def test_batches_are_those_of_numpy(mode, n_items, batch, steps, first_step):
    options = dict(n_items=n_items, batch=batch, steps=steps, seed=3, mode=mode, first_step=first_step)
    ids = torch.tensor([0, 5, 2**40 + 1])
    expected = batch_indices(ids, **options, backend="reference")
    assert torch.equal(batch_indices(there(ids), **options, backend=BACKEND).cpu(), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("instances", "batch", "step"), ((1, 1, 0), (7, 5, 3), (252, 20, 4)))
def test_masks_are_those_of_numpy(dtype, instances, batch, step):
    ids, exempt = torch.tensor([0, 5, 2**40 + 1]), torch.arange(instances) % 7 == 2
    options = dict(keep=0.8, seed=3, step=step, batch=batch, dtype=dtype)
    expected = drop_masks(ids, exempt, **options, backend="reference")
    assert torch.equal(drop_masks(there(ids), there(exempt), **options, backend=BACKEND).cpu(), expected)


@gpu
@pytest.mark.parametrize("backend", ("reference", BACKEND))
def test_auto_takes_cuda_and_the_reference_follows_the_device(backend):
    ids = there(torch.tensor([4, 9]))
    options = dict(n_items=9, batch=4, steps=2, seed=1, mode="passes")
    assert torch.equal(batch_indices(ids, **options, backend=backend), batch_indices(ids, **options))


def test_rows_of_more_than_2_to_the_32_bytes(place):
    """Addresses need 64 bits: 2^31 elements and more before the last."""
    row = 2**30 + 64
    if place == "host" or torch.cuda.mem_get_info()[0] < 3 * row * 4 * 2.2:
        pytest.skip("this takes 27 GB of the device's memory")
    phi = torch.ones(3, row, device=DEVICE)
    phi[2, row - 1] = float("inf")
    assert finite_slots(phi, backend=BACKEND).tolist() == [True, True, False]
    grad = torch.ones(3, row, device=DEVICE)
    rows = there(arena(row, [[0, row]], [0, 0, 0], [0])).rows
    half, none = (torch.full((1, 1), value, dtype=torch.float64, device=DEVICE) for value in (0.5, 0.0))
    sgd_(phi, grad, half, none, rows, backend=BACKEND)
    assert phi[:, -1].tolist() == [0.5, 0.5, float("inf")] and bool((phi[:, :-1] == 0.5).all())


def test_rows_of_no_columns_have_steps_and_norms():
    shape = arena(0, [[0, 0]], [0, 0], [0])
    found = adam_step(shape, before := test_adam.state(shape, torch.float32, False))
    assert torch.equal(found["steps"], before["steps"] + 1)
    norms = clip(shape, torch.empty(2, 0), torch.ones(1, 1, dtype=torch.float64))[1]
    assert torch.equal(norms, torch.zeros(2, 1))
    assert finite_slots(torch.empty(2, 0, device=DEVICE), backend=BACKEND).tolist() == [True, True]


def test_bounds_out_of_range_are_clamped():
    wild = arena(33, [[-5, 20, 900]], [0, 0], [0])
    phi = torch.ones(2, 33, device=DEVICE)
    one = torch.ones(1, 2, dtype=torch.float64, device=DEVICE)
    sgd_(phi, phi.clone(), one, torch.zeros_like(one), there(wild).rows, backend=BACKEND)
    assert bool((phi == 0).all())


@gpu
def test_opcheck():
    shape = ARENAS["two layouts, three groups"]
    phi, grad, velocity, lr, weight_decay = test_sgd.state(shape, torch.float32, True)
    arguments = there((phi, grad.nan_to_num(), velocity, lr, weight_decay, *shape.rows.tensors))
    assert torch.library.opcheck(torch.ops.autometa.sgd.default, (*arguments, 0.9))
    finite = torch.zeros(shape.slots, dtype=torch.bool, device=DEVICE)
    assert torch.library.opcheck(torch.ops.autometa.finite_slots.default, (there(phi), finite))
