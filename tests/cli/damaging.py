"""Mutations of the files of a run, seeded: bytes, JSON, tensors with their checksums made right, fields of a ledger."""

from __future__ import annotations

import hashlib
import json
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import safe_open

from autometa.runs.tensors import digest

DEEP = "[" * 100_000
ODD = [
    None,
    True,
    -1,
    0,
    2.5,
    10**7,
    10**30,
    1e300,
    float("nan"),
    "",
    "text",
    "\ud800",
    "é" * 50,
    [],
    {},
    [[]],
    {"a": 1},
]


def places(value: Any, path: tuple = ()) -> list[tuple]:
    """Where the values of a JSON document stand."""
    found = [path] if path else []
    if isinstance(value, dict):
        items = value.items()
    else:
        items = enumerate(value[:3]) if isinstance(value, list) else ()
    for name, item in items:
        found += places(item, (*path, name))
    return found


def change_json(value: Any, rng: random.Random) -> tuple[Any, str]:
    """A document with one field removed, of another type, or of another value; which."""
    spots = places(value)
    if not spots:
        return rng.choice(ODD), "changed"
    *path, last = rng.choice(spots)
    holder = value
    for name in path:
        holder = holder[name]
    if rng.random() < 0.25:
        del holder[last]
        return value, "removed"
    holder[last] = rng.choice(ODD)
    return value, "changed"


def bytes_of(path: Path, rng: random.Random) -> str:
    """Bits flipped, or the file cut short, or emptied, or another file."""
    data = bytearray(path.read_bytes())
    kind = rng.choice(["flip", "flip", "cut", "empty", "deep", "five"])
    if kind == "flip" and data:
        for _ in range(rng.choice([1, 1, 8])):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del data[rng.randrange(len(data) + 1) :]
    else:
        data = {"deep": DEEP.encode(), "five": b"5"}.get(kind, b"")
    path.write_bytes(data)
    return kind


def document(path: Path, rng: random.Random) -> str:
    """A field of a JSON document, or of a line of metrics."""
    lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    place = rng.randrange(len(lines))
    value, kind = change_json(json.loads(lines[place]), rng)
    lines[place] = json.dumps(value)
    path.write_text("\n".join(lines) + "\n")
    return kind


def change_tensors(tensors: dict[str, torch.Tensor], rng: random.Random) -> str:
    """One of them removed, renamed, of another shape or dtype, NaN, or made up."""
    if not tensors:
        tensors["made up"] = torch.zeros(2)
        return "made up"
    name = rng.choice(sorted(tensors))
    value = tensors.pop(name)
    kind = rng.choice(["gone", "renamed", "flat", "longer", "shorter", "scalar", "double", "nan", "bytes"])
    if kind == "renamed":
        tensors[f"{name}x"] = value
    elif kind == "nan":
        tensors[name] = torch.full_like(value, torch.nan) if value.is_floating_point() else value.long() - 10**6
    elif kind != "gone":
        made = {
            "flat": lambda: value.reshape(1, -1),
            "longer": lambda: torch.cat([value.reshape(-1), value.reshape(-1)]),
            "shorter": lambda: value.reshape(-1)[:-1],
            "scalar": lambda: value.reshape(-1)[0] if value.numel() else value,
            "double": lambda: value.double(),
            "bytes": lambda: value.reshape(-1).to(torch.uint8),
        }[kind]()
        tensors[name] = made.clone().contiguous()
    return kind


def checkpoint(folder: Path, rng: random.Random) -> str:
    """Tensors or state of a checkpoint, its checksums made right."""
    if rng.random() < 0.6:
        kinds = []
        rewrite(folder, lambda tensors: kinds.append(change_tensors(tensors, rng)))
        return kinds[0]
    record, kind = change_json(json.loads((folder / "state.json").read_text()), rng)
    _sign(folder, record)
    return kind


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    """Change the tensors of a checkpoint, its checksums made right."""
    tensors = safetensors.torch.load_file(folder / "tensors.safetensors")
    change(tensors)
    payload = safetensors.torch.save(tensors)
    (folder / "tensors.safetensors").write_bytes(payload)
    record = json.loads((folder / "state.json").read_text())
    record["tensors_sha256"] = hashlib.sha256(payload).hexdigest()
    _sign(folder, record)


def _sign(folder: Path, record: Any) -> None:
    """Write state.json with its checksum."""
    if isinstance(record, dict):
        record.pop("record_sha256", None)
        record["record_sha256"] = hashlib.sha256(json.dumps(record).encode()).hexdigest()
    (folder / "state.json").write_text(json.dumps(record))


def sql(path: Path, statement: str) -> None:
    """Carry out a statement on a ledger."""
    with closing(sqlite3.connect(path)) as db:
        db.execute(statement)
        db.commit()


def model(path: Path, rng: random.Random) -> str:
    """Tensors or metadata of a classifier or kept model, the checksum made right or, as in old files, left out."""
    with safe_open(path, "pt") as file:
        ((key, text),) = file.metadata().items()
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    told = json.loads(text)
    kind = change_tensors(tensors, rng) if rng.random() < 0.6 else "metadata"
    if kind == "metadata":
        told, kind = change_json(told, rng)
    beside = {}
    if (path.parent / "data.json").exists():
        beside = {name: json.loads((path.parent / f"{name}.json").read_text()) for name in ("config", "data")}
    if isinstance(told, dict):
        told.pop("sha256", None)
        if rng.random() < 0.5:
            told["version"] = 1
        else:
            told["sha256"] = digest({**told, **beside}, tensors)
    payload = safetensors.torch.save(tensors, {key: json.dumps(told)})
    path.write_bytes(payload)
    return kind


def ledger(path: Path, rng: random.Random) -> str:
    """A value of another kind or a row removed, in any table."""
    values = ["text", b"\xff\x00", -1, 2.5, 10**18, None, "", float("inf"), "9" * 20_000]
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA foreign_keys = OFF")
        db.execute("PRAGMA ignore_check_constraints = ON")
        names = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        table = rng.choice([name for name in names if db.execute(f"SELECT 1 FROM {name} LIMIT 1").fetchone()])
        rows = [row[0] for row in db.execute(f"SELECT rowid FROM {table}")]
        column = rng.choice([row[1] for row in db.execute(f"PRAGMA table_info({table})")])
        try:
            if rng.random() < 0.15:
                db.execute(f"DELETE FROM {table} WHERE rowid = ?", (rng.choice(rows),))
            else:
                db.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (rng.choice(values), rng.choice(rows)))
            db.commit()
        except sqlite3.Error:
            return "nothing"
    return f"{table}.{column}"


def mutations(folder: Path) -> list[tuple[Path, Callable[[Path, random.Random], str]]]:
    """What can be done to the files of a run, of a folder that was adapted to, or of a kept model."""
    found: list[tuple[Path, Callable]] = []
    for path in sorted(folder.rglob("*")):
        if path.is_dir() and (path / "state.json").exists():
            found += [(path, checkpoint)] * 6
        elif path.suffix in (".json", ".jsonl") and path.name != "state.json":
            found += [(path, document)] * (3 if path.suffix == ".json" else 1) + [(path, bytes_of)]
        elif path.name in ("classifier.safetensors", "model.safetensors"):
            found += [(path, model)] * 6 + [(path, bytes_of)]
        elif path.suffix in (".safetensors",) or path.name == "state.json":
            found += [(path, bytes_of)]
        elif path.name == "ledger.sqlite":
            found += [(path, ledger)] * 8 + [(path, bytes_of)]
    return found
