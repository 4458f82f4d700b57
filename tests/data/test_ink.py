"""Ink of either polarity, on paper of any grey and in uneven light, becomes 255 on 0."""

import numpy as np
import pytest
from PIL import Image

from autometa.data import DataError, Recipe
from autometa.data.images import convert
from autometa.data.ink import ink_of
from tests.estimator.drawings import photographed, strokes

INVERTED, AUTO = Recipe(polarity="inverted"), Recipe(polarity="auto")


def two_levels(size=105):
    """A black cross on white."""
    image = np.full((size, size), 255, np.uint8)
    image[size // 3 : size // 3 + 4, 9:80] = 0
    image[20:90, size // 2 : size // 2 + 3] = 0
    return image


@pytest.mark.parametrize("size", [28, 63, 105, 224])
def test_black_on_white_is_inverted_exactly_and_white_on_black_is_the_same(size):
    image = two_levels(105) if size == 105 else np.asarray(Image.fromarray(two_levels()).resize((size, size), 0))
    wanted = convert(Image.fromarray(image), INVERTED)
    assert wanted.max() > 200
    assert np.array_equal(convert(Image.fromarray(image), AUTO), wanted)
    assert np.array_equal(convert(Image.fromarray(255 - image), AUTO), wanted)


def test_a_photograph_comes_close_to_the_drawing():
    images, _ = strokes(characters=8, drawings=2, size=40)
    found, plain = [], []
    for image in images:
        clear = convert(Image.fromarray(image), INVERTED).astype(int)
        for seen in (photographed(image), 255 - photographed(image)):
            found.append(np.abs(convert(Image.fromarray(seen), AUTO) - clear).mean())
            plain.append(np.abs(convert(Image.fromarray(seen), INVERTED) - clear).mean())
    assert max(found) < 20 and min(plain) > 40, "of 255"


def test_an_empty_sheet_stays_empty():
    sheet = np.random.default_rng(0).normal(200, 4, (60, 60)).clip(0, 255).astype(np.uint8)
    assert ink_of(sheet).mean() < 10
    assert ink_of(np.full((5, 5), 77, np.uint8)).max() == 0
    assert ink_of(np.array([[3]], np.uint8)).tolist() == [[0]]


def test_faint_ink_is_brought_to_full_strength():
    image = np.full((50, 50), 180, np.uint8)
    image[20:24, 5:45] = 120
    found = ink_of(image)
    assert found[22, 20] == 255 and found[5, 5] == 0


def test_the_middle_of_an_oblong_photograph_is_taken():
    image = two_levels()
    wide = np.pad(image, ((0, 0), (100, 100)), constant_values=255)
    assert np.array_equal(convert(Image.fromarray(wide), AUTO), convert(Image.fromarray(image), AUTO))


def test_large_photographs_are_reduced_first_with_nearly_the_same_outcome():
    image = np.kron(two_levels(), np.ones((8, 8), np.uint8))
    difference = convert(Image.fromarray(image), AUTO).astype(int) - convert(Image.fromarray(two_levels()), AUTO)
    assert np.abs(difference).mean() < 6


def test_colours_have_no_ink():
    with pytest.raises(DataError, match="1 channel"):
        Recipe(channels=3, polarity="auto")
