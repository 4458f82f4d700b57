"""Tensors in safetensors files: read without trust, and a digest over what a file holds."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError

from autometa.errors import InputError
from autometa.runs.files import of_form, read_file, shown
from autometa.runs.forms import FormError, record, table, text

LARGEST = 1 << 40
"""Bytes of a file."""


def decoded(payload: bytes) -> dict[str, torch.Tensor]:
    """The tensors of a file's bytes by name. Raises `FormError` where they are no such file."""
    try:
        return safetensors.torch.load(payload)
    except (SafetensorError, KeyError, TypeError, RuntimeError) as error:  # headers that lie, dtypes torch lacks
        raise FormError(f"it holds no tensors that can be read ({_line(error)})") from error


def metadata(payload: bytes) -> dict[str, str]:
    """What a file's bytes tell beside their tensors. Raises `FormError` or `ValueError` where they are no such file."""
    header = of_form(payload[8 : 8 + int.from_bytes(payload[:8], "little")], record())
    found = header.get("__metadata__", {})
    table(text)(found, "__metadata__")
    return found


def read_tensors(path: str | os.PathLike, key: str, remedy: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """What a file tells in its metadata under `key`, an object, `{}` where nothing; and its tensors by name.

    Raises `InputError` that names the file and ends in the remedy.
    """
    path = Path(path)
    try:
        payload = read_file(path, LARGEST, remedy)
        tensors = decoded(payload)
        return of_form(metadata(payload).get(key, "{}").encode(), record()), tensors
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{shown(path)} cannot be read ({_line(error)}); {remedy}") from error


def digest(told: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> str:
    """sha256 over an object of JSON's types, whatever the order of its names, and over tensors on the CPU: their names,
    dtypes, shapes and bytes."""
    found = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().contiguous()
        found.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        found.update(tensor.flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()


def check_tensor(
    name: str, tensor: torch.Tensor | None, dtype: torch.dtype, shape: tuple[int | None, ...], finite: bool = True
) -> torch.Tensor:
    """The tensor. Raises `FormError` unless it is there, of this dtype and shape (None: any size), and finite."""
    wanted = f"{str(dtype).removeprefix('torch.')} {[n if n is not None else 'any' for n in shape]}"
    if tensor is None:
        raise FormError(f"the tensor {name} is missing")
    alike = len(shape) == tensor.ndim and all(n in (None, m) for n, m in zip(shape, tensor.shape, strict=True))
    if tensor.dtype != dtype or not alike:
        has = f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
        raise FormError(f"the tensor {name} is {has}, not {wanted}")
    if finite and not bool(torch.isfinite(tensor).all()):
        raise FormError(f"the tensor {name} holds values that are not finite")
    return tensor


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
