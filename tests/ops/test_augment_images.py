"""Images changed at random: as plain PyTorch says it, the same bits on every backend, wherever an image stands."""

import math
from dataclasses import fields

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from autometa.ops.augment_images import DRAWS, Augment, augment_images
from autometa.ops.augment_images.native import augment_images_native
from autometa.ops.philox import AUGMENT, philox_uint32
from tests.ops.arenas import generator, native, ways_to_run

BACKENDS = ("reference", pytest.param("cpp", marks=native))
ALL = Augment(
    shift=0.1,
    scale=0.2,
    rotation=20.0,
    shear=0.3,
    thickness=0.8,
    blur=0.7,
    contrast=0.5,
    brightness=0.2,
    noise=0.1,
    invert=0.5,
)
SINGLE = [Augment(**{field.name: getattr(ALL, field.name)}) for field in fields(Augment)]
SHAPES = ((3, 8, 1, 28, 28), (2, 5, 3, 7, 9), (1, 2, 2, 1, 1), (2, 3, 1, 1, 6))
SEED = 11


def case(shape):
    """Images, task ids and places."""
    tasks, picks = shape[:2]
    images = torch.randint(0, 256, shape, generator=generator(0)).float() / 255
    ids = torch.tensor([7, 0, 2**40 + 3])[:tasks]
    return images, ids, torch.randint(0, 500, (tasks, picks), generator=generator(1))


