"""A data root that torchmeta 1.8 wrote: hdf5 files of images, json files of class names.

Omniglot; Mini-ImageNet, CUB and tiered-ImageNet, with one hdf5 file per part; CIFAR-FS and FC100, whose lists share the
hdf5 file of CIFAR-100. torchmeta keeps Omniglot inverted (white ink on black) and its drawings in the order in which
the file system listed them; images are handed out with the ink of the original drawings, in the file's order. CUB and
tiered-ImageNet hold encoded image files, the others pixels.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from autometa.data.errors import DataError
from autometa.data.formats.class_folders import KNOWN
from autometa.data.formats.found import PARTS, Found, FoundClass
from autometa.data.formats.mini_imagenet import name_split
from autometa.data.formats.torchmeta_files import (
    AGAIN,
    StoredImage,
    check_total,
    compare,
    count_colour,
    count_grey,
    groups,
    names,
    opened,
)
from autometa.data.names import composed

FORMAT = "torchmeta root"
OMNIGLOT, MINIIMAGENET = "omniglot", "miniimagenet"
DATA = "data.hdf5"
OMNIGLOT_GROUPS = {"train": "images_background", "test": "images_evaluation"}
VINYALS = tuple(f"vinyals_{part}_labels.json" for part in PARTS)
BY_PART = (MINIIMAGENET, "cub", "tieredimagenet")
BY_PART_GROUP = "datasets"
CIFAR = "cifar100"
OF_CIFAR = {
    "cifar-fs": ((64, 16, 20), "Bertinetto et al. 2019 by its counts"),
    "fc100": ((60, 20, 20), "Oreshkin et al. 2018 by its counts"),
}


def look(path: Path) -> Found | None:
    """The data set of a torchmeta root, or of one of the folders in it; None for another layout.

    Omniglot's split is that of its two parts, as for its zips; classes are `Alphabet/character01`, groups alphabets.
    Classes of CIFAR-FS and FC100 are `superclass/class`.

    Raises:
        DataError: a root with several sets, h5py is missing, or a file is missing, damaged or contradicts another.
    """
    if not path.is_dir():
        return None
    sets = dict(_sets(path))
    if len(sets) > 1:
        *others, last = (os.path.join(path, folder.relative_to(path)) for folder in sets)
        raise DataError(
            f"{path} is a torchmeta root with {len(sets)} data sets; give {', '.join(others)} or {last} instead"
        )
    for folder, read in sets.items():
        return read(folder)
    return None


def _sets(path: Path) -> Iterator[tuple[Path, Callable[[Path], Found]]]:
    for folder in (path, path / OMNIGLOT):
        if _is_omniglot(folder):
            yield folder, _omniglot
    for folder in (path, *(path / name for name in BY_PART)):
        if _is_by_part(folder):
            yield folder, _by_part
    for folder in (path, *(where / name for where in (path, path / CIFAR) for name in OF_CIFAR)):
        if _is_of_cifar(folder):
            yield folder, _of_cifar


def _is_omniglot(folder: Path) -> bool:
    if any((folder / name).is_file() for name in VINYALS):
        return True
    tables = any((folder / _labels_name(part)).is_file() for part in OMNIGLOT_GROUPS)
    return (folder / DATA).is_file() and (tables or folder.name == OMNIGLOT)


def _is_by_part(folder: Path) -> bool:
    if any((folder / _data_name(part)).is_file() for part in PARTS):
        return True
    return folder.name in BY_PART and any((folder / _labels_name(part)).is_file() for part in PARTS)


def _is_of_cifar(folder: Path) -> bool:
    return folder.absolute().name in OF_CIFAR and any((folder / _labels_name(part)).is_file() for part in PARTS)


def _labels_name(part: str) -> str:
    return f"{part}_labels.json"


def _data_name(part: str) -> str:
    return f"{part}_data.hdf5"


def _omniglot(folder: Path) -> Found:
    file, files = folder / DATA, [folder / DATA]
    with opened(file) as data:
        stored = dict(_characters(file, data))
        check_total(file, stored.values())
    strange = sorted({top for top, _, _ in stored} - set(OMNIGLOT_GROUPS.values()))
    if strange:
        raise DataError(f"{file} holds a group {strange[0]} that Omniglot has not; {AGAIN}")
    classes = []
    for part, top in OMNIGLOT_GROUPS.items():
        table = folder / _labels_name(part)
        files.append(table)
        held = sorted(where for where in stored if where[0] == top)
        compare(file, held, table, names(table, 3))
        for _, alphabet, character in held:
            dataset, count = f"{top}/{alphabet}/{character}", stored[top, alphabet, character]
            images = tuple(StoredImage(file, dataset, index, inverted=True) for index in range(count))
            classes.append(FoundClass(f"{alphabet}/{character}", alphabet, part, images))
    _check_vinyals(folder, file, stored)
    return _found(OMNIGLOT, folder, classes, "background", "ink", files)


def _characters(file: Path, data) -> Iterator[tuple[tuple[str, str, str], int]]:
    for top, alphabets in groups(file, data):
        for alphabet, characters in groups(file, alphabets):
            for character, dataset in groups(file, characters):
                yield (top, alphabet, character), count_grey(file, dataset)


def _check_vinyals(folder: Path, file: Path, stored: Iterable[tuple[str, str, str]]) -> None:
    """The three lists may name characters that a cut-down file lacks, but no character may be in none or in two."""
    tables = [folder / name for name in VINYALS if (folder / name).is_file()]
    named = Counter(tuple(map(composed, where)) for table in tables for where in names(table, 3))
    for where in sorted(stored):
        listed = named[tuple(map(composed, where))]
        if listed > 1 or (listed == 0 and len(tables) == len(VINYALS)):
            fault = "more than one" if listed else "none"
            raise DataError(f"{'/'.join(where)} of {file} stands in {fault} of {', '.join(VINYALS)}; {AGAIN}")


def _by_part(folder: Path) -> Found:
    parts: dict[str, list[FoundClass]] = {}
    files, encoded = [], False
    for part in PARTS:
        file, table = folder / _data_name(part), folder / _labels_name(part)
        with opened(file) as data:
            if BY_PART_GROUP not in data:
                raise DataError(f"{file} has no group {BY_PART_GROUP!r}: torchmeta did not write it; {AGAIN}")
            stored = {(name,): count_colour(file, dataset) for name, dataset in groups(file, data[BY_PART_GROUP])}
            check_total(file, (count for count, _ in stored.values()))
        compare(file, sorted(stored), table, names(table, 1))
        parts[part] = [
            FoundClass(name, "", part, _images(file, f"{BY_PART_GROUP}/{name}", *stored[name,]))
            for (name,) in sorted(stored)
        ]
        encoded |= any(packed for _, packed in stored.values())
        files += [file, table]
    counts = tuple(len(classes) for classes in parts.values())
    known, split = KNOWN.get(counts, ("", ""))
    name = folder.absolute().name
    if name not in BY_PART:
        name = known or (name if encoded else MINIIMAGENET)
    if name == MINIIMAGENET:
        split = name_split({part: {entry.name for entry in parts[part]} for part in PARTS}, "its hdf5 files")
    elif name != known:
        split = _counted(counts, "its hdf5 files")
    return _found(name, folder, [entry for part in PARTS for entry in parts[part]], split, "colour", files)


def _of_cifar(folder: Path) -> Found:
    name, file = folder.absolute().name, folder.absolute().parent / DATA
    with opened(file) as data:
        stored = {
            (coarse, fine): count_colour(file, dataset)
            for coarse, group in groups(file, data)
            for fine, dataset in groups(file, group)
        }
        check_total(file, (count for count, _ in stored.values()))
    classes, files, held = [], [file], {tuple(map(composed, where)): where for where in stored}
    for part in PARTS:
        table = folder / _labels_name(part)
        named = [tuple(map(composed, where)) for where in names(table, 2)]
        compare(file, sorted(held.keys() & set(named)), table, named)
        for coarse, fine in sorted(held[where] for where in named):
            images = _images(file, f"{coarse}/{fine}", *stored[coarse, fine])
            classes.append(FoundClass(f"{coarse}/{fine}", coarse, part, images))
        files.append(table)
    counts = tuple(sum(entry.part == part for entry in classes) for part in PARTS)
    published, split = OF_CIFAR[name]
    return _found(
        name, folder, classes, split if counts == published else _counted(counts, "its lists"), "colour", files
    )


def _counted(counts: Iterable[int], files: str) -> str:
    return f"{' / '.join(map(str, counts))} classes as in {files}"


def _found(name: str, folder: Path, classes: list[FoundClass], split: str, variant: str, files: list[Path]) -> Found:
    return Found(FORMAT, name, folder, tuple(classes), split, variant, _fingerprint(folder, files))


def _images(file: Path, dataset: str, count: int, encoded: bool) -> tuple[StoredImage, ...]:
    return tuple(StoredImage(file, dataset, index, encoded=encoded) for index in range(count))


def _fingerprint(folder: Path, files: Iterable[Path]) -> str:
    """sha256 over place, sizes and times of the files, which say all: every table stands in them."""
    key = hashlib.sha256(f"{FORMAT}\0{folder}".encode(errors="surrogateescape"))
    for file in files:
        state = file.stat()
        key.update(f"\0{file.name}\0{state.st_size}\0{state.st_mtime_ns}".encode(errors="surrogateescape"))
    return key.hexdigest()
