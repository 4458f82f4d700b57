"""The words of the command line as Python functions."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, BinaryIO

from autometa.api import seeds
from autometa.api.checkup import examine
from autometa.api.datasets import Described, data_info, prepare_data, verify_data
from autometa.api.gpu_kernels import compile_kernels
from autometa.api.listing import Choice, choices
from autometa.api.planning import Plan, plan_search, plan_train
from autometa.api.predicting import Predictions, answered, image_files, read_all
from autometa.api.recipes import recipe, verdicts
from autometa.api.running import RunOptions, carry_out, computing, device_of, open_run
from autometa.api.tables import table
from autometa.api.teaching import teach_folder
from autometa.errors import InputError
from autometa.estimator.fitting import CALIBRATED, threshold_of
from autometa.export.writing import export
from autometa.models.classifier import ADAPTED, Classifier
from autometa.models.find import CONFIDENCE, find_classifier
from autometa.ops.torch_state import in_own_torch_state
from autometa.report.listing import RunRow, list_runs
from autometa.report.view import refusing
from autometa.report.writing import report
from autometa.runs.folder import RunFolder
from autometa.runs.tracking import Tracker

__all__ = [
    "ADAPTED",
    "Classifier",
    "Choice",
    "Described",
    "RunRow",
    "Tracker",
    "adapt",
    "choices",
    "compile_kernels",
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
    "report",
    "reproduce",
    "search",
    "table",
    "train",
    "verify_data",
]

PathLike = str | os.PathLike
PLANS = {"search": plan_search, "train": plan_train}
Picture = PathLike | bytes | BinaryIO


@in_own_torch_state
def search(
    algorithm: str | None = None,
    *,
    preset: str | None = None,
    config: PathLike | None = None,
    settings: Mapping[str, Any] | None = None,
    out: PathLike | None = None,
    resume: bool | PathLike = False,
    init: PathLike | None = None,
    max_params: int | str | None = None,
    max_macs: int | str | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Search for a network and its initialisation; returns the result (result.json, plus `run` and `iterations`).

    Args:
        algorithm: `metanas` or `auto-meta`; where it is None, that of the run to go on with, or metanas.
        preset: named settings; where neither preset nor config is given `photos` for a person's own images (settings
            `data.name` a folder), those of `init` where there is one, else `quick`.
        config: YAML file over the preset.
        settings: single settings over both, such as `{"meta.iterations": 10, "data.name": "strokes"}`.
        out: the run's folder, runs/<date>-<name> where None.
        resume: the folder of a run to go on with, or True for that in `out` or the last one.
        options: quiet, device ("auto", "cpu", "cuda", "cuda:1"), time_budget ("30m"), checkpoint_every ("60s"),
            seeds (so many runs, of this seed and the next ones, below one folder, side by side where they fit; the
            result then holds mean and interval over seeds), workers and ray (of auto-meta), trackers (what follows the
            run beside its metrics: "tensorboard", "package.module:Class", or objects with the methods of `Tracker`).
        init: an earlier search, finished or stopped, from whose weights and architecture (auto-meta: scores of
            candidates) this one starts.
        max_params, max_macs: weights, and multiply-accumulates for one image, that the network which is handed out may
            have at most, such as 50000 or "50k".

    Raises:
        InputError: before work starts. DivergedError, Interrupted: with the run saved.
    """
    asked = {"preset_name": preset, "config": config, "settings": settings, "out": out, "resume": resume}
    limits = {"max_params": max_params, "max_macs": max_macs, "time_budget": options.get("time_budget")}
    plan = plan_search(algorithm, init=init, **asked, **limits)
    return seeds.carry_out(plan, RunOptions(**options))


