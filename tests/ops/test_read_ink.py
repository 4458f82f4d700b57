"""Ink of grey pictures: the same by both backends, its parts those of NumPy, one picture as among others."""

import numpy as np
import pytest
import torch

from autometa.ops.read_ink import _nearest, _quantile, _terms, read_ink
from tests.ops.arenas import native

BACKENDS = ("reference", pytest.param("cpp", marks=native))
SIZES = [(28, 28), (105, 40), (150, 200)]


def pictures(size: tuple[int, int], count: int = 6) -> torch.Tensor:
    """Strokes on paper in uneven light, of both polarities; then noise, nothing, and noise of two levels."""
    random = np.random.default_rng(sum(size))
    y, x = np.meshgrid(*(np.linspace(0, 1, n) for n in size), indexing="ij")
    made = []
    for k in range(count):
        stroke = np.abs(y - random.random() - random.normal(0, 0.3) * x) < 0.06
        light = 200 - 60 * random.random() * x - 40 * y * y + random.normal(0, 3, size)
        made.append(np.clip(np.where(stroke, light - 120, light), 0, 255))
        made[-1] = 255 - made[-1] if k % 2 else made[-1]
    made += [random.integers(0, 256, size), np.full(size, 77), 255 * random.integers(0, 2, size)]
    return torch.from_numpy(np.stack(made).astype(np.uint8))


@native
@pytest.mark.parametrize("size", SIZES)
def test_both_backends_read_alike(size):
    images = pictures(size)[:-3]  # of noise alone either side may be the ink
    found, wanted = (read_ink(images, backend=name) for name in ("cpp", "reference"))
    apart = (found.int() - wanted.int()).abs()
    assert int(apart.max()) <= 1 and float((apart > 0).double().mean()) < 1e-3


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_picture_is_read_as_if_alone(backend):
    images = pictures((28, 28))
    alone = torch.cat([read_ink(image[None], backend=backend) for image in images])
    assert torch.equal(read_ink(images, backend=backend), alone)
    assert read_ink(images[:0], backend=backend).shape == (0, 28, 28)
    assert read_ink(images[:, :0], backend=backend).shape == (9, 0, 28)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size", [(1, 1), (1, 30), (7, 1), (2, 3)])
def test_pictures_of_few_pixels_are_read(size, backend):
    assert read_ink(pictures(size), backend=backend).shape == (9, *size)


@pytest.mark.parametrize("backend", BACKENDS)
def test_black_on_white_is_inverted_exactly(backend):
    image = torch.full((1, 20, 20), 255, dtype=torch.uint8)
    image[0, 5:15, 9:12] = 0
    assert torch.equal(read_ink(image, backend=backend), 255 - image)
    assert torch.equal(read_ink(255 - image, backend=backend), 255 - image)
    assert not read_ink(torch.full((1, 9, 9), 40, dtype=torch.uint8), backend=backend).any()


@pytest.mark.parametrize("backend", BACKENDS)
def test_ink_that_reaches_the_border_of_a_scan(backend):
    """Of 8 x 8 pixels of several levels, as `sklearn.datasets.load_digits` has them: exactly what was drawn."""
    digit = np.zeros((8, 8))
    digit[:, 3:5], digit[0, 2], digit[7, 1:7], digit[3, 2] = 16, 9, 16, 4
    wanted = torch.from_numpy(np.rint(255 * digit / 16).astype(np.uint8))[None]
    assert torch.equal(read_ink(wanted, backend=backend), wanted)
    assert torch.equal(read_ink(255 - wanted, backend=backend), wanted)


@pytest.mark.parametrize("backend", BACKENDS)
def test_more_ink_than_paper(backend):
    image = torch.full((1, 12, 12), 255, dtype=torch.uint8)
    image[0, 1:-1, 1:-1] = 0
    assert torch.equal(read_ink(image, backend=backend), 255 - image)


@pytest.mark.parametrize("size", [(28, 28), (105, 40), (300, 200)])
def test_the_surface_of_the_paper_is_that_of_least_squares(size):
    random = np.random.default_rng(sum(size))
    values, paper = random.random(size), random.random(size) < 0.7
    terms = _terms(*size)
    line = np.zeros(size, bool)
    line[3] = True  # of one row alone: many surfaces fit, the smallest is taken
    for chosen in (paper, line):
        exact = np.linalg.lstsq(terms[chosen], values[chosen], rcond=None)[0]
        assert np.allclose(_nearest(terms[chosen], values[chosen]), exact, atol=1e-9)


def test_quantiles_are_those_of_numpy():
    for count in (1, 2, 3, 10, 784):
        values = np.random.default_rng(count).random(count)
        for share in (0.0, 0.25, 0.5, 0.995, 1.0):
            assert np.isclose(_quantile(values, share), np.quantile(values, share), rtol=1e-12)


def test_what_is_no_grey_picture_is_refused():
    grey = torch.zeros(2, 3, 4, dtype=torch.uint8)
    for wrong in (grey[0], grey.float(), grey[None], grey.transpose(1, 2), grey[:, :, ::2]):
        with pytest.raises(ValueError, match=r"images must be contiguous uint8 \[n, H, W\]"):
            read_ink(wrong)
