"""`export --to c`: a folder of C files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from autometa.data import DataError
from autometa.errors import InputError
from autometa.export.c.measured import measure
from autometa.export.c.project import BATCH, FROZEN, LEARN, STATISTICS, WEIGHTS, Device, made_by, some_pictures
from autometa.export.c.training import check_all, suiting
from autometa.models.find import choose_start
from autometa.runs.files import disk_errors, shown, write_bytes
from autometa.train.frozen import training_pictures
from autometa.train.tasks import Source


def export_c(
    run: str | os.PathLike | None,
    out: Path,
    weights: str,
    learn: str | None,
    statistics: str | None,
    notice: Callable[[str], None],
) -> dict[str, Any]:
    """Write the network of a run and its learning as C; returns what was written, and what was measured of it.

    Raises `InputError` where the run, or the combination, cannot be exported.
    """
    check(weights, learn, statistics)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; C is written to a folder: give --out another name")
    start = choose_start(run, notice=notice)
    model = start.model.to("cpu")
    if learn is None:
        learn = suiting(model, weights)
        notice(f"learning by {learn}, as the network was meta-learned; --learn names another way")
    if learn == "all":
        check_all(model, weights)
    elif statistics == BATCH:
        raise InputError(f"learning by {learn} looks at one picture at a time, by frozen statistics; leave out batch")
    frozen = learn != "all" or statistics == FROZEN
    source, pictures = None, None
    try:
        source = Source.open(model.config.data)
    except DataError as error:
        if frozen:
            raise InputError(
                f"frozen statistics are of training pictures, which cannot be read here ({error}); export where they "
                "are, or with --learn all --statistics batch, which does without"
            ) from error
    if source is not None and frozen:
        pictures = training_pictures(model.config, source)
    device = Device.of(start.name, model, pictures, learn, weights, frozen and learn == "all")
    measured = None if source is None else measure(model, source, device.answer)
    shown_first = some_pictures(None if source is None else source.store.tensor(), model.recipe)
    files = device.files(measured, shown_first)
    with disk_errors(f"write {shown(out)}"):
        out.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        write_bytes(out / name, text.encode())
    return {
        "what": "device",
        "file": str(out),
        "format": "c",
        "bytes": sum(len(text.encode()) for text in files.values()),
        "files": sorted(files),
        "source": shown(start.path),
        "weights": weights,
        "learn": learn,
        "statistics": FROZEN if frozen else BATCH,
        "features": device.folded.graph.features,
        "macs": device.folded.graph.macs,
        "accuracy": None if measured is None else measured.accuracy,
        "min_confidence": None if measured is None else measured.least,
        "made_by": made_by(),
    }


def check(weights: str, learn: str | None, statistics: str | None) -> None:
    """Raise `InputError` for what there is not."""
    if weights not in WEIGHTS:
        raise InputError(f"weights are {' or '.join(WEIGHTS)}, not {weights!r}")
    if learn not in (None, *LEARN):
        raise InputError(f"a device learns by {' or '.join(LEARN)}, not {learn!r}")
    if statistics not in (None, *STATISTICS):
        raise InputError(f"a device normalises by statistics of {' or '.join(STATISTICS)}, not {statistics!r}")
