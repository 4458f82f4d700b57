"""The seam to the CUDA module: whether it runs here, the stream to launch on.

Its entry points check nothing that lies in the device's memory, which would stop the device: the callers of the ops
guarantee that tables hold what the ops' docstrings say, where they are built. An index out of range is clamped by the
kernels, so that no memory is read that is not the tensors'; the results are then meaningless.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType

import torch

from autometa.ops.backend import BackendError

_MODULE = "autometa._cuda"
OLDEST = (8, 0)


def cuda_module() -> ModuleType | None:
    """The CUDA module, or None; `cuda_error` then says why."""
    return sys.modules.get(_MODULE) or _load()[0]


def cuda_error() -> str | None:
    """Why the CUDA module does not load, or None where it does; a device is not needed for that."""
    return None if sys.modules.get(_MODULE) else _load()[1]


def _load() -> tuple[ModuleType | None, str | None]:
    try:
        return importlib.import_module(_MODULE), None
    except ImportError as error:
        return None, (
            f"the CUDA module {_MODULE} does not load ({error}); reinstall with nvcc on PATH, and with AUTOMETA_CUDA=1 "
            "to see why that fails"
        )


def cuda_state() -> dict[str, str | bool | None]:
    """What there is to say of the module: whether it loads, for which architectures it was built, and why it cannot
    run here (None where it can)."""
    module = cuda_module()
    if module is None:
        return {"loads": False, "architectures": None, "runtime": None, "refuses": cuda_error()}
    return {
        "loads": True,
        "architectures": module.architectures,
        "runtime": _named(module.runtime_version()),
        "refuses": cuda_refuses(torch.device("cuda"), torch.float32),
    }


def cuda_refuses(device: torch.device, dtype: torch.dtype) -> str | None:
    """The usual conditions of a `cuda` implementation: module, CUDA tensors, float32 or float64."""
    if dtype not in (torch.float32, torch.float64):
        return f"cuda works in float32 and float64, not in {dtype}"
    return _device_refuses(device)


def cuda_refuses_unless(dtype: torch.dtype) -> Callable:
    """The same for one dtype; float32 passes too, it is what `backend.explain` asks about every op with."""

    def refuses(device: torch.device, found: torch.dtype) -> str | None:
        if found not in (dtype, torch.float32):
            return f"cuda works in {dtype} here, not in {found}"
        return _device_refuses(device)

    return refuses


def _device_refuses(device: torch.device) -> str | None:
    if device.type != "cuda":
        return f"cuda works on CUDA tensors, these are on {device}"
    if error := cuda_error():
        return error
    if not torch.cuda.is_available():
        return "torch finds no CUDA device"
    capability, module = torch.cuda.get_device_capability(device), cuda_module()
    return _too_old(capability, module.architectures) or _behind(module.driver_version(), module.runtime_version())


def _named(version: int) -> str:
    """13020 -> "13.2"."""
    return "{}.{}".format(*divmod(version // 10, 100))


def _behind(driver: int, runtime: int) -> str | None:
    """Why a driver cannot serve the runtime that was linked, or None: their major versions count."""
    if driver // 1000 >= runtime // 1000:
        return None
    return (
        f"{_MODULE} was built with CUDA {_named(runtime)}, the driver knows {_named(driver)}; update the driver, or "
        "reinstall with an older nvcc"
    )


def _too_old(capability: tuple[int, int], architectures: str) -> str | None:
    """Why code for `architectures` (as CMake writes them: "80-real 100") does not run on such a device, or None."""
    name = "{}.{}".format(*capability)
    if capability < OLDEST:
        return f"the device has compute capability {name}, cuda needs {OLDEST[0]}.{OLDEST[1]} or later"
    built = re.findall(r"\b(\d+)(\d)[af]?(-real|-virtual)?\b", architectures)
    for major, minor, sort in built:
        made_for = (int(major), int(minor))
        machine_code = sort != "-virtual" and made_for[0] == capability[0] and made_for <= capability
        if machine_code or (sort != "-real" and made_for <= capability):
            return None
    if not built:  # "native", "all"
        return None
    return (
        f"{_MODULE} was built for {architectures}, the device has compute capability {name}; reinstall with "
        f"AUTOMETA_CUDA_ARCHS={capability[0]}{capability[1]}"
    )


@contextmanager
def launching(tensor: torch.Tensor) -> Iterator[tuple[ModuleType, int]]:
    """The module and the handle of the current stream of the tensor's device, which is current within."""
    module = cuda_module()
    if module is None:
        raise BackendError(cuda_error())
    with torch.cuda.device(tensor.device):
        yield module, torch.cuda.current_stream(tensor.device).cuda_stream
