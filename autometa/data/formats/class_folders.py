"""Folders of class folders: one's own photos, or `train`, `val`, `test` folders of such.

Mini-ImageNet, tiered-ImageNet, CIFAR-FS and CUB are handed around like this.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from autometa.data.errors import DataError
from autometa.data.formats import class_folders_before as before
from autometa.data.formats.found import PARTS, Found, FoundClass, ImageFile
from autometa.data.formats.mini_imagenet import SPLIT, is_mini_imagenet
from autometa.data.formats.pictures import Classes, contents, folders_in, holds_picture, pictures_below
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


def look(path: Path, reading: int = READING) -> Found | None:
    """None where the folder has no class folders. Raises `DataError` where a class folder is empty."""
    if not path.is_dir():
        return None
    listed = _cifar_fs(path, reading) or _parts(path, reading)
    if listed is None:
        classes = _classes(path) if reading > 1 else before.classes(path)
        listed = classes and [("", name, files) for name, files in classes]
    return None if listed is None else _found(path, _pooled(listed) if reading > 1 else listed)


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
            classes = _classes_of(folders[part]) if reading > 1 else before.class_folders(folders[part])
            listed += [(part, name, files) for name, files in classes]
    return listed


def _classes_of(folder: Path) -> Classes:
    """The classes of a part."""
    found = _classes(folder)
    if not found or (len(found) == 1 and found[0][0].lower() in GENERIC):
        raise DataError(
            f"{folder} has no class folders but {contents(folder)}; put the pictures of each class into one of its "
            "name, or name the folder that holds class folders"
        )
    return found


def _classes(folder: Path) -> Classes | None:
    """The classes of a folder, sorted by name; None where no picture lies below its sub-folders.

    Where pictures lie directly in a sub-folder, or nowhere but deeper than two folders down, every sub-folder is a
    class; all pictures below it are its own. Where they lie two folders down, the folders are groups (alphabets,
    super-categories) of classes called `group/class`; but not where each holds `images` or another generic name, or all
    hold one folder of one name: these are classes too. One folder alone is passed through (CUB's `images` beside its
    tables), unless what it holds is generic.
    """
    inside = {entry: pictures_below(entry) for entry in folders_in(folder)}
    direct = any(file.parent == entry for entry, files in inside.items() for file in files)
    if direct:
        return [(composed(entry.name), _some(entry, files)) for entry, files in inside.items()]
    groups = {entry: _inner(entry, files) for entry, files in inside.items() if files}
    if not groups:
        return None
    if _are_classes(groups):
        return [(composed(entry.name), inside[entry]) for entry in groups]
    if len(groups) == 1:
        return _classes(next(iter(groups)))
    return [
        (composed(f"{entry.name}/{name}"), files)
        for entry, classes in groups.items()
        for name, files in classes.items()
    ]


def _are_classes(groups: Mapping[Path, Mapping[str, list[Path]]]) -> bool:
    """Whether folders without pictures of their own are classes. groups: of each its sub-folders and their pictures."""
    direct = [
        {name.lower() for name, files in classes.items() if any(file.parent == entry / name for file in files)}
        for entry, classes in groups.items()
    ]
    if all(names & GENERIC for names in direct):
        return True
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
    classes = dict(_classes_of(path / "data") if reading > 1 else before.class_folders(path / "data"))
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
    renamed = any(file.parent.name != name.rpartition("/")[2] for _, name, files in listed for file in files)
    more = ["2", *(name for _, name, _ in listed)] if renamed else []
    variant = "colour" if name in COLOUR else "ink"
    return Found(FORMAT, name, path, classes, split, variant, fingerprint(path, files, more))


def fingerprint(path: Path, files: Iterable[Path], more: Sequence[str] = ()) -> str:
    """sha256 over place, size and time of files, and over what `more` says."""
    key = hashlib.sha256("\0".join([str(path), *more]).encode(errors="surrogateescape"))
    for file in files:
        state = file.stat()
        key.update(f"{file}\0{state.st_size}\0{state.st_mtime_ns}\0".encode(errors="surrogateescape"))
    return key.hexdigest()
