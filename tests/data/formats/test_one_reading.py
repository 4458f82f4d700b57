"""One reading of folders and names for all commands: pictures below a class folder, names in either Unicode form."""

import json
import os
import pickle
import unicodedata
import zipfile

import numpy as np
import pytest

from autometa.api.predicting import image_files
from autometa.data import DataError, ImageStore, Recipe, load_class_folder, open_dataset
from autometa.data.folders import class_split
from autometa.data.formats.recognise import recognise
from autometa.data.prepare import prepare
from autometa.errors import InputError
from tests.data.formats.test_class_folders import fill, picture

PLAIN = Recipe(1, 6, "box", "as-is")


def nfd(text):
    return unicodedata.normalize("NFD", text)


def draw(folder, *names):
    for value, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        picture(value).save(folder / name, "PNG")
    return folder


def test_pictures_whose_suffix_says_nothing_are_taken_by_their_content(tmp_path):
    draw(
        tmp_path, "oak/1.png", "oak/photo", "oak/2.jpg_large", "oak/3.png.download", "oak/.hidden", "elm/4", "elm/5.txt"
    )
    (tmp_path / "elm/notes").write_text("no picture")
    (tmp_path / "elm/folder.of").mkdir()
    os.mkfifo(tmp_path / "elm/pipe")
    images, labels, names = load_class_folder(tmp_path, PLAIN)
    assert names == ("elm", "oak") and labels.tolist() == [0, 1, 1, 1, 1] and len(images) == 5
    (tmp_path / "elm/6").write_bytes(b"\0\0\0\x18ftypheic" + bytes(20))
    with pytest.raises(DataError, match="elm/6 is an HEIF picture by its content"):
        load_class_folder(tmp_path, PLAIN)


