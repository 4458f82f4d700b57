"""Ravi & Larochelle's csv tables beside a folder of images, in a folder or a zip archive."""

import csv
import io
import pickle
import shutil
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from autometa.data import DataError, Recipe
from autometa.data.formats import mini_imagenet
from autometa.data.formats.ravi_csv import detect
from autometa.data.formats.table import MISSING
from autometa.data.names import composed
from tests.data.formats.parted_sets import AS_IS, PARTS, assert_same, random_parts, shared_data


def write_set(folder, parts):
    (folder / "images").mkdir(parents=True)
    for part, classes in parts.items():
        rows = ["filename,label"]
        for label, images in classes.items():
            for number, pixels in enumerate(images):
                Image.fromarray(pixels).save(folder / "images" / f"{label}_{number}.png")
                rows.append(f"{label}_{number}.png,{label}")
        (folder / f"{part}.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


def pack(folder, archive, prefix="", method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(archive, "w", method) as packed:
        for file in sorted(folder.rglob("*")):
            packed.write(file, prefix + file.relative_to(folder).as_posix())
    return archive


@pytest.fixture
def small(tmp_path):
    return write_set(tmp_path / "set", random_parts(size=6))


SMALL = Recipe(3, 6, "box", "as-is")


def test_a_folder_ends_in_its_classes_and_pixels(tmp_path):
    parts = random_parts()
    found = detect(write_set(tmp_path / "my set", parts))
    assert_same(found, parts)
    assert (found.format, found.name, found.variant) == ("Ravi & Larochelle csv", "my set", "colour")
    assert found.split.startswith("3 / 2 / 2 classes as in train.csv") and "not Ravi" in found.split


@pytest.mark.parametrize("prefix", ("", "mini imagenet/", "ä/b/"))
@pytest.mark.parametrize("method", (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED), ids=("stored", "deflated"))
def test_a_zip_ends_in_the_same(small, tmp_path, prefix, method):
    found = detect(pack(small, tmp_path / "packed.zip", prefix, method))
    assert_same(found, random_parts(size=6), SMALL)
    assert found.name == "packed"
    source = pickle.loads(pickle.dumps(found.classes[-1].images[-1]))
    assert np.array_equal(source.read(SMALL), found.classes[-1].images[-1].read(SMALL))
    assert len(pickle.dumps(source)) < 500 and source.name.endswith("images/ntest1_3.png")


LABEL = st.text(st.characters(exclude_categories=("C", "Z"), exclude_characters='/\\,"'), min_size=1, max_size=8)
LABEL = LABEL.map(composed).filter(lambda text: text.lower() not in MISSING)  # as names are read


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), zipped=st.booleans(), quoted=st.booleans(), bom=st.booleans())
def test_any_set_is_read_as_by_hand(tmp_path_factory, data, zipped, quoted, bom):
    labels = data.draw(st.lists(LABEL, min_size=3, max_size=7, unique=True))
    owner = {label: PARTS[k] if k < 3 else data.draw(st.sampled_from(PARTS)) for k, label in enumerate(labels)}
    counts = {label: data.draw(st.integers(1, 3)) for label in labels}
    files = [(f"i {k}.png", label) for k, label in enumerate(label for label in labels for _ in range(counts[label]))]
    files = data.draw(st.permutations(files))
    folder = tmp_path_factory.mktemp("any")
    (folder / "images").mkdir()
    for value, (name, _) in enumerate(files):
        Image.new("RGB", (2, 2), (value, 0, 255 - value)).save(folder / "images" / name)
    for part in PARTS:
        rows = [("filename", "label"), *((name, label) for name, label in files if owner[label] == part)]
        text = io.StringIO()
        csv.writer(text, quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL).writerows(rows)
        (folder / f"{part}.csv").write_text(text.getvalue(), encoding="utf-8-sig" if bom else "utf-8")
    found = detect(pack(folder, folder / "any.zip") if zipped else folder)
    by_hand = {label: [value for value, (_, other) in enumerate(files) if other == label] for label in labels}
    assert {(entry.name, entry.part) for entry in found.classes} == set(owner.items())
    for entry in found.classes:
        assert [int(image.read(Recipe(3, 2, "box", "as-is"))[0, 0, 0]) for image in entry.images] == by_hand[entry.name]


def test_the_real_split_is_named_and_no_other(tmp_path):
    assert [len(mini_imagenet.PARTS[part]) for part in PARTS] == [64, 16, 20]
    assert len(frozenset().union(*mini_imagenet.PARTS.values())) == 100
    picture = np.zeros((1, 2, 2, 3), np.uint8)
    real = {part: {name: picture for name in names} for part, names in mini_imagenet.PARTS.items()}
    found = detect(write_set(tmp_path / "real", real))
    assert (found.name, found.split) == ("miniimagenet", "Ravi & Larochelle 2017")
    real["val"], real["train"] = {**real["val"], "n01532829": picture}, dict(list(sorted(real["train"].items()))[1:])
    moved = detect(write_set(tmp_path / "moved", real))
    assert moved.name == "moved" and "63 / 17 / 20" in moved.split


