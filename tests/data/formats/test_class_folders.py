"""Folders of class folders, archives of them, and what looks like a few-shot split and is not."""

import os
import tarfile
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from autometa.data import DataError, open_dataset
from autometa.data.formats import mini_imagenet
from autometa.data.formats.recognise import recognise
from autometa.data.prepare import prepare


def picture(value, size=6, mode="L"):
    return Image.fromarray(np.full((size, size), value, np.uint8)).convert(mode)


def fill(folder, counts, suffix=".png"):
    """Class folders; image k of class i shows the grey 20 * i + k."""
    for i, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True)
        for k in range(count):
            picture((20 * i + k) % 256).save(folder / name / f"{k:03d}{suffix}")
    return folder


def packed(folder, archive):
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as opened:
            for file in sorted(folder.rglob("*.png")):
                opened.write(file, f"wrapped/{file.relative_to(folder)}")
    else:
        with tarfile.open(archive, "w:gz") as opened:
            opened.add(folder, "wrapped")
    return archive


@settings(max_examples=15, deadline=None)
@given(counts=st.lists(st.integers(1, 5), min_size=1, max_size=12), threads=st.integers(1, 4))
def test_classes_counts_and_pixels_as_by_hand(tmp_path_factory, counts, threads):
    root = tmp_path_factory.mktemp("mine")
    named = {f"class {k}": count for k, count in enumerate(counts)}
    fill(root, named)
    made = prepare(root, size=6, variant="grey", workers=threads)
    assert made.store.class_names == tuple(sorted(named))
    assert np.diff(made.store.class_start).tolist() == [named[name] for name in sorted(named)]
    order = sorted(range(len(named)), key=lambda i: list(named)[i])
    by_hand = [20 * i + k for i in order for k in range(counts[i])]
    assert made.store.images[:, 0, 0, 0].tolist() == by_hand


@pytest.mark.parametrize("ending", [".zip", ".tar.gz"])
def test_an_archive_gives_what_its_folder_gives(tmp_path, ending):
    folder = fill(tmp_path / "mine", {"a": 2, "b": 3, "ü ß": 1})
    one = prepare(folder, size=5)
    other = prepare(packed(folder, tmp_path / f"mine{ending}"), size=5)
    assert other.store.class_names == one.store.class_names == ("a", "b", "ü ß")
    assert np.array_equal(other.store.images, one.store.images)


def test_parts_are_kept_and_the_split_is_named(tmp_path):
    fill(tmp_path / "train", {f"a{k}": 2 for k in range(6)})
    fill(tmp_path / "valid", {"v": 2})
    fill(tmp_path / "test", {"t0": 2, "t1": 2})
    found = recognise(tmp_path)
    assert [c.part for c in found.classes] == ["train"] * 6 + ["val"] + ["test"] * 2
    store, split = open_dataset(tmp_path, size=4)
    assert split.name == "folders of the parts"
    assert [len(split.train), len(split.val), len(split.test)] == [6, 1, 2]


def test_splits_of_known_sizes_are_named(tmp_path):
    for part, names in mini_imagenet.PARTS.items():
        fill(tmp_path / "mine" / part, dict.fromkeys(sorted(names), 1))
    found = recognise(tmp_path / "mine")
    assert (found.name, found.variant, found.split) == ("miniimagenet", "colour", "Ravi & Larochelle 2017")
    (tmp_path / "mine/test/n01930112").rename(tmp_path / "mine/test/another")
    found = recognise(tmp_path / "mine")
    assert (found.name, found.split) == ("mine", "folders of the parts"), "100 classes are not enough"
    for part, count in (("train", 351), ("val", 97), ("test", 160)):
        fill(tmp_path / "tiered" / part, {f"{part}{k:03d}": 1 for k in range(count)})
    assert recognise(tmp_path / "tiered").name == "tieredimagenet"


def test_cifar_fs(tmp_path):
    fill(tmp_path / "cifar100/data", {"cup": 2, "bed": 2, "sea": 2})
    tables = tmp_path / "cifar100/splits/bertinetto"
    tables.mkdir(parents=True)
    for part, name in (("train", "cup"), ("val", "sea"), ("test", "bed")):
        (tables / f"{part}.txt").write_text(f"{name}\n")
    found = recognise(tmp_path)
    assert [(c.part, c.name) for c in found.classes] == [
        ("train", "cup"),
        ("val", "sea"),
        ("test", "bed"),
    ]
    (tables / "val.txt").write_text("lake\n")
    with pytest.raises(DataError, match="names lake"):
        recognise(tmp_path)


def test_cub(tmp_path):
    root = tmp_path / "CUB_200_2011"
    fill(root / "images", {"001.Black_footed_Albatross": 2, "002.Laysan_Albatross": 3})
    for name in ("attributes", "parts"):
        (root / name).mkdir()
        (root / name / f"{name}.txt").write_text("1 2 3")
    (root / "images.txt").write_text("1 001.Black_footed_Albatross/000.png")
    found = recognise(tmp_path)
    assert [(c.name, len(c.images)) for c in found.classes] == [
        ("001.Black_footed_Albatross", 2),
        ("002.Laysan_Albatross", 3),
    ]


def test_alphabets_are_groups(tmp_path):
    fill(tmp_path / "Greek", {"character01": 2, "character02": 2})
    fill(tmp_path / "Latin", {"character01": 2})
    found = recognise(tmp_path)
    assert [(c.group, c.name) for c in found.classes] == [
        ("Greek", "Greek/character01"),
        ("Greek", "Greek/character02"),
        ("Latin", "Latin/character01"),
    ]


