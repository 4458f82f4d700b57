"""What the files of a run hold beside config and tensors, file by file: the form of each, and its one reader."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import chain
from typing import Any

from autometa.errors import InputError
from autometa.nas.spaces.genotype import Genotype
from autometa.nas.spaces.space import MOST_LEVELS, SPACES
from autometa.runs.files import REMEDY, read_json, shown
from autometa.runs.folder import HEALTH, OBSERVATIONS, RESULT, RunFolder
from autometa.runs.forms import (
    Form,
    FormError,
    both,
    flag,
    many,
    maybe,
    need,
    number,
    one_of,
    record,
    table,
    text,
    whole,
)
from autometa.runs.ledger import LEDGER, Candidate, Ledger
from autometa.runs.metrics import LINE, read_metrics
from autometa.train.run_config import ALGORITHMS

DATA, FOUND, KNOWN, EARLIER, TASKS = "data.json", "search.json", "known.json", "earlier.json", "tasks"
"""How images are read and which ones a run saw; reports of an Auto-Meta search's levels that are over, and its winner;
outcomes of candidates of the earlier run where a search starts from one; accuracies of earlier searches that a strategy
learns from; genotypes of test tasks."""
KINDS = ("normal", "reduction")
PERCENT, SHARE = number(-1e4, 1e4), number(0, 1 + 1e-6)
SIZE = number(0, 1e15)
COUNT = whole(0, 1 << 53)


def cell_key(value: Any, where: str) -> None:
    """The key of an architecture of a space, of those at hand before others are looked for."""
    text(value, where)
    wrong = []
    for space in chain(SPACES.at_hand(), SPACES.values()):
        try:
            space(MOST_LEVELS).parse(value)
            return
        except ValueError as error:
            wrong.append(error)
    raise FormError(f"{where} names no cell: {wrong[0]}")


def recipe_form(value: Any, where: str) -> None:
    """A recipe as JSON; its limits are its own affair."""
    names = {"filter": text, "polarity": text}
    record({"channels": one_of_numbers(1, 3), "size": whole(1, 2048), **names}, {"fit": text})(value, where)


def one_of_numbers(*values: int) -> Form:
    def form(value: Any, where: str) -> None:
        need(type(value) is int and value in values, where, " or ".join(map(str, values)), value)

    return form


def _data(value: Any, where: str) -> None:
    needed = {"recipe": recipe_form, "image_shape": many(whole(1, 2048), 3, 3), "data_hash": text}
    record(needed)(value, where)
    told = value["recipe"]
    if value["image_shape"] != [told["channels"], told["size"], told["size"]]:
        raise FormError(f"image_shape {value['image_shape']} is not that of images made by its recipe")


_SCORE = record({"mean": maybe(PERCENT)}, {"ci95": maybe(PERCENT), "tasks": COUNT})
SCORES = table(_SCORE)
_RANKS = maybe(record(optional={"spearman": maybe(number()), "kendall": maybe(number()), "cells": COUNT}))
_TRIED = record(
    {"key": cell_key, "accuracy": PERCENT},
    {
        **dict.fromkeys(("interval", "predicted", "fitted"), maybe(number())),
        "parameters": maybe(COUNT),
        "macs": maybe(COUNT),
    },
)
LEVEL = record(
    {
        "level": whole(1, 10_000),
        "candidates": COUNT,
        "failed": COUNT,
        "accuracy": record({name: PERCENT for name in ("best", "mean", "worst")}),
        "depths": table(COUNT),
        "before": _RANKS,
        "own": _RANKS,
    },
    {"finished": flag, "cells": many(_TRIED)},
)
WINNER = record(
    {
        "key": cell_key,
        "level": whole(1, 10_000),
        "depth": whole(1, 100),
        "blocks": text,
        "output": many(whole(0, 100)),
        "validation_accuracy": PERCENT,
        "validation_interval": maybe(PERCENT),
    },
    {"parameters": maybe(COUNT), "macs": maybe(COUNT), "reduction": text, "unit": text},
)
_OUTCOME = record(
    {"key": cell_key, "accuracy": PERCENT, "seed": whole()},
    {"interval": maybe(PERCENT), "parameters": maybe(COUNT), "macs": maybe(COUNT), "seconds": maybe(number(0))},
)
_ALARM = record(optional={**dict.fromkeys(("alarm", "phase", "found", "do"), text), "step": COUNT})
_SECONDS = table(number(0, 1e12))
_NETWORK = record({"parameters": SIZE}, {"macs": maybe(SIZE)})
_PROTOCOL = record(
    {
        **dict.fromkeys(("split", "part"), text),
        **dict.fromkeys(("ways", "shots", "queries", "tasks"), whole(1, 1 << 53)),
        **dict.fromkeys(("seed", "test_seed"), whole()),
    }
)
_RIVAL = record({"scores": SCORES}, {"filters": COUNT, "parameters": SIZE, "macs": SIZE, "seconds": _SECONDS})
_REFUSED = record(
    {"accuracy": PERCENT, "refused": record(dict.fromkeys(("right", "wrong", "unknown"), PERCENT))},
    {"calibration_error": PERCENT},
)
_MEASURED = record(
    optional={
        **dict.fromkeys(("1-shot", "5-shot"), _REFUSED),
        **{"min_confidence": number(0, 1), "unmeasured": text, "keeps": PERCENT, "ways": COUNT},
    }
)


def confidence_form(value: Any, where: str) -> None:
    """What was measured of a model's confidences, or why nothing was."""
    _MEASURED(value, where)
    if "min_confidence" not in value and "unmeasured" not in value:
        raise FormError("min_confidence is missing")


