"""What all layouts with parts have in common: classes sorted, parts apart, a fingerprint."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from autometa.data.errors import DataError
from autometa.data.formats.sources import PARTS, ImageSource, SourceClass, SourceDataset
from autometa.data.names import composed


def parted_classes(parts: Mapping[str, Mapping[str, Sequence[ImageSource]]]) -> tuple[SourceClass, ...]:
    """Classes of {part: {class name: images}}: those without part, train, val, test, sorted by name in each."""
    return tuple(
        SourceClass(name, "", part, tuple(images))
        for part in ("", *PARTS)
        for name, images in sorted(parts.get(part, {}).items())
    )


def with_disjoint_parts(dataset: SourceDataset, where: Path, force: bool = False) -> SourceDataset:
    """The set under `where`, if no class of it stands in several parts.

    force: else the same images without parts, those of a class pooled, so that classes are split by hash: nothing that
    is tested on was trained on. `notice` says so.

    Raises `DataError` where a class stands in several parts and is not forced.
    """
    homes: dict[str, list[str]] = {}
    for entry in dataset.classes:
        homes.setdefault(entry.name, []).append(entry.part)
    shared = {name: parts for name, parts in homes.items() if len(parts) > 1}
    if not shared:
        return dataset
    if not force:
        raise DataError(f"{_shared(where, homes, shared)}, or {_FORCE.format(shlex.quote(str(where)))}")
    whole = _pooled(replace(entry, part="") for entry in dataset.classes)
    return replace(
        dataset,
        classes=tuple(replace(c, images=tuple(dict.fromkeys(c.images))) for c in sorted(whole, key=lambda c: c.name)),
        split="",
        notice=f"{len(shared)} of {len(homes)} classes stood in several parts; the parts are given up, the images of "
        "each class pooled, the classes split anew; no published figure is comparable",
    )


def in_nfc(dataset: SourceDataset) -> SourceDataset:
    """The set with its names in NFC, whatever layout it has. Where they were not, classes that become one are pooled
    within their part, and the order is that of a set whose names came composed."""
    if all(composed(text) == text for c in dataset.classes for text in (c.name, c.group)):
        return dataset
    classes = _pooled(replace(c, name=composed(c.name), group=composed(c.group)) for c in dataset.classes)
    key = hashlib.sha256(f"{dataset.fingerprint}\0composed".encode())
    return replace(dataset, classes=tuple(sorted(classes, key=_order)), fingerprint=key.hexdigest())


def _pooled(classes: Iterable[SourceClass]) -> Iterable[SourceClass]:
    """Classes of one name made one in each part."""
    pools: dict[tuple[str, str], list[SourceClass]] = {}
    for c in classes:
        pools.setdefault((c.part, c.name), []).append(c)
    return [replace(pool[-1], images=tuple(image for c in pool for image in c.images)) for pool in pools.values()]


def _order(c: SourceClass) -> tuple:
    """By part, then by group and name in it, as the layouts sort them."""
    part = PARTS.index(c.part) if c.part else -1
    return (part, c.group, c.name.removeprefix(f"{c.group}/")) if c.group else (part, c.name)


_FORCE = "`autometa data prepare {} --force` pools the images of each class and splits the classes by hash"


def _shared(where: Path, homes: Mapping[str, list[str]], shared: Mapping[str, list[str]]) -> str:
    if len(shared) == len(homes):
        return (
            f"{where} is no few-shot split: each of its {len(homes)} classes stands in several parts, so that classes "
            "to be tested on were trained on; get the split whose parts share no class"
        )
    name, (first, second, *_) = next(iter(shared.items()))
    return (
        f"{where} has class {name!r} in both {first} and {second} ({len(shared)} such); leave each class in one part "
        "only"
    )


def is_web_page(path: Path) -> bool:
    """Whether a file begins as HTML does: what a download leaves behind where a page asked for a login or a quota."""
    with open(path, "rb") as file:
        return file.read(256).lstrip().lower().startswith((b"<!doctype", b"<html"))


def fingerprint(entries: Iterable[object]) -> str:
    """sha256 over the text of the entries, each told from the next."""
    digest = hashlib.sha256()
    for entry in entries:
        text = str(entry).encode(errors="backslashreplace")
        digest.update(len(text).to_bytes(8, "little") + text)
    return digest.hexdigest()
