"""Images in every form that people hold them give the same answers, and what cannot be read is told."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import autometa
from autometa.data import Recipe
from autometa.errors import InputError
from autometa.estimator.inputs import Items, Rows, gather, pictures, tables
from autometa.estimator.scales import Levels
from tests.estimator.drawings import saved

GREY, COLOUR = Recipe(size=6, polarity="as-is"), Recipe(channels=3, size=6, polarity="as-is")


def forms(images, folder):
    """The same drawings, uint8 `[n, H, W]`, held in many ways."""
    colours = np.repeat(images[..., None], 3, axis=3)
    files = saved(images, folder)
    return {
        "array": images,
        "float": (images / 255).astype(np.float32),
        "list of arrays": list(images),
        "nested lists": (images / 255).tolist(),
        "channels last": images[..., None],
        "channels first": images[:, None],
        "colours": colours,
        "colours first": colours.transpose(0, 3, 1, 2),
        "colours and opacity": np.concatenate([colours, np.full_like(images, 255)[..., None]], axis=3),
        "rows": images.reshape(len(images), -1),
        "rows of floats": images.reshape(len(images), -1) / 255,
        "rows of colours": colours.reshape(len(images), -1),
        "16 bits": images.astype(np.uint16) * 257,
        "tensor": torch.from_numpy(images),
        "tensor with channels": torch.from_numpy(images)[:, None] / 255,
        "half a tensor": torch.from_numpy(images)[:, None].half() / 255,
        "tensors": list(torch.from_numpy(images)[:, None]),
        "Pillow": [Image.fromarray(image) for image in images],
        "Pillow in colour": [Image.fromarray(image) for image in colours],
        "paths": files,
        "words": [str(path) for path in files],
        "array of words": np.array([str(path) for path in files]),
        "column of words": np.array([str(path) for path in files], dtype=object)[:, None],
        "upside down": 255 - images,
    }


def test_every_form_gives_the_same_answers(drawn, tmp_path):
    support, queries = (forms(drawn[k][:5], tmp_path / str(k)) for k in (0, 2))
    wanted = autometa.FewShotClassifier(steps=3).fit(drawn[0], drawn[1]).predict_proba(drawn[2][:5])
    for name in support:
        made = autometa.FewShotClassifier(steps=3).fit(support[name], drawn[1])
        found = made.predict_proba(queries[name])
        np.testing.assert_allclose(found, wanted, atol=0.05, err_msg=name)
        assert hasattr(made, "n_features_in_") == name.startswith("rows"), name


def test_one_image_alone(taught, drawn, tmp_path):
    (path,) = saved(drawn[2][:1], tmp_path)
    wanted = taught.predict_proba(drawn[2][:1])
    for alone in (path, str(path), Image.open(path)):
        assert np.array_equal(taught.predict_proba(alone), wanted)


def test_pictures_and_tables_are_told_apart():
    images = np.zeros((4, 8, 8), np.uint8)
    assert isinstance(gather(images), Items) and isinstance(gather(images.reshape(4, 64)), Rows)
    assert isinstance(gather(torch.zeros(3, 8, 8)), Items) and len(gather(torch.zeros(3, 8, 8)).images) == 3
    assert isinstance(gather([[1.0, 2.0], [3.0, 4.0]]), Rows) and isinstance(gather([]), Rows)
    assert isinstance(gather(np.zeros(5)), Rows) and isinstance(gather(np.zeros((5, 1))), Rows)
    assert gather([Path("a"), "b"]).images == [Path("a"), "b"]


def test_numbers_between_0_and_1_and_others():
    assert Levels.of([np.array([0.0, 0.5])]) == Levels(0.0, 1.0)
    assert Levels.of([np.array([2.0, 4.0]), np.array([-1.0])]) == Levels(-1.0, 4.0)
    assert Levels.of([np.array([5, 5])]) == Levels(5.0, 6.0)
    assert Levels.of([np.zeros(3, np.uint8)]) is None
    assert Levels(0.0, 16.0).to_uint8(np.array([0, 8, 16, 20])).tolist() == [0, 128, 255, 255]
    with pytest.raises(InputError, match="scale them alike"):
        Levels(0.0, 1.0).to_uint8(np.array([0.0, 255.0]))


def test_levels_are_those_that_were_taught():
    bright = Items([np.full((6, 6), 16.0), np.zeros((6, 6))])
    images, levels = pictures(bright, GREY, None, fitted=False)
    assert levels == Levels(0.0, 16.0) and images.max() == 255
    half, _ = pictures(Items([np.full((6, 6), 8.0)]), GREY, levels, fitted=True)
    assert (half == 128).all()
    later, _ = pictures(Items([np.full((6, 6), 51.0)]), GREY, None, fitted=True)
    assert (later == 51).all(), "0 .. 255, whatever the greatest number"


def test_a_table_fills_a_square_and_keeps_every_number_apart():
    rows = np.arange(10, dtype=np.uint8).reshape(2, 5) * 20
    images, _ = tables(rows, Recipe(size=6, polarity="auto"), None, fitted=False)
    assert images.shape == (2, 1, 6, 6)
    assert images[1, 0, ::2, ::2].ravel().tolist() == [100, 120, 140, 160, 180, 0, 0, 0, 0]


def test_colour_rows_keep_their_colours():
    rows = np.zeros((1, 8, 8, 3), np.uint8)
    rows[..., 2] = 200
    found, _ = tables(rows.reshape(1, -1), COLOUR, None, fitted=False)
    assert found[0, 2].min() == 200 and found[0, :2].max() == 0


def test_what_cannot_be_read_is_told(taught, drawn):
    for X, sentence in (
        ([Path("nowhere.png")], "no image nowhere.png"),
        (np.zeros((2, 3, 4, 5, 6)), "at most 4 dimensions"),
        (np.zeros((2, 7, 8, 9)), r"not \[7, 8, 9\]"),
        (np.full((2, 8, 8), np.nan), "NaN"),
        (np.full((1, 8, 8), 3000.0), "scale them alike"),
        (np.zeros((2, 784)), "give images"),
        (np.zeros((0, 8, 8)), "no images"),
        (np.zeros((2, 8, 8), complex), "hold numbers"),
    ):
        with pytest.raises(InputError, match=sentence):
            taught.predict(X)
    rows = autometa.FewShotClassifier(steps=1).fit(drawn[0].reshape(5, -1), drawn[1])
    with pytest.raises(InputError, match="give rows"):
        rows.predict(drawn[2])
    with pytest.raises(ValueError, match="inconsistent numbers of samples|need 4 labels"):
        autometa.FewShotClassifier().fit(drawn[0], drawn[1][:4])
