"""The bits of a run: what its weights, accuracies, cells and ranking hash to.

python -m tests.reference.bits RUN NAME      writes tests/reference/NAME.json from a finished run
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

HERE = Path(__file__).parent
WEIGHTS = ("theta", "second")
LEFT_OUT = ("predicted", "probability", "trace.")
"""Of an evaluation's tensors: what follows from the others."""


def of_run(run: Path) -> dict[str, Any]:
    """By phase the hashes of its last checkpoint's tensors; genotypes as they stand; the ranking of candidates."""
    found: dict[str, Any] = {}
    for phase in sorted(p for p in (run / "checkpoints").iterdir() if p.is_dir()):
        steps = sorted(phase.glob("step-*"))
        tensors = load_file(steps[-1] / "tensors.safetensors") if steps else {}
        kept = {
            name: value
            for name, value in tensors.items()
            if name != "steps" and not name.startswith(LEFT_OUT) and not name.startswith("learner.")
        }
        if kept:
            found[phase.name] = {name: hashed(kept[name]) for name in sorted(kept)}
    for name in ("most_frequent", "best"):
        path = run / "genotypes" / f"{name}.json"
        if path.exists():
            found[f"genotype {name}"] = json.loads(path.read_text())
    if (run / "ledger.sqlite").exists():
        found["ranking"] = ranking(run / "ledger.sqlite")
    return found


def hashed(value: np.ndarray) -> str:
    """Of the bytes in C order, with dtype and shape."""
    value = np.ascontiguousarray(value)
    return hashlib.sha256(f"{value.dtype.str}{value.shape}".encode() + value.tobytes()).hexdigest()[:16]


def ranking(ledger: Path) -> str:
    """A hash of every candidate's key, accuracy and what was predicted of it, in the order of proposals."""
    with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as db:
        rows = db.execute("SELECT key, accuracy, predicted_mean FROM trials ORDER BY level, place").fetchall()
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]


def main(run: str, name: str) -> None:
    """Write the reference of a run made by the version whose bits shall be kept."""
    value = {"config": json.loads((Path(run) / "config.json").read_text()), "bits": of_run(Path(run))}
    (HERE / f"{name}.json").write_text(json.dumps(value, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