def _new_classes(value: Any, where: str) -> None:
    """The interval over classes, and that of each BN mode."""
    _over_classes(value, where)
    record({"classes": COUNT}, {"turned": flag, "modes": table(_over_classes)})(value, where)


def _over_classes(value: Any, where: str) -> None:
    """Both its ends or none."""
    record(optional=dict.fromkeys(("mean", "low", "high"), maybe(PERCENT)))(value, where)
    if (value.get("low") is None) != (value.get("high") is None):
        raise FormError(f"{where} holds one end of an interval")


_YARDSTICKS = record(
    {"chance": PERCENT, "tasks": COUNT},
    {**dict.fromkeys(("pixels", "gradients", "colours"), _SCORE), "verdict": maybe(text)},
)
_RESULT = record(
    {
        "kind": text,
        "protocol": _PROTOCOL,
        "scores": SCORES,
        "parameters": SIZE,
        "macs": SIZE,
        "data_hash": text,
        "seconds": _SECONDS,
    },
    {
        "accuracy": maybe(PERCENT),
        "finite_tasks": COUNT,
        "new_classes": maybe(_new_classes),
        "baselines": maybe(_YARDSTICKS),
        "confidence": maybe(confidence_form),
        "device": text,
        "precision": text,
        "limits": table(SIZE),
        "compare": table(_RIVAL),
        "warmup": COUNT,
        "search_network": _NETWORK,
        "learner": text,
    },
)
FOUND_CELLS = record(
    {**dict.fromkeys(KINDS, text), **{f"{kind}_found_in": COUNT for kind in KINDS}, "different_cells": COUNT}
)
_ACCURACY = record(optional={"kind": text, "accuracy": maybe(PERCENT), "scores": SCORES, "parameters": maybe(SIZE)})
_BY_KIND = record(dict.fromkeys(KINDS, many(many(SHARE))), {"pairs": table(many(many(SHARE)))})
_TRACE = record(optional=dict.fromkeys(KINDS, many(SHARE)))
_PRUNING = record({"step": many(COUNT), "temperature": many(number(0)), "alive": _TRACE, "entropy": _TRACE})
_QUERY = record({"image": text, "true": COUNT, "predicted": COUNT, "probability": SHARE})
_TASK = record({"classes": many(text), "support": many(many(text)), "queries": many(_QUERY)}, {"task": COUNT})
_PAIR = record({"true": text, "predicted": text, "count": COUNT, "of": COUNT})
_OBSERVATIONS = record(
    optional={
        "memory": record(optional={"peak_bytes": maybe(COUNT), "gpu_peak_bytes": maybe(COUNT)}),
        "primitives": many(text),
        "edges": table(many(many(COUNT, 2, 2))),
        "pruning": _PRUNING,
        "weights": _BY_KIND,
        "confusion": record({"pairs": many(_PAIR)}),
        "examples": many(_TASK),
    }
)
_SHARES = table(many(many(SHARE)))
ARCHITECTURE_LINE = both(LINE, record({"ops": _SHARES}, {"pairs": _SHARES, "entropy": table(SHARE)}))
"""A line of metrics-architecture.jsonl."""
FORMS: Mapping[str, Form] = {
    DATA: _data,
    FOUND: record({"levels": many(LEVEL), "winner": maybe(WINNER)}),
    KNOWN: record({"outcomes": table(_OUTCOME)}),
    EARLIER: record({"searches": many(many(record({"key": cell_key, "accuracy": PERCENT, "step": COUNT})))}),
    HEALTH: many(_ALARM),
    OBSERVATIONS: _OBSERVATIONS,
}


