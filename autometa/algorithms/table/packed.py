"""The packed file of a table: one safetensors file of columns, a row for each training, with version and checksum."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from autometa.algorithms.table.spec import TableSpec, order, order_hash
from autometa.algorithms.table.training import Measured
from autometa.errors import InputError
from autometa.runs.files import of_form, plain, shown, write_bytes
from autometa.runs.forms import record, text
from autometa.runs.tensors import read_tensors

FORMAT, VERSION = "autometa-table", 1
REMEDY = "install the package again, or pack the table again"
COLUMNS = {
    "right": np.int16,
    "losses": np.float32,
    "interval": np.float32,
    "test_right": np.int16,
    "test_interval": np.float32,
    "parameters": np.int32,
    "macs": np.int32,
    "seconds": np.float32,
    "seed": np.int16,
    "length": np.int16,
}
"""Of `Measured`, as they are kept; beside them `cell` (place in `order()`) and `machine` (place in the list)."""


@dataclass(frozen=True)
class Packed:
    """What a packed file holds. rows: trainings; machine: of each row, a place in `machines`, which tell what the rows
    were computed on; costs: the cost model, None before it is fitted."""

    rows: tuple[Measured, ...]
    machine: tuple[int, ...]
    machines: tuple[Mapping[str, Any], ...]
    costs: Mapping[str, Any] | None
    checksum: str


def path_of(name: str) -> Path:
    """Where the package keeps the packed file of a table."""
    return Path(__file__).with_name(f"{name}.safetensors")


def write(
    path: Path,
    spec: TableSpec,
    found: Sequence[tuple[Measured, Mapping[str, Any]]],
    costs: Mapping[str, Any] | None,
) -> str:
    """Write the file, whole or not at all; the same rows give the same bytes. Returns its checksum."""
    place = {key: n for n, key in enumerate(order())}
    machines = sorted({json.dumps(dict(told), sort_keys=True) for _, told in found})
    rows = [row for row, _ in found]
    columns = {name: np.array([getattr(row, name) for row in rows], dtype=kind) for name, kind in COLUMNS.items()}
    columns["cell"] = np.array([place[row.key] for row in rows], dtype=np.int16)
    columns["machine"] = np.array(
        [machines.index(json.dumps(dict(told), sort_keys=True)) for _, told in found], dtype=np.int16
    )
    about = {
        "version": VERSION,
        "name": spec.name,
        "fingerprint": spec.fingerprint,
        "order": order_hash(order()),
        "config": plain(spec.config),
        "machines": [json.loads(told) for told in machines],
        "failures": {str(n): row.failure for n, row in enumerate(rows) if row.failure is not None},
        "costs": costs,
    }
    told = json.dumps(about, sort_keys=True)
    checksum = _checksum(columns, told)
    # one entry alone: safetensors writes several in any order, and the same rows shall give the same bytes
    write_bytes(path, save(columns, {FORMAT: json.dumps({"about": told, "sha256": checksum})}))
    return checksum


def read(path: Path, spec: TableSpec) -> Packed:
    """Raises `InputError` where the file is missing, damaged, of another version, or of a table of other settings."""
    if not path.is_file():
        raise InputError(f"there is no {shown(path)}; autometa table pack --name {spec.name} writes one")
    told, tensors = read_tensors(path, FORMAT, REMEDY)
    columns = {name: tensor.numpy() for name, tensor in tensors.items()}
    try:
        record(optional={"about": text})(told, "")
        about = of_form(told.get("about", "{}").encode(), record())
    except ValueError as error:
        raise InputError(f"{shown(path)} cannot be read as a packed table ({error}); {REMEDY}") from error
    if about.get("version") != VERSION:
        raise InputError(f"{shown(path)} is no packed table of version {VERSION}; {REMEDY}")
    if _checksum(columns, told["about"]) != told.get("sha256"):
        raise InputError(f"{shown(path)} is damaged: its checksum does not fit; {REMEDY}")
    if (about["fingerprint"], about["order"]) != (spec.fingerprint, order_hash(order())):
        raise InputError(f"{shown(path)} holds cells trained otherwise than {spec.name} trains them now")
    failures = {int(n): text for n, text in about["failures"].items()}
    rows = tuple(_row(columns, n, failures.get(n)) for n in range(len(columns["cell"])))
    machine = tuple(columns["machine"].tolist())
    return Packed(rows, machine, tuple(about["machines"]), about["costs"], told["sha256"])


def _row(columns: Mapping[str, np.ndarray], n: int, failure: str | None) -> Measured:
    values = {name: columns[name][n].tolist() for name in COLUMNS}
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return Measured(key=order()[columns["cell"][n]], failure=failure, **values)


def _checksum(columns: Mapping[str, np.ndarray], text: str) -> str:
    total = hashlib.sha256(text.encode())
    for name in sorted(columns):
        column = np.ascontiguousarray(columns[name])
        total.update(f"{name} {column.dtype.str} {column.shape}".encode())
        total.update(column.tobytes())
    return total.hexdigest()
