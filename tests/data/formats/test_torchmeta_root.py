"""torchmeta's roots: the same classes and pixels as in the hdf5 read by hand, and as in the images they came from."""

import json
import multiprocessing
import os
import pickle
import re
import shutil
import sys
import tarfile
import tracemalloc
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from autometa.data import DataError, Recipe
from autometa.data.formats import torchmeta_files
from autometa.data.formats.torchmeta_files import StoredImage
from autometa.data.formats.torchmeta_root import detect
from autometa.data.images import read_image
from tests.data.formats.roots import MINI, OMNIGLOT, triples, write_json, write_mini, write_omniglot

h5py = pytest.importorskip("h5py", reason="h5py is not installed; it comes with the extra `hdf5`")

RECIPES = (Recipe(), Recipe(1, 28, "nearest", "as-is"), Recipe(1, 105, "box", "as-is"), Recipe(3, 40, "lanczos"))
COLOUR = Recipe(3, 12, "bilinear", "as-is")


@pytest.fixture(scope="session")
def real_root(tmp_path_factory):
    archive = Path(os.environ.get("AUTOMETA_DATA") or "nowhere") / "torchmeta" / "torchmeta-root.tar.gz"
    if not archive.is_file():
        pytest.skip("torchmeta-root.tar.gz is not here: set AUTOMETA_DATA to the folder with torchmeta/ in it")
    root = tmp_path_factory.mktemp("torchmeta")
    with tarfile.open(archive) as packed:
        packed.extractall(root, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    return next(root.glob("**/omniglot")).parent


def by_hand(file):
    """{dataset: images} of an hdf5 file."""
    found = {}
    with h5py.File(file, "r") as data:
        data.visititems(lambda name, entry: found.update({name: entry[()]}) if hasattr(entry, "dtype") else None)
    return found


def check_omniglot(found, stored):
    """Classes, groups, parts and pixels against {`top/alphabet/character`: images}."""
    assert (found.name, found.split, found.variant) == ("omniglot", "background", "ink")
    parts = {"images_background": "train", "images_evaluation": "test"}
    expected = [(f"{a}/{c}", a, parts[top]) for top, a, c in (key.split("/") for key in sorted(stored))]
    assert [(entry.name, entry.group, entry.part) for entry in found.classes] == expected
    as_is = Recipe(1, next(iter(stored.values())).shape[1], "box", "as-is")
    for entry, key in zip(found.classes, sorted(stored), strict=True):
        assert np.array_equal([source.read(as_is)[0] for source in entry.images], 255 - stored[key])


def check_mini(found, stored, parts):
    assert (found.name, found.variant) == ("miniimagenet", "colour")
    expected = [(name, part) for part in ("train", "val", "test") for name in sorted(parts[part])]
    assert [(entry.name, entry.part) for entry in found.classes] == expected
    as_is = Recipe(3, next(iter(stored.values())).shape[1], "box", "as-is")
    for entry in found.classes:
        pixels = np.stack([source.read(as_is) for source in entry.images])
        assert np.array_equal(pixels, stored[entry.name].transpose(0, 3, 1, 2))


def test_generated_omniglot(tmp_path):
    folder, stored = write_omniglot(tmp_path / "a root")
    tops = {f"{a}/{c}": top for top in OMNIGLOT for _, a, c in triples(top)}
    stored = {f"{tops[name]}/{name}": images for name, images in stored.items()}
    check_omniglot(detect(folder), stored)
    assert detect(tmp_path / "a root") == detect(folder)


def test_generated_miniimagenet(tmp_path):
    folder, stored = write_mini(tmp_path)
    check_mini(detect(folder), stored, MINI)
    assert detect(tmp_path) == detect(folder)
    renamed = folder.rename(tmp_path / "mini")
    check_mini(detect(renamed), stored, MINI)


NAMES = st.text(st.sampled_from("aZ0_ .-,äß漢🙂"), min_size=1, max_size=8)


@settings(max_examples=20, deadline=None)
@given(st.sets(NAMES.filter(lambda name: name != "."), min_size=3, max_size=9), st.integers(1, 9), st.data())
def test_any_miniimagenet_root(tmp_path_factory, names, size, data):
    names = data.draw(st.permutations(sorted(names)))
    first = data.draw(st.integers(1, len(names) - 2))
    second = data.draw(st.integers(first + 1, len(names) - 1))
    parts = {"train": names[:first], "val": names[first:second], "test": names[second:]}
    folder, stored = write_mini(tmp_path_factory.mktemp("any"), seed=size, size=size, parts=parts)
    check_mini(detect(folder), stored, parts)


def test_real_omniglot_as_read_by_hand(real_root):
    stored = by_hand(real_root / "omniglot" / "data.hdf5")
    found = detect(real_root / "omniglot")
    check_omniglot(found, stored)
    assert len(found.classes) == 136 and all(len(entry.images) == 20 for entry in found.classes)


def test_real_miniimagenet_as_read_by_hand(real_root):
    folder, stored, parts = real_root / "miniimagenet", {}, {}
    for part in ("train", "val", "test"):
        held = by_hand(folder / f"{part}_data.hdf5")
        stored |= {name.removeprefix("datasets/"): images for name, images in held.items()}
        parts[part] = json.loads((folder / f"{part}_labels.json").read_text())
    check_mini(detect(folder), stored, parts)
    assert Counter(len(entry.images) for entry in detect(folder).classes) == {20: 16}


@pytest.mark.parametrize("part", ["background", "evaluation"])
def test_real_omniglot_equals_the_original_drawings(real_root, omniglot_root, part):
    """Pixel by pixel through each recipe, whatever order torchmeta found the drawings in."""
    classes = [c for c in detect(real_root / "omniglot").classes if c.part == {"background": "train"}.get(part, "test")]
    alphabets = {entry.group for entry in classes}
    with zipfile.ZipFile(omniglot_root / f"images_{part}.zip") as archive:
        drawn = {}
        for name in archive.namelist():
            pieces = name.split("/")
            if name.endswith(".png") and pieces[-3] in alphabets:
                drawn.setdefault("/".join(pieces[-3:-1]), []).append(name)
        assert sorted(drawn) == sorted(entry.name for entry in classes)
        for number, entry in enumerate(classes):
            recipe = RECIPES[number % len(RECIPES)]
            ours = Counter(source.read(recipe).tobytes() for source in entry.images)
            theirs = Counter()
            for name in drawn[entry.name]:
                with archive.open(name) as stream:
                    theirs[read_image(stream, recipe).tobytes()] += 1
            assert ours == theirs, entry.name


def test_images_pass_through_the_recipe_like_files(tmp_path):
    folder, stored = write_mini(tmp_path / "root", size=19)
    source = detect(folder).classes[0].images[2]
    Image.fromarray(stored["n01"][2]).save(tmp_path / "image.png")
    for recipe in (*RECIPES, COLOUR):
        assert np.array_equal(source.read(recipe), read_image(tmp_path / "image.png", recipe))


@pytest.mark.parametrize("other", ["nothing", "images", "zips", "store"])
def test_other_layouts_are_left_alone(tmp_path, other):
    if other == "images":
        (tmp_path / "omniglot" / "class").mkdir(parents=True)
        Image.new("L", (4, 4)).save(tmp_path / "omniglot" / "class" / "1.png")
    elif other == "zips":
        (tmp_path / "omniglot").mkdir()
        (tmp_path / "omniglot" / "images_background.zip").write_bytes(b"PK")
    elif other == "store":
        (tmp_path / "data.hdf5").write_bytes(b"")
    assert detect(tmp_path) is None and detect(tmp_path / "omniglot") is None
    assert detect(tmp_path / "data.hdf5") is None


def rewrite(file, change):
    with h5py.File(file, "r+") as data:
        change(data)


def replace(file, where, **kwargs):
    del file[where]
    file.create_dataset(where, **kwargs)


def relabel(name, change):
    def damage(folder):
        labels = json.loads((folder / name).read_text())
        write_json(folder / name, change(labels))

    return damage


def on(file, change):
    return lambda folder: rewrite(folder / file, change)


def halve(file):
    return lambda folder: os.truncate(folder / file, (folder / file).stat().st_size // 2)


def put(file, content):
    return lambda folder: (folder / file).write_bytes(content)


BACKGROUND = "images_background/Greek/character01"
OMNIGLOT_DAMAGE = {
    "no hdf5": (lambda f: (f / "data.hdf5").unlink(), "without data.hdf5"),
    "no train json": (lambda f: (f / "train_labels.json").unlink(), "without train_labels.json"),
    "no json at all": (lambda f: [table.unlink() for table in f.glob("*.json")], "without train_labels.json"),
    "truncated hdf5": (halve("data.hdf5"), "data.hdf5 is no whole hdf5 file"),
    "html": (put("data.hdf5", b"<html>not found</html>"), "data.hdf5 is no whole hdf5 file"),
    "empty hdf5": (put("data.hdf5", b""), "data.hdf5 is no whole hdf5 file"),
    "truncated json": (halve("train_labels.json"), "train_labels.json is no json"),
    "binary json": (put("test_labels.json", b"\xff\xfe\x00"), "test_labels.json is no json"),
    "deep json": (put("test_labels.json", b"[" * 100_000), "test_labels.json is no json"),
    "json of another kind": (put("test_labels.json", b'{"a": 1}'), "not a list of .* triples"),
    "json of names": (put("test_labels.json", b'["a", "b"]'), "not a list of .* triples"),
    "vinyals of another kind": (put("vinyals_val_labels.json", b"[[1, 2, 3]]"), "not a list of .* triples"),
    "json names more": (
        relabel("train_labels.json", lambda names: [*names, ["images_background", "Latin", "character01"]]),
        "names images_background/Latin/character01, which .*data.hdf5 does not hold",
    ),
    "json names less": (
        relabel("test_labels.json", lambda names: names[:-1]),
        "Tengwar/character02, which .* not name",
    ),
    "json names twice": (relabel("test_labels.json", lambda names: names + names[:1]), "more than once"),
    "parts exchanged": (relabel("test_labels.json", lambda names: triples("images_background")), "does not hold"),
    "in two vinyals lists": (
        relabel("vinyals_val_labels.json", lambda names: names + triples("images_evaluation")),
        "stands in more than one of",
    ),
    "in no vinyals list": (relabel("vinyals_val_labels.json", lambda names: []), "stands in none of"),
    "character gone": (on("data.hdf5", lambda d: d.pop(BACKGROUND)), "names .*Greek/character01, which .* not hold"),
    "strange group": (on("data.hdf5", lambda d: d.create_dataset("x/y/z", data=d[BACKGROUND][()])), "group x that"),
    "float images": (
        on("data.hdf5", lambda d: replace(d, BACKGROUND, data=np.zeros((2, 5, 5), np.float32))),
        r"float32 \[2, 5, 5\] as /images_background/Greek/character01, not uint8",
    ),
    "flat images": (on("data.hdf5", lambda d: replace(d, BACKGROUND, data=np.zeros((2, 25), np.uint8))), "not uint8"),
    "no drawings": (
        on("data.hdf5", lambda d: replace(d, BACKGROUND, data=np.zeros((0, 5, 5), np.uint8))),
        r"holds uint8 \[0, .* as /images_background/Greek/character01",
    ),
    "group for images": (on("data.hdf5", lambda d: (d.pop(BACKGROUND), d.create_group(BACKGROUND))), "as a group"),
    "images for group": (
        on("data.hdf5", lambda d: replace(d, "images_background/Greek", data=np.zeros((2, 5, 5), np.uint8))),
        "as a table",
    ),
    "link out": (
        on("data.hdf5", lambda d: d.__setitem__("images_background/Out", h5py.ExternalLink("other.hdf5", "/"))),
        "has a link at /images_background/Out",
    ),
    "pixels elsewhere": (
        on(
            "data.hdf5",
            lambda d: replace(d, BACKGROUND, shape=(1, 5, 5), dtype="u1", external=[("/etc/hostname", 0, 25)]),
        ),
        "in another file",
    ),
}
MINI_DAMAGE = {
    "no test hdf5": (lambda f: (f / "test_data.hdf5").unlink(), "without test_data.hdf5"),
    "no val json": (lambda f: (f / "val_labels.json").unlink(), "without val_labels.json"),
    "only json": (lambda f: [file.unlink() for file in f.glob("*.hdf5")], "without train_data.hdf5"),
    "truncated": (halve("val_data.hdf5"), "val_data.hdf5 is no whole hdf5"),
    "json names more": (relabel("val_labels.json", lambda names: [*names, "n99"]), "names n99, which .* does not hold"),
    "json names less": (relabel("train_labels.json", lambda names: names[1:]), "holds n01, which .* does not name"),
    "json of triples": (put("train_labels.json", b'[["a", "b", "c"]]'), "not a list of class names"),
    "no group": (on("train_data.hdf5", lambda d: d.move("datasets", "images")), "no group 'datasets'"),
    "grey": (
        on("train_data.hdf5", lambda d: replace(d, "datasets/n01", data=np.zeros((3, 8, 8), np.uint8))),
        r"uint8 \[3, 8, 8\] as /datasets/n01, not uint8 \[n, height, width, 3\]",
    ),
    "empty part": (
        lambda f: (on("val_data.hdf5", lambda d: d.pop("datasets/n04"))(f), write_json(f / "val_labels.json", [])),
        "hold no class",
    ),
}


def check_refused(folder, damage, told):
    assert detect(folder) is not None
    damage(folder)
    with pytest.raises(DataError, match=told) as raised:
        detect(folder)
    assert "\n" not in str(raised.value) and str(raised.value).count("; ") == 1


@pytest.mark.parametrize("fault", OMNIGLOT_DAMAGE)
def test_damaged_omniglot(tmp_path, fault):
    check_refused(write_omniglot(tmp_path)[0], *OMNIGLOT_DAMAGE[fault])


@pytest.mark.parametrize("fault", MINI_DAMAGE)
def test_damaged_miniimagenet(tmp_path, fault):
    check_refused(write_mini(tmp_path)[0], *MINI_DAMAGE[fault])


def test_a_root_with_both_sets_asks_for_one(tmp_path, monkeypatch):
    write_omniglot(tmp_path), write_mini(tmp_path)
    with pytest.raises(DataError, match="2 data sets; give .*omniglot or .*miniimagenet instead$") as told:
        detect(tmp_path)
    offered = re.search("give (.*) or (.*) instead", str(told.value)).groups()
    assert [detect(Path(folder)).name for folder in offered] == ["omniglot", "miniimagenet"]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"give \./omniglot or \./miniimagenet instead"):  # `omniglot` is another set
        detect(Path("."))


def test_without_h5py(tmp_path, monkeypatch):
    folder, _ = write_omniglot(tmp_path)
    source = detect(folder).classes[0].images[0]
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(DataError, match=r"pip install 'autometa-nas\[hdf5\]'"):
        detect(folder)
    assert detect(tmp_path / "elsewhere") is None
    with pytest.raises(DataError, match="^a torchmeta root is read with h5py"):
        source.read(COLOUR)


def test_vinyals_lists_may_be_missing(tmp_path):
    folder, _ = write_omniglot(tmp_path)
    whole = detect(folder).classes
    for table in folder.glob("vinyals_*.json"):
        table.unlink()
    assert detect(folder).classes == whole


def test_reading_keeps_no_more_than_a_few_images(tmp_path):
    folder, stored = write_mini(tmp_path, size=96)
    entries, recipe = detect(folder).classes, Recipe(3, 96, "box", "as-is")
    entries[0].images[0].read(recipe)
    tracemalloc.start()
    for entry in entries:
        for source in entry.images:
            source.read(recipe)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * 96 * 96 * 3 < stored["n06"].nbytes


def test_sources_are_small_open_once_and_see_a_replaced_file(tmp_path, monkeypatch):
    folder, stored = write_mini(tmp_path)
    sources = [source for entry in detect(folder).classes for source in entry.images]
    assert max(len(pickle.dumps(source)) for source in sources) < 400 + len(str(folder))
    opened = []
    monkeypatch.setattr(torchmeta_files, "_h5py", lambda: Recorder(opened))
    for source in pickle.loads(pickle.dumps(sources)) * 2:
        source.read(COLOUR)
    assert len(opened) == 3
    shutil.rmtree(folder)
    _, other = write_mini(tmp_path, seed=1)
    assert not np.array_equal(stored["n01"][0], other["n01"][0])
    assert np.array_equal(sources[0].read(COLOUR), other["n01"][0].transpose(2, 0, 1))


class Recorder:
    def __init__(self, opened):
        self.opened = opened

    def File(self, path, mode):
        self.opened.append(path)
        return h5py.File(path, mode)


def read_sum(source):
    return int(source.read(COLOUR).sum())


@pytest.mark.parametrize("method", [m for m in ("fork", "spawn") if m in multiprocessing.get_all_start_methods()])
def test_other_processes_read_the_same(tmp_path, method):
    sources = [source for entry in detect(write_mini(tmp_path)[0]).classes for source in entry.images]
    here = [read_sum(source) for source in sources]
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(read_sum, sources) == here
    assert len(set(here)) > len(here) // 2


def test_an_image_that_is_gone_is_named(tmp_path):
    folder, _ = write_mini(tmp_path)
    source = detect(folder).classes[0].images[1]
    beyond = StoredImage(source.file, source.dataset, 1000)
    with pytest.raises(DataError, match=r"datasets/n01\[1000\] cannot be read"):
        beyond.read(COLOUR)
    (folder / "train_data.hdf5").unlink()
    with pytest.raises(DataError, match=r"train_data.hdf5: datasets/n01\[1\] cannot be read"):
        source.read(COLOUR)


def test_fingerprint_follows_the_files(tmp_path):
    folder, _ = write_mini(tmp_path)
    first = detect(folder).fingerprint
    assert detect(folder).fingerprint == first
    os.utime(folder / "val_data.hdf5", ns=(1, 1))
    assert detect(folder).fingerprint != first
