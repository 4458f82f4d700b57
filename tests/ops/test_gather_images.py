"""Image batches: turned as torch turns, scaled to the same bits, from memory or a mapped file."""

import numpy as np
import pytest
import torch

from autometa.ops.gather_images import gather_images
from autometa.ops.gather_images.native import gather_images_native
from tests.ops.arenas import generator, native, ways_to_run

BACKENDS = ("reference", pytest.param("cpp", marks=native))


def store(count=40, channels=1, height=28, width=28):
    return torch.randint(0, 256, (count, channels, height, width), dtype=torch.uint8, generator=generator(0))


def scaling(channels):
    return torch.linspace(0.5, 1.5, channels) / 255, torch.linspace(-0.4, 0.3, channels)


def expected(images, index, rotation, scale, shift):
    """Image by image, with torch.rot90."""
    made = [
        torch.rot90(images[i], int(k), (-2, -1)).float() * scale[:, None, None] + shift[:, None, None]
        for i, k in zip(index.flatten().tolist(), rotation.flatten().tolist(), strict=True)
    ]
    return torch.stack(made).view(*index.shape, *images.shape[1:])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("channels", "side"), ((1, 28), (3, 84), (2, 1), (1, 7), (3, 17)))
@pytest.mark.parametrize("shape", ((3, 5), (7,), (2, 3, 2)))
def test_turned_and_scaled_to_the_bit(backend, channels, side, shape):
    images = store(20, channels, side, side)
    index = torch.randint(0, 20, shape, generator=generator(1))
    rotation = torch.randint(-4, 8, shape, generator=generator(2))
    found = gather_images(images, index, rotation, *scaling(channels), backend=backend)
    assert torch.equal(found, expected(images, index, rotation, *scaling(channels)))


@native
def test_bits_are_the_same_however_it_runs():
    images, index = store(50, 3, 41, 41), torch.randint(0, 50, (12, 20), generator=generator(1))
    rotation = torch.randint(0, 4, (12, 1), generator=generator(2))
    reference = gather_images(images, index, rotation, *scaling(3), backend="reference")
    for context in ways_to_run():
        with context:
            assert torch.equal(gather_images(images, index, rotation, *scaling(3), backend="cpp"), reference)


@pytest.mark.parametrize("backend", BACKENDS)
def test_images_that_are_not_square(backend):
    images, index = store(6, 2, 9, 5), torch.tensor([3, 0, 5])
    half = torch.tensor([2, 0, -2])
    found = gather_images(images, index, half, *scaling(2), backend=backend)
    assert torch.equal(found, expected(images, index, half, *scaling(2)))
    with pytest.raises(ValueError, match="a quarter turn needs square images, these are 9 x 5"):
        gather_images(images, index, torch.tensor(1), *scaling(2), backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_writes_into_out(backend):
    images, index, turn = store(), torch.tensor([[1, 2], [3, 4]]), torch.tensor(3)
    out = torch.full((2, 2, 1, 28, 28), float("nan"))
    found = gather_images(images, index, turn, *scaling(1), out=out, backend=backend)
    assert found is out
    assert torch.equal(out, expected(images, index, turn.expand(2, 2), *scaling(1)))


@pytest.mark.parametrize("backend", BACKENDS)
def test_reads_a_mapped_file(backend, tmp_path):
    images = store(30)
    np.save(tmp_path / "images.npy", images.numpy())
    mapped = torch.from_numpy(np.load(tmp_path / "images.npy", mmap_mode="r+"))
    index, turn = torch.tensor([29, 0, 29]), torch.tensor(1)
    found = gather_images(mapped, index, turn, *scaling(1), backend=backend)
    assert torch.equal(found, expected(images, index, turn.expand(3), *scaling(1)))


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_images(backend):
    empty = torch.zeros(2, 0, dtype=torch.int64)
    assert gather_images(store(), empty, empty, *scaling(1), backend=backend).shape == (2, 0, 1, 28, 28)


@pytest.mark.parametrize("backend", BACKENDS)
def test_bad_arguments(backend):
    images, index, turn, (scale, shift) = store(), torch.tensor([0, 39]), torch.tensor(0), scaling(1)
    for wrong in (40, -1):
        with pytest.raises(ValueError, match="index must lie in 0..39"):
            gather_images(images, torch.tensor([0, wrong]), turn, scale, shift, backend=backend)
    with pytest.raises(ValueError, match="images must be contiguous uint8"):
        gather_images(images.float(), index, turn, scale, shift, backend=backend)
    with pytest.raises(ValueError, match="images must be contiguous uint8"):
        gather_images(images.transpose(2, 3), index, turn, scale, shift, backend=backend)
    with pytest.raises(ValueError, match="index must be"):
        gather_images(images, index.int(), turn, scale, shift, backend=backend)
    with pytest.raises(ValueError, match="rotation .* does not broadcast"):
        gather_images(images, index, torch.zeros(3, dtype=torch.int64), scale, shift, backend=backend)
    with pytest.raises(ValueError, match="scale must be"):
        gather_images(images, index, turn, scale.double(), shift, backend=backend)
    with pytest.raises(ValueError, match="out must be"):
        out = torch.empty(2, 28, 28)
        gather_images(images, index, turn, scale, shift, out=out, backend=backend)


@native
def test_opcheck():
    index, turn = torch.tensor([[0, 1]]), torch.tensor([[1, 2]])
    out = torch.zeros(1, 2, 3, 9, 9)
    assert torch.library.opcheck(gather_images_native.custom, (store(4, 3, 9, 9), index, turn, *scaling(3), out))
