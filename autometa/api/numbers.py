"""Values of settings, of text or as Python has them. A number is decimal, finite and within 64 bits: neither `1_0` nor
`0x10` nor `true`."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from types import NoneType
from typing import Any, get_args, get_origin

LARGEST = 2**63 - 1
_WHOLE = re.compile(r"[+-]?(0|[1-9][0-9]{0,30})")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_NULL = ("null", "~", "")


def whole_number(value: Any) -> int:
    """The whole number that `value` is. Raises ValueError with what it must be."""
    if isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
        value = int(value)
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise ValueError("a whole number")
    if abs(value) > LARGEST:
        raise ValueError("a whole number below 2**63")
    return int(value)


def finite_number(value: Any) -> float:
    """The same of any number."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value)
    if not isinstance(value, Real) or isinstance(value, bool):
        raise ValueError("a number")
    if not abs(value) <= sys.float_info.max:
        raise ValueError("a finite number")
    return float(value)


def _flag(value: Any) -> bool:
    if isinstance(value, str) and value in ("true", "false"):
        return value == "true"
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("text")
    return value


_READERS: Mapping[type, Callable[[Any], Any]] = {int: whole_number, float: finite_number, bool: _flag, str: _text}


def read(value: Any, hint: Any) -> Any:
    """A setting of this type, of text or of what Python has; hint: the type, or what reads it.

    Raises ValueError with what it must be.
    """
    parts = [part for part in get_args(hint) if part is not NoneType]
    if get_origin(hint) is tuple:
        return _listed(value, parts[0])
    if len(parts) < len(get_args(hint)) and (value is None or (isinstance(value, str) and value.strip() in _NULL)):
        return None
    if len(parts) > 1:  # it depends on what is chosen
        return value
    kind = parts[0] if parts else hint
    try:
        return _READERS.get(kind, kind)(value)
    except ValueError as error:
        raise ValueError(f"{error}{' or null' * bool(parts)}") from error


def _listed(value: Any, hint: type) -> tuple[Any, ...]:
    import yaml

    try:
        if isinstance(value, str):
            value = yaml.load(value if value.startswith("[") else f"[{value}]", yaml.BaseLoader)  # noqa: S506  text alone
        if not isinstance(value, (list, tuple)):
            raise ValueError("no list")
        return tuple(read(item, hint) for item in value)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        wanted = "names such as [one,two]" if hint is str else "numbers such as [0,2]"
        raise ValueError(f"a list of {'whole ' * (hint is int)}{wanted}") from error