@pytest.mark.parametrize("ending", [".png", ".jpg", ".webp", ".bmp", ".gif"])
def test_kinds_of_image_files(tmp_path, ending):
    fill(tmp_path, {"a": 1, "b": 1}, ending)
    pixels = prepare(tmp_path, size=6, variant="grey").store.images[:, 0, 3, 3]
    assert abs(int(pixels[0]) - 0) <= 2 and abs(int(pixels[1]) - 20) <= 2


def test_orientation_alpha_and_cmyk(tmp_path):
    (tmp_path / "a").mkdir()
    half = np.zeros((8, 8), np.uint8)
    half[:4] = 255
    turned = Image.fromarray(half)
    exif = turned.getexif()
    exif[0x0112] = 3  # upside down
    turned.save(tmp_path / "a/0.png", exif=exif)
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "a/1.png")
    Image.new("CMYK", (8, 8), (0, 0, 0, 255)).save(tmp_path / "a/2.jpg")
    store = prepare(tmp_path, size=8, variant="grey").store
    assert store.images[0, 0, 0, 0] == 0 and store.images[0, 0, 7, 0] == 255
    assert (store.images[1] == 255).all() and (store.images[2] < 10).all()


def test_bad_images_are_named_or_left_out_if_asked(tmp_path):
    fill(tmp_path, {"a": 3, "b": 2})
    (tmp_path / "a/001.png").write_bytes(b"")
    (tmp_path / "b/000.png").write_bytes((tmp_path / "b/000.png").read_bytes()[:40])
    with pytest.raises(DataError, match="001.png cannot be read"):
        prepare(tmp_path, size=6)
    made = prepare(tmp_path, size=6, variant="grey", skip_bad=True)
    assert [told.split(" cannot")[0].rpartition(os.sep)[2] for told in made.skipped] == ["001.png", "000.png"]
    assert made.store.images[:, 0, 0, 0].tolist() == [0, 2, 21]
    (tmp_path / "b/001.png").write_bytes(b"GIF")
    with pytest.raises(DataError, match="no image of class b"):
        prepare(tmp_path, size=6, skip_bad=True)


def a_climbing_zip(path):
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("../../outside.png", b"x")


def an_absolute_zip(path):
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("/outside.png", b"x")


def a_truncated_zip(path):
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("a/0.png", os.urandom(5000))
    path.write_bytes(path.read_bytes()[:2000])


def a_damaged_zip(path):
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("a/0.png", os.urandom(5000))
    content = bytearray(path.read_bytes())
    content[1000:1100] = bytes(100)
    path.write_bytes(content)


def a_linking_tar(path):
    with tarfile.open(path, "w:gz") as opened:
        link = tarfile.TarInfo("a/0.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        opened.addfile(link)


BAD_ARCHIVES = {
    "empty.zip": (lambda path: path.write_bytes(b""), "an empty file"),
    "page.zip": (lambda path: path.write_text("<!DOCTYPE html><html>Quota exceeded"), "web page"),
    "page.tar.gz": (lambda path: path.write_text("\n <html>"), "web page"),
    "noise.zip": (lambda path: path.write_bytes(os.urandom(3000)), "damaged or no archive"),
    "climbing.zip": (a_climbing_zip, "points outside the archive"),
    "absolute.zip": (an_absolute_zip, "points outside the archive"),
    "truncated.zip": (a_truncated_zip, "damaged or no archive|truncated"),
    "damaged.zip": (a_damaged_zip, "damaged"),
    "linking.tar.gz": (a_linking_tar, "a link or device"),
    "hollow.zip": (lambda path: zipfile.ZipFile(path, "w").close(), "no data set"),
}


@pytest.mark.parametrize("name", BAD_ARCHIVES)
def test_bad_archives(tmp_path, name, monkeypatch):
    monkeypatch.setenv("AUTOMETA_CACHE", str(tmp_path / "cache"))
    make, says = BAD_ARCHIVES[name]
    make(tmp_path / name)
    with pytest.raises(DataError, match=says) as told:
        prepare(tmp_path / name)
    assert name in str(told.value) and "\n" not in str(told.value)
    assert not [path for path in (tmp_path / "cache").rglob("*.png")]
    assert not (tmp_path / "outside.png").exists()


def test_nothing_there_is_told(tmp_path):
    with pytest.raises(DataError, match="there is no"):
        recognise(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(DataError, match="leads nowhere"):
        recognise(tmp_path / "loop")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no data set that is known"):
        recognise(tmp_path / "empty")
    fill(tmp_path / "mine", {"a": 1})
    (tmp_path / "mine/b").mkdir()
    with pytest.raises(DataError, match="has no image"):
        recognise(tmp_path / "mine")


def test_links_in_a_circle_do_not_hang(tmp_path):
    folder = fill(tmp_path / "mine", {"a": 2, "b": 2})
    (folder / "a/again").symlink_to(folder)
    assert [c.name for c in recognise(folder).classes] == ["a", "b"]


def test_no_permission_is_told(tmp_path, monkeypatch):
    folder = fill(tmp_path / "mine", {"a": 2})

    def closed(path, *_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("autometa.data.formats.class_folders._inside", closed)
    with pytest.raises(DataError, match="mine may not be read; change its permissions"):
        recognise(folder)
