"""A fixture file in memory, which remembers what was read, and what a check of it consists of."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from autometa.ops.backend import libraries


class UsageError(Exception):
    """A file that cannot be checked, or an argument that makes no sense; one sentence."""


class Fixture:
    """The arrays of an archive by key."""

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, path.name.removesuffix(path.suffix)
        self._arrays = _load(path)
        self._read: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return key in self._arrays

    def __getitem__(self, key: str) -> np.ndarray:
        if key not in self._arrays:
            raise UsageError(f"{self.path}: the array {key!r} is missing")
        self._read.add(key)
        return self._arrays[key]

    def number(self, key: str) -> int | float:
        value = self[key]
        if value.shape != ():
            raise UsageError(f"{self.path}: {key!r} must be one number, its shape is {value.shape}")
        return value.item()

    def text(self, key: str) -> list[str]:
        return [str(name) for name in self[key].tolist()]

    def under(self, prefix: str) -> list[str]:
        """Keys that begin with the prefix, without it."""
        return [key[len(prefix) :] for key in self._arrays if key.startswith(prefix)]

    def first_parts(self) -> list[str]:
        """What stands before the first `/` of a key, each once."""
        return list(dict.fromkeys(key.split("/")[0] for key in self._arrays if "/" in key))

    def unread(self) -> list[str]:
        return sorted(set(self._arrays) - self._read)


def _load(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no such file") from None
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path}: cannot be read as an archive of arrays ({error})") from None


def load_table(path: Path) -> dict:
    """A JSON object; raises `UsageError`."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no such file") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read as JSON ({error})") from None
    if not isinstance(value, dict):
        raise UsageError(f"{path}: holds no table")
    return value


@dataclass(frozen=True)
class Engine:
    """With which backend, in which dtype and where a file is recomputed; `place`: a GPU for those backends that need
    one, where there is one, unless it is named."""

    dtype: torch.dtype = torch.float64
    backend: str | None = None
    place: str | None = None

    @property
    def device(self) -> str:
        if self.place is not None:
            return self.place
        return "cuda" if self.backend in ("triton", "cuda") and torch.cuda.is_available() else "cpu"

    def tensor(self, array: np.ndarray) -> Tensor:
        """On the engine's device; real numbers in its dtype."""
        value = torch.from_numpy(np.ascontiguousarray(array).reshape(np.shape(array)))
        return value.to(self.device, self.dtype if value.is_floating_point() else None)

    def leaf(self, array: np.ndarray) -> Tensor:
        return self.tensor(array).clone().requires_grad_(True)

    @contextmanager
    def forced(self) -> Iterator[None]:
        """Within, the dispatcher of `autometa.ops` uses this backend."""
        before = os.environ.get("AUTOMETA_BACKEND")
        if self.backend is not None:
            os.environ["AUTOMETA_BACKEND"] = self.backend
        try:
            with libraries("fp32"):
                yield
        finally:
            if self.backend is not None:
                os.environ.pop("AUTOMETA_BACKEND")
                if before is not None:
                    os.environ["AUTOMETA_BACKEND"] = before


@dataclass(frozen=True)
class Group:
    """Stored arrays that are judged together, by one row of the tolerance table; `zero`: those that must vanish."""

    name: str
    expected: Mapping[str, np.ndarray]
    depth: str = "forward"
    zero: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Unit:
    """One computation and the groups it fills. `compute` returns a value for every key of every group.

    only_reference: why no native backend can provide it, None where one could.
    """

    name: str
    compute: Callable[[], Mapping[str, Tensor | np.ndarray]]
    groups: tuple[Group, ...] = field(default_factory=tuple)
    only_reference: str | None = None


NO_OPS = "it uses no op"


def gradients(y: Tensor, gy: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    """Gradients of `sum(y * gy)`; 0 for inputs that take no part."""
    if not y.requires_grad:
        return [torch.zeros_like(x) for x in inputs]
    found = torch.autograd.grad(y, inputs, gy, allow_unused=True)
    return [torch.zeros_like(x) if g is None else g for x, g in zip(inputs, found, strict=True)]


def pack(values: list[Tensor]) -> Tensor:
    """Parameters as a row `[1, P]` of the arena, each at a multiple of 16, differentiable."""
    parts = []
    for value in values:
        parts += [value.flatten(), value.new_zeros(-value.numel() % 16)]
    return torch.cat(parts)[None] if parts else torch.zeros(1, 0)


def running(mean: Tensor, variance: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Running statistics after one forward from 0 and 1; variance is biased, over `count` values."""
    return 0.1 * mean, 0.9 + 0.1 * variance * count / (count - 1)
