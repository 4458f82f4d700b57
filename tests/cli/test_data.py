"""`autometa data`: every layout is recognised, converted once, checked; and then feeds a search."""

import json
import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import autometa
from autometa.data import ImageStore
from autometa.data.formats.mini_imagenet_pickles import CATEGORY_SPLIT
from tests.cli.driving import INNER, NETWORK, TEST, call, changed, class_folders

DATA = os.environ.get("AUTOMETA_DATA")  # read before these tests clear it
SAFELY = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # Python 3.11.4 and later
SHORT = ["--meta.iterations", "2", "--meta.batch", "2", "--warmup", "1", "--test_weight_steps", "1", "-q"]


def test_prepare_info_and_verify(tmp_path):
    class_folders(tmp_path / "mine", [f"class {k}" for k in range(20)], images=3)
    (tmp_path / "mine/class 0/9.png").write_bytes((tmp_path / "mine/class 0/0.png").read_bytes())
    told = call("data", "info", "mine")
    assert told.code == 0 and "class folders: mine" in told.out and "61, 3 to 4 per class" in told.out
    assert "70/15/15 by hash of the class name" in told.out and "14 train, 3 val, 3 test" in told.out
    made = call("data", "prepare", "mine", "--size", 8)
    assert made.code == 0 and "14 train, 3 val, 3 test" in made.out
    found = call("data", "prepare", "mine", "--size", 8, "--json").json
    assert found["images_per_class"] == [3, 4] and ImageStore.open(found["store"]).data_hash == found["data_hash"]
    assert call("data", "verify", "mine").out == "61 images checked, 0 damaged\n"
    assert call("data", "verify", found["store"]).code == 0
    assert call("data", "info", found["store"], "--json").json["data_hash"] == found["data_hash"]
    assert autometa.prepare_data("mine", size=8).store == found["store"]
    assert autometa.data_info("mine").images == autometa.verify_data("mine")["checked"] == 61


def test_damage_is_found_named_and_left_out_if_asked(tmp_path):
    class_folders(tmp_path / "mine", images=3)
    (tmp_path / "mine/blob/1.png").write_bytes(b"no image")
    checked = call("data", "verify", "mine")
    assert checked.code == 1 and "1.png cannot be read" in checked.out and "9 images checked, 1 damaged" in checked.out
    refused = call("data", "prepare", "mine")
    assert refused.code == 2 and "1.png cannot be read" in refused.err and refused.err.count("\n") == 1
    made = call("data", "prepare", "mine", "--skip-bad", "--json")
    assert made.code == 0 and made.json["images"] == 8 and "1.png" in made.json["skipped"][0]


def test_a_store_whose_pixels_changed_is_refused(tmp_path):
    class_folders(tmp_path / "mine", images=3)
    store = Path(call("data", "prepare", "mine", "--json").json["store"])
    content = bytearray((store / "images.npy").read_bytes())
    content[-1] ^= 1
    (store / "images.npy").write_bytes(content)
    answer = call("data", "verify", store)
    assert answer.code == 2 and "data hash" in answer.err


@pytest.mark.parametrize(
    "words, says",
    [
        (("data",), "required"),
        (("data", "eat", "mine"), "invalid choice"),
        (("data", "info", "nowhere"), "there is no nowhere"),
        (("data", "verify", "mine", "--size", "8"), "belong to data prepare"),
        (("data", "prepare", ""), "path is empty"),
        (("adapt", "--support", ""), "--support is empty; name a folder"),
        (("search", "--data", ""), "path is empty"),
        (("adapt", "--support", ".", "--out", ""), "--out is empty; name a folder"),
        (("search", "--out="), "--out is empty; name a folder"),
        (("predict", "a.png", "--run", ""), "--run is empty; name a folder"),
        (("data", "prepare", "mine", "--size", "0"), "positive"),
        (("data", "prepare", "mine", "--size", "100000"), "up to 2048"),
        (("data", "prepare", "mine", "--variant", "purple"), "choose from"),
        (("data", "prepare", "letter.txt"), "no data set that is known"),
        (("search", "--data", "letter.txt"), "no data set that is known"),
    ],
)
def test_mistakes(words, says, tmp_path):
    class_folders(tmp_path / "mine")
    (tmp_path / "letter.txt").write_text("hello")
    answer = call(*words)
    assert (answer.code, answer.out) == (2, "") and says in answer.err and answer.err.count("\n") == 1


def small_set():
    """part -> class -> uint8 `[4, 84, 84, 3]`."""
    rng = np.random.default_rng(0)
    parts = {"train": 6, "val": 3, "test": 3}
    return {
        part: {f"{part}{k}": rng.integers(0, 256, (4, 84, 84, 3), dtype=np.uint8) for k in range(count)}
        for part, count in parts.items()
    }


def write_csv(images, root):
    (root / "images").mkdir(parents=True)
    for part, classes in images.items():
        rows = ["filename,label"]
        for name, pictures in classes.items():
            for k, picture in enumerate(pictures):
                Image.fromarray(picture).save(root / "images" / f"{name}{k}.png")
                rows.append(f"{name}{k}.png,{name}")
        (root / f"{part}.csv").write_text("\n".join(rows))


