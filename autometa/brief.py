"""Short representations: what an object is, in at most five lines, without the numbers that it holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar

from autometa.printable import printable_text

LIMIT, TEXT, ITEMS = 390, 60, 4
"""Characters of a representation (five lines of a terminal) and of a text within it; items of a list that are shown."""

Class = TypeVar("Class", bound=type)


def brief(cls: Class) -> Class:
    """Give a dataclass a short `__repr__`: the fields that differ from their defaults, tensors by type and shape."""
    cls.__repr__ = brief_repr
    return cls


def brief_repr(value: Any) -> str:
    """Of a dataclass."""
    told = [f"{f.name}={told_value(getattr(value, f.name))}" for f in fields(value) if f.repr and _differs(f, value)]
    return cut(f"{type(value).__name__}({', '.join(told)})", LIMIT)


def told_value(value: Any) -> str:
    """A value within a representation."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
    if isinstance(value, str):
        return repr(cut(value, TEXT))
    if isinstance(value, Mapping):
        return (
            "{" + _some([f"{told_value(key)}: {told_value(item)}" for key, item in _first(value.items())], value) + "}"
        )
    if isinstance(value, (list, tuple, set, frozenset)):
        inside = _some([told_value(item) for item in _first(value)], value)
        return f"[{inside}]" if isinstance(value, list) else f"({inside}{',' * (len(value) == 1)})"
    if is_dataclass(value) and not isinstance(value, type):
        return brief_repr(value)
    if callable(value):
        return getattr(value, "__qualname__", type(value).__name__)
    return cut(repr(value), 2 * TEXT)


def cut(text: str, limit: int) -> str:
    """The text, made harmless, or its beginning and end where it is longer."""
    text = printable_text(text)
    if len(text) <= limit:
        return text
    end = limit // 4
    return f"{text[: limit - end - 3]}...{text[-end:]}"


def _first(values: Any) -> list:
    return [item for _, item in zip(range(ITEMS), values, strict=False)]


def _some(told: list[str], values: Any) -> str:
    return ", ".join([*told, *([f"... {len(values)} in all"] if len(values) > ITEMS else [])])


def _differs(field: Any, holder: Any) -> bool:
    """Whether a field holds something else than its default."""
    default = field.default if field.default_factory is MISSING else field.default_factory()
    value = getattr(holder, field.name)
    if default is MISSING or type(default) is not type(value):
        return True
    plain = isinstance(value, (bool, int, float, str, tuple, type(None))) or is_dataclass(value)
    return not plain or bool(value != default)
