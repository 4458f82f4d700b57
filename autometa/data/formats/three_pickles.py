"""What Mini-ImageNet's two pickle layouts share: one file per part, in one folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from autometa.data.errors import DataError
from autometa.data.formats.found import PARTS, Found
from autometa.data.formats.mini_imagenet import is_mini_imagenet, name_split
from autometa.data.formats.parted import fingerprint, parted_classes
from autometa.data.formats.pickled_images import PixelImage, file_state


def in_three_pickles(
    form: str, path: Path, folder: Path, names: Mapping[str, str], read: Callable[[Path], dict[str, list[PixelImage]]]
) -> Found:
    """The set in `folder`, its parts in files of these names, each of which `read` takes apart into classes.

    path is what the user named.  Raises `DataError` where a file is missing, and what `read` raises.
    """
    files = {part: folder / name for part, name in names.items()}
    for file in files.values():
        if not file.is_file():
            raise DataError(f"{file} is missing; put {', '.join(names.values())} into one folder")
    parts = {part: read(file) for part, file in files.items()}
    classes = {part: frozenset(found) for part, found in parts.items()}
    tables = [(part, name, [image.index for image in parts[part][name]]) for part in PARTS for name in parts[part]]
    return Found(
        format=form,
        name="miniimagenet" if is_mini_imagenet(classes) else folder.absolute().name,
        path=path,
        classes=parted_classes(parts),
        split=name_split(classes, "the three pickles"),
        variant="colour",
        fingerprint=fingerprint([form, *file_state(files.values()), *tables]),
    )
