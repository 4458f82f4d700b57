"""Tables of files and labels."""

import csv
import io
import json
import os
import pickle
import string

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from autometa.data import DataError, Recipe
from autometa.data.formats.table import FILE, LABEL, MISSING, PART, detect

HOW = Recipe(3, 4, "box", "as-is")
FILES = ["a/1.png", "a/2 3.png", "b/ä.png", "4.png"]
ROWS = list(zip(FILES, ["cat", "dog", "cat", "owl"], ["train", "val", "train", "test"], strict=True))


def draw(folder, names=FILES):
    """One picture per name, in a colour of its own."""
    for value, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (value, 7, 255 - value)).save(folder / name)


@pytest.fixture
def small(tmp_path):
    folder = tmp_path / "my photos"
    draw(folder)
    return folder


def write(path, rows=ROWS, header=("filename", "label", "split"), delimiter=","):
    text = io.StringIO()
    if path.suffix == ".jsonl":
        text.writelines(json.dumps(dict(zip(header, row, strict=False))) + "\n" for row in rows)
    else:
        delimiter = "\t" if path.suffix == ".tsv" else delimiter
        csv.writer(text, delimiter=delimiter).writerows([header, *(row[: len(header)] for row in rows)])
    path.write_text(text.getvalue(), encoding="utf-8")
    return path


def read_back(found):
    """{class: (part, red of each image)}."""
    return {
        entry.name: (entry.part, [int(image.read(HOW)[0, 0, 0]) for image in entry.images]) for entry in found.classes
    }


PARTED = {"cat": ("train", [0, 2]), "dog": ("val", [1]), "owl": ("test", [3])}


@pytest.mark.parametrize("name", ("labels.csv", "my labels.tsv", "labels.jsonl"))
@pytest.mark.parametrize("by_folder", (False, True), ids=("table", "folder"))
def test_tables_end_in_their_classes_and_pixels(small, name, by_folder):
    table = write(small / name)
    found = detect(small if by_folder else table)
    assert read_back(found) == PARTED and [entry.name for entry in found.classes] == ["cat", "dog", "owl"]
    assert (found.format, found.name, found.variant) == ("table", "my photos", "colour")
    assert found.split == f"1 / 1 / 1 classes as in {name}"
    source = pickle.loads(pickle.dumps(found.classes[0].images[0]))
    assert np.array_equal(source.read(HOW)[:, 0, 0], [0, 7, 255])
    write(table, header=("filename", "label"))
    unparted = detect(small)
    assert read_back(unparted) == {name: ("", reds) for name, (_, reds) in PARTED.items()} and unparted.split == ""
    assert unparted.fingerprint != found.fingerprint


@pytest.mark.parametrize("file", FILE)
@pytest.mark.parametrize("label", LABEL)
def test_the_usual_names_of_columns(small, file, label):
    rows = [("x", row[1], row[0]) for row in ROWS]
    table = write(small / "t.csv", rows, ("weight", label.upper().replace("_", " "), f" {file.title()}"))
    assert {name: reds for name, (_, reds) in read_back(detect(table)).items()} == {
        "cat": [0, 2],
        "dog": [1],
        "owl": [3],
    }


@pytest.mark.parametrize("part", PART)
@pytest.mark.parametrize("words", (("Training", "valid", "testing"), ("TRAIN", "validation", "eval")))
def test_the_usual_names_of_parts(small, part, words):
    meant = dict(zip(("train", "val", "test"), words, strict=True))
    table = write(small / "t.csv", [(*row[:2], meant[row[2]]) for row in ROWS], ("path", "species", part))
    assert read_back(detect(table)) == PARTED


def test_semicolons_byte_order_mark_backslashes_and_numbers(small):
    rows = [(name.replace("/", "\\"), number, part) for number, (name, _, part) in enumerate(ROWS)]
    table = write(small / "t.csv", rows, ("file", "class", "split"), delimiter=";")
    table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes())
    assert read_back(detect(table)) == {"0": ("train", [0]), "1": ("val", [1]), "2": ("train", [2]), "3": ("test", [3])}
    assert read_back(detect(write(small / "t.jsonl", rows))) == read_back(detect(table))


def test_a_semicolon_in_a_header_of_commas_parts_nothing(small):
    table = write(small / "t.csv", [(*row, "x") for row in ROWS], ("file", "class", "split", "size;weight"))
    assert read_back(detect(table)) == PARTED


