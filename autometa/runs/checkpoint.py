"""Checkpoints: folders renamed into place, each with tensors.safetensors and state.json, never pickle.

Names are ``step-00000120`` (``step-00000120.1`` where that step was saved before: nothing is ever
overwritten) and ``best-step-00000120`` for a checkpoint kept under the name "best".
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from autometa.brief import brief
from autometa.errors import InputError
from autometa.runs.files import (
    disk_errors,
    plain,
    read_file,
    read_json,
    remove_tree,
    say,
    shown,
    sync_folder,
    temporary_beside,
    write_synced,
)
from autometa.runs.forms import FormError, maybe, number, record, text, whole
from autometa.runs.tensors import LARGEST, decoded

FORMAT = 1
TENSORS = "tensors.safetensors"
STATE = "state.json"
_SESSION = record(optional={"total": maybe(whole()), "elapsed": number(0)})
RECORD = record(
    {
        "format": whole(),
        "step": whole(),
        "metrics_bytes": whole(),
        "tensors_sha256": text,
        "state": record(optional={"session": _SESSION}),
    }
)
"""What state.json holds beside its own checksum."""
_FOLDER = re.compile(r"(?:(?P<name>.+)-)?step-(?P<step>\d{8,})(?:\.(?P<again>\d+))?")


@brief
@dataclass(frozen=True)
class Checkpoint:
    """What was saved. `metrics_bytes` is the length of the metrics file at that moment."""

    path: Path
    step: int
    tensors: dict[str, torch.Tensor]
    state: dict[str, Any]
    metrics_bytes: int


@dataclass(frozen=True, order=True)
class _Entry:
    step: int
    again: int
    name: str
    path: Path


def save(
    folder: str | os.PathLike,
    step: int,
    tensors: dict[str, torch.Tensor],
    state: dict[str, Any],
    *,
    metrics_bytes: int = 0,
    name: str | None = None,
    keep: int = 2,
) -> Path:
    """Save under `folder`; when this returns the checkpoint is on the disk, whole.

    Without `name` the newest `keep` unnamed checkpoints stay and older ones go; with it the checkpoint
    stays until the same name is saved again.  `tensors` may be on any device, of any stride, and may
    share memory; `state` goes through JSON.  Raises `DiskError`, with all earlier checkpoints intact.
    """
    folder = Path(folder)
    if name is not None and not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
        raise InputError(f"checkpoint name {name!r} may hold letters, digits, dot, dash and underscore only")
    if keep < 1:
        raise InputError(f"at least one checkpoint must be kept, not {keep}")
    payload = safetensors.torch.save(_on_cpu(tensors))
    written = {
        "format": FORMAT,
        "step": step,
        "metrics_bytes": metrics_bytes,
        "tensors_sha256": hashlib.sha256(payload).hexdigest(),
        "state": plain(state),
    }
    written["record_sha256"] = _digest(written)
    with disk_errors(f"save a checkpoint in {shown(folder)}"):
        if not folder.is_dir():
            folder.mkdir(parents=True)
            sync_folder(folder.parent)
        target = _unused(folder, step, name)
        temporary = temporary_beside(target)
        try:
            temporary.mkdir()
            write_synced(temporary / TENSORS, payload)
            write_synced(temporary / STATE, json.dumps(written, indent=1).encode())
            sync_folder(temporary)
            os.rename(temporary, target)
            sync_folder(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    same = [entry.path for entry in entries(folder, name)]
    for old in same[1 if name else keep :]:
        if old != target:
            remove_tree(old)
    return target


def load(path: str | os.PathLike) -> Checkpoint:
    """One checkpoint, verified. Raises `InputError` that says what is missing or damaged."""
    path = Path(path)
    try:
        found = read_json(path / STATE, RECORD, strict=False)
        payload = read_file(path / TENSORS, LARGEST)
        if found.pop("record_sha256", None) != _digest(found):
            raise FormError(f"{STATE} does not match its own checksum")
        if found["format"] != FORMAT:
            raise FormError(f"its format is {found['format']}, this version reads {FORMAT}")
        if hashlib.sha256(payload).hexdigest() != found["tensors_sha256"]:
            raise FormError(f"{TENSORS} does not match its checksum")
        tensors = decoded(payload)
    except FormError as error:
        raise InputError(f"checkpoint {shown(path)} is damaged: {error}") from error
    except InputError as error:
        raise InputError(f"checkpoint {shown(path)} is unreadable: {error}") from error
    return Checkpoint(path, found["step"], tensors, found["state"], found["metrics_bytes"])


def load_latest(folder: str | os.PathLike, notice: Callable[[str], None] = say) -> Checkpoint | None:
    """The newest readable checkpoint that has no name, or None where there is none at all.

    Damaged ones are passed over, each with a notice.  Raises `InputError` where all are damaged, because
    to start over without a word would lose the run.
    """
    found = entries(folder)
    for entry in found:
        try:
            return load(entry.path)
        except InputError as error:
            notice(f"{error}; trying the one before it")
    if found:
        raise InputError(f"no checkpoint in {shown(folder)} is readable; begin a new run with --out")
    return None


def load_named(folder: str | os.PathLike, name: str) -> Checkpoint | None:
    """The checkpoint saved under `name`, or None."""
    found = entries(folder, name)
    return load(found[0].path) if found else None


def entries(folder: str | os.PathLike, name: str | None = None) -> list[_Entry]:
    """Checkpoints in `folder` that bear `name`, newest first, unread."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        for path in Path(folder).iterdir():
            match = _FOLDER.fullmatch(path.name)
            if match and match["name"] == name and path.is_dir():
                found.append(_Entry(int(match["step"]), int(match["again"] or 0), name or "", path))
    return sorted(found, reverse=True)


def set_aside_after(folder: str | os.PathLike, loaded: Path) -> None:
    """Rename what is newer than the checkpoint a run resumes from, so that it can neither be resumed from
    again nor count among the newest that are kept."""
    for entry in entries(folder):
        if entry.path == loaded:
            return
        number = 0
        while (target := entry.path.with_name(f"damaged{number or ''}.{entry.path.name}")).exists():
            number += 1
        with disk_errors(f"rename {shown(entry.path)}"):
            os.rename(entry.path, target)


def peek(path: str | os.PathLike) -> dict[str, Any]:
    """state.json of a checkpoint without reading or verifying its tensors; {} where it is unreadable."""
    try:
        return read_json(Path(path) / STATE, RECORD, strict=False)
    except InputError:
        return {}


def _unused(folder: Path, step: int, name: str | None) -> Path:
    stem = f"{name}-step-{step:08d}" if name else f"step-{step:08d}"
    taken = [entry.again for entry in entries(folder, name) if entry.step == step]
    return folder / (f"{stem}.{max(taken) + 1}" if taken else stem)


def _digest(record: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record).encode()).hexdigest()


def _on_cpu(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Dense copies where needed: the file format wants each tensor contiguous and alone in its storage."""
    found, seen = {}, set()
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        storage = tensor.untyped_storage()
        if storage.nbytes() != tensor.numel() * tensor.element_size() or storage.data_ptr() in seen:
            tensor = tensor.clone()
        seen.add(tensor.untyped_storage().data_ptr())
        found[name] = tensor
    return found