LAYOUTS = {
    "images below a class": (["oak/images/1.JPEG", "oak/images/2.JPEG", "elm/images/1.JPEG"], {"elm": 1, "oak": 2}),
    "one class of such": (["oak/images/1.png"], {"oak": 1}),
    "alike whatever they are called": (["oak/raw/1.png", "elm/raw/1.png"], {"elm": 1, "oak": 1}),
    "several folders below": (["oak/images/1.png", "oak/masks/1.png", "elm/images/2.png"], {"elm": 1, "oak": 2}),
    "some deeper than others": (["oak/1.png", "oak/more/2.png", "elm/a/b/c/3.png"], {"elm": 1, "oak": 2}),
    "deep": (["oak/2023/may/1.png", "elm/2024/june/1.png", "elm/2024/july/2.png"], {"elm": 2, "oak": 1}),
    "groups": (["Greek/a/1.png", "Greek/b/1.png", "Latin/a/1.png"], {"Greek/a": 1, "Greek/b": 1, "Latin/a": 1}),
    "one folder alone": (["set/images/oak/1.png", "set/images/elm/1.png"], {"elm": 1, "oak": 1}),
    "what a Mac leaves": (["oak/1.png", "oak/._1.png", "elm/1.png", "__MACOSX/oak/1.png"], {"elm": 1, "oak": 1}),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_search_and_adapt_read_the_same(tmp_path, layout):
    files, wanted = LAYOUTS[layout]
    draw(tmp_path / "mine", *files)
    found = recognise(tmp_path / "mine")
    assert {c.name: len(c.images) for c in found.classes} == wanted
    images, labels, names = load_class_folder(tmp_path / "mine", PLAIN)
    assert {name: int((labels == k).sum()) for k, name in enumerate(names)} == wanted
    assert [int(image[0, 0, 0]) for image in images] == [
        files.index(str(i.path.relative_to(tmp_path / "mine"))) for c in found.classes for i in c.images
    ]
    assert set(image_files([tmp_path / "mine"])) == {i.path for c in found.classes for i in c.images}


def test_parts_of_class_folders_with_images_below(tmp_path):
    draw(tmp_path, "train/a/images/1.png", "train/b/images/1.png", "val/v/images/1.png", "test/t/images/1.png")
    assert [(c.part, c.name) for c in recognise(tmp_path).classes] == [
        ("train", "a"),
        ("train", "b"),
        ("val", "v"),
        ("test", "t"),
    ]


def test_where_no_reading_fits_what_is_there_is_named(tmp_path):
    draw(tmp_path / "tiny", "train/n01/images/1.png", "train/n02/images/1.png", "val/images/1.png", "test/images/1.png")
    (tmp_path / "tiny/val/val_annotations.txt").write_text("1.png n01")
    (tmp_path / "bare").mkdir()
    draw(tmp_path / "bare", "1.png", "2.png")
    (tmp_path / "bare/notes.txt").write_text("x")
    draw(tmp_path / "half", "a/1.png")
    (tmp_path / "half/b").mkdir()
    (tmp_path / "half/b/1.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    for name, says in {
        "tiny": r"val has no class folders but 1 file of .txt, 1 folder \(images\)",
        "bare": "bare has no sub-folders but 2 pictures, 1 file of .txt",
        "half": "class folder .*b has no image .* but 1 file of .txt",
        "empty": "but nothing",
    }.items():
        for read in (recognise, load_class_folder):
            with pytest.raises(DataError, match=says) as told:
                read(tmp_path / name)
            assert "remove" not in str(told.value) and "\n" not in str(told.value)
    with pytest.raises(InputError, match="b holds no image but 1 file of .txt"):
        image_files([tmp_path / "half/b"])


def test_links_lead_anywhere_but_in_a_circle(tmp_path):
    draw(tmp_path / "mine", "a/1.png", "b/1.png")
    draw(tmp_path / "elsewhere", "2.png")
    (tmp_path / "mine/a/more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "mine/a/again").symlink_to(tmp_path / "mine")
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "mine/a")
    assert [(c.name, len(c.images)) for c in recognise(tmp_path / "mine").classes] == [("a", 2), ("b", 1)]


def test_tables_take_absolute_paths_below_them(tmp_path):
    folder = draw(tmp_path / "set", "p/1.png", "p/2.png")
    (tmp_path / "link").symlink_to(folder)
    rows = ["file,label", f"{folder}/p/1.png,a", f"{tmp_path}/link/p/2.png,b"]
    (folder / "all.csv").write_text("\n".join(rows))
    found = recognise(folder)
    assert [(c.name, c.images[0].path) for c in found.classes] == [("a", folder / "p/1.png"), ("b", folder / "p/2.png")]
    (folder / "all.csv").write_text("file,label\n../set/p/1.png,a\n")
    assert recognise(folder).classes[0].images[0].path == folder / "p/1.png"
    for outside in (f"{tmp_path}/set2/1.png", "/etc/passwd", "../other.png", f"{folder}/../other.png"):
        (folder / "all.csv").write_text(f"file,label\n{outside},a\n")
        with pytest.raises(DataError, match="line 2: .* is not below the table's folder"):
            recognise(folder)


NAMES = ["Äpfel", "Birne", "Éclair", "Çava", "Ñandú", "Übung", "ö", "Gurke", "é", "zebra"]


@pytest.mark.parametrize("form", ("NFC", "NFD"))
def test_a_copy_in_the_other_form_is_the_same_set(tmp_path, form):
    def named(text):
        return unicodedata.normalize(form, text)

    fill(tmp_path / "set", {named(name): 2 for name in NAMES})
    store, split = open_dataset(tmp_path / "set", size=4, variant="grey")
    assert list(store.class_names) == sorted(NAMES)
    by_hand = class_split(sorted(NAMES), [""] * len(NAMES))
    assert split.test.tolist() == by_hand.test.tolist() and split.val.tolist() == by_hand.val.tolist()
    for number, name in enumerate(sorted(NAMES)):
        assert store.images[2 * number, 0, 0, 0] == 20 * NAMES.index(name)
    rows = [f"set/{named(name)}/000.png,{named(name)}" for name in NAMES]
    (tmp_path / "table.csv").write_text("\n".join(["file,label", *rows]), encoding="utf-8")
    found = recognise(tmp_path / "table.csv")
    assert [c.name for c in found.classes] == sorted(NAMES)


def test_a_class_in_two_parts_is_seen_in_either_form(tmp_path):
    draw(tmp_path / "set", "train/é/1.png", "train/b/1.png", f"test/{nfd('é')}/1.png", "test/c/1.png")
    with pytest.raises(DataError, match="class 'é' in both train and test"):
        recognise(tmp_path / "set")
    assert [len(c.images) for c in recognise(tmp_path / "set", force=True).classes if c.name == "é"] == [2]
    rows = ["file,label,split", "1.png,é,train", f"2.png,{nfd('é')},train", "3.png,b,test"]
    draw(tmp_path / "counted", "1.png", "2.png", "3.png")
    (tmp_path / "counted/all.csv").write_text("\n".join(rows), encoding="utf-8")
    assert recognise(tmp_path / "counted").split.startswith("1 / 0 / 1 classes")
    rows = ["file,label,split", "1.png,é,train", f"2.png,{nfd('é')},test"]
    draw(tmp_path / "table", "1.png", "2.png")
    (tmp_path / "table/all.csv").write_text("\n".join(rows), encoding="utf-8")
    with pytest.raises(DataError, match="in several parts"):
        recognise(tmp_path / "table")


def test_one_class_in_two_forms_is_one(tmp_path):
    draw(tmp_path / "set", "é/1.png", f"{nfd('é')}/2.png", "b/3.png")
    assert [(c.name, len(c.images)) for c in recognise(tmp_path / "set").classes] == [("b", 1), ("é", 2)]
    _, labels, names = load_class_folder(tmp_path / "set", PLAIN)
    assert names == ("b", "é") and np.bincount(labels).tolist() == [1, 2]


def test_files_are_found_in_the_other_form(tmp_path):
    draw(tmp_path / "set", f"{nfd('Bäume')}/{nfd('é')}.png")
    (tmp_path / "set/all.csv").write_text("file,label\nBäume/é.png,a\n", encoding="utf-8")
    assert recognise(tmp_path / "set").classes[0].images[0].read(PLAIN).shape == (1, 6, 6)
    for part in ("train", "val", "test"):
        draw(tmp_path / "ravi", f"images/{nfd(part + 'é')}.png")
        (tmp_path / f"ravi/{part}.csv").write_text(f"filename,label\n{part}é.png,{nfd(part + 'ü')}\n", encoding="utf-8")
    found = recognise(tmp_path / "ravi")
    assert [c.name for c in found.classes] == ["trainü", "valü", "testü"]
    with zipfile.ZipFile(tmp_path / "ravi.zip", "w") as archive:
        for file in (tmp_path / "ravi").rglob("*.*"):
            archive.write(file, file.relative_to(tmp_path / "ravi"))
    assert [c.name for c in recognise(tmp_path / "ravi.zip").classes] == ["trainü", "valü", "testü"]


def test_pickles_and_torchmeta_files(tmp_path):
    (tmp_path / "pickles").mkdir()
    for part, name in (("train", "é"), ("val", "ü"), ("test", "ö")):
        content = {"image_data": np.zeros((2, 4, 4, 3), np.uint8), "class_dict": {nfd(name): [0, 1]}}
        (tmp_path / f"pickles/mini-imagenet-cache-{part}.pkl").write_bytes(pickle.dumps(content))
    assert [c.name for c in recognise(tmp_path / "pickles").classes] == ["é", "ü", "ö"]
    h5py = pytest.importorskip("h5py")
    (tmp_path / "cub").mkdir()
    for part, name in (("train", "é"), ("val", "ü"), ("test", "ö")):
        with h5py.File(tmp_path / f"cub/{part}_data.hdf5", "w") as file:
            file.create_group("datasets")[nfd(name)] = np.zeros((2, 4, 4, 3), np.uint8)
        (tmp_path / f"cub/{part}_labels.json").write_text(json.dumps([name]))
    found = recognise(tmp_path / "cub")
    assert [c.name for c in found.classes] == ["é", "ü", "ö"]
    assert found.classes[0].images[0].read(PLAIN).shape == (1, 6, 6)


def test_earlier_runs_keep_their_names_and_split(tmp_path):
    names = [nfd(name) for name in NAMES]
    fill(tmp_path / "set", dict.fromkeys(names, 2))
    old, split = open_dataset(tmp_path / "set", size=4, variant="grey", reading=1)
    new, other = open_dataset(tmp_path / "set", size=4, variant="grey")
    assert list(old.class_names) == sorted(names) and list(new.class_names) == sorted(NAMES)
    assert old.data_hash != new.data_hash and old.path != new.path
    by_hand = class_split(sorted(names), [""] * len(names), reading=1)
    assert split.test.tolist() == by_hand.test.tolist()
    assert [sorted(names)[k] for k in split.test] != [nfd(sorted(NAMES)[k]) for k in other.test], (
        "else this shows nothing"
    )
    draw(tmp_path / "below", "oak/images/1.png", "elm/images/1.png")
    assert [c.name for c in recognise(tmp_path / "below", reading=1).classes] == ["elm/images", "oak/images"]
    store, _ = open_dataset(old.path, size=4)
    assert sorted(store.class_names) == sorted(NAMES) and ImageStore.open(old.path).class_names == old.class_names


def test_names_in_one_form_change_nothing(tmp_path):
    fill(tmp_path / "set", {"Äpfel": 2, "b": 1})
    assert recognise(tmp_path / "set", reading=1) == recognise(tmp_path / "set")
    assert prepare(tmp_path / "set", size=5, reading=1).store.path == prepare(tmp_path / "set", size=5).store.path
