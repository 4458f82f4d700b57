"""Which implementation of an op runs, and why.

Every op of `autometa.ops` has a `reference` in plain PyTorch; native backends register beside it.
`backend=` or the environment variable ``AUTOMETA_BACKEND`` forces one; a forced backend that cannot
run raises with the reason.  ``auto`` takes the first of the device's preference order that can.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import ModuleType

import torch

from autometa.ops.gates import are_paired

BACKENDS = ("reference", "cpp", "triton", "cuda")
PREFERENCE = {"cpu": ("cpp", "reference"), "cuda": ("cuda", "triton", "reference")}


class BackendError(RuntimeError):
    """A forced backend cannot run; the message says why."""


@dataclass(frozen=True)
class Implementation:
    """One backend of one op; `refuses(device, dtype)` gives a reason, or None where it can run; paired: whether it
    knows slots that come in pairs (`gates.paired`)."""

    op: str
    backend: str
    call: Callable
    refuses: Callable[[torch.device, torch.dtype], str | None]
    paired: bool


@dataclass(frozen=True)
class Choice:
    """The answer to "which backend would run, and why", a row of `autometa doctor`."""

    op: str
    backend: str
    reason: str


DECIDING = frozenset({"conv_block", "conv_stack", "mixed_op", "cell_stack", "preprocess"})
"""Ops with ReLUs or maximum pools."""
_REGISTRY: dict[str, dict[str, Implementation]] = {}
_FALLBACK_ANNOUNCED = False
_SECOND_ORDER_ANNOUNCED = False
_ANNOUNCED: set[str] = set()  # why ops run by the reference on a GPU
_SECOND_ORDER: ContextVar[bool] = ContextVar("second_order", default=False)
_FORCED: ContextVar[str | None] = ContextVar("forced", default=None)
_DISTRUSTED: dict[tuple[str, str, str], str] = {}  # op, backend, precision -> why it is left alone
PRECISIONS = ("fp32", "tf32", "bf16")
_PRECISION: ContextVar[str | None] = ContextVar("precision", default=None)


def implements(op: str, backend: str, refuses: Callable | None = None, paired: bool | None = None) -> Callable:
    """Decorator: register a function as `backend` of `op`; paired: see `Implementation`, true where None of ops without
    a ReLU or maximum pool, and of the reference."""
    knows = backend == "reference" or op not in DECIDING if paired is None else paired
    if backend not in BACKENDS:
        raise ValueError(f"unknown backend {backend!r}; choose from {', '.join(BACKENDS)}")

    def register(call: Callable) -> Callable:
        call = _outside_autocast(call) if backend == "reference" else call
        check = refuses or (lambda device, dtype: None)
        _REGISTRY.setdefault(op, {})[backend] = Implementation(op, backend, call, check, knows)
        return call

    return register


def _outside_autocast(call: Callable) -> Callable:
    """A reference computes in the dtype of its arguments; autocast would take others for what it multiplies."""

    @functools.wraps(call)
    def run(*args):
        kinds = [kind for kind in ("cpu", "cuda") if torch.is_autocast_enabled(kind)]
        if not kinds:
            return call(*args)
        with ExitStack() as left:
            for kind in kinds:
                left.enter_context(torch.autocast(kind, enabled=False))
            return call(*args)

    return run


def registered() -> dict[str, tuple[str, ...]]:
    """Op name -> the backends that implement it, in the order of `BACKENDS`."""
    return {op: tuple(b for b in BACKENDS if b in found) for op, found in sorted(_REGISTRY.items())}


_COMPILED = "autometa._C"


def compiled() -> ModuleType | None:
    """The compiled module, or None; `compiled_error` then says why."""
    return sys.modules.get(_COMPILED) or _load()[0]


def compiled_error() -> str | None:
    """Why the compiled module does not load, or None where it does."""
    return None if sys.modules.get(_COMPILED) else _load()[1]


def _load() -> tuple[ModuleType | None, str | None]:
    try:
        return importlib.import_module(_COMPILED), None
    except ImportError as error:
        return None, f"the compiled module {_COMPILED} does not load ({error}); reinstall with a C++17 compiler"


def cpp_refuses(device: torch.device, dtype: torch.dtype) -> str | None:
    """The usual conditions of a `cpp` implementation: compiled module, CPU tensors, float32 or float64."""
    if device.type != "cpu":
        return f"cpp works on CPU tensors, these are on {device}"
    if dtype not in (torch.float32, torch.float64):
        return f"cpp works in float32 and float64, not in {dtype}"
    return compiled_error()


def requested(backend: str | None) -> str:
    """The backend asked for by argument or environment, `auto` where none is."""
    name = backend or _FORCED.get() or os.environ.get("AUTOMETA_BACKEND") or "auto"
    if name != "auto" and name not in BACKENDS:
        raise BackendError(f"unknown backend {name!r}; choose from auto, {', '.join(BACKENDS)}")
    return name


@contextmanager
def forced(backend: str) -> Iterator[None]:
    """Within it every op runs by this backend, as AUTOMETA_BACKEND has it."""
    token = _FORCED.set(requested(backend))
    try:
        yield
    finally:
        _FORCED.reset(token)


@contextmanager
def precision(mode: str | None) -> Iterator[None]:
    """Within it the Triton kernels compute in `fp32` semantics, with `tf32` products, or with `bf16` products and
    stored intermediates; sums are float32 always. None leaves it to AUTOMETA_PRECISION.

    Raises `BackendError` where there is no such mode.
    """
    token = _PRECISION.set(_checked(mode) if mode else None)
    try:
        yield
    finally:
        _PRECISION.reset(token)


def current_precision() -> str:
    """The mode in force: that of `precision`, else AUTOMETA_PRECISION, else fp32."""
    return _PRECISION.get() or _checked(os.environ.get("AUTOMETA_PRECISION") or "fp32")


def _checked(mode: str) -> str:
    if mode not in PRECISIONS:
        raise BackendError(f"unknown precision {mode!r}; choose from {', '.join(PRECISIONS)}")
    return mode


@contextmanager
def second_order() -> Iterator[None]:
    """Within it ops are chosen such that their gradients can be differentiated again: the reference."""
    token = _SECOND_ORDER.set(True)
    try:
        yield
    finally:
        _SECOND_ORDER.reset(token)


def dispatch(
    op: str,
    device: torch.device,
    dtype: torch.dtype,
    backend: str | None = None,
    second_order: bool = False,
    lacking: Mapping[str, str] | None = None,
) -> Callable:
    """The function that runs `op` on tensors of this device and dtype, twice differentiable where `second_order` is
    true or the call stands within the context of that name.  lacking: backends that cannot run this call, and why.

    Raises `BackendError` where a forced backend does not provide the op or cannot run here.
    """
    global _FALLBACK_ANNOUNCED, _SECOND_ORDER_ANNOUNCED
    found = _REGISTRY[op]
    second_order = second_order or _SECOND_ORDER.get()
    name = requested(backend)
    lacking = lacking or {}
    if name != "auto":
        reason = lacking.get(name) or why_not(op, name, device, dtype, second_order)
        if reason:
            raise BackendError(f"backend {name!r} cannot run {op}: {reason}")
        return found[name].call
    if device.type == "cpu" and "cpp" in found and not _FALLBACK_ANNOUNCED and compiled_error():
        _FALLBACK_ANNOUNCED = True
        warnings.warn(f"{compiled_error()}; using the slower reference", RuntimeWarning, stacklevel=3)
    announced = device.type == "cuda" and dtype != torch.float64 and not second_order and not lacking
    for candidate in PREFERENCE.get(device.type, ("reference",)):
        if candidate == "reference" and announced:
            _announce(op, {b: why_not(op, b, device, dtype, False) for b in PREFERENCE["cuda"] if b in found})
        if candidate in found and candidate not in lacking and not why_not(op, candidate, device, dtype, second_order):
            return found[candidate].call
        if second_order and not _SECOND_ORDER_ANNOUNCED and not why_not(op, candidate, device, dtype, False):
            _SECOND_ORDER_ANNOUNCED = True
            warnings.warn("second derivatives are computed by the slower reference", RuntimeWarning, stacklevel=3)
    return found["reference"].call


def _announce(op: str, reasons: Mapping[str, str | None]) -> None:
    """One notice for each reason why ops run by the reference on a GPU, where another backend provides them."""
    told = "; ".join(reason for reason in reasons.values() if reason)
    if told and told not in _ANNOUNCED:
        _ANNOUNCED.add(told)
        text = f"on this GPU {op}, and what else this holds for, runs by the slower reference ({told})"
        warnings.warn(f"{text}; see: autometa doctor", RuntimeWarning, stacklevel=4)


def why_not(op: str, backend: str, device: torch.device, dtype: torch.dtype, second_order: bool = False) -> str | None:
    """Why a backend does not run an op there, or None."""
    found = _REGISTRY[op]
    if backend not in found:
        return f"it is provided by {', '.join(found)} only"
    if second_order and backend != "reference":
        return "a second derivative was asked for, which only the reference gives"
    if are_paired() and not found[backend].paired:
        return "it does not know slots that come in pairs"
    return found[backend].refuses(device, dtype) or _DISTRUSTED.get((op, backend, current_precision()))


def distrust(op: str, backend: str, mode: str, reason: str) -> None:
    """From now on this backend does not run the op in a precision mode; who says so has told why."""
    _DISTRUSTED[op, backend, mode] = reason
    _ANNOUNCED.add(reason)


@contextmanager
def without(ops: Collection[str], backend: str) -> Iterator[None]:
    """Within it these ops are run by another backend than this one."""
    before, mode = dict(_DISTRUSTED), current_precision()
    for op in ops:
        distrust(op, backend, mode, f"{backend} is left out to compare")
    try:
        yield
    finally:
        _DISTRUSTED.clear()
        _DISTRUSTED.update(before)


def explain(device: torch.device, dtype: torch.dtype = torch.float32) -> list[Choice]:
    """One row per op: the backend that runs on `device`, and why."""
    rows = []
    for op, _ in sorted(_REGISTRY.items()):
        name = requested(None)
        if name != "auto":
            reason = why_not(op, name, device, dtype, False)
            text = f"forced, but cannot run: {reason}" if reason else "forced by AUTOMETA_BACKEND"
            rows.append(Choice(op, name, text))
            continue
        notes = []
        for candidate in PREFERENCE.get(device.type, ("reference",)):
            reason = why_not(op, candidate, device, dtype, False)
            if reason is None:
                notes.append("fastest that can run here")
                rows.append(Choice(op, candidate, "; ".join(notes)))
                break
            notes.append(f"not {candidate}: {reason}")
    return rows


def native(op: str, device: torch.device, dtype: torch.dtype, backend: str | None = None) -> bool:
    """Whether `dispatch` would take something better than the reference."""
    name = requested(backend)
    candidates = PREFERENCE.get(device.type, ()) if name == "auto" else (name,)
    return any(c != "reference" and not why_not(op, c, device, dtype, False) for c in candidates)


@contextmanager
def libraries(mode: str) -> Iterator[None]:
    """Within it what torch's libraries compute on a GPU, the reference above all, is the same in every run, and
    rounds factors to tf32 only where `mode` does."""
    cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, products.allow_tf32
    cudnn.deterministic, cudnn.benchmark = True, False
    cudnn.allow_tf32 = products.allow_tf32 = mode != "fp32"
    try:
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, products.allow_tf32 = before