def drawn(ids, place, shape):
    """Numbers in 0 .. 1 of every image, float64 `[T, N, DRAWS]`."""
    each = DRAWS + -(-math.prod(shape[2:]) // 4) * 4
    first = DRAWS + place.numpy() * each
    return philox_uint32(SEED, AUGMENT, ids.numpy()[:, None, None], first[..., None] + np.arange(DRAWS)) / 2.0**32


def image_by_image(images, ids, place, of):
    """of(image `[1, C, H, W]`, its numbers) for each."""
    numbers = drawn(ids, place, images.shape)
    rows = [[of(images[t, n][None], numbers[t, n])[0] for n in range(images.shape[1])] for t in range(len(ids))]
    return torch.stack([torch.stack(row) for row in rows])


def moved(image, u, augment):
    """By `grid_sample`, whose places are -1 .. 1 from the first pixel's centre to the last one's."""
    height, width = image.shape[2:]
    half = math.tan(math.radians(augment.rotation) / 2) * (2 * u[4] - 1)
    angle, slant = 2 * math.atan(half), augment.shear * (2 * u[5] - 1)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    stretch = np.array([[1 + augment.scale * (2 * u[2] - 1), slant], [0, 1 + augment.scale * (2 * u[3] - 1)]])
    rows, columns = np.meshgrid(np.arange(height) - (height - 1) / 2, np.arange(width) - (width - 1) / 2, indexing="ij")
    x, y = np.einsum("ij,jhw->ihw", turn @ stretch, np.stack([columns, rows]))
    x = x + augment.shift * (2 * u[0] - 1) * width
    y = y + augment.shift * (2 * u[1] - 1) * height
    grid = torch.from_numpy(np.stack([2 * x / max(width - 1, 1), 2 * y / max(height - 1, 1)], axis=-1))[None]
    return F.grid_sample(image.double(), grid, mode="bilinear", padding_mode="border", align_corners=True)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shape", SHAPES[:2])
@pytest.mark.parametrize("augment", [*SINGLE[:4], Augment(shift=0.1, scale=0.2, rotation=20.0, shear=0.3)])
def test_moved_as_grid_sample_moves(backend, shape, augment):
    images, ids, place = case(shape)
    found = augment_images(images, ids, place, augment, seed=SEED, backend=backend)
    expected = image_by_image(images, ids, place, lambda image, u: moved(image, u, augment))
    assert (found - expected).abs().max() < 1e-5
    assert (found - images).abs().mean() > 0.02


@pytest.mark.parametrize("backend", BACKENDS)
def test_thickness_is_a_share_of_the_way_to_the_brightest_or_darkest_neighbour(backend):
    images, ids, place = case(SHAPES[0])

    def of(image, u):
        share = 0.8 * (2 * u[6] - 1)
        wide = F.pad(image, (1, 1, 1, 1), mode="replicate").unfold(2, 3, 1).unfold(3, 3, 1)
        other = wide.amax((-1, -2)) if share > 0 else wide.amin((-1, -2))
        return image + abs(share) * (other - image)

    found = augment_images(images, ids, place, Augment(thickness=0.8), seed=SEED, backend=backend)
    assert (found - image_by_image(images, ids, place, of)).abs().max() < 1e-5


@pytest.mark.parametrize("backend", BACKENDS)
def test_blur_contrast_and_brightness(backend):
    images, ids, place = case(SHAPES[0])
    augment = Augment(blur=0.7, contrast=0.5, brightness=0.2)

    def of(image, u):
        mean = F.avg_pool2d(F.pad(image.double(), (1, 1, 1, 1), mode="replicate"), 3, 1)
        blurred = image + 0.7 * u[7] * (mean - image)
        lit = (blurred - 0.5) * (1 + 0.5 * (2 * u[8] - 1)) + 0.5 + 0.2 * (2 * u[9] - 1)
        return lit.clamp(0, 1)

    found = augment_images(images, ids, place, augment, seed=SEED, backend=backend)
    assert (found - image_by_image(images, ids, place, of)).abs().max() < 1e-5


@pytest.mark.parametrize("backend", BACKENDS)
def test_noise_has_mean_0_and_the_drawn_deviation(backend):
    images, ids, place = torch.full((2, 6, 3, 40, 40), 0.5), torch.tensor([1, 2]), torch.arange(12).view(2, 6)
    found = augment_images(images, ids, place, Augment(noise=0.1), seed=SEED, backend=backend) - 0.5
    wanted = 0.1 * torch.from_numpy(drawn(ids, place, images.shape)[..., 10])
    values = found.flatten(2).double()
    assert (values.std(dim=2) - wanted).abs().max() < 0.05 * 0.1
    assert values.mean(dim=2).abs().max() < 0.1 * 4 / 4800**0.5
    near = (values[0, 0, :-1] * values[0, 0, 1:]).mean() / values[0, 0].var()
    assert abs(near) < 4 / 4800**0.5, "neighbours are independent"


@pytest.mark.parametrize("backend", BACKENDS)
def test_whole_tasks_are_inverted(backend):
    images, ids = torch.rand(400, 3, 1, 2, 2, generator=generator(0)), torch.arange(400)
    place = torch.arange(3).expand(400, 3).contiguous()
    found = augment_images(images, ids, place, Augment(invert=0.3), seed=SEED, backend=backend)
    turned = (found == 1 - images).flatten(1).all(dim=1)
    assert torch.equal(found[~turned], images[~turned])
    assert 0.2 < turned.double().mean() < 0.4


@native
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("augment", [*SINGLE, ALL, Augment()])
def test_backends_give_the_same_bits_however_they_run(shape, augment):
    images, ids, place = case(shape)
    reference = augment_images(images, ids, place, augment, seed=SEED, backend="reference")
    assert reference.min() >= 0 and reference.max() <= 1
    for context in ways_to_run():
        with context:
            assert torch.equal(augment_images(images, ids, place, augment, seed=SEED, backend="cpp"), reference)


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_is_changed_where_nothing_is_asked_for(backend):
    images, ids, place = case(SHAPES[1])
    assert torch.equal(augment_images(images, ids, place, Augment(), seed=SEED, backend=backend), images)


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_image_depends_on_seed_task_and_place_alone(backend):
    images, ids, place = case(SHAPES[0])
    whole = augment_images(images, ids, place, ALL, seed=SEED, backend=backend)
    order = torch.tensor([2, 0])
    part = augment_images(
        images[order][:, 3:5].contiguous(),
        ids[order],
        place[order][:, 3:5].contiguous(),
        ALL,
        seed=SEED,
        backend=backend,
    )
    assert torch.equal(part, whole[order][:, 3:5])
    same = images[:1, :1].expand_as(images).contiguous()
    shown = augment_images(same, ids, torch.arange(24).view(3, 8), ALL, seed=SEED, backend=backend).flatten(0, 1)
    assert len(shown.flatten(1).unique(dim=0)) == 24
    assert not torch.equal(augment_images(images, ids, place, ALL, seed=SEED + 1, backend=backend), whole)


@pytest.mark.parametrize("backend", BACKENDS)
def test_writes_into_out_and_takes_no_images(backend):
    images, ids, place = case(SHAPES[1])
    out = torch.full_like(images, float("nan"))
    assert augment_images(images, ids, place, ALL, seed=SEED, out=out, backend=backend) is out
    assert torch.equal(out, augment_images(images, ids, place, ALL, seed=SEED, backend=backend))
    empty = augment_images(images[:, :0], ids, place[:, :0].contiguous(), ALL, seed=SEED, backend=backend)
    assert empty.shape == (2, 0, 3, 7, 9)


@pytest.mark.parametrize("backend", BACKENDS)
def test_bad_arguments(backend):
    images, ids, place = case(SHAPES[1])

    def refused(match, **changed):
        given = {"images": images, "task_ids": ids, "place": place, "augment": ALL, "seed": SEED, **changed}
        with pytest.raises(ValueError, match=match):
            augment_images(**given, backend=backend)

    refused("images must be contiguous float32", images=images.double())
    refused("images must be contiguous float32", images=images[0])
    refused("task_ids must be", task_ids=ids[:1])
    refused("place must be", place=place.int())
    refused("task_ids must be at least 0", task_ids=-1 - ids)
    refused("place must be at least 0", place=place - 501)
    refused("seed must lie", seed=2**32)
    refused("out must be", out=images[:1])
    refused("out must not be the memory of images", out=images)
    refused("shift must lie in 0 .. 1, not 1.5", augment=Augment(shift=1.5))
    refused("noise must lie in 0 .. 1, not nan", augment=Augment(noise=float("nan")))


@native
def test_opcheck():
    images, ids, place = case(SHAPES[1])
    most = [0.1] * 10
    assert torch.library.opcheck(augment_images_native.custom, (images, ids, place, most, 3, torch.zeros_like(images)))
