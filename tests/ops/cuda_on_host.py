"""The CUDA module compiled for the host, so that ops, bindings and kernels are tested where there is no GPU."""

from __future__ import annotations

import ctypes
import functools
import importlib
import importlib.util
import os
import shutil
import subprocess
import sysconfig
import tempfile
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

from autometa.ops import backend

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "csrc").glob("*/*.cu"))


@functools.cache
def build() -> ModuleType | str:
    """The module, or why there is none. A kernel's threads run one after another, see tests/cpp/on_host.

    Its `launches` are those so far.
    """
    compiler = os.environ.get("CXX") or next((c for c in ("c++", "g++", "clang++") if shutil.which(c)), None)
    headers = Path(torch.__file__).parent / "include"
    if compiler is None or os.name == "nt" or not (headers / "pybind11").exists():
        return "no C++ compiler like g++ is here, or torch came without pybind11's headers"
    folder = Path(tempfile.mkdtemp(prefix="autometa-cuda-"))
    library = folder / f"_cuda{sysconfig.get_config_var('EXT_SUFFIX')}"
    include = [ROOT / "tests/cpp/on_host", ROOT / "csrc/include", headers, sysconfig.get_paths()["include"]]
    command = [*compiler.split(), "-std=c++17", "-O1", "-fPIC", "-ffp-contract=off", "-fvisibility=hidden"]
    command += [f"-I{path}" for path in include] + ['-DAUTOMETA_VERSION="host"', '-DAUTOMETA_CUDA_ARCHITECTURES="host"']
    sources = [*SOURCES, ROOT / "csrc/bindings_cuda.cpp"]
    objects = [folder / f"{source.stem}.o" for source in sources]
    running = [
        subprocess.Popen([*command, "-c", "-x", "c++", str(source), "-o", str(made)], stderr=subprocess.PIPE, text=True)
        for source, made in zip(sources, objects, strict=True)
    ]
    errors = [process.communicate()[1] for process in running]
    assert all(process.returncode == 0 for process in running), "\n".join(errors)
    subprocess.run([*compiler.split(), "-shared", *map(str, objects), "-o", str(library)], check=True)
    spec = importlib.util.spec_from_file_location("_cuda", library)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.launches = ctypes.c_int64.in_dll(ctypes.CDLL(str(library)), "autometa_launches")
    shutil.rmtree(folder, ignore_errors=True)
    return module


def use(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the backend `cuda` work on CPU tensors with that module, or skip."""
    module = build()
    if isinstance(module, str):
        pytest.skip(module)
    monkeypatch.setitem(__import__("sys").modules, "autometa._cuda", module)
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: SimpleNamespace(cuda_stream=0))
    for op in (source.parent.name for source in SOURCES if source.stem != "versions"):
        kernel = torch.no_grad()(backend._REGISTRY[op]["cpp"].call.on_cuda)
        made = backend.Implementation(op, "cuda", kernel, lambda device, dtype: None, True)
        monkeypatch.setitem(backend._REGISTRY[op], "cuda", made)
