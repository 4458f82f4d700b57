"""`export`: what a run learned, written as a program that runs without this package."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from autometa.errors import InputError
from autometa.export.c.project import WEIGHTS
from autometa.export.c.writing import export_c
from autometa.export.onnx_graph import onnx_library
from autometa.export.program import FORMATS, Exported, export_adaptation, export_classifier
from autometa.models.find import choose_start, find_classifier
from autometa.models.model import Model
from autometa.ops.torch_state import in_own_torch_state
from autometa.runs.files import shown
from autometa.train.tasks import silent

C = "c"
WHAT = ("classifier", "adaptation")


@in_own_torch_state
def export(
    run: str | os.PathLike | None = None,
    *,
    out: str | os.PathLike,
    what: str = "classifier",
    format: str | None = None,
    ways: int | None = None,
    shots: int | None = None,
    images: str = "uint8",
    weights: str | None = None,
    learn: str | None = None,
    statistics: str | None = None,
    notice: Callable[[str], None] = silent,
) -> dict[str, Any]:
    """Write what was learned as a program that runs without autometa; returns its metadata, `file`, `bytes`
    and `source`, whose it was.

    Args:
        run: a run that was adapted, or the folder that `adapt` wrote to; None: the classifier taught here last. Of an
            adaptation a run, a folder that was adapted to, or one of a kept model; None: the last finished run here, or
            else the model inside the package.
        out: the file.
        what: `classifier` (the classes taught by `adapt`), or `adaptation`: support images, labels and query images
            in, probabilities for the queries out; of fixed networks only.
        format: `torch` (for `torch.export.load`) or `onnx`; by the file's suffix, .pt2 or .onnx, where None. `c`: a
            network and its learning as C99, in the folder `out`; of a run, as of an adaptation.
        ways, shots: of an adaptation, the run's own where None.
        images: go in as `uint8` or as `float` in 0 .. 1.
        weights, learn: of C: `float32` (where None) or `int8`; `prototypes`, `head` or `all`, by what the
            network was meta-learned for where None.
        statistics: of C that learns by `all`: `batch` (where None), or `frozen`, of training tasks, in every step and
            answer; the other ways to learn always have frozen ones.
        notice: is told which model is taken where `run` names none.

    Raises `InputError` where the run, or the combination, cannot be exported.
    """
    out = Path(out)
    if format == C:
        if what != "classifier" or (ways, shots) != (None, None) or images != "uint8":
            raise InputError("what, ways, shots and images are of other formats; C takes weights, learn and statistics")
        return export_c(run, out, weights or WEIGHTS[0], learn, statistics, notice)
    if (weights, learn, statistics) != (None, None, None):
        raise InputError("weights, learn and statistics are of networks that learn on a device, as C: --to c")
    format = _format(out, format)
    if what not in WHAT:
        raise InputError(f"what to export is {' or '.join(WHAT)}, not {what!r}")
    if what == "classifier" and (ways, shots) != (None, None):
        raise InputError("ways and shots belong to --what adaptation; a classifier has the classes it was taught")
    if format == "onnx":
        onnx_library()
    if what == "classifier":
        classifier, place = find_classifier(run)
        made = export_classifier(classifier, images)
    else:
        start = choose_start(run)
        place, made = start.path, _adaptation(start.model, ways, shots, images)
    size = made.save(out, format)
    return {"file": str(out), "format": format, "bytes": size, "source": shown(place), **made.metadata}


def _format(out: Path, format: str | None) -> str:
    """That asked for, or that of the file's suffix."""
    format = format or {suffix: name for name, suffix in FORMATS.items()}.get(out.suffix.lower())
    if format not in FORMATS:
        asked = f"unknown format {format!r}" if format else f"the format of {out} is not clear"
        raise InputError(f"{asked}; name the file .pt2 (torch) or .onnx, or give --format torch, onnx or c")
    if out.is_dir():
        raise InputError(f"{out} is a folder; name the file to write, such as {out / 'classifier'}{FORMATS[format]}")
    return format


def _adaptation(model: Model, ways: int | None, shots: int | None, images: str) -> Exported:
    if ways is not None and ways < 2:
        raise InputError(f"a task has at least 2 classes, not {ways}")
    model = model if ways is None else model.with_ways(ways)
    return export_adaptation(model, model.config.test.shots if shots is None else shots, images)
