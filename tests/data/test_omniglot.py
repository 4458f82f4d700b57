"""The real Omniglot where it is at hand, and a forged one of the same shape for its importer."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from autometa.data import DataError, open_dataset
from autometa.data.omniglot import characters, omniglot_split, open_omniglot


def part_zip(root, part):
    return zipfile.ZipFile(root / f"images_{part}.zip")


def test_counts_and_order(omniglot):
    assert omniglot.images.shape == (32460, 1, 28, 28)
    assert (np.diff(omniglot.class_start) == 20).all()
    assert omniglot.parts == ("background",) * 964 + ("evaluation",) * 659
    names = [*zip(omniglot.parts, omniglot.class_names, strict=True)]
    assert names == sorted(names) and len(set(omniglot.class_names)) == 1623
    assert len(set(omniglot.groups)) == 50
    assert omniglot.class_names[0] == "Alphabet_of_the_Magi/character01"
    omniglot.verify()


def test_ink_is_bright_and_rare(omniglot):
    assert omniglot.images.max() == 255
    assert 0.05 < (omniglot.images / 255).mean() < 0.12


def by_hand(root, omniglot, index, size, resize):
    label = np.searchsorted(omniglot.class_start, index, side="right") - 1
    part, name = omniglot.parts[label], omniglot.class_names[label]
    with part_zip(root, part) as archive:
        folder = f"images_{part}/{name}/"
        files = sorted(file for file in archive.namelist() if file.startswith(folder) and file.endswith(".png"))
        image = Image.open(io.BytesIO(archive.read(files[index - omniglot.class_start[label]])))
    return np.asarray(resize(image))


@pytest.mark.parametrize("index", [0, 1, 19, 20, 12345, 19279, 19280, 32459])
def test_pixels_equal_reading_by_hand(omniglot_root, omniglot, index):
    def resize(image):
        return image.convert("L").resize((28, 28), Image.Resampling.BOX)

    assert np.array_equal(omniglot.images[index, 0], 255 - by_hand(omniglot_root, omniglot, index, 28, resize))


@pytest.mark.parametrize("index", [0, 777, 20000])
def test_reptile_variant_is_nearest_and_uninverted(omniglot_root, omniglot, index):
    store = open_omniglot(14, "reptile", omniglot_root)
    assert store.size == 14 and store.data_hash != omniglot.data_hash
    # what a mode 1 image gives by itself: Pillow then takes the nearest pixel
    expected = by_hand(omniglot_root, omniglot, index, 14, lambda image: image.resize((14, 14))) * 255
    assert np.array_equal(store.images[index, 0], expected)
    assert set(np.unique(store.images)) == {0, 255} and store.images[index].mean() > 128


@pytest.mark.parametrize(
    ("name", "sizes", "rotations"),
    [
        ("background", (964, 145, 659), (4, 4, 4)),
        ("vinyals", (1028, 172, 423), (4, 4, 4)),
        ("reptile", (1200, 180, 423), (4, 4, 1)),
    ],
)
def test_splits(omniglot, name, sizes, rotations):
    split = omniglot_split(omniglot, name)
    assert (len(split.train), len(split.val), len(split.test)) == sizes
    assert (split.train_rotations, split.val_rotations, split.test_rotations) == rotations
    assert all(ids.dtype == np.int64 for ids in (split.train, split.val, split.test))
    assert not np.intersect1d(split.train, split.test).size and not np.intersect1d(split.val, split.test).size
    together = np.concatenate([split.train, split.test, split.val if name == "vinyals" else []])
    assert np.array_equal(np.sort(together), np.arange(1623))
    strict = split.without_val()
    assert not np.intersect1d(strict.train, strict.val).size
    assert len(strict.train) == sizes[0] - (0 if name == "vinyals" else sizes[1])


def test_background_split_follows_the_parts(omniglot):
    split = omniglot_split(omniglot, "background")
    assert {omniglot.parts[index] for index in split.train} == {"background"}
    assert {omniglot.parts[index] for index in split.test} == {"evaluation"}


def test_vinyals_lists(omniglot):
    split = omniglot_split(omniglot, "vinyals")
    groups = {part: {omniglot.groups[index] for index in getattr(split, part)} for part in ("train", "val", "test")}
    assert groups["val"] == {"Armenian", "Bengali", "Early_Aramaic", "Hebrew", "Mkhedruli_(Georgian)"}
    assert groups["train"] & groups["test"] == {"Gurmukhi"}
    names = [omniglot.class_names[index] for index in split.test if omniglot.groups[index] == "Gurmukhi"]
    assert names == [f"Gurmukhi/character{number}" for number in (42, 43, 44, 45)]


def test_reptile_shuffle_depends_on_its_seed_alone(omniglot):
    first, again, other = (omniglot_split(omniglot, "reptile", seed) for seed in (0, 0, 1))
    assert np.array_equal(first.train, again.train)
    assert not np.array_equal(np.sort(first.test), np.sort(other.test))
    assert first.train[:6].tolist() == [836, 146, 715, 510, 1504, 67]


def forge(folder, part, alphabets, drawings=20, prefix=""):
    """A zip with one-pixel drawings of `alphabets` {name: characters}."""
    data = io.BytesIO()
    Image.new("1", (1, 1)).save(data, "png")
    with zipfile.ZipFile(folder / f"images_{part}.zip", "w") as archive:
        for alphabet, count in alphabets.items():
            for number in range(1, count + 1):
                for drawing in range(1, drawings + 1):
                    name = f"{prefix}images_{part}/{alphabet}/character{number:02d}/0001_{drawing:02d}.png"
                    archive.writestr(name, data.getvalue())


def test_characters_of_zip_and_folder(tmp_path):
    forge(tmp_path, "background", {f"Alphabet{k}": 241 for k in range(4)}, prefix="__MACOSX/")
    with pytest.raises(DataError, match="holds 0 characters"):
        characters(tmp_path / "images_background.zip", "background")
    forge(tmp_path, "background", {f"Alphabet{k}": 241 for k in range(4)})
    zipped = characters(tmp_path / "images_background.zip", "background")
    with zipfile.ZipFile(tmp_path / "images_background.zip") as archive:
        archive.extractall(tmp_path)
    folder = characters(tmp_path / "images_background", "background")
    assert len(zipped) == len(folder) == 964
    for one, other in zip(zipped, folder, strict=True):
        assert one.files == tuple(f"images_background/{file}" for file in other.files)
        assert (one.alphabet, one.name) == (other.alphabet, other.name) and len(one.files) == 20


def test_incomplete_sources(tmp_path):
    forge(tmp_path, "evaluation", {"A": 3})
    with pytest.raises(DataError, match="3 characters, Omniglot's evaluation part 659"):
        characters(tmp_path / "images_evaluation.zip", "evaluation")
    forge(tmp_path, "evaluation", {"A": 659}, drawings=1)
    with pytest.raises(DataError, match="1 drawings of A/character01, not 20"):
        characters(tmp_path / "images_evaluation.zip", "evaluation")
    (tmp_path / "images_evaluation.zip").write_bytes(b"PK nothing")
    with pytest.raises(DataError, match="images_evaluation.zip is damaged or no archive"):
        characters(tmp_path / "images_evaluation.zip", "evaluation")


def test_missing_data_says_what_to_put_where(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOMETA_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("AUTOMETA_DATA", raising=False)
    with pytest.raises(DataError, match="images_background.zip.*AUTOMETA_DATA"):
        open_dataset("omniglot")
    monkeypatch.setenv("AUTOMETA_DATA", str(tmp_path))
    with pytest.raises(DataError, match=f"{tmp_path}.*omniglot.*images_evaluation.zip"):
        open_dataset("omniglot")


def test_cached_store_needs_no_source(omniglot, monkeypatch):
    monkeypatch.delenv("AUTOMETA_DATA", raising=False)
    store, split = open_dataset("omniglot:vinyals")
    assert store.data_hash == omniglot.data_hash and len(split.train) == 1028


@pytest.mark.parametrize(("name", "options"), [("omniglot:odd", {}), ("omniglot", {"variant": "odd"})])
def test_unknown_names(name, options):
    with pytest.raises(DataError, match="odd.*choose from"):
        open_dataset(name, **options)
