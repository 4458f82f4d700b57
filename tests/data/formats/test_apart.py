"""Classes that stand in several parts: refused in every layout unless forced, then pooled without their parts."""

import json

import numpy as np
import pytest
from PIL import Image

from autometa.data import DataError
from autometa.data.folders import folder_split
from autometa.data.formats.recognise import recognise
from autometa.data.prepare import prepare
from tests.data.formats import test_category_split, test_pickle_cache, test_ravi_csv
from tests.data.formats.parted_sets import PARTS
from tests.data.formats.roots import write_mini

SIZE = 6
NAMES = [f"n{k:02d}" for k in range(12)]


def alike(names=NAMES):
    """{part: {class: uint8 [2, size, size, 3]}}: the same classes in each part, no two images alike."""
    rng = np.random.default_rng(5)
    return {part: {name: rng.integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8) for name in names} for part in PARTS}


def images(parts):
    """(part, class, number, pixels) of each image."""
    for part, classes in parts.items():
        for name, pictures in classes.items():
            for number, picture in enumerate(pictures):
                yield part, name, number, picture


def save(place, picture):
    place.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(place)


def write_csv(root, parts):
    for part, name, number, picture in images(parts):
        save(root / f"images/{part}_{name}_{number}.png", picture)
    for part in PARTS:
        rows = [f"{part}_{name}_{number}.png,{name}" for own, name, number, _ in images(parts) if own == part]
        (root / f"{part}.csv").write_text("\n".join(["filename,label", *rows]))
    return root


def write_zip(root, parts):
    return test_ravi_csv.pack(write_csv(root, parts), root.parent / "set.zip")


def write_table(root, parts):
    rows = []
    for part, name, number, picture in images(parts):
        save(root / f"{part}_{name}_{number}.png", picture)
        rows.append(json.dumps({"path": f"{part}_{name}_{number}.png", "label": name, "split": part}))
    (root / "all.jsonl").write_text("\n".join(rows))
    return root


def write_folders(root, parts):
    for part, name, number, picture in images(parts):
        save(root / part / name / f"{number}.png", picture)
    return root


def write_torchmeta(root, parts):
    h5py = pytest.importorskip("h5py", reason="h5py is not installed; it comes with the extra `hdf5`")
    folder, _ = write_mini(root, parts={part: list(classes) for part, classes in parts.items()})
    for part, classes in parts.items():
        with h5py.File(folder / f"{part}_data.hdf5", "r+") as file:
            for name, pictures in classes.items():
                del file["datasets"][name]
                file["datasets"].create_dataset(name, data=pictures)
    return folder


LAYOUTS = {
    "csv": write_csv,
    "zip": write_zip,
    "table": write_table,
    "folders": write_folders,
    "torchmeta": write_torchmeta,
    "pickle cache": test_pickle_cache.write_set,
    "category split": test_category_split.write_set,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_look_alikes_are_refused_unless_forced(tmp_path, layout):
    parts = alike()
    place = LAYOUTS[layout](tmp_path / "set", parts)
    with pytest.raises(DataError, match="no few-shot split: each of its 12 classes.*data prepare .* --force`") as told:
        recognise(place)
    assert str(place) in str(told.value) and "\n" not in str(told.value)
    made = prepare(place, size=SIZE, variant="colour", force=True)
    store, split = made.store, folder_split(made.store)
    assert store.class_names == tuple(NAMES) and set(store.parts) == {""} and store.split == ""
    assert [len(ids) for ids in (split.train, split.val, split.test)] == [8, 2, 2]
    assert "12 of 12 classes stood in several parts" in store.notice == made.dataset.notice
    for index, name in enumerate(NAMES):
        pooled = np.concatenate([parts[part][name] for part in PARTS]).transpose(0, 3, 1, 2)
        assert np.array_equal(store.images[store.class_start[index] : store.class_start[index + 1]], pooled)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_class_in_two_parts_is_named(tmp_path, layout):
    parts = alike(["n00"])
    for part in PARTS:
        parts[part] |= {f"{part}{k}": pictures + 1 for k, pictures in enumerate(parts[part].values())}
    del parts["val"]["n00"]
    place = LAYOUTS[layout](tmp_path / "set", parts)
    with pytest.raises(DataError, match=r"class 'n00' in both train and test \(1 such\); leave each class in one part"):
        recognise(place)
    found = recognise(place, force=True)
    assert [(c.name, c.part, len(c.images)) for c in found.classes] == [
        ("n00", "", 4),
        ("test0", "", 2),
        ("train0", "", 2),
        ("val0", "", 2),
    ]


def test_an_image_listed_in_several_parts_counts_once(tmp_path):
    write_csv(tmp_path / "set", alike(["a", "b"]))
    for part in PARTS:
        (tmp_path / "set" / f"{part}.csv").write_text("filename,label\ntrain_a_0.png,a\ntest_b_1.png,b\n")
    found = recognise(tmp_path / "set", force=True)
    assert [[image.name.rpartition("/")[2] for image in c.images] for c in found.classes] == [
        ["train_a_0.png"],
        ["test_b_1.png"],
    ]


def test_force_changes_nothing_where_nothing_is_wrong(tmp_path):
    parts = alike(["a", "b"])
    parts = {part: {f"{part}{name}": pictures for name, pictures in parts[part].items()} for part in PARTS}
    place = write_folders(tmp_path / "set", parts)
    assert recognise(place, force=True) == recognise(place) and not recognise(place).notice
