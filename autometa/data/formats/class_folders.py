"""Folders of class folders: one's own photos, or `train`, `val`, `test` folders of such.

Mini-ImageNet, tiered-ImageNet, CIFAR-FS and CUB are handed around like this.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from autometa.data.errors import DataError
from autometa.data.formats.found import PARTS, Found, FoundClass, ImageFile
from autometa.data.formats.mini_imagenet import SPLIT, is_mini_imagenet
from autometa.data.image_files import is_image
from autometa.data.images import class_folders

NAMES_OF_PARTS = {
    "train": ("train", "meta-train", "meta_train", "base", "training"),
    "val": ("val", "valid", "validation", "meta-val", "meta_val"),
    "test": ("test", "meta-test", "meta_test", "novel", "testing"),
}
KNOWN = {  # classes of train, val, test: what a published few-shot split of that size is
    (351, 97, 160): ("tieredimagenet", "Ren et al. 2018 by its counts"),
    (100, 50, 50): ("cub", "Chen et al. 2019 by its counts"),
}
CIFAR_FS = (64, 16, 20)
COLOUR = {name for name, _ in KNOWN.values()} | {"miniimagenet", "cifar-fs"}


def look(path: Path) -> Found | None:
    """None where the folder has no class folders. Raises `DataError` where a class folder is empty."""
    if not path.is_dir():
        return None
    listed = _cifar_fs(path) or _parts(path) or _plain(path) or _grouped(path)
    if listed is None:
        return None
    return _found(path, listed)


Listed = list[tuple[str, str, list[Path]]]


def part_folders(path: Path) -> dict[str, Path]:
    """part -> folder, for those there are."""
    there = {entry.name.lower(): entry for entry in path.iterdir() if entry.is_dir()}
    found = {}
    for part, names in NAMES_OF_PARTS.items():
        for name in names:
            if name in there:
                found[part] = there[name]
                break
    return found


def _parts(path: Path) -> Listed | None:
    folders = part_folders(path)
    if "train" not in folders or len(folders) < 2 or any(_holds_image(folder) for folder in folders.values()):
        return None
    if "test" not in folders:
        val = folders["val"].name
        raise DataError(
            f"{path} has the parts {folders['train'].name} and {val} but no test classes; rename {val} to test, or "
            "put all class folders into one"
        )
    return [(part, name, files) for part in PARTS if part in folders for name, files in class_folders(folders[part])]


def _plain(path: Path) -> Listed | None:
    inside = [entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    if not any(_holds_image(folder) for folder in inside):
        return None
    return [("", name, files) for name, files in class_folders(path)]


def _grouped(path: Path) -> Listed | None:
    """Class folders in folders of groups (alphabets, super-categories): classes are called `group/class`.

    Where one folder alone holds class folders (CUB's `images` beside its tables), there are no groups.
    """
    groups = sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    inside = {group.name: listed for group in groups if (listed := _plain(group))}
    if len(inside) < 2:
        return next(iter(inside.values()), None)
    return [("", f"{group}/{name}", files) for group, listed in inside.items() for _, name, files in listed]


def _cifar_fs(path: Path) -> Listed | None:
    """CIFAR-FS as torchmeta and its authors lay it out: `data/<class>/`, `splits/bertinetto/<part>.txt`."""
    tables = path / "splits" / "bertinetto"
    if not tables.is_dir() or not (path / "data").is_dir():
        return None
    classes = dict(class_folders(path / "data"))
    listed = []
    for part in PARTS:
        try:
            names = (tables / f"{part}.txt").read_text(encoding="utf-8").split()
        except OSError as error:
            raise DataError(f"{tables / part}.txt cannot be read ({error.strerror}); fetch the split again") from error
        missing = [name for name in names if name not in classes]
        if missing:
            raise DataError(f"{tables / part}.txt names {missing[0]}, which {path / 'data'} has not; fetch it again")
        listed += [(part, name, classes[name]) for name in sorted(names)]
    return listed


def _found(path: Path, listed: Listed) -> Found:
    counts = tuple(sum(part == p for p, _, _ in listed) for part in PARTS)
    parted = any(counts)
    name, split = KNOWN.get(counts, (path.name, "folders of the parts" if parted else ""))
    if is_mini_imagenet({part: {name for p, name, _ in listed if p == part} for part in PARTS}):
        name, split = "miniimagenet", SPLIT
    if counts == CIFAR_FS and (path / "splits").is_dir():
        name, split = "cifar-fs", "Bertinetto et al. 2019"
    classes = tuple(
        FoundClass(
            name=name,
            group=name.rpartition("/")[0],
            part=part,
            images=tuple(ImageFile(file) for file in files),
        )
        for part, name, files in listed
    )
    files = (file for _, _, files in listed for file in files)
    variant = "colour" if name in COLOUR else "ink"
    return Found("class folders", name, path, classes, split, variant, fingerprint(path, files))


def fingerprint(path: Path, files: Iterable[Path], more: Sequence[str] = ()) -> str:
    """sha256 over place, size and time of files, and over what `more` says."""
    key = hashlib.sha256("\0".join([str(path), *more]).encode(errors="surrogateescape"))
    for file in files:
        state = file.stat()
        key.update(f"{file}\0{state.st_size}\0{state.st_mtime_ns}\0".encode(errors="surrogateescape"))
    return key.hexdigest()


def _holds_image(folder: Path) -> bool:
    return any(is_image(file) and file.is_file() for file in folder.iterdir())
