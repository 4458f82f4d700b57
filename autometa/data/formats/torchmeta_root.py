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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from autometa.data.errors import DataError
from autometa.data.formats.class_folders import KNOWN
from autometa.data.formats.mini_imagenet import name_split
from autometa.data.formats.sources import PARTS, SourceClass, SourceDataset
from autometa.data.formats.torchmeta_files import AGAIN, Place, StoredImage, compare, names, stored
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


def detect(path: Path) -> SourceDataset | None:
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


def _sets(path: Path) -> Iterator[tuple[Path, Callable[[Path], SourceDataset]]]:
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


def _omniglot(folder: Path) -> SourceDataset:
    file, files = folder / DATA, [folder / DATA]
    held = stored(file, 3, colour=False)
    strange = sorted({path[0] for path in held} - set(OMNIGLOT_GROUPS.values()))
    if strange:
        raise DataError(f"{file} holds a group {strange[0]} that Omniglot has not; {AGAIN}")
    classes: list[SourceClass] = []
    for part, top in OMNIGLOT_GROUPS.items():
        table = folder / _labels_name(part)
        files.append(table)
        own = {path: images for path, images in held.items() if path[0] == top}
        compare(file, sorted(own), table, names(table, 3))
        classes += _classes(file, part, own, skipped=1, inverted=True)
    _check_vinyals(folder, file, held)
    return _found(OMNIGLOT, folder, classes, "background", "ink", files)


def _check_vinyals(folder: Path, file: Path, held: Iterable[Place]) -> None:
    """The three lists may name characters that a cut-down file lacks, but no character may be in none or in two."""
    tables = [folder / name for name in VINYALS if (folder / name).is_file()]
    named = Counter(tuple(map(composed, path)) for table in tables for path in names(table, 3))
    for path in sorted(held):
        listed = named[tuple(map(composed, path))]
        if listed > 1 or (listed == 0 and len(tables) == len(VINYALS)):
            fault = "more than one" if listed else "none"
            raise DataError(f"{'/'.join(path)} of {file} stands in {fault} of {', '.join(VINYALS)}; {AGAIN}")


def _by_part(folder: Path) -> SourceDataset:
    classes: list[SourceClass] = []
    files, encoded = [], False
    for part in PARTS:
        file, table = folder / _data_name(part), folder / _labels_name(part)
        held = stored(file, 1, top=BY_PART_GROUP)
        compare(file, sorted(held), table, names(table, 1))
        classes += _classes(file, part, held, prefix=f"{BY_PART_GROUP}/")
        encoded |= any(packed for _, packed in held.values())
        files += [file, table]
    known, split = KNOWN.get(_counts(classes), ("", ""))
    name = folder.absolute().name
    if name not in BY_PART:
        name = known or (name if encoded else MINIIMAGENET)
    if name == MINIIMAGENET:
        split = name_split({part: {c.name for c in classes if c.part == part} for part in PARTS}, "its hdf5 files")
    elif name != known:
        split = _counted(classes, "its hdf5 files")
    return _found(name, folder, classes, split, "colour", files)


def _of_cifar(folder: Path) -> SourceDataset:
    name, file = folder.absolute().name, folder.absolute().parent / DATA
    held = stored(file, 2)
    classes, files, by_name = [], [file], {tuple(map(composed, path)): path for path in held}
    for part in PARTS:
        table = folder / _labels_name(part)
        named = [tuple(map(composed, path)) for path in names(table, 2)]
        compare(file, sorted(by_name.keys() & set(named)), table, named)
        classes += _classes(file, part, {by_name[path]: held[by_name[path]] for path in named})
        files.append(table)
    published, split = OF_CIFAR[name]
    split = split if _counts(classes) == published else _counted(classes, "its lists")
    return _found(name, folder, classes, split, "colour", files)


def _classes(
    file: Path, part: str, held: Mapping[Place, tuple[int, bool]], skipped: int = 0, prefix: str = "", inverted=False
) -> list[SourceClass]:
    """Classes named by what follows `skipped` groups, sorted."""
    classes = []
    for path, (count, encoded) in sorted(held.items()):
        name, dataset = "/".join(path[skipped:]), prefix + "/".join(path)
        images = tuple(StoredImage(file, dataset, index, inverted, encoded) for index in range(count))
        classes.append(SourceClass(name, name.rpartition("/")[0], part, images))
    return classes


def _counts(classes: Sequence[SourceClass]) -> tuple[int, ...]:
    return tuple(sum(c.part == part for c in classes) for part in PARTS)


def _counted(classes: Sequence[SourceClass], files: str) -> str:
    return f"{' / '.join(map(str, _counts(classes)))} classes as in {files}"


def _found(
    name: str, folder: Path, classes: list[SourceClass], split: str, variant: str, files: list[Path]
) -> SourceDataset:
    """The fingerprint is over place, sizes and times of the files, which say all: every table stands in them."""
    key = hashlib.sha256(f"{FORMAT}\0{folder}".encode(errors="surrogateescape"))
    for file in files:
        state = file.stat()
        key.update(f"\0{file.name}\0{state.st_size}\0{state.st_mtime_ns}".encode(errors="surrogateescape"))
    return SourceDataset(FORMAT, name, folder, tuple(classes), split, variant, key.hexdigest())
