"""Folders of class folders: one's own photos, or `train`, `val`, `test` folders of such.

Mini-ImageNet, tiered-ImageNet, CIFAR-FS and CUB are handed around like this.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from autometa.data.errors import DataError
from autometa.data.formats import class_folders_before as before
from autometa.data.formats.mini_imagenet import SPLIT, is_mini_imagenet
from autometa.data.formats.pictures import Classes, contents, folders_in, holds_picture, pictures_below
from autometa.data.formats.sources import PARTS, ImageFile, SourceClass, SourceDataset
from autometa.data.names import READING, composed

FORMAT = "class folders"
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


GENERIC = {"images", "image", "imgs", "img", "pictures", "pics", "photos", "jpeg", "jpegs", "jpg", "png"}
"""Names of folders that say what is in them, not of which class it is."""

Listed = list[tuple[str, str, list[Path]]]


def detect(path: Path, reading: int = READING) -> SourceDataset | None:
    """None where the folder has no class folders. Raises `DataError` where a class folder is empty."""
    if not path.is_dir():
        return None
    if reading > 1:
        path, listed = _listed(path)
        return _found(path, _pooled(listed)) if listed else None
    listed = _cifar_fs(path, reading) or _parts(path, reading)
    if listed is None:
        listed = [("", name, files) for name, files in before.classes(path) or ()]
    return _found(path, listed) if listed else None


def _listed(path: Path) -> tuple[Path, Listed]:
    """The classes of a folder and the folder that the set is called after; none where no picture lies below.

    One folder alone is passed through (CUB's `images` beside its tables), unless it is a class by `_are_classes`.
    """
    home = path
    while True:
        parted = _cifar_fs(path, READING) or _parts(path, READING)
        if parted:
            return home, parted
        inside = _inside(path)
        groups = {entry: _inner(entry, files) for entry, files in inside.items() if files}
        if len(groups) != 1 or _holds_classes(inside) or _are_classes(groups):
            return home, [("", name, files) for name, files in _classes(inside, groups)]
        (path,) = groups
        home = path if len(inside) == 1 else home


def _inside(path: Path) -> dict[Path, list[Path]]:
    """The sub-folders with the pictures below each; without links that lead back to where they lie."""
    real = path.resolve()
    back = {real, *real.parents}
    folders = [entry for entry in folders_in(path) if not entry.is_symlink() or entry.resolve() not in back]
    return {entry: pictures_below(entry) for entry in folders}


def part_folders(path: Path) -> dict[str, Path]:
    """part -> folder, for those there are."""
    there = {entry.name.lower(): entry for entry in path.iterdir() if entry.is_dir()}
    known = {part: [there[name] for name in names if name in there] for part, names in NAMES_OF_PARTS.items()}
    return {part: folders[0] for part, folders in known.items() if folders}


def _parts(path: Path, reading: int) -> Listed | None:
    folders = part_folders(path)
    if "train" not in folders or len(folders) < 2 or any(holds_picture(folder) for folder in folders.values()):
        return None
    if "test" not in folders:
        val = folders["val"].name
        raise DataError(
            f"{path} has the parts {folders['train'].name} and {val} but no test classes; rename {val} to test, or "
            "put all class folders into one"
        )
    listed = []
    for part in PARTS:
        if part in folders:
            listed += [(part, name, files) for name, files in _classes_of(folders[part], reading)]
    return listed


def _classes_of(folder: Path, reading: int) -> Classes:
    """The classes of a part."""
    if reading == 1:
        return before.class_folders(folder)
    found = [(name, files) for _, name, files in _listed(folder)[1]]
    if not found or (len(found) == 1 and found[0][0].lower() in GENERIC):
        lacking = "class folders" if folders_in(folder) else "sub-folders"
        raise DataError(
            f"{folder} has no {lacking} but {contents(folder)}; put the pictures of each class into one of its "
            "name, or name the folder that holds class folders"
        )
    return found


def _classes(inside: Mapping[Path, list[Path]], groups: Mapping[Path, Mapping[str, list[Path]]]) -> Classes:
    """The classes among sub-folders, sorted by name. inside: the pictures below each; groups: by where they lie.

    Where pictures lie directly in a sub-folder, every sub-folder is a class; all pictures below it are its own. Where
    they lie deeper, folders are groups (alphabets, super-categories) of classes called `group/class`, or classes by
    `_are_classes`.
    """
    if _holds_classes(inside):
        return [(composed(entry.name), _some(entry, files)) for entry, files in inside.items()]
    if _are_classes(groups):
        return [(composed(entry.name), inside[entry]) for entry in groups]
    named = ((f"{entry.name}/{name}", files) for entry, classes in groups.items() for name, files in classes.items())
    return [(composed(name), files) for name, files in named]


def _holds_classes(inside: Mapping[Path, list[Path]]) -> bool:
    """Whether pictures lie directly in a sub-folder."""
    return any(file.parent == entry for entry, files in inside.items() for file in files)


def _are_classes(groups: Mapping[Path, Mapping[str, list[Path]]]) -> bool:
    """Whether folders without pictures of their own are classes all the same: each holds `images` or another generic
    name, all hold one folder of one name, or pictures lie nowhere but deeper down. groups: as of `_classes`."""
    direct = [
        {name.lower() for name, files in classes.items() if any(file.parent == entry / name for file in files)}
        for entry, classes in groups.items()
    ]
    if all(names & GENERIC for names in direct):
        return bool(groups)
    alike = len({name.lower() for classes in groups.values() for name in classes}) == 1
    return len(groups) > 1 and (alike or not any(direct))


def _inner(folder: Path, files: Sequence[Path]) -> dict[str, list[Path]]:
    """The pictures below a folder by the sub-folder that they lie in."""
    found: dict[str, list[Path]] = {}
    for file in files:
        found.setdefault(file.relative_to(folder).parts[0], []).append(file)
    return found


def _some(folder: Path, files: list[Path]) -> list[Path]:
    if not files:
        raise DataError(
            f"class folder {folder} has no image (JPEG, PNG, ...) but {contents(folder)}; put pictures of the class "
            "there, or the folder elsewhere"
        )
    return files


def _pooled(listed: Listed) -> Listed:
    """Classes whose names came in two Unicode forms made one in each part."""
    pools: dict[tuple[str, str], list[Path]] = {}
    for part, name, files in listed:
        pools.setdefault((part, name), []).extend(files)
    return [(part, name, files) for (part, name), files in pools.items()]


def _cifar_fs(path: Path, reading: int) -> Listed | None:
    """CIFAR-FS as torchmeta and its authors lay it out: `data/<class>/`, `splits/bertinetto/<part>.txt`."""
    tables = path / "splits" / "bertinetto"
    if not tables.is_dir() or not (path / "data").is_dir():
        return None
    classes = dict(_classes_of(path / "data", reading))
    listed = []
    for part in PARTS:
        try:
            names = (tables / f"{part}.txt").read_text(encoding="utf-8").split()
            names = [composed(name) for name in names] if reading > 1 else names
        except OSError as error:
            raise DataError(f"{tables / part}.txt cannot be read ({error.strerror}); fetch the split again") from error
        missing = [name for name in names if name not in classes]
        if missing:
            raise DataError(f"{tables / part}.txt names {missing[0]}, which {path / 'data'} has not; fetch it again")
        listed += [(part, name, classes[name]) for name in sorted(names)]
    return listed


def _found(path: Path, listed: Listed) -> SourceDataset:
    counts = tuple(sum(part == p for p, _, _ in listed) for part in PARTS)
    parted = any(counts)
    name, split = KNOWN.get(counts, (path.name, "folders of the parts" if parted else ""))
    if is_mini_imagenet({part: {name for p, name, _ in listed if p == part} for part in PARTS}):
        name, split = "miniimagenet", SPLIT
    if counts == CIFAR_FS and (path / "splits").is_dir():
        name, split = "cifar-fs", "Bertinetto et al. 2019"
    classes = tuple(
        SourceClass(
            name=name, group=name.rpartition("/")[0], part=part, images=tuple(ImageFile(file) for file in files)
        )
        for part, name, files in listed
    )
    files = (file for _, _, files in listed for file in files)
    renamed = any(file.parent.name != name.rpartition("/")[2] for _, name, files in listed for file in files)
    more = ["2", *(name for _, name, _ in listed)] if renamed else []
    variant = "colour" if name in COLOUR else "ink"
    return SourceDataset(FORMAT, name, path, classes, split, variant, fingerprint(path, files, more))


def fingerprint(path: Path, files: Iterable[Path], more: Sequence[str] = ()) -> str:
    """sha256 over place, size and time of files, and over what `more` says."""
    key = hashlib.sha256("\0".join([str(path), *more]).encode(errors="surrogateescape"))
    for file in files:
        state = file.stat()
        key.update(f"{file}\0{state.st_size}\0{state.st_mtime_ns}\0".encode(errors="surrogateescape"))
    return key.hexdigest()