def test_the_fingerprint_follows_tables_and_files_not_the_place(small, tmp_path):
    first = detect(small).fingerprint
    shutil.copytree(small, tmp_path / "copy")
    assert detect(tmp_path / "copy").fingerprint == first
    Image.new("RGB", (7, 7)).save(small / "images" / "nval0_0.png")
    changed = detect(small).fingerprint
    assert changed != first
    rows = (small / "test.csv").read_text().splitlines()
    (small / "test.csv").write_text("\n".join(rows[:-1]))
    assert detect(small).fingerprint not in (first, changed)


def test_other_layouts_are_left_alone(tmp_path):
    (tmp_path / "train.csv").write_text("filename,label\n")
    assert detect(tmp_path) is None and detect(tmp_path / "train.csv") is None and detect(tmp_path / "nothing") is None
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as packed:
        packed.writestr("images_background/Greek/character01/1.png", b"")
    assert detect(tmp_path / "other.zip") is None
    (tmp_path / "test.csv").write_text("file,species\n")
    (tmp_path / "train.csv").write_text("file,species\n")
    assert detect(tmp_path) is None
    for rows in ("a.png,cat", "photos/a.png,cat"):
        for name in ("train.csv", "test.csv"):
            (tmp_path / name).write_text(f"filename,label\n{rows}\n")
        (tmp_path / "photos").mkdir(exist_ok=True)
        (tmp_path / "a.png").touch()
        assert detect(tmp_path) is None
    with zipfile.ZipFile(tmp_path / "table.zip", "w") as packed:
        for name in ("train.csv", "test.csv"):
            packed.writestr(name, "filename,label\nphotos/a.png,cat\n")
    assert detect(tmp_path / "table.zip") is None


def add_row(table, row):
    def change(folder):
        with open(folder / table, "a", encoding="utf-8") as file:
            file.write(row + "\n")

    return change


def put(name, content):
    def change(folder):
        (folder / name).write_bytes(content)

    return change


BAD_TABLES = {
    "no train.csv": (lambda folder: (folder / "train.csv").unlink(), "train.csv is missing.*side by side"),
    "no val.csv": (lambda folder: (folder / "val.csv").unlink(), "val.csv is missing"),
    "empty": (put("test.csv", b""), "test.csv is empty; its first line names the columns"),
    "blank lines": (put("test.csv", b"\n \n"), "test.csv is empty"),
    "header only": (put("test.csv", b"filename,label\n"), "test.csv lists no image"),
    "wrong header": (put("test.csv", b"label,filename\na,b\n"), "1 of the .* images are missing, the first is 'b'"),
    "no header": (put("test.csv", b"ntest0_0.png,ntest0\n"), "no column of image files but"),
    "three columns": (add_row("test.csv", "a.png,b,c"), r"test.csv, line \d+: 3 cells under 2 columns; mend"),
    "no label": (add_row("test.csv", "a.png,"), "'' is no label"),
    "open quote": (add_row("test.csv", '"a.png,b'), "damaged near line"),
    "binary": (put("test.csv", b"filename,label\n\0\0,b\n"), "test.csv holds binary data"),
    "Latin-1": (put("test.csv", "filename,label\nä.png,b\n".encode("latin-1")), "test.csv is not UTF-8"),
    "web page": (put("test.csv", b"<html>Not found</html>"), "no column of image files but '<html>"),
    "duplicate row": (add_row("test.csv", "ntest0_0.png,ntest0"), "line 9: ntest0_0.png was listed before .*keep one"),
    "image in two classes": (add_row("test.csv", "ntest0_0.png,ntest1"), r"before, as 'ntest0' and 'ntest1'"),
    "climbing": (add_row("test.csv", "../../etc/passwd,ntest0"), "'../../etc/passwd' is not below"),
    "climbing, backslash": (add_row("test.csv", "..\\a.png,ntest0"), "is not below the table's folder"),
    "absolute": (add_row("test.csv", "/etc/passwd,ntest0"), "is not below the table's folder"),
    "sub-folder": (add_row("test.csv", "a/b.png,ntest0"), "images are missing, the first is 'a/b.png'"),
    "missing image": (add_row("test.csv", "gone.png,ntest0"), "1 of the .* images are missing.*gone.png.*test.csv"),
    "image in two parts": (add_row("test.csv", "nval0_0.png,ntest0"), "nval0_0.png was listed before, as"),
    "no images": (lambda folder: shutil.rmtree(folder / "images"), "put the image files into .*images"),
}


@pytest.mark.parametrize("zipped", (False, True), ids=("folder", "zip"))
@pytest.mark.parametrize("kind", BAD_TABLES)
def test_damaged_tables_are_told(small, tmp_path, kind, zipped):
    change, message = BAD_TABLES[kind]
    assert detect(small) is not None
    change(small)
    with pytest.raises(DataError, match=message) as told:
        detect(pack(small, tmp_path / "packed.zip") if zipped else small)
    assert "\n" not in str(told.value) and type(told.value) is DataError