def write_folders(images, root):
    for part, classes in images.items():
        for name, pictures in classes.items():
            (root / part / name).mkdir(parents=True)
            for k, picture in enumerate(pictures):
                Image.fromarray(picture).save(root / part / name / f"{k}.png")


def write_table(images, root):
    root.mkdir()
    rows = ["path\tspecies\tsplit"]
    for part, classes in images.items():
        for name, pictures in classes.items():
            for k, picture in enumerate(pictures):
                Image.fromarray(picture).save(root / f"{name}{k}.png")
                rows.append(f"{name}{k}.png\t{name}\t{part}")
    (root / "birds.tsv").write_text("\n".join(rows))


def write_split(images, root):
    root.mkdir()
    for part, classes in images.items():
        numbers = {name: number for number, name in enumerate(classes)}
        content = {
            "data": np.concatenate(list(classes.values())),
            "labels": [numbers[name] for name, pictures in classes.items() for _ in pictures],
            "catname2label": numbers,
        }
        (root / CATEGORY_SPLIT.files[part]).write_bytes(pickle.dumps(content, 2))


@pytest.mark.parametrize("write", [write_csv, write_folders, write_table, write_split], ids=lambda w: w.__name__[6:])
def test_the_miniimagenet_preset_runs_on_every_layout(tmp_path, write):
    write(small_set(), tmp_path / "set")
    words = [*changed(INNER, **{"inner.shots": 1}), *changed(TEST, **{"test.tasks": 1, "test.queries": 1}), *NETWORK]
    answer = call("search", "--preset", "miniimagenet", "--data", tmp_path / "set", *words, *SHORT, "--out", "run")
    assert answer.code == 0, answer.err
    about = json.loads((tmp_path / "run/data.json").read_text())
    assert about["image_shape"] == [3, 84, 84]


@pytest.mark.skipif(not DATA, reason="AUTOMETA_DATA names no folder with real images")
@pytest.mark.parametrize("which", ["imagenet64", "cache", "torchmeta"])
def test_the_miniimagenet_preset_runs_on_real_layouts(tmp_path, which):
    root = Path(DATA)
    if which == "imagenet64":
        place = root / "imagenet64"
    elif which == "cache":
        place = root / "torchmeta/mini-imagenet-cache.tar.gz"
    else:
        pytest.importorskip("h5py")
        with tarfile.open(root / "torchmeta/torchmeta-root.tar.gz") as archive:
            archive.extractall(tmp_path / "root", **SAFELY)
        (place,) = (tmp_path / "root").rglob("miniimagenet")
    if not place.exists():
        pytest.skip(f"{place.name} is not in AUTOMETA_DATA")
    words = [*changed(INNER, **{"inner.shots": 1}), *changed(TEST, **{"test.tasks": 1, "test.queries": 1}), *NETWORK]
    answer = call("search", "--preset", "miniimagenet", "--data", place, *words, *SHORT, "--out", "run")
    assert answer.code == 0, answer.err
    assert json.loads((tmp_path / "run/data.json").read_text())["image_shape"] == [3, 84, 84]


def test_a_look_alike_that_was_forced_is_searched_by_its_store(tmp_path):
    images = small_set()
    write_csv(images, tmp_path / "a set")
    for part in images:
        (tmp_path / "a set" / f"{part}.csv").write_text((tmp_path / "a set/train.csv").read_text())
    refused = call("data", "info", "a set")
    assert refused.code == 2 and "`autometa data prepare 'a set' --force`" in refused.err
    told = call("data", "info", "a set", "--force")
    assert told.code == 0 and "Forced" in told.out and told.out.endswith("autometa data prepare 'a set' --force\n")
    made = call("data", "prepare", "a set", "--force", "--size", 8)
    assert made.code == 0 and "6 of 6 classes stood in several parts" in made.out, made.err
    assert "70/15/15 by hash" in made.out and "4 train, 1 val, 1 test" in made.out
    store = call("data", "prepare", "a set", "--force", "--size", 8, "--json").json["store"]
    assert made.out.endswith(f"autometa search metanas --data {store} --data.image_size 8\n")
    assert "Forced" in call("data", "info", store).out


def test_what_was_left_out_stays_known(tmp_path):
    class_folders(tmp_path / "mine", [f"class {k}" for k in range(20)], images=3)
    (tmp_path / "mine/class 3/1.png").write_bytes(b"no image")
    first, again = (call("data", "prepare", "mine", "--skip-bad", "--size", 8) for _ in range(2))
    assert first.code == 0 and first.out == again.out and "Left out" in first.out and "1.png cannot be" in first.out
    words = first.out.rpartition("autometa ")[2].split()
    inner, test = changed(INNER, **{"inner.shots": 1}), changed(TEST, **{"test.tasks": 1, "test.queries": 1})
    answer = call(*words, *inner, *test, *NETWORK, *SHORT, "--out", "run")
    assert answer.code == 0, answer.err


def test_the_next_step_names_the_folder_not_the_data_set_of_its_name(tmp_path):
    class_folders(tmp_path / "omniglot", [f"class {k}" for k in range(20)], images=3)
    assert "--data ./omniglot " in call("data", "prepare", "omniglot", "--size", 8).out
    assert call("data", "info", "omniglot").out.endswith("--data ./omniglot --data.image_size 14\n")
    assert "--data ./omniglot --data.variant grey " in call("data", "prepare", "omniglot", "--variant", "grey").out