def read(folder: RunFolder, name: str, otherwise: Any = None) -> Any:
    """The value of a file of a run by its name in `FORMS`; `otherwise` where the run has none.

    Raises `InputError` where it is damaged or not of its form.
    """
    path = folder.path / name
    return read_json(path, FORMS[name]) if path.exists() else otherwise


def read_result(folder: RunFolder) -> dict[str, Any] | None:
    """result.json of a search or a training; None while the run is not finished.

    Raises `InputError` where it is of another sort of run, or not of its form.
    """
    if folder.result is None:
        return None
    return read_json(folder.path / RESULT, _result)


def read_accuracy(folder: RunFolder) -> dict[str, Any] | None:
    """result.json of whatever sort of run, for its accuracy and size alone; None while the run is not finished."""
    return None if folder.result is None else read_json(folder.path / RESULT, _ACCURACY)


def _result(value: Any, where: str) -> None:
    known = {algorithm.command: algorithm for algorithm in ALGORITHMS.values()}
    record({"kind": one_of(*known)})(value, where)
    both(_RESULT, known[value["kind"]].result)(value, where)


def read_tasks(folder: RunFolder) -> list[Genotype]:
    """The genotype of each test task, equal ones the same object; empty where the run has none."""
    path = folder.genotypes / f"{TASKS}.json"
    made: dict[str, Genotype] = {}
    found = []
    for value in read_json(path, many(record())) if path.exists() else []:
        key = json.dumps(value)
        if key not in made:
            try:
                made[key] = Genotype.from_json(value)
            except ValueError as error:
                raise InputError(f"{shown(path)} is not as autometa writes it: {error}; {REMEDY}") from error
        found.append(made[key])
    return found


def read_series(path: Any) -> list[dict[str, Any]]:
    """metrics-architecture.jsonl, whose lines tell of equally many edges and operations."""
    found = list(read_metrics(path, ARCHITECTURE_LINE))
    shapes = {str([(kind, [len(edge) for edge in edges]) for kind, edges in line["ops"].items()]) for line in found}
    if len(shapes) > 1:
        raise InputError(f"{shown(path)} is damaged (its lines tell of different cells); {REMEDY}")
    return found


def check_candidates(rows: list[Candidate], where: str) -> list[Candidate]:
    """The rows of a ledger. Raises `InputError` where a key names no cell."""
    for row in rows:
        try:
            cell_key(row.key, "a candidate's key")
        except FormError as error:
            raise InputError(f"the ledger {where} is damaged: {error}; {REMEDY}") from error
    return rows


def read_candidates(folder: RunFolder) -> list[Candidate]:
    """The candidates in the ledger of a run. Raises `InputError` where there is none, or it is damaged."""
    with Ledger.open(folder.path / LEDGER, create=False) as ledger:
        return check_candidates(ledger.outcomes(), shown(ledger.path))
