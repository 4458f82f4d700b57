"""Ops on a GPU beside the float64 reference on the CPU: arenas of ugly shapes, episodes, every kind of network."""

import pytest
import torch

from autometa.meta.inner_loop import slot_gradients
from autometa.ops import adam_, batch_indices, clip_grad_, finite_slots, gather_images, reptile_, sample_tasks, sgd_
from autometa.ops.backend import precision
from autometa.ops.cross_entropy import cross_entropy
from autometa.ops.drop_masks import drop_masks
from tests.gpu.conftest import GPU
from tests.nas.networks import images_for, networks, one_shot, rows
from tests.ops.arenas import DTYPES, assert_close, assert_moved, shape  # noqa: F401  fixture
from tests.tolerances import assert_agree

BOUND = {torch.float32: 2e-6, torch.float64: 1e-13}


def on_both(op, tensors, tables, dtype, **options):
    """The tensors after the op, on the GPU in `dtype` and on the CPU in float64, and what it returned."""
    results = []
    for device, kind, backend in ((GPU, dtype, "cuda"), (torch.device("cpu"), torch.float64, "reference")):
        made = [t.to(device, kind if t.is_floating_point() and t.dtype == dtype else None, copy=True) for t in tensors]
        returned = op(*made, *(table.to(device) for table in tables), backend=backend, **options)
        results.append(([t.cpu() for t in made], None if returned is None else returned.cpu()))
    return results


@pytest.mark.parametrize("dtype", DTYPES)
def test_adam(shape, dtype):  # noqa: F811
    second, steps = shape.random(3, dtype).abs(), torch.zeros(shape.slots, shape.kinds, dtype=torch.int64)
    rates = shape.per_group(4, 1e-3, 1e-2), shape.per_group(5, 0.0, 1e-2)
    rates[0][:, 0] *= (torch.arange(shape.groups) % 2 == 0).double()  # some kinds are frozen
    before = [shape.random(1, dtype), shape.random(2, dtype), second, steps, *(r.to(torch.float64) for r in rates)]
    keep = [before[0], before[1], before[2], before[3]]
    lr, decay = before[4], before[5]

    def step(phi, grad, moment, count, *tables, backend):
        adam_(phi, grad, moment, count, lr.to(phi.device), decay.to(phi.device), *tables, backend=backend)

    (found, _), (expected, _) = on_both(step, keep, shape.tables, dtype)
    assert torch.equal(found[3], expected[3])
    live = shape.live()
    for n in (0, 2):
        old = keep[n]
        assert_moved(found[n][live], old[live], expected[n][live], old.double()[live], 20 * BOUND[dtype])
        assert torch.equal(found[n][~live], old[~live])