def test_one_table_per_part(small):
    for name, part in (("train", "train"), ("valid", "val"), ("test", "test")):
        write(small / f"{name}.csv", [row for row in ROWS if row[2] == part], ("file", "label"))
    found = detect(small)
    assert read_back(found) == PARTED and found.split == "1 / 1 / 1 classes as in test.csv, train.csv, valid.csv"
    write(small / "more.csv")
    with pytest.raises(DataError, match="several tables of images .more.csv, test.csv.*name the one you mean"):
        detect(small)
    assert read_back(detect(small / "more.csv")) == PARTED


WORDS = st.text(string.ascii_letters + "äß ,;'\"é語", min_size=1, max_size=6).map(str.strip)
WORDS = WORDS.filter(lambda word: word and word.lower() not in MISSING)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    labels=st.lists(WORDS, min_size=1, max_size=12),
    suffix=st.sampled_from([".csv", ".tsv", ".jsonl"]),
    order=st.permutations(range(3)),
)
def test_any_table_is_read_as_by_hand(tmp_path_factory, labels, suffix, order):
    folder = tmp_path_factory.mktemp("any")
    names = [f"i {k}.png" for k in range(len(labels))]
    draw(folder, names)
    rows = [[(name, label, "note")[k] for k in order] for name, label in zip(names, labels, strict=True)]
    table = write(folder / f"t{suffix}", rows, [("path", "category", "remark")[k] for k in order])
    by_hand = {label: ("", [k for k, other in enumerate(labels) if other == label]) for label in sorted(set(labels))}
    assert read_back(detect(table)) == by_hand


def test_the_fingerprint_follows_table_and_files(small):
    table = write(small / "t.csv")
    first = detect(table).fingerprint
    assert detect(small).fingerprint == first
    Image.new("RGB", (9, 9)).save(small / "4.png")
    second = detect(table).fingerprint
    write(table, [*ROWS[:3], ("4.png", "elk", "test")])
    assert len({first, second, detect(table).fingerprint}) == 3


def test_other_layouts_are_left_alone(small):
    assert detect(small) is None and detect(small / "4.png") is None and detect(small / "none.csv") is None
    (small / "notes.csv").write_text("date,weather\nmonday,sun\n")
    (small / "broken.jsonl").write_text("[[[")
    (small / "list.jsonl").write_text("3\n")
    assert detect(small) is None
    assert detect(write(small / "t.csv")) is not None and read_back(detect(small)) == PARTED


