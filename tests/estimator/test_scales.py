"""Numbers of another scale than those fitted, one picture as an array, labels, and pictures as bytes."""

import io
import warnings

import numpy as np
import pytest
import torch
from PIL import EpsImagePlugin, Image

import autometa
from autometa.data import Recipe
from autometa.errors import InputError
from autometa.estimator import base
from autometa.estimator.inputs import FittedForm, Items, gather, pictures, tables
from autometa.estimator.scales import Levels, levels_at_prediction
from tests.estimator.drawings import saved

RECIPE = Recipe(size=8, polarity="as-is")
SHADES = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
UNIT = SHADES / 255
SCALES = {
    "uint8": SHADES,
    "0 .. 255": SHADES.astype(np.float32),
    "0 .. 1": UNIT,
    "-1 .. 1": 2 * UNIT - 1,
    "standardised": (UNIT - 0.45) / 0.22,
    "16 bits": SHADES.astype(np.uint16) * 257,
    "0 .. 16": UNIT * 16,
    "-128 .. 127": SHADES.astype(np.float32) - 128,
}
FITTING = {("uint8", "0 .. 255"), ("uint8", "0 .. 1"), ("0 .. 255", "uint8"), ("0 .. 1", "uint8")}
FITTING |= {
    ("-128 .. 127", "uint8"),
    ("-1 .. 1", "uint8"),
    ("standardised", "uint8"),
    ("16 bits", "uint8"),
    ("0 .. 16", "uint8"),
}


@pytest.mark.parametrize("asked", SCALES)
@pytest.mark.parametrize("fitted", SCALES)
def test_another_scale_is_fitted_where_that_is_certain_and_refused_elsewhere(fitted, asked):
    _, levels = pictures(Items([SCALES[fitted]]), RECIPE, None, fitted=False)
    if fitted == asked or (fitted, asked) in FITTING:
        found, _ = pictures(Items([SCALES[asked]]), RECIPE, levels, fitted=True)
        slack = 2 if fitted in ("uint8", asked) or asked == "uint8" else 0
        stretched = (
            fitted in ("-1 .. 1", "standardised", "16 bits", "0 .. 16", "0 .. 255", "-128 .. 127") and asked == fitted
        )
        wanted = np.rint(UNIT / UNIT.max() * 255) if stretched else SHADES
        assert np.abs(found[0, 0].astype(int) - wanted).max() <= slack
        return
    with pytest.raises(InputError, match="hold numbers from .* to .*, those taught .* to .*; scale them alike"):
        pictures(Items([SCALES[asked]]), RECIPE, levels, fitted=True)


def test_after_files_the_numbers_are_those_of_files():
    for name in ("0 .. 255", "0 .. 1"):
        assert np.array_equal(pictures(Items([SCALES[name]]), RECIPE, None, fitted=True)[0][0, 0], SHADES)
    ink = np.where(SHADES > 99, 1, 0)
    for kind in (np.uint8, np.int64, bool, np.float32):
        found, _ = pictures(Items([ink.astype(kind)]), RECIPE, None, fitted=True)
        assert np.array_equal(found[0, 0], 255 * ink), kind
    for fitted in (False, True):
        both, levels = pictures(Items([ink.astype(np.uint8), SHADES]), RECIPE, None, fitted=fitted)
        assert np.array_equal(both[:, 0], [255 * ink, SHADES]) and levels is None


