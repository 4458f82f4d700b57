"""Bad data of many kinds, each made by a function: what it is, what must be said, which words meet it."""

import io
import json
import os
import pickle
import shutil
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.driving import call

KINDS = {}


def kind(says, *words):
    """Register a maker of bad data; `words` follow `autometa`, with the data at `bad` (the default: data prepare)."""

    def register(make):
        KINDS[make.__name__] = (make, says, words or ("data", "prepare", "bad"))
        return make

    return register


def png(value=0, size=6):
    buffer = io.BytesIO()
    Image.fromarray(np.full((size, size), value % 256, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def classes(root, counts):
    for i, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True)
        for k in range(count):
            (root / name / f"{k}.png").write_bytes(png(20 * i + k))
    return root


def ravi(root, **tables):
    """csv tables of (file, label) rows over images that exist; a string stands for itself."""
    (root / "images").mkdir(parents=True)
    for name in "abcdef":
        (root / "images" / f"{name}.jpg").write_bytes(png(ord(name)))
    rows = {"train": [("a.jpg", "n1"), ("b.jpg", "n2")], "val": [("c.jpg", "n3")], "test": [("d.jpg", "n4")]}
    for part, content in (rows | tables).items():
        if content is not None:
            lines = content if isinstance(content, str) else "\n".join(["filename,label", *map(",".join, content)])
            (root / f"{part}.csv").write_text(lines)


def cache(root, **parts):
    """Pickles of Mini-ImageNet's cache, three parts of one class each unless given."""
    root.mkdir()
    images = np.zeros((2, 84, 84, 3), np.uint8)
    for part in ("train", "val", "test"):
        made = parts.get(part, {"image_data": images, "class_dict": {f"n_{part}": [0, 1]}})
        content = made if isinstance(made, bytes) else pickle.dumps(made)
        (root / f"mini-imagenet-cache-{part}.pkl").write_bytes(content)


def zipped(path, members, flags=0):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members:
            archive.writestr(name, content)
    if flags:  # in the directory and in the local headers
        content = bytearray(path.read_bytes())
        for magic, place in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
            at = content.find(magic)
            while at >= 0:
                content[at + place] |= flags
                at = content.find(magic, at + 4)
        path.write_bytes(content)


MEMBERS = [(f"set/{name}/{k}.png", png(k)) for name in "abc" for k in range(3)]


@kind("there is no bad")
def nothing_there(bad):
    pass


@kind("leads nowhere")
def a_broken_link(bad):
    bad.symlink_to("nowhere")


@kind("leads nowhere")
def a_link_to_itself(bad):
    bad.symlink_to(bad)


@kind("no data set that is known")
def an_empty_folder(bad):
    bad.mkdir()


@kind("no data set that is known")
def a_folder_of_texts(bad):
    bad.mkdir()
    (bad / "letter.txt").write_text("hello")


@kind("no data set that is known")
def images_without_classes(bad):
    bad.mkdir()
    (bad / "0.png").write_bytes(png())


@kind("has no image")
def a_class_without_images(bad):
    classes(bad, {"a": 2})
    (bad / "b").mkdir()


@kind("0.png cannot be read")
def a_zero_byte_image(bad):
    (classes(bad, {"a": 2}) / "a/0.png").write_bytes(b"")


@kind("0.png cannot be read")
def a_cut_image(bad):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40), dtype=np.uint8)).save(buffer, "PNG")
    (classes(bad, {"a": 2}) / "a/0.png").write_bytes(buffer.getvalue()[:800])


@kind("0.png cannot be read")
def a_text_called_png(bad):
    (classes(bad, {"a": 2}) / "a/0.png").write_text("no image")


@kind("0.png has 60000 x 60000 pixels")
def a_huge_image(bad):
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    (classes(bad, {"a": 2}) / "a/0.png").write_bytes(content)


@kind("no few-shot split")
def classes_in_several_parts(bad):
    for part in ("train", "val", "test"):
        classes(bad / part, {"a": 2, "b": 2})


@kind("rename valid to test")
def parts_without_test(bad):
    for part, name in (("train", "a"), ("valid", "b")):
        classes(bad / part, {name: 2})


@kind("a class named 'a\\udcff'")
def a_class_whose_name_is_no_text(bad):
    classes(bad, {"a": 2, "b": 2})
    os.rename(bad / "a", os.fsencode(bad) + b"/a\xff")


@kind("a class named 'a\\nb'")
def a_class_whose_name_has_two_lines(bad):
    classes(bad, {"a\nb": 2, "b": 2})


@kind("no sub-folders")
def an_empty_part(bad):
    classes(bad / "train", {"a": 2, "b": 2})
    (bad / "test").mkdir()


@kind("names lake")
def a_split_that_names_a_missing_class(bad):
    classes(bad / "data", {"a": 2, "b": 2, "c": 2})
    (bad / "splits/bertinetto").mkdir(parents=True)
    for part, name in (("train", "a"), ("val", "lake"), ("test", "c")):
        (bad / "splits/bertinetto" / f"{part}.txt").write_text(name)


@kind("z.jpg")
def a_table_with_a_missing_image(bad):
    ravi(bad, train=[("a.jpg", "n1"), ("z.jpg", "n2")])


