"""Registries: what can be chosen by name, one registry for each kind of thing.

A name stands for something of the package itself, for what an installed package offers as an entry point of the
registry's group, or for what a plugin registers. Nothing is imported before it is asked for.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import Any, ClassVar, Generic, TypeVar

from autometa.errors import InputError

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """Objects by name, in the order: the package's own, entry points of installed packages, registered ones.

    Args:
        what: an entry in words, for messages, such as `strategy`.
        group: entry points of installed packages, such as `autometa.strategies`.
        own: the package's own entries as `module:attribute`.
    """

    def __init__(self, what: str, group: str, own: Mapping[str, str]) -> None:
        self.what, self.group = what, group
        self._own, self._registered = dict(own), {}
        self._loaded: dict[str, T] = {}

    def register(self, name: str, value: T, *, replace: bool = False) -> T:
        """Add an entry; returns `value`.

        Args:
            name: letters, digits, underscores and dashes.
            value: what the name shall stand for.
            replace: take the place of a registered entry of that name, as when a notebook's cell runs again.

        Raises:
            InputError: a name that is taken or cannot be one.
        """
        if not name.replace("-", "_").isidentifier():
            raise InputError(f"{name!r} cannot be the name of a {self.what}; take letters, digits, _ and -")
        if name in self._own or name in self._installed() or (name in self._registered and not replace):
            raise InputError(f"a {self.what} called {name} exists already; register yours under another name")
        self._registered[name] = value
        return value

    def forget(self) -> None:
        """Without what was registered in this process."""
        self._registered.clear()

    def __getitem__(self, name: str) -> T:
        """Raises `InputError` naming what exists for an unknown name, `KeyError` never."""
        if name in self._registered:
            return self._registered[name]
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        return self._loaded[name]

    def _load(self, name: str) -> T:
        if name in self._own:
            module, _, attribute = self._own[name].partition(":")
            return getattr(importlib.import_module(module), attribute)
        entry = self._installed().get(name)
        if entry is None:
            near = difflib.get_close_matches(name, self.names(), n=1)
            hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(self.names())}"
            raise InputError(f"unknown {self.what} {name!r}; {hint} (--plugin loads a file that registers others)")
        try:
            return entry.load()
        except Exception as error:
            raise InputError(f"{self.what} {name} of {entry.value} cannot be loaded: {error}") from error

    def _installed(self) -> dict[str, metadata.EntryPoint]:
        return {entry.name: entry for entry in metadata.entry_points(group=self.group)}

    def names(self) -> tuple[str, ...]:
        """All names, the package's own first."""
        return tuple(dict.fromkeys([*self._own, *self._installed(), *self._registered]))

    def at_hand(self) -> tuple[T, ...]:
        """Entries that were asked for or registered in this process; looks for no others."""
        return (*self._loaded.values(), *self._registered.values())

    @property
    def added(self) -> tuple[str, ...]:
        """Names that installed packages and plugins have added."""
        return tuple(name for name in self.names() if name not in self._own)

    def name_of(self, value: Any) -> str:
        """The name that stands for `value`. Raises `InputError` where none does."""
        found = next((name for name in self.names() if self[name] is value), None)
        if found is None:
            raise InputError(f"{value!r} is not registered as a {self.what}")
        return found

    def about(self, name: str) -> str:
        """The first line of an entry's docstring."""
        return (inspect.getdoc(self[name]) or "").partition("\n")[0]

    def __contains__(self, name: object) -> bool:
        return name in self._own or name in self._registered or name in self.names()

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self.names())


class Tagged:
    """Base of settings whose JSON says what they are settings of, beside their fields."""

    def tag(self) -> dict[str, str]:
        """What it says."""
        raise NotImplementedError


class Named(Tagged):
    """Base of settings that a registry knows by name: in a config's JSON the name stands beside their fields."""

    registry: ClassVar[Registry]

    def tag(self) -> dict[str, str]:
        """The name."""
        return {"name": self.name}

    @property
    def name(self) -> str:
        """Raises `InputError` for a class that is not registered."""
        return self.registry.name_of(type(self))