@in_own_torch_state
def train(
    network: PathLike | None = None,
    *,
    preset: str | None = None,
    config: PathLike | None = None,
    settings: Mapping[str, Any] | None = None,
    out: PathLike | None = None,
    resume: bool | PathLike = False,
    max_params: int | str | None = None,
    max_macs: int | str | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Meta-train a fixed network with Reptile; arguments as of `search`.

    network: a four-layer net by name, a genotype file, `cell:KEY` (a cell of Auto-Meta's space), or the folder of a
    search (MetaNAS: its most frequent cell; Auto-Meta: its best one, again in full).
    """
    asked = {"preset_name": preset, "config": config, "settings": settings, "out": out, "resume": resume}
    plan = plan_train(network, **asked, max_params=max_params, max_macs=max_macs)
    return seeds.carry_out(plan, RunOptions(**options))


@in_own_torch_state
def estimate(word: str = "search", *arguments: Any, preset: str | None = None, **asked: Any) -> dict[str, Any]:
    """Time and memory that `search` or `train` with these arguments would take; writes no run."""
    if word not in PLANS:
        raise InputError(f"only {' and '.join(PLANS)} can be estimated, not {word!r}")
    options = RunOptions(device=asked.pop("device", "auto"), seeds=asked.pop("seeds", None))
    return seeds.estimate(PLANS[word](*arguments, preset_name=preset, **asked), options)


@in_own_torch_state
def evaluate(
    run: PathLike = "latest",
    *,
    ways: int | None = None,
    settings: Mapping[str, Any] | None = None,
    quiet: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """Evaluate a run again; `settings` are those of its `test` group: tasks, shots, queries, steps, seed, ...

    Returns the scores, which are also kept in RUN/evaluations; of a folder of several seeds those of each, and mean and
    interval over seeds.
    """
    return seeds.evaluate(run, settings or {}, ways, RunOptions(quiet=quiet, **options))


@in_own_torch_state
def adapt(
    support: PathLike,
    *,
    run: PathLike | RunFolder | None = None,
    out: PathLike | None = None,
    add: bool = False,
    quiet: bool = False,
    device: str = "auto",
) -> Classifier:
    """Teach a network the classes of a folder with one sub-folder of images each (1 to 5 are enough).

    Args:
        support: the folder.
        run: whose network: a run, a folder that was adapted to, one of a kept model; None: the last finished run here
            that fits the pictures (in colour or not), or else the model inside the package. The classifier's
            `extra["model"]` says which.
        out: where the classifier is saved; None: RUN/adapted, or ./adapted where there is no run.
        add: teach these classes beside those that the classifier of `run` knows already, and save it again.
        quiet: no notices.
        device: as of `search`.
    """
    return teach_folder(support, run=run, out=out, add=add, options=RunOptions(quiet, device)).classifier


@in_own_torch_state
def predict(
    images: Sequence[Picture] | Picture,
    *,
    run: PathLike | None = None,
    min_confidence: float | str = 0.0,
    device: str = "auto",
    quiet: bool = False,
    unread: Callable[[str], None] = warnings.warn,
) -> Predictions:
    """(path, class name, its probability, all probabilities) of each image that can be read; folders stand for the
    images in them. Raises `InputError` where none can.

    images: paths, or contents (bytes, files opened with "rb"), whose path is then `image 1` by their place.
    run: a run that was adapted, or the folder that `adapt` wrote to; None: the classifier taught here last, by a run
    or in ./adapted. The answer's `classifier` is its folder.
    min_confidence: probability below which the name is "none of these", `calibrated` for the threshold measured for
    the model.
    unread: hears a sentence for each image that cannot be read; quiet does not silence it.
    """
    where = device_of(device)
    files = image_files(images)
    known, place = find_classifier(run, RunOptions(quiet).notice)
    threshold_of(min_confidence, known)
    if min_confidence == CALIBRATED:
        RunOptions(quiet).notice(refusing(known.extra.get(CONFIDENCE, {})) or "Unknown classes: not measured")
    paths, pixels, bad = read_all(files, known.recipe)
    for sentence in bad:
        unread(sentence)
    with computing(where, known.config, lambda _: None):
        return Predictions(answered(known.to(where).named(paths, pixels), known, min_confidence), place)


def plan_recipe(name: str, out: PathLike | None = None, resume: bool | PathLike = False) -> Plan:
    """The run that a recipe asks for. Raises `InputError` naming the recipes where it is none."""
    asked = recipe(name)
    word, *algorithm = asked["word"].split()
    return PLANS[word](*algorithm, preset_name=asked["preset"], out=out, resume=resume)


@in_own_torch_state
def doctor() -> dict[str, Any]:
    """Versions, processor, the backend of every op and why, data found, free memory."""
    return examine()


@in_own_torch_state
def reproduce(
    name: str, *, out: PathLike | None = None, resume: bool | PathLike = False, **options: Any
) -> dict[str, Any]:
    """Run a recipe and compare with what it must show; `passed` tells whether all did."""
    result = carry_out(plan_recipe(name, out, resume), RunOptions(words=f"reproduce {name}", **options))
    made = verdicts(recipe(name), result)
    passed = all(verdict.passed for verdict in made)
    return {"recipe": name, "passed": passed, "checks": [asdict(verdict) for verdict in made], "result": result}