def test_what_overshoots_a_little_is_clipped_and_what_lies_within_is_taken():
    unit, digits, normal = Levels(0.0, 1.0), Levels(0.0, 16.0), Levels(-2.0, 2.5)
    for taught, low, high in (
        (unit, -0.1, 1.2),
        (digits, 0, 20),
        (digits, 0, 5),
        (normal, -2.3, 3),
        (normal, -1.2, 0.9),
        (None, -0.1, 1.1),
        (None, -20, 280),
        (Levels(0.0, 250.0), 0, 0),
        (Levels(-0.1, 1.1), 0, 1),
    ):
        levels_at_prediction(taught, [np.array([low, high], np.float32)])
    for taught, low, high in (
        (unit, -1, 1),
        (unit, 0, 255),
        (digits, 0, 1),
        (digits, -1, 1),
        (normal, 0, 1),
        (normal, -1, 1),
        (Levels(0.0, 255.0), 0, 16),
        (None, 0, 16),
        (None, -1, 1),
        (None, 0, 65535),
    ):
        with pytest.raises(InputError, match=f"from {low} to {high}, those taught"):
            levels_at_prediction(taught, [np.array([low, high], np.float32)])
    with pytest.raises(InputError, match="from 0 to 16, those taught 0 to 16"):
        levels_at_prediction(digits, [np.array([0, 16], np.uint8)])
    with pytest.raises(InputError, match="some images hold numbers from 0 to 1, others up to 200"):
        Levels.of([np.array([0.0, 0.5]), np.array([3.0, 200.0])])


def test_numbers_of_a_table_mean_the_same_in_every_type():
    rows = np.array([[0, 1, 0, 200, 3], [1, 1, 0, 0, 1]])
    _, levels = tables(rows.astype(np.uint8), RECIPE, None, fitted=False)
    wanted = tables(rows.astype(np.uint8), RECIPE, levels, fitted=True)[0]
    assert np.array_equal(tables(rows, RECIPE, levels, fitted=True)[0], wanted)
    assert np.array_equal(tables(rows[1:], RECIPE, levels, fitted=True)[0], wanted[1:]), "whatever the other rows"
    assert np.array_equal(tables(rows / 255, RECIPE, levels, fitted=True)[0], wanted)
    for kind in (np.uint8, bool, np.int64):
        assert tables(rows[1:].astype(kind), RECIPE, None, fitted=False)[0].max() == 255


ONE = {
    "colour last": (np.zeros((20, 24, 3), np.uint8), {(24, 20, 3), (3, 9, 9), None, (20, 24), (9, 9)}),
    "colour first": (np.zeros((3, 20, 24), np.uint8), {(3, 20, 24), (20, 24, 3)}),
    "grey": (np.zeros((20, 24), np.uint8), {(20, 24), (9, 9), None, (20, 24, 3)}),
    "a tensor": (torch.zeros(3, 20, 24), {(3, 20, 24)}),
}


@pytest.mark.parametrize("name", ONE)
def test_one_picture_as_an_array(name):
    picture, forms = ONE[name]
    for form in forms:
        assert len(gather(picture, FittedForm(form)).images) == 1, form
        assert len(gather(picture, FittedForm(form, labels=1)).images) == 1


def test_several_pictures_stay_several_and_what_may_be_either_is_told():
    three = np.zeros((3, 20, 24), np.uint8)
    for form in ((20, 24), (9, 9)):
        assert len(gather(three, FittedForm(form)).images) == 3, "grey pictures were fitted"
    assert len(gather(np.zeros((5, 20, 24)), FittedForm(None)).images) == 5
    assert len(gather(three, FittedForm(None, labels=3)).images) == 3 and len(gather(three).images) == 3
    for shape in ((20, 24, 2), (20, 24, 31), (24, 20, 5)):
        with pytest.raises(InputError, match=r"an image array is .* with C 1, 3 or 4, several are .*, not \[2"):
            gather(np.zeros(shape), FittedForm((20, 24)))
    with pytest.raises(InputError, match=r"\[3, 20, 24\] may be 3 pictures or one in 3 colours; give X\[:, None\]"):
        gather(three, FittedForm(None))
    assert len(gather(np.zeros((64, 64)), FittedForm((64, 64))).images) == 1


