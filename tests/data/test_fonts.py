"""Characters in print: which fonts, which of their characters, how they are drawn, and on which side of a split."""

import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from autometa.data import DataError, fonts
from autometa.data.catalogue import open_dataset
from autometa.data.characters import NO_FONTS, VALIDATION
from autometa.data.scripts import EUROPEAN, SCRIPTS
from autometa.data.store import ImageStore

EVALUATION = "ETHIOPIC GLAGOLITIC GURMUKHI KANNADA MALAYALAM MEETEI MONGOLIAN ORIYA SYLOTI SYRIAC TIBETAN AVESTAN"
"""Unicode's names of the scripts that Omniglot's evaluation alphabets are of."""


@pytest.fixture(scope="module")
def some(tmp_path_factory) -> Path:
    """A folder of some fonts, those that matplotlib brings."""
    matplotlib = pytest.importorskip("matplotlib")
    folder = tmp_path_factory.mktemp("fonts")
    for file in (Path(matplotlib.get_data_path()) / "fonts" / "ttf").glob("DejaVuS*.ttf"):
        shutil.copy(file, folder)
    return folder


def test_alphabets_are_apart_and_none_is_judged_on():
    everything = "".join(SCRIPTS.values())
    assert len(set(everything)) == len(everything) and set(EUROPEAN) < set(SCRIPTS)
    words = {unicodedata.name(character).split()[0] for character in everything}
    assert not words & set(EVALUATION.split())
    assert all(unicodedata.category(character)[0] in "LNSP" for character in everything)


def test_fonts_are_found_by_folder_and_by_pattern(some, tmp_path):
    found = fonts.find_fonts(f"{some}/")
    assert {font.family for font in found} == {"DejaVu Sans", "DejaVu Sans Display", "DejaVu Sans Mono", "DejaVu Serif",
                                               "DejaVu Serif Display"}  # fmt: skip
    assert fonts.find_fonts(f"{some}/") == found and len({font.sha256 for font in found}) == len(found)
    mono = fonts.find_fonts("dejavu sans mono", [some])
    assert {font.family for font in mono} == {"DejaVu Sans Mono"} and len(mono) == 4
    assert set(fonts.find_fonts("*Mono*, DejaVuSerif.ttf", [some])) > set(mono)
    shutil.copy(mono[0].path, tmp_path / "again.ttf")
    assert len(fonts.find_fonts("*", [some, tmp_path])) == len(found)


def test_what_is_no_font_is_left_out_and_none_is_told(some, tmp_path):
    (tmp_path / "damaged.ttf").write_bytes(next(some.iterdir()).read_bytes()[:999])
    (tmp_path / "text.otf").write_text("no font")
    (tmp_path / "folder.ttf").mkdir()
    with pytest.raises(DataError, match=r"no font fits '\*' .*install some, or name a folder"):
        fonts.find_fonts("*", [tmp_path])
    with pytest.raises(DataError, match="is no folder of fonts"):
        open_dataset(f"fonts:{tmp_path}/nothing")
    with pytest.raises(DataError, match="no font fits 'No Such Family'"):
        open_dataset("fonts:No Such Family")


def test_a_character_is_ink_in_the_middle_and_a_lacking_one_is_none(some):
    font = next(font for font in fonts.find_fonts(f"{some}/") if font.name == "DejaVu Sans Book")
    image, lacking, empty = fonts.printed(font, "Lあ ", 28)
    assert lacking is None and empty is None and image.dtype == np.uint8 and image.shape == (28, 28)
    rows, columns = np.flatnonzero(image.max(axis=1)), np.flatnonzero(image.max(axis=0))
    assert len(rows) == round(28 * fonts.FILLED) and rows[0] == (28 - len(rows)) // 2
    assert len(columns) < len(rows) and abs(columns[0] - (27 - columns[-1])) <= 1
    assert image[rows[-1], columns].mean() > 200 and image[rows[0], columns].mean() < 100  # an L, not upside down
    assert fonts.printed(font, SCRIPTS["Hiragana"], 28) == [None] * 46


def test_a_store_of_fonts(some, monkeypatch):
    store, split = open_dataset(f"fonts:{some}/", size=20)
    names = set(store.class_names)
    assert {"Digits/U+0037", "Latin small/U+0061", "Greek capitals/U+03A9", "Armenian small/U+0561"} <= names
    assert np.diff(store.class_start).min() >= fonts.LEAST and "DejaVu Serif" in store.notice
    seven = store.class_ids(["Digits/U+0037"])[0]
    images = store.images[store.class_start[seven] : store.class_start[seven + 1]]
    assert len(np.unique(images.reshape(len(images), -1), axis=0)) == len(images) >= 12
    parts = [{store.groups[c] for c in part} for part in (split.train, split.val, split.test)]
    assert all(parts) and not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]
    assert not (parts[1] | parts[2]) & set(EUROPEAN) and split.train_rotations == 1
    monkeypatch.setattr(fonts, "drawn_classes", None)  # a second opening renders nothing
    assert open_dataset(f"fonts:{some}/", size=20)[0].data_hash == store.data_hash


def test_few_scripts_divide_by_characters(some):
    store, split = open_dataset(f"fonts:{some}/", size=20)
    latin = [c for c, group in enumerate(store.groups) if group in EUROPEAN]
    few = ImageStore(
        store.path,
        store.name,
        store.images,
        tuple(store.class_names[c] for c in latin),
        store.class_start,
        tuple(store.groups[c] for c in latin),
        tuple(store.parts[c] for c in latin),
        store.recipe,
        store.data_hash,
    )
    split = fonts.fonts_split(few)
    together = np.concatenate([split.train, split.val, split.test])
    assert sorted(together) == list(range(len(latin))) and min(map(len, (split.val, split.test))) >= 20


def test_too_few_fonts_are_told(some, tmp_path):
    for file in sorted(some.iterdir())[:3]:
        shutil.copy(file, tmp_path)
    with pytest.raises(DataError, match="no character is in 4 of these 3 fonts; name more of them"):
        open_dataset(f"fonts:{tmp_path}/")


@pytest.mark.parametrize("printed", [True, False])
def test_characters_are_drawn_and_printed_ones_together(some, omniglot_root, printed):
    store, split = open_dataset(f"characters:{some}/" if printed else f"characters:{NO_FONTS}", root=omniglot_root)
    groups = np.array(store.groups)
    train, test = set(groups[split.train]), set(groups[split.test])
    assert {"Greek", "Strokes000", *VALIDATION} <= train and ("Digits" in train) == printed and "Tengwar" in test
    held = set(groups[split.val])
    assert len(test) == 20 and not train & test and held > set(VALIDATION) and len(held) == 4 * len(VALIDATION)
    without = set(groups[split.without_val().train])
    assert not without & held and without | held == train
    one, turned = (
        store.images[store.class_start[c]] for c in store.class_ids(["Greek/character03", "Greek turned 1/character03"])
    )
    assert np.array_equal(np.rot90(one, 1, axes=(1, 2)), turned)
    store.verify()
