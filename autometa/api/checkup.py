"""What `autometa doctor` finds: versions, processor, compiled modules, backend of every op, data, memory."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from autometa import ops, plugins  # noqa: F401  ops registers every op
from autometa.api.estimate import free_memory
from autometa.data import DATASETS, DataError, cache_root, dataset_names
from autometa.data.omniglot import PARTS, find_part
from autometa.meta.learner import LEARNERS
from autometa.nas.strategies.strategy import STRATEGIES
from autometa.ops import backend, self_check
from autometa.ops._cuda import cuda_state
from autometa.ops._triton import needs, triton_refuses
from autometa.ops.primitives import registered
from autometa.runs import environment
from autometa.train.canary import checked_device

PACKAGES = ("torch", "numpy", "pillow", "safetensors", "jsonargparse", "tqdm")
_NAMES = "DATA", "CACHE", "PLUGINS", "BACKEND", "ISA", "PRECISION", "GRAPH", "DEBUG"
SETTINGS = tuple(f"AUTOMETA_{name}" for name in _NAMES)


def examine() -> dict[str, Any]:
    """Everything `autometa doctor` tells, in JSON's types; raises nothing."""
    return {
        "versions": {"autometa": environment.package_version(), "python": platform.python_version(), **_versions()},
        "platform": platform.platform(),
        "cpu": {
            "model": environment.cpu_model(),
            "usable_processors": environment.usable_cpus(),
            "torch_threads": torch.get_num_threads(),
            "memory_free_bytes": free_memory(),
        },
        "gpu": _gpu(),
        "compiled": _compiled(),
        "cuda_kernels": cuda_state(),
        "triton": needs(),
        "self_check": _self_check(),
        "backends": {device: _backends(device) for device in _devices()},
        "plugins": _plugins(),
        "settings": {name: os.environ.get(name) for name in SETTINGS},
        "data": _data(),
    }


def _plugins() -> dict[str, list[str]]:
    return {
        "loaded": plugins.loaded(),
        "primitives": list(registered()),
        "data_sets": [name for name in dataset_names() if name not in DATASETS],
        "learners": list(LEARNERS.added),
        "strategies": list(STRATEGIES.added),
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "missing"
    return found


def _compiled() -> dict[str, Any]:
    module, error = backend.compiled(), backend.compiled_error()
    if module is None:
        return {"loads": False, "reason": error}
    try:
        return {"loads": True, "instruction_set": module.isa(), "file": module.__file__}
    except Exception as refused:  # AUTOMETA_ISA may name what this processor has not
        return {"loads": True, "instruction_set": None, "reason": str(refused), "file": module.__file__}


def _self_check() -> dict[str, Any] | None:
    """What the GPU's kernels compute beside the reference, in every precision; None where there is no GPU for them."""
    device = torch.device("cuda", 0)
    if "cuda" not in _devices() or triton_refuses(device, torch.float32):
        return None
    for mode in backend.PRECISIONS:
        checked_device(device, mode, lambda text: None, quiet=True)
    return {"about": self_check.about(device), "table": self_check.known(device)}


def _gpu() -> str | None:
    try:
        return torch.cuda.get_device_name() if torch.cuda.is_available() else None
    except RuntimeError as error:  # a driver that is older than torch wants
        return str(error).splitlines()[0]


def _devices() -> list[str]:
    return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


def _backends(device: str) -> list[dict[str, str]] | str:
    try:
        return [asdict(choice) for choice in backend.explain(torch.device(device))]
    except backend.BackendError as error:
        return str(error)


def _data() -> dict[str, Any]:
    omniglot = {part: _omniglot(part) for part in PARTS}
    found = {"omniglot": omniglot, "strokes": "drawn by autometa itself, nothing to download"}
    try:
        cache = cache_root()
    except DataError as error:
        return {"cache": str(error), "cache_free_bytes": None, "converted": [], **found}
    stores = sorted(path.parent.name for path in cache.glob("*/store.json"))
    return {
        "cache": str(cache),
        "cache_free_bytes": _disk_free(cache),
        "converted": stores,
        **found,
    }


def _omniglot(part: str) -> str:
    try:
        return f"found: {find_part(part)}"
    except DataError as error:
        return str(error)


def _disk_free(path: Path) -> int | None:
    for place in (path, *path.parents):
        with contextlib.suppress(OSError):
            return shutil.disk_usage(place).free
    return None
