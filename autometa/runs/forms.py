"""Forms of JSON values: what a file may hold, checked when it is read, so that nothing behind its reader need ask.

A form is called with a value and its place in the file and raises `FormError` where the value has another form. Fields
that a form does not name are left alone: other versions write more, or less.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Form = Callable[[Any, str], None]
LARGEST = 1e39
"""Beyond float32; every sum of squares of such numbers is finite in float64."""
WHOLE = 2**63 - 1
TEXT = 1_000_000
"""Characters."""


class FormError(ValueError):
    """A value is not of its form; the message begins with its place."""


def told(value: Any) -> str:
    """A value in a sentence, never long."""
    if isinstance(value, str):
        return f"the text {value[:40]!r}{'...' if len(value) > 40 else ''}"
    if isinstance(value, (list, tuple)):
        return "a list"
    if isinstance(value, Mapping):
        return "an object"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)[:40]


def need(condition: bool, where: str, wanted: str, value: Any) -> None:
    """Raise `FormError` unless the condition holds."""
    if not condition:
        raise FormError(f"{where or 'it'} must be {wanted}, not {told(value)}")


def anything(value: Any, where: str) -> None:
    """The form of all values."""


def number(least: float = -LARGEST, most: float = LARGEST) -> Form:
    """A number in these limits; never true, false, nan or infinite."""
    limits = "" if (least, most) == (-LARGEST, LARGEST) else f" from {least:g} to {most:g}"

    def form(value: Any, where: str) -> None:
        right = isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value <= most
        need(right, where, f"a number{limits}", value)

    return form


def whole(least: int = 0, most: int = WHOLE) -> Form:
    """A whole number in these limits."""
    limits = f"from {least:,}" if most == WHOLE else f"from {least:,} to {most:,}"

    def form(value: Any, where: str) -> None:
        right = isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
        need(right, where, f"a whole number {limits}", value)

    return form


def text(value: Any, where: str) -> None:
    """Text of bearable length."""
    need(isinstance(value, str), where, "text", value)
    need(len(value) <= TEXT, where, f"text of up to {TEXT:,} characters", value)


def flag(value: Any, where: str) -> None:
    """True or false."""
    need(isinstance(value, bool), where, "true or false", value)


def one_of(*words: str) -> Form:
    """One of these words."""

    def form(value: Any, where: str) -> None:
        need(isinstance(value, str) and value in words, where, " or ".join(words), value)

    return form


def maybe(form: Form) -> Form:
    """Null, or what `form` says."""

    def either(value: Any, where: str) -> None:
        if value is not None:
            form(value, where)

    return either


def many(form: Form, least: int = 0, most: int = WHOLE) -> Form:
    """A list of as many values, all of one form."""

    def every(value: Any, where: str) -> None:
        need(isinstance(value, list), where, "a list", value)
        if not least <= len(value) <= most:
            wanted = str(least) if least == most else f"{least} or more" if most == WHOLE else f"{least} to {most}"
            raise FormError(f"{where} must hold {wanted} values, not {len(value)}")
        for place, item in enumerate(value):
            form(item, f"{where}[{place}]")

    return every


def pair(first: Form, second: Form) -> Form:
    """A list of two values, each of its own form."""

    def form(value: Any, where: str) -> None:
        many(anything, 2, 2)(value, where)
        first(value[0], f"{where}[0]")
        second(value[1], f"{where}[1]")

    return form


def table(form: Form) -> Form:
    """An object whose values, under whatever names, are all of one form."""

    def every(value: Any, where: str) -> None:
        need(isinstance(value, Mapping), where, "an object", value)
        for name, item in value.items():
            form(item, _below(where, name))

    return every


def record(needed: Mapping[str, Form] | None = None, optional: Mapping[str, Form] | None = None) -> Form:
    """An object with the fields of `needed`, and those of `optional` where they are there."""
    forms = {**(needed or {}), **(optional or {})}

    def form(value: Any, where: str) -> None:
        need(isinstance(value, Mapping), where, "an object", value)
        for name in needed or ():
            if name not in value:
                raise FormError(f"{_below(where, name)} is missing")
        for name, own in forms.items():
            if name in value:
                own(value[name], _below(where, name))

    return form


def both(*forms: Form) -> Form:
    """What all of these say."""

    def every(value: Any, where: str) -> None:
        for form in forms:
            form(value, where)

    return every


def _below(where: str, name: str) -> str:
    name = name if len(name) <= 40 else f"{name[:40]}..."
    return f"{where}.{name}" if where else name