HEAD = "filename,label,split\na/1.png,cat,train\n4.png,owl,test\n"
BAD = {
    "empty": ("t.csv", "", "t.csv is empty; its first line names the columns"),
    "header only": ("t.csv", "filename,label\n", "lists no image; add one row per image"),
    "empty json": ("t.jsonl", "\n", "lists no image"),
    "no file column": (
        "t.csv",
        "weather,label\na,b\n",
        "no column of image files but 'weather, label'; name it one of fi",
    ),
    "no label column": (
        "t.csv",
        "filename,weather\na,b\n",
        "no column of labels but 'filename, weather'; name it one of la",
    ),
    "no header": ("t.csv", "a/1.png,cat\n", "no column of image files but 'a/1.png, cat'"),
    "two label columns": ("t.csv", "file,label,label\n4.png,a,b\n", "has two columns 'label'; rename one"),
    "ragged": ("t.csv", HEAD + "a,b\n", "line 4: 2 cells under 3 columns; mend that row"),
    "open quote": ("t.csv", HEAD + '"a', "damaged near line"),
    "binary": ("t.csv", "filename,label\n\0,b\n", "holds binary data"),
    "web page": ("t.csv", "<html>\n<body>quota</body>\n", "no column of image files but '<html>'"),
    "no file": ("t.csv", HEAD + ",cat,train\n", "line 4: '' is no file name"),
    "no label": ("t.csv", HEAD + "b/ä.png,,train\n", "line 4: '' is no label"),
    "no part": ("t.csv", HEAD + "b/ä.png,cat,\n", "line 4: '' is no part; write train, val, test"),
    "odd part": ("t.csv", HEAD + "b/ä.png,cat,holdout\n", "line 4: 'holdout' is no part"),
    "climbing": ("t.csv", HEAD + "../x.png,cat,train\n", "'../x.png' is not below the table's folder; write paths rel"),
    "climbing, backslash": ("t.csv", HEAD + "a\\..\\..\\x.png,cat,train\n", "is not below the table's folder"),
    "absolute": ("t.csv", HEAD + "/etc/passwd,cat,train\n", "'/etc/passwd' is not below the table's folder"),
    "drive": ("t.csv", HEAD + "C:\\x.png,cat,train\n", "is not below the table's folder"),
    "missing": (
        "t.csv",
        HEAD + "gone.png,cat,train\n",
        "1 of the 3 images are missing, the first is 'gone.png' .*line 4",
    ),
    "a folder": ("t.csv", HEAD + "a,cat,train\n", "1 of the 3 images are missing, the first is 'a'"),
    "long name": ("t.csv", HEAD + "x" * 5000 + ",cat,train\n", "1 of the 3 images are missing"),
    "duplicate": ("t.csv", HEAD + "./a/1.png,cat,train\n", "a/1.png was listed before .*line 2.; keep one of the rows"),
    "two labels": ("t.csv", HEAD + "4.png,cat,train\n", "4.png was listed before, as 'owl' and 'cat'"),
    "no test": (
        "t.csv",
        "file,label,split\n4.png,owl,train\n",
        "has no test classes; give some of its classes that part",
    ),
    "no train": ("t.csv", "file,label,split\n4.png,owl,test\n", "has no train classes"),
    "no json": ("t.jsonl", '{"file": "4.png", "label": 1}\n{', "line 2: no json .*; write one object per line"),
    "deep json": ("t.jsonl", "[" * 100_000, "line 1: no json"),
    "json list": ("t.jsonl", "[1, 2]\n", "line 1: a list instead of an object"),
    "key missing": (
        "t.jsonl",
        '{"file": "4.png", "label": 1}\n{"file": "a"}',
        "line 2: 'label' is missing; mend that line",
    ),
    "label is null": ("t.jsonl", '{"file": "4.png", "label": null}', "line 1: None is no label"),
    "label is true": ("t.jsonl", '{"file": "4.png", "label": true}', "line 1: True is no label"),
    "label is a list": ("t.jsonl", '{"file": "4.png", "label": ["a"]}', "is no label; write a word"),
    "label is NaN": ("t.jsonl", '{"file": "4.png", "label": NaN}', "line 1: nan is no label"),
    "label is nan": ("t.csv", HEAD + "b/ä.png,nan,train\n", "line 4: 'nan' is no label"),
    "label is <NA>": ("t.csv", HEAD + "b/ä.png,<NA>,train\n", "line 4: '<NA>' is no label"),
    "label with a line": ("t.jsonl", '{"file": "4.png", "label": "a\\nb"}', "is no label"),
    "part is null": ("t.jsonl", '{"file": "4.png", "label": "a", "split": null}', "'' is no part"),
    "file is a number": ("t.jsonl", '{"file": 4, "label": "a"}', "line 1: 4 is no file name"),
    "file with zero": ("t.jsonl", '{"file": "a\\u0000", "label": "a"}', "is not below the table's folder"),
    "file with a surrogate": ("t.jsonl", '{"file": "a\\ud800", "label": "a"}', "1 of the 1 images are missing"),
}


@pytest.mark.parametrize("kind", BAD)
def test_damaged_tables_are_told(small, kind):
    name, text, message = BAD[kind]
    (small / name).write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message) as told:
        detect(small / name)
    assert str(told.value).isprintable() and name in str(told.value)


def test_text_that_is_not_utf_8_is_told(small):
    (small / "t.csv").write_bytes("filename,label\nb/ä.png,a\n".encode("latin-1"))
    with pytest.raises(DataError, match="t.csv is not UTF-8 text.*save the table as UTF-8"):
        detect(small)


def test_a_loop_of_links_is_told(small):
    os.symlink("loop.png", small / "loop.png")
    with pytest.raises(DataError, match="1 of the 1 images are missing, the first is 'loop.png'"):
        detect(write(small / "t.csv", [("loop.png", "cat", "train")]))


def test_a_damaged_image_is_named_when_it_is_read(small):
    found = detect(write(small / "t.csv"))
    (small / "4.png").write_bytes(b"")
    with pytest.raises(DataError, match="4.png cannot be read as an image"):
        found.classes[-1].images[0].read(HOW)
