"""Evaluate a run again, with other tasks, shots or steps than it was tested with."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from autometa.algorithms import jobs
from autometa.algorithms.algorithm import algorithm_of
from autometa.api.outcome import Outcome
from autometa.api.running import RunOptions, computing, device_of, tell_unfinished
from autometa.api.settings import settle
from autometa.errors import InputError, Interrupted
from autometa.models.model import Model
from autometa.ops.torch_state import in_own_torch_state
from autometa.runs.files import disk_errors, plain, shown, write_json
from autometa.runs.folder import EVAL_PHASE, RunFolder
from autometa.train.config import EvalConfig
from autometa.train.run_config import config_of, model_config
from autometa.train.tasks import Source

EVALUATIONS = "evaluations"


@in_own_torch_state
def evaluate_run(
    run: str | Path | RunFolder, settings: Mapping[str, Any], ways: int | None, options: RunOptions
) -> dict[str, Any]:
    """Scores of a run under changed `test.*` settings; kept in RUN/evaluations.

    settings: fields of `EvalConfig` by name, `shots` or `test.shots`. Raises `InputError` before work starts.
    """
    folder = RunFolder.open(run)
    asked = {f"test.{name.removeprefix('test.')}": value for name, value in settings.items()}
    config = settle(model_config(folder), None, asked)
    model = Model.of(folder)
    if ways is not None:
        if ways < 2:
            raise InputError(f"ways must be at least 2, not {ways}")
        if ways > model.network.ways:
            options.notice(f"{ways} ways for a network trained on {model.network.ways}: expect lower accuracy")
        config, model = replace(config, inner=replace(config.inner, ways=ways)), model.with_ways(ways)
    device = device_of(options.device)
    source = Source.open(config.data, device, options.notice)
    source.testing(config.inner.ways, config.test)
    done = tell_unfinished(folder, options.notice)
    _tell_doubts(config, model_config(folder), source, model, options)
    tag = hashlib.sha256(json.dumps([plain(config), done], sort_keys=True).encode()).hexdigest()[:12]
    phase = f"{EVAL_PHASE}{tag}"
    job = jobs.Job.of(config, folder, options.terms(shlex.join(options.typed), device), source)
    try:
        with computing(device, config, options.notice):
            found = algorithm_of(config).evaluate(model.to(device), job, phase)
    except KeyboardInterrupt as error:
        raise Interrupted(f"interrupted; go on with: {shlex.join(options.typed)}") from error
    found = {
        "run": str(folder.path),
        "kind": f"eval of {algorithm_of(config_of(folder)).word}",
        "iterations": done,
        "protocol": {**jobs.protocol(config, source), "steps": config.test.steps},
        **found,
        "data_hash": source.store.data_hash,
        **jobs.computed(config, job.terms),
    }
    path = folder.path / EVALUATIONS / f"{_label(config.inner.ways, config.test)}-{tag}.json"
    with disk_errors(f"write {shown(path)}"):
        path.parent.mkdir(exist_ok=True)
    write_json(path, found)
    folder.forget_phase(phase)
    return Outcome({**found, "file": str(path)})


def _tell_doubts(config, own, source: Source, model: Model, options: RunOptions) -> None:
    """Say where classes under evaluation may have been seen in training."""
    if source.store.data_hash != model.data_hash:
        options.notice("the images are not those that the run was trained on; its training classes may be among them")
    if config.test.part == "val" and own.test.part != "val":
        seen = len(set(source.split.val.tolist()) & set(source.split.train.tolist()))
        if seen:
            options.notice(f"{seen} of the {len(source.split.val)} val classes were training classes of this run")


def _label(ways: int, test: EvalConfig) -> str:
    return f"{ways}way-{test.shots}shot-{test.queries}query-{test.tasks}tasks"