@kind("in the first line")
def a_table_with_another_header(bad):
    ravi(bad, train="picture,kind\na.jpg,n1")


@kind("train.csv")
def an_empty_table(bad):
    ravi(bad, train="")


@kind("train.csv")
def a_table_without_rows(bad):
    ravi(bad, train="filename,label\n")


@kind("n1")
def a_class_in_two_tables(bad):
    ravi(bad, val=[("c.jpg", "n1")])


@kind("a.jpg")
def an_image_in_two_tables(bad):
    ravi(bad, val=[("a.jpg", "n3")])


@kind("a.jpg")
def a_row_twice(bad):
    ravi(bad, train=[("a.jpg", "n1"), ("a.jpg", "n1")])


@kind("val.csv")
def a_missing_table(bad):
    ravi(bad, val=None)


@kind("bad/birds.csv")
def a_table_that_climbs(bad):
    classes(bad, {"a": 1})
    (bad / "birds.csv").write_text("file,label\n../../../etc/passwd,a\n")


@kind("birds.csv")
def a_table_with_a_label_left_out(bad):
    classes(bad, {"a": 2})
    (bad / "birds.csv").write_text("file,label\na/0.png,\na/1.png,b\n")


@kind("birds.csv")
def a_table_with_an_unknown_part(bad):
    classes(bad, {"a": 2})
    (bad / "birds.csv").write_text("file,label,split\na/0.png,a,learn\na/1.png,b,test\n")


class Harm:
    def __reduce__(self):
        return os.mkdir, ("harm",)


@kind("mini-imagenet-cache-train.pkl")
def a_pickle_that_carries_code(bad):
    cache(bad, train={"image_data": Harm(), "class_dict": {}})


@kind("mini-imagenet-cache-val.pkl")
def a_truncated_pickle(bad):
    whole = pickle.dumps({"image_data": np.zeros((2, 84, 84, 3), np.uint8), "class_dict": {"n": [0, 1]}})
    cache(bad, val=whole[: len(whole) // 2])


@kind("mini-imagenet-cache-train.pkl")
def a_pickle_whose_indices_point_nowhere(bad):
    cache(bad, train={"image_data": np.zeros((2, 84, 84, 3), np.uint8), "class_dict": {"n": [0, 7]}})


@kind("mini-imagenet-cache-train.pkl")
def a_pickle_of_something_else(bad):
    cache(bad, train=["a", "list"])


@kind("n_test")
def a_class_in_two_pickles(bad):
    cache(bad, train={"image_data": np.zeros((2, 84, 84, 3), np.uint8), "class_dict": {"n_test": [0, 1]}})


def torchmeta(bad):
    h5py = pytest.importorskip("h5py")
    bad.mkdir()
    for part in ("train", "val", "test"):
        with h5py.File(bad / f"{part}_data.hdf5", "w") as file:
            group = file.create_group("datasets")
            group.create_dataset(f"n_{part}", data=np.zeros((2, 84, 84, 3), np.uint8))
        (bad / f"{part}_labels.json").write_text(json.dumps([f"n_{part}"]))


@kind("val_labels.json")
def a_json_that_disagrees_with_its_hdf5(bad):
    torchmeta(bad)
    (bad / "val_labels.json").write_text(json.dumps(["n_other"]))


@kind("val_data.hdf5")
def a_truncated_hdf5(bad):
    torchmeta(bad)
    (bad / "val_data.hdf5").write_bytes((bad / "val_data.hdf5").read_bytes()[:600])


@kind("images_evaluation")
def one_half_of_omniglot(bad):
    bad.mkdir()
    zipped(bad / "images_background.zip", MEMBERS)


@kind("Omniglot's background part 964")
def an_omniglot_that_lacks_characters(bad):
    bad.mkdir()
    for part in ("background", "evaluation"):
        zipped(bad / f"images_{part}.zip", [(f"images_{part}/Greek/character01/{k}.png", png(k)) for k in range(20)])


def store(bad):
    classes(bad, {f"c{k}": 2 for k in range(20)})
    made = Path(call("data", "prepare", "bad", "--size", 4, "--json").json["store"])
    shutil.rmtree(bad)
    return made.rename(bad)


@kind("store format 99", "data", "verify", "bad")
def a_store_of_another_version(bad):
    about = json.loads((store(bad) / "store.json").read_text())
    (bad / "store.json").write_text(json.dumps(about | {"format": 99}))


@kind("images.npy", "data", "info", "bad")
def a_store_without_its_images(bad):
    (store(bad) / "images.npy").unlink()


@kind("damaged", "data", "info", "bad")
def a_store_with_a_garbled_description(bad):
    (store(bad) / "store.json").write_text("{")


@kind("data hash", "data", "verify", "bad")
def a_store_with_another_pixel(bad):
    place = store(bad) / "images.npy"
    content = bytearray(place.read_bytes())
    content[-1] ^= 255
    place.write_bytes(content)


@kind("lower the ways", "search", "--data", "bad", "--inner.ways", "9")
def more_ways_than_classes(bad):
    classes(bad, {f"c{k}": 30 for k in range(10)})


@kind("lower them or add images", "search", "--preset", "quick", "--data", "bad", "--inner.shots", "10")
def classes_with_too_few_images(bad):
    classes(bad, {f"c{k}": 2 for k in range(50)})
