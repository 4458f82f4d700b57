"""What all layouts with one table per part have in common: classes sorted, parts apart, a fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from autometa.data.errors import DataError
from autometa.data.formats.found import PARTS, FoundClass, ImageSource


def parted_classes(parts: Mapping[str, Mapping[str, Sequence[ImageSource]]], where: str) -> tuple[FoundClass, ...]:
    """Classes of {part: {class name: images}}: train, val, test, sorted by name in each.

    Raises `DataError` where a class is in two parts; `where` names the set in the message.
    """
    home: dict[str, str] = {}
    twice: dict[str, tuple[str, str]] = {}
    for part in PARTS:
        for name in sorted(parts.get(part, {})):
            if home.setdefault(name, part) != part:
                twice.setdefault(name, (home[name], part))
    if twice and len(twice) == len(home):
        raise DataError(
            f"{where} has each of its {len(home)} classes in several parts: this is a split for classification, not "
            f"the few-shot split; get the one whose parts share no class"
        )
    if twice:
        name, (first, second) = next(iter(twice.items()))
        raise DataError(
            f"{where} has class {name!r} in both {first} and {second} ({len(twice)} such); "
            f"leave each class in one part only"
        )
    return tuple(
        FoundClass(name, "", part, tuple(images))
        for part in PARTS
        for name, images in sorted(parts.get(part, {}).items())
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
