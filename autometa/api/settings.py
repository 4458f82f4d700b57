"""Typed settings: a preset, then a YAML file, then single settings such as `meta.iterations`, each over the last."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from autometa.api.numbers import read
from autometa.errors import InputError
from autometa.registry import Registry
from autometa.runs.files import plain
from autometa.train.config import flat, from_json, is_named
from autometa.train.run_config import RunConfig

Config = TypeVar("Config", bound=RunConfig)
MOST = 1000
"""Values and groups in a file of settings, many times as many as there are."""


def field_types(base: type | Config, prefix: str = "") -> dict[str, Any]:
    """The type of every setting by dotted name, of a config or its class; of what is chosen by name from a registry the
    name, and of a config the settings of what it has chosen, of a class those of all that it can choose."""
    found: dict[str, Any] = {}
    for name, hint in own_types(base).items():
        parts = [getattr(base, name, hint)] if is_dataclass(hint) or is_named(hint) else []
        if is_named(hint):
            found[f"{prefix}{name}.name"] = str
            parts = _choices(hint.registry) if isinstance(base, type) else parts
        elif not parts:
            found[f"{prefix}{name}"] = hint
        for key, kind in (item for part in parts for item in field_types(part, f"{prefix}{name}.").items()):
            found[key] = kind if found.get(key, kind) == kind else found[key] | kind
    return found


def _choices(registry: Registry) -> Iterator[Any]:
    """What can be chosen; not what an installed package fails to load."""
    for name in registry:
        with contextlib.suppress(InputError):
            yield registry[name]


def own_types(base: type | Config) -> dict[str, Any]:
    """The types of the fields of a dataclass or its class."""
    kind = base if isinstance(base, type) else type(base)
    hints = get_type_hints(kind)
    return {f.name: hints[f.name] for f in fields(kind)}


def _chosen(base: Config, texts: Mapping[str, Any]) -> Config:
    """The config with what the settings choose by name from a registry, in place of what it has; of its own settings
    those are kept that both have."""
    for name, hint in own_types(base).items():
        value, said = getattr(base, name), texts.get(f"{name}.name")
        if is_named(hint) and said is not None and str(said) != value.name:
            base = replace(base, **{name: hint.registry[str(said)]()})
    return base


def settle(base: Config, file: str | Path | None = None, settings: Mapping[str, Any] | None = None) -> Config:
    """The config that `base` becomes under a YAML file and then single settings, checked.

    Raises `InputError` naming the setting that is unknown, of the wrong type, or does not fit the others.
    """
    sources = [] if file is None else [(f"{file}: ", read_yaml(file))]
    sources.append(("", settings or {}))
    chosen = {name for name, hint in own_types(base).items() if is_named(hint)}
    sources = [
        (where, {f"{name}.name" if name in chosen else name: value for name, value in values.items()})
        for where, values in sources
    ]
    base = _chosen(base, {name: value for _, values in sources for name, value in values.items()})
    known, made, tag = field_types(base), plain(base), base.tag()
    for where, values in sources:
        for name, value in values.items():
            if name in tag and where:
                if value != tag[name]:
                    raise InputError(f"{where}these are settings of {value}, not of {tag[name]}")
            elif name not in known:
                hint = nearest(name, known) or "; --help-settings lists all"
                raise InputError(f"{where}unknown setting {name}{hint}")
            else:
                *groups, leaf = name.split(".")
                reduce(getitem, groups, made)[leaf] = value_of(value, known[name], f"{where}{name}")
    config = from_json(type(base), made)
    config.check()
    return config


def value_of(value: Any, hint: Any, name: str) -> Any:
    """A setting as `read` has it. Raises `InputError` naming it where that refuses it."""
    try:
        return plain(read(getattr(value, "tolist", lambda: value)(), hint))
    except ValueError as error:
        raise InputError(f"{name} must be {error}, not {str(value)[:60]}") from error


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The settings of a YAML file by dotted name: text, and lists of it."""
    import yaml

    try:
        value = yaml.load(Path(path).read_text(encoding="utf-8"), yaml.BaseLoader)  # noqa: S506  text alone
    except OSError as error:
        raise InputError(f"config file {path} cannot be read: {error.strerror or error}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" (line {mark.line + 1})" if mark else ""
        raise InputError(f"config file {path} is not valid YAML{line}; --print-config shows the form") from error
    if value in (None, ""):
        return {}
    if not isinstance(value, dict) or not _is_tree(value):
        raise InputError(f"config file {path} must hold settings as `name: value`; --print-config shows the form")
    return flat(value)


def _is_tree(value: Any) -> bool:
    """Whether groups have names, all else is plain, and there is no more of it than settings are: a file may refer to
    one place many times, and to itself."""
    waiting, seen = [value], 0
    while waiting and seen < MOST:
        item, seen = waiting.pop(), seen + 1
        if isinstance(item, Mapping) and all(isinstance(name, str) for name in item):
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item
        elif not isinstance(item, str):
            return False
    return not waiting


def as_yaml(config: RunConfig) -> str:
    """The config as YAML that `settle` reads back."""
    import yaml

    return yaml.safe_dump(plain(config), sort_keys=False)


def settings_help(base: RunConfig) -> str:
    """Every setting with its meaning and its value in `base`."""
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(add_help=False, usage="")
    chosen = {name: hint for name, hint in own_types(base).items() if is_named(hint)}
    parser.add_class_arguments(type(base), None, skip=set(chosen))
    for name, hint in chosen.items():
        value, registry = getattr(base, name), hint.registry
        parser.add_argument(f"--{name}.name", type=str, help=f"{registry.what}: {', '.join(registry.names())}")
        if fields(value):
            parser.add_class_arguments(type(value), name)
    parser.set_defaults({name: value for name, value in flat(plain(base)).items() if name not in base.tag()})
    text = parser.format_help()
    return text[text.index("\n\n") + 2 :].rstrip()


def nearest(name: str, known: Collection[str], before: str = "") -> str:
    """What was meant by a name that is not known, in words; empty where nothing is like it. before: of each name."""
    group = [f"{before}{other}" for other in known if other.startswith(f"{name}.")]
    if group:
        return f"; it is a group, set one of {', '.join(group)}"
    near = [other for other in known if "." not in name and other.rpartition(".")[2] == name]
    near = near or difflib.get_close_matches(name, known, n=1)
    near = near or [other for other in known if other.rpartition(".")[2] == name.rpartition(".")[2]][:1]
    return f"; did you mean {' or '.join(before + other for other in near)}?" if near else ""
