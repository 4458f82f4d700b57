"""The words of the command line as Python functions."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from autometa.algorithms import classifier
from autometa.algorithms.classifier import ADAPTED, Classifier
from autometa.algorithms.trained import config_of
from autometa.api.checkup import examine
from autometa.api.datasets import Described, data_info, prepare_data, verify_data
from autometa.api.estimate import estimate_plan
from autometa.api.evaluating import evaluate_run
from autometa.api.planning import plan_search, plan_train
from autometa.api.predicting import find_classifier, image_files
from autometa.api.recipes import recipe, verdicts
from autometa.api.running import Manner, carry_out, computing, device_of, open_run, tell_unfinished
from autometa.errors import InputError
from autometa.export.writing import export
from autometa.runs.listing import RunRow, list_runs

__all__ = [
    "ADAPTED",
    "Classifier",
    "Described",
    "RunRow",
    "adapt",
    "data_info",
    "doctor",
    "estimate",
    "evaluate",
    "export",
    "list_runs",
    "open_run",
    "predict",
    "prepare_data",
    "recipe",
    "reproduce",
    "search",
    "train",
    "verify_data",
]

PathLike = str | os.PathLike


def search(
    algorithm: str | None = None,
    *,
    preset: str | None = None,
    config: PathLike | None = None,
    settings: Mapping[str, Any] | None = None,
    out: PathLike | None = None,
    resume: bool | PathLike = False,
    **manner: Any,
) -> dict[str, Any]:
    """Search for a network and its initialisation; returns the result (result.json, plus `run` and `iterations`).

    Args:
        algorithm: `metanas` or `auto-meta`; where it is None, that of the run to go on with, or metanas.
        preset: named settings, `quick` where neither preset nor config is given.
        config: YAML file over the preset.
        settings: single settings over both, such as `{"meta.iterations": 10, "data.name": "strokes"}`.
        out: the run's folder, runs/<date>-<name> where None.
        resume: the folder of a run to go on with, or True for that in `out` or the last one.
        manner: quiet, device ("auto", "cpu", "cuda", "cuda:1"), time_budget ("30m"), checkpoint_every ("60s"),
            workers and ray (of auto-meta).

    Raises:
        InputError: before work starts. DivergedError, Interrupted: with the run saved.
    """
    plan = plan_search(algorithm, preset_name=preset, config=config, settings=settings, out=out, resume=resume)
    return carry_out(plan, Manner(**manner))


def train(
    network: PathLike | None = None,
    *,
    preset: str | None = None,
    config: PathLike | None = None,
    settings: Mapping[str, Any] | None = None,
    out: PathLike | None = None,
    resume: bool | PathLike = False,
    **manner: Any,
) -> dict[str, Any]:
    """Meta-train a fixed network with Reptile; arguments as of `search`.

    network: a four-layer net by name, a genotype file, `cell:KEY` (a cell of Auto-Meta's space), or the folder of a
    search (MetaNAS: its most frequent cell; Auto-Meta: its best one, again in full).
    """
    plan = plan_train(network, preset_name=preset, config=config, settings=settings, out=out, resume=resume)
    return carry_out(plan, Manner(**manner))


def estimate(word: str = "search", *arguments: Any, preset: str | None = None, **options: Any) -> dict[str, Any]:
    """Time and memory that `search` or `train` with these arguments would take; writes no run."""
    if word not in ("search", "train"):
        raise InputError(f"only search and train can be estimated, not {word!r}")
    device = device_of(options.pop("device", "auto"))
    plan = (plan_search if word == "search" else plan_train)(*arguments, preset_name=preset, **options)
    with computing(device, plan.config, lambda _: None):
        return estimate_plan(plan, device=device)


def evaluate(
    run: PathLike = "latest",
    *,
    ways: int | None = None,
    settings: Mapping[str, Any] | None = None,
    quiet: bool = False,
    **manner: Any,
) -> dict[str, Any]:
    """Evaluate a run again; `settings` are those of its `test` group: tasks, shots, queries, steps, seed, ...

    Returns the scores, which are also kept in RUN/evaluations.
    """
    return evaluate_run(run, settings or {}, ways, Manner(quiet=quiet, **manner))


def adapt(
    support: PathLike,
    *,
    run: PathLike = "latest",
    out: PathLike | None = None,
    quiet: bool = False,
    device: str = "auto",
) -> Classifier:
    """Teach a run's network the classes of a folder with one sub-folder of images each.

    Saved to `out`, by default RUN/adapted.
    """
    manner, folder = Manner(quiet, device), open_run(run)
    where = device_of(device)
    tell_unfinished(folder, manner.notice)
    with computing(where, config_of(folder), manner.notice):
        out = None if out is None else Path(out)
        return classifier.adapt(folder, Path(support), out=out, quiet=quiet, device=where)


def predict(
    images: Sequence[PathLike] | PathLike, *, run: PathLike = "latest", device: str = "auto"
) -> list[tuple[Path, str, float, dict[str, float]]]:
    """(path, class name, its probability, all probabilities) of each image; folders stand for the images in them.

    run: a run that was adapted, or the folder that `adapt` wrote to.
    """
    where = device_of(device)
    files = image_files([images] if isinstance(images, (str, os.PathLike)) else images)
    found = find_classifier(run)
    with computing(where, found.config, lambda _: None):
        return found.to(where).predict_files(files)


def doctor() -> dict[str, Any]:
    """Versions, processor, the backend of every op and why, data found, free memory."""
    return examine()


def reproduce(
    name: str, *, out: PathLike | None = None, resume: bool | PathLike = False, **manner: Any
) -> dict[str, Any]:
    """Run a recipe and compare with what it must show; `passed` tells whether all did."""
    asked = recipe(name)
    word, *algorithm = asked["word"].split()
    make = plan_search if word == "search" else plan_train
    plan = make(*algorithm, preset_name=asked["preset"], out=out, resume=resume)
    result = carry_out(plan, Manner(words=f"reproduce {name}", **manner))
    made = verdicts(asked, result)
    passed = all(verdict.passed for verdict in made)
    return {"recipe": name, "passed": passed, "checks": [asdict(verdict) for verdict in made], "result": result}
