"""The seam to the Triton kernels: when they run, the memory format of activations on a GPU, tables on the device."""

from __future__ import annotations

import atexit
import functools
import importlib
import os
import shutil
import sysconfig
import tempfile
import warnings
import weakref
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from autometa.kernels.memory import poisoned

OLDEST = (3, 3)  # version of Triton
NVIDIA_ONLY = "the kernels are for NVIDIA GPUs: limits of registers and products in tf32x3 exist there alone"
PITCH = 4  # channels of a pixel stand in a multiple of these: 16 bytes of float32


@functools.cache
def kernels(name: str) -> ModuleType:
    """The module `autometa.kernels.<name>`; raises `ImportError` where Triton is missing."""
    if not interpreted():
        _settle_cache()
    return importlib.import_module(f"autometa.kernels.{name}")


def cache_folder() -> tuple[Path | None, str | None]:
    """Where compiled kernels are kept: TRITON_CACHE_DIR, or `triton` below AUTOMETA_CACHE (`~/.cache/autometa`); None
    and why where nothing can be written there."""
    given = os.environ.get("TRITON_CACHE_DIR")
    try:
        path = Path(given or Path(os.environ.get("AUTOMETA_CACHE") or "~/.cache/autometa", "triton")).expanduser()
        if path.parts[0] == "~":
            raise OSError("this user has no home folder")
        nearest = next(place for place in (path, *path.parents) if place.exists())
        if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
            raise OSError(f"{nearest} is not a folder that can be written")
        return path, None
    except (OSError, RuntimeError) as error:
        return None, f"compiled GPU kernels cannot be kept ({error}); set AUTOMETA_CACHE to one that can be written"


@functools.cache
def _settle_cache() -> None:
    """Triton is told of the cache before it is imported; where nothing can be kept it gets a folder of this process."""
    path, reason = cache_folder()
    if path is None:
        path = Path(tempfile.mkdtemp(prefix="autometa-triton-"))
        atexit.register(shutil.rmtree, path, ignore_errors=True)
        warnings.warn(f"{reason}; they are compiled again in every process", RuntimeWarning, stacklevel=4)
    os.environ["TRITON_CACHE_DIR"] = str(path)


def needs() -> dict[str, str | None]:
    """What Triton needs to run kernels, and whether this machine has it: version, cache, C compiler, Python's headers
    (the driver's interface is compiled on first use). A value that is None is missing."""
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    header = Path(sysconfig.get_paths()["include"], "Python.h")
    path, reason = cache_folder()
    return {
        "refuses": _missing(),
        "cache": reason if path is None else str(path),
        "compiler": compiler,
        "headers": str(header) if header.is_file() else None,
    }


@functools.cache
def _missing() -> str | None:
    try:
        version = importlib.import_module("triton").__version__
    except ImportError as error:
        return f"triton is not installed ({error}); pip install triton"
    if tuple(int(n) for n in version.split(".")[:2]) < OLDEST:
        least = ".".join(map(str, OLDEST))
        return f"triton {version} is older than {least}: its kernels take no tuples; take torch 2.7 or later"
    return None


def interpreted() -> bool:
    """Whether kernels run on the CPU, in Triton's interpreter (TRITON_INTERPRET=1)."""
    return os.environ.get("TRITON_INTERPRET", "0") == "1"


_ANYWHERE: ContextVar[bool] = ContextVar("anywhere", default=False)


@contextmanager
def anywhere() -> Iterator[None]:
    """Within it CPU tensors will do: kernels are written down to be compiled, not run."""
    token = _ANYWHERE.set(True)
    try:
        yield
    finally:
        _ANYWHERE.reset(token)


def triton_refuses(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why a Triton kernel cannot run on tensors of this device and dtype, or None."""
    if _ANYWHERE.get():
        return _missing()
    if device.type != "cuda" and not (interpreted() and device.type == "cpu"):
        return f"triton works on CUDA tensors, these are on {device} (TRITON_INTERPRET=1 interprets, slowly)"
    if dtype != torch.float32:
        return f"triton works in float32 here, not in {dtype}"
    if device.type == "cuda" and torch.version.hip:
        return f"this is an AMD GPU (ROCm {torch.version.hip}); {NVIDIA_ONLY}"
    if device.type == "cuda" and not torch.cuda.is_available():
        return "torch finds no CUDA device"
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0):
        return f"{torch.cuda.get_device_name(device)} is older than compute capability 8.0"
    return _missing()


def pitch(channels: int) -> int:
    """Elements between neighbouring pixels."""
    return -(-channels // PITCH) * PITCH


def map_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of an activation `[S, N, C, H, W]` whose memory is `[S, N, H, W, pitch(C)]`."""
    _, batch, channels, height, width = shape
    pixel = pitch(channels)
    return (batch * height * width * pixel, height * width * pixel, 1, width * pixel, pixel)


def empty_map(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """An uninitialised float32 activation `[S, N, C, H, W]` in the memory format; NaN where AUTOMETA_DEBUG is set.

    Raises `ValueError` where one slot's activation has more elements than 32 bits count.
    """
    strides = map_strides(shape)
    if strides[0] >= 2**31:
        raise ValueError(f"a slot's activation {list(shape[1:])} is too large for the GPU kernels; use a smaller batch")
    whole = torch.empty(shape[0] * strides[0], dtype=torch.float32, device=like.device)
    return poisoned(whole).as_strided(shape, strides)


def as_map(x: Tensor) -> Tensor:
    """x `[S, N, C, H, W]` itself where it has the memory format, else a copy that has."""
    due = map_strides(tuple(x.shape))
    same = x.stride() == due or all(n == 1 or a == b for n, a, b in zip(x.shape, x.stride(), due, strict=True))
    if same and x.data_ptr() % 16 == 0 and x.dtype == torch.float32:
        return x
    return empty_map(tuple(x.shape), x).copy_(x)


_ON_DEVICE: dict[tuple, tuple[weakref.ref, object]] = {}


def derived(table: Tensor, purpose: Hashable, device: torch.device, make: Callable):
    """`make(table)`, computed once per table that lives, purpose and device: what a table says does not change."""
    key = (id(table), purpose, device)
    found = _ON_DEVICE.get(key)
    if found is None or found[0]() is not table:
        found = (weakref.ref(table, lambda _: _ON_DEVICE.pop(key, None)), make(table))
        _ON_DEVICE[key] = found
    return found[1]