def test_one_picture_gets_one_answer(drawn, taught):
    colours = np.repeat(drawn[2][:1, :, :, None], 3, axis=3)
    wanted = taught.predict_proba(colours)
    for one in (colours[0], drawn[2][0]):
        np.testing.assert_allclose(taught.predict_proba(one), wanted, atol=1e-6)
    made = autometa.FewShotClassifier(steps=1).fit(np.repeat(drawn[0][:, None], 3, axis=1), drawn[1])
    assert made.predict_proba(torch.from_numpy(colours[0]).movedim(2, 0)).shape == (1, 5)
    with pytest.raises(InputError, match=r"X\[None\] for a single one"):
        taught.predict(np.zeros((64, 64), np.uint8))


LABELS = [
    ([1, "a"], "label 2 is 'a', label 1 1"),
    (["a", float("nan")], "label 2 is missing"),
    ([1.0, float("nan")], "label 2 is missing"),
    (np.array([1.0, np.nan]), "NaN|label nan"),
    (np.array(["a", None], dtype=object), "label 2 is missing"),
    ([True, 2], "label 2 is 2"),
    ([0.5, 1.5], "continuous|label 0.5 is no class"),
    ([float("inf"), 1.0], "infinity|label inf is no class"),
    ([1e300, 1.0], r"continuous|label 1e\+300 is no class"),
    ([b"\xff", "a"], "no text in UTF-8"),
    ([1j, 2], "label 1 is 1j"),
    (np.array(["2020", "2021"], "M8[Y]"), "not datetime64"),
    ([10**30, 1], "64 bits"),
    ([1, 2, 3], "inconsistent|need 2 labels"),
]
GOOD = [[1, 2], [1.0, 2.0], ["a", b"b"], [True, False], np.array([1, 2], object), [[1], [2]], ["nan", "a"]]


@pytest.mark.parametrize("there", [True, False])
def test_labels_are_the_same_with_and_without_scikit_learn(there, monkeypatch):
    if there:
        pytest.importorskip("sklearn")
    else:
        monkeypatch.setattr(base, "validate_data", None)
    for labels, sentence in LABELS:
        with pytest.raises(ValueError, match=sentence):
            base.check_labels(object(), labels, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [base.check_labels(object(), labels, 2) for labels in GOOD]
    assert [f.tolist() for f in found] == [[1, 2], [1, 2], ["a", "b"], [True, False], [1, 2], [1, 2], ["nan", "a"]]
    assert [f.dtype.kind for f in found] == list("ifUbiiU")


def test_contents_are_pictures_and_the_rest_is_refused_by_kind(taught, drawn, tmp_path, monkeypatch):
    (path,) = saved(drawn[2][:1], tmp_path)
    wanted, content = taught.predict_proba(path), path.read_bytes()
    with open(path, "rb") as file:
        for X in (
            content,
            [bytearray(content)],
            memoryview(content),
            io.BytesIO(content),
            [file],
            [file],
            [content, path],
        ):
            assert np.array_equal(taught.predict_proba(X)[:1], wanted)
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *given, **also: pytest.fail("a program was started"))
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"
    with open(path, encoding="latin-1") as text:
        for X, sentence in (
            (bytes(10**5), "image 1 cannot be read as an image"),
            (eps, "of no image format that is read here"),
            (Image.open(io.BytesIO(eps)), "format EPS is not decoded here"),
            (Image.open(io.BytesIO(content[: len(content) // 2])), "image 1 cannot be read as an image"),
            ([path, "x" * 10**5], r"x{60}\.\.\. \(100,000 characters\)"),
            (text, "image 1 was opened as text"),
            (None, "not None"),
            (5, "not of type int"),
            ({"a": path}, "not of type dict"),
            (iter([path]), "not of type list_iterator"),
            ([path, 5], "image 2 is of type int"),
            ([path, None], "image 2 is None"),
            (np.array([path, None], dtype=object), "image 2 is None"),
        ):
            with pytest.raises(InputError, match=sentence) as told:
                taught.predict(X)
            assert len(str(told.value)) < 300