def test_an_archive_that_climbs_out_is_refused(small, tmp_path):
    for number, name in enumerate(("../evil.png", "images/../../evil.png", "/etc/evil", "C:/evil", "a\\..\\evil")):
        archive = pack(small, tmp_path / f"{number}.zip")
        with zipfile.ZipFile(archive, "a") as packed:
            packed.writestr(name, b"x")
        with pytest.raises(DataError, match="points outside the archive; do not use"):
            detect(archive)


def test_damaged_archives_are_told(small, tmp_path):
    archive = pack(small, tmp_path / "whole.zip", method=zipfile.ZIP_STORED)
    content = archive.read_bytes()
    cases = {
        "File is not": content[: len(content) // 2],
        "an empty file": b"",
        "a web page": b"\n<!DOCTYPE html><html>quota exceeded</html>",
        "File is not a zip file": b"nonsense" * 50,
    }
    for number, (message, damaged) in enumerate(cases.items()):
        (tmp_path / f"{number}.zip").write_bytes(damaged)
        with pytest.raises(DataError, match=f"{number}.zip is damaged or no archive .{message}.*copy it again"):
            detect(tmp_path / f"{number}.zip")
    with zipfile.ZipFile(archive, "a") as packed, pytest.warns(UserWarning):
        packed.writestr("images/ntrain0_0.png", b"other")
    with pytest.raises(DataError, match="holds images/ntrain0_0.png twice"):
        detect(archive)


def test_an_encrypted_or_oddly_packed_archive_is_refused(small, tmp_path):
    archive = pack(small, tmp_path / "a.zip")
    content = bytearray(archive.read_bytes())
    entry = content.rindex(b"test.csv") - 46
    assert content[entry : entry + 4] == b"PK\x01\x02"
    content[entry + 8] |= 1
    (tmp_path / "locked.zip").write_bytes(content)
    with pytest.raises(DataError, match="locked.zip is encrypted.*unpack it with its password"):
        detect(tmp_path / "locked.zip")
    with pytest.raises(DataError, match="compressed in a way not read here; unpack it"):
        detect(pack(small, tmp_path / "lzma.zip", method=zipfile.ZIP_LZMA))


def test_a_damaged_image_in_an_archive_is_named(small, tmp_path):
    (small / "images" / "ntrain0_0.png").write_bytes(b"no image")
    (small / "images" / "ntrain0_1.png").write_bytes(b"")
    archive = pack(small, tmp_path / "a.zip", method=zipfile.ZIP_STORED)
    images = detect(archive).classes[0].images
    for image in images[:2]:
        with pytest.raises(DataError, match=r"a.zip: images/ntrain0_[01].png cannot be read as an image"):
            image.read(AS_IS)
    content = archive.read_bytes()
    archive.write_bytes(content.replace(b"no image", b"no imbge"))
    with pytest.raises(DataError, match="ntrain0_0.png is damaged.*Bad CRC-32"):
        images[0].read(AS_IS)
    archive.write_bytes(content[:40])
    with pytest.raises(DataError, match="is damaged"):
        images[-1].read(AS_IS)
    archive.unlink()
    with pytest.raises(DataError, match="a.zip cannot be read.*check its path"):
        images[0].read(AS_IS)


def test_a_member_that_lies_about_its_size_is_refused(small, tmp_path):
    (small / "images" / "ntrain0_0.png").write_bytes(bytes(5_000_000))
    archive = pack(small, tmp_path / "bomb.zip")
    content = bytearray(archive.read_bytes())
    for signature, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        start = content.index(b"images/ntrain0_0.png", content.index(signature)) - (30 if at == 22 else 46)
        if at == 24:
            start = content.rindex(b"images/ntrain0_0.png") - 46
        assert content[start : start + 4] == signature
        content[start + at : start + at + 4] = (100).to_bytes(4, "little")
    archive.write_bytes(content)
    image = detect(archive).classes[0].images[0]
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="ntrain0_0.png is damaged"):
            image.read(AS_IS)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    content[start + at : start + at + 4] = (1 << 30).to_bytes(4, "little")
    archive.write_bytes(content)
    with pytest.raises(DataError, match="would become more than 268,435,456 bytes"):
        detect(archive)


def test_imagenet64():
    archive = shared_data("imagenet64/imagenet64.zip")
    found = detect(archive)
    counts = {part: [len(entry.images) for entry in found.classes if entry.part == part] for part in PARTS}
    assert counts == {"train": [300] * 64, "val": [300] * 16, "test": [100] * 20}
    assert found.name == "imagenet64" and found.split.startswith("64 / 16 / 20") and "not Ravi" in found.split
    with zipfile.ZipFile(archive) as packed:
        for part in PARTS:
            rows = list(csv.DictReader(io.TextIOWrapper(packed.open(f"{part}.csv"), "utf-8")))
            for entry in [entry for entry in found.classes if entry.part == part][::7]:
                names = [row["filename"] for row in rows if row["label"] == entry.name]
                assert [image.member for image in entry.images] == [f"images/{name}" for name in names]
                with Image.open(packed.open(f"images/{names[-1]}")) as image:
                    wanted = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
                assert np.array_equal(entry.images[-1].read(Recipe(3, 64, "box", "as-is")), wanted)
