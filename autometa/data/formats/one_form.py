"""A recognised set with its names in one Unicode form, whatever layout it has."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from autometa.data.formats.found import PARTS, Found, FoundClass
from autometa.data.names import composed


def in_one_form(found: Found) -> Found:
    """The same set where all names are composed already. Else names are, classes that were one are pooled within their
    part, and the order is that of a set whose names came composed."""
    if all(composed(text) == text for c in found.classes for text in (c.name, c.group)):
        return found
    pools: dict[tuple[str, str], FoundClass] = {}
    for c in found.classes:
        name = composed(c.name)
        before = pools.get((c.part, name))
        images = (*before.images, *c.images) if before else c.images
        pools[c.part, name] = replace(c, name=name, group=composed(c.group), images=images)
    key = hashlib.sha256(f"{found.fingerprint}\0composed".encode())
    return replace(found, classes=tuple(sorted(pools.values(), key=_place)), fingerprint=key.hexdigest())


def _place(c: FoundClass) -> tuple:
    """Where a class stands: by part, then by group and name in it, as the layouts sort them."""
    part = PARTS.index(c.part) if c.part else -1
    return (part, c.group, c.name.removeprefix(f"{c.group}/")) if c.group else (part, c.name)