@pytest.mark.parametrize("dtype", DTYPES)
def test_sgd_and_clipping(shape, dtype):  # noqa: F811
    phi, grad = shape.random(1, dtype), shape.random(2, dtype)
    rate, decay, norm = (shape.per_group(n, 1e-3, 2.0) for n in (3, 4, 5))
    live = shape.live()

    def sgd(phi, grad, *tables, backend):
        sgd_(phi, grad, rate.to(phi.device), decay.to(phi.device), *tables, backend=backend)

    def clip(grad, *tables, backend):
        return clip_grad_(grad, norm.to(grad.device), *tables, backend=backend)

    (found, _), (expected, _) = on_both(sgd, [phi, grad], shape.tables, dtype)
    assert_moved(found[0][live], phi[live], expected[0][live], phi.double()[live], 20 * BOUND[dtype])
    (found, norms), (expected, wanted) = on_both(clip, [grad], shape.tables, dtype)
    assert_close(found[0][live], expected[0][live], 20 * BOUND[dtype])
    assert_close(norms, wanted, 20 * BOUND[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
def test_reptile_and_finite_slots(shape, dtype):  # noqa: F811
    phi = shape.random(1, dtype)
    theta = torch.randn(shape.groups, shape.row, generator=torch.Generator().manual_seed(2)).to(dtype)
    sizes, broken = shape.per_group(3, 0.0, 1.0), torch.arange(shape.slots) % 3 == 1
    phi[broken, -1:] = torch.nan
    finite = finite_slots(phi.to(GPU), backend="cuda").cpu()
    assert torch.equal(finite, ~broken)

    def update(theta, phi, *tables, backend):
        good = finite.to(phi.device)
        reptile_(theta, phi, sizes.to(phi.device), good, *tables, backend=backend)

    (found, _), (expected, _) = on_both(update, [theta, phi], shape.tables, dtype)
    assert_moved(found[0], theta, expected[0], theta.double(), 20 * BOUND[dtype])


@pytest.mark.parametrize("mode", ["replacement", "passes"])
def test_episodes_are_those_of_the_cpu(mode):
    start, classes = torch.tensor([0, 6, 13, 20, 31, 40]), torch.tensor([4, 0, 2, 3])
    ids = torch.tensor([0, 1, 7, 2**40 + 3])
    images = torch.randint(0, 256, (40, 3, 7, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = []
    for device in (torch.device("cpu"), GPU):
        tasks = (start.to(device), classes.to(device), ids.to(device))
        image, turn, chosen = sample_tasks(*tasks, rotations=4, ways=5, shots=2, queries=4, seed=9)
        picks = batch_indices(tasks[2], n_items=10, batch=7, steps=3, seed=9, mode=mode, first_step=2)
        exempt = torch.tensor([False, True, False], device=device)
        mask = drop_masks(tasks[2], exempt, keep=0.8, seed=9, step=3, batch=5)
        scale, shift = (torch.tensor(v, device=device) for v in ([0.5, 1 / 255, 2.0], [0.0, -1.0, 0.25]))
        values = gather_images(images.to(device), image, turn[..., None], scale, shift)
        found.append([t.cpu() for t in (image, turn, chosen, picks, mask, values)])
    for ours, theirs in zip(*found, strict=True):
        assert ours.dtype == theirs.dtype and torch.equal(ours, theirs)


def gradients(network, device, dtype, mode="fp32"):
    """Losses `[S]` and gradients `[S, row]` of three slots."""
    phi, (images, labels) = rows(network, 3, dtype), images_for(network, 3, 5, dtype)

    def objective(row, x, y, step):
        return cross_entropy(network.logits(row, x), y)

    with precision(mode):
        found = slot_gradients(objective, phi.to(device), images.to(device), labels.to(device), 0)
    return [t.cpu() for t in found]


@pytest.mark.parametrize("name", networks())
def test_networks_agree_with_the_reference(name):
    network = networks()[name]
    (losses, grad), (wanted, expected) = (
        gradients(network, GPU, torch.float32),
        gradients(network, "cpu", torch.float64),
    )
    assert_agree(losses, wanted, "forward", torch.float32)
    assert_agree(grad, expected, "supernet_84 gradient", torch.float32)


@pytest.mark.parametrize("mode, off", [("tf32", 0.05), ("bf16", 0.2)])
def test_faster_modes_stay_close(mode, off):
    network = one_shot(channels=16, cells=2)
    losses, grad = gradients(network, GPU, torch.float32, mode)
    wanted, expected = gradients(network, "cpu", torch.float64)
    assert float((losses - wanted).norm() / wanted.norm()) < off
    assert float((grad - expected).norm() / expected.norm()) < off


@pytest.mark.parametrize("name", networks())
def test_slots_alone_have_the_same_bits(name):
    network = networks()[name]
    phi, (images, labels) = rows(network, 4, torch.float32).to(GPU), images_for(network, 4, 5, torch.float32)
    images, labels = images.to(GPU), labels.to(GPU)

    def objective(row, x, y, step):
        return cross_entropy(network.logits(row, x), y)

    together = slot_gradients(objective, phi, images, labels, 0)
    for s in (0, 2, 3):
        alone = slot_gradients(objective, phi[s : s + 1], images[s : s + 1], labels[s : s + 1], 0)
        assert all(torch.equal(a[s : s + 1], b) for a, b in zip(together, alone, strict=True))
