"""How far a preset gets in a given time: iterations, accuracy so far, and an estimate of what remains."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from autometa.algorithms import metanas_steps
from autometa.algorithms.presets import METANAS
from autometa.data import DataError
from autometa.ops.backend import libraries, precision
from autometa.runs.folder import RunFolder
from autometa.train.loop import Loop
from autometa.train.phases import Terms, meta_train
from autometa.train.scores import Score
from autometa.train.tasks import Source

TASKS = 20


def remaining(done: int, planned: int, per_iteration: float, tasks: int, per_task: float) -> float:
    """Seconds of the iterations and test tasks still to do."""
    return max(planned - done, 0) * per_iteration + tasks * per_task


def _source(config, device: torch.device) -> tuple[Source, str]:
    """The preset's data, or drawn strokes of the same size where they are not at hand."""
    try:
        return Source.open(config.data, device), config.data.name
    except DataError:
        return Source.open(replace(config.data, name="strokes", variant="ink"), device), "strokes"


def _folder(run: Path | None, config, preset: str, device: torch.device) -> RunFolder:
    """The run in `run` to go on with, or a new one, in a folder of its own where `run` is None."""
    command = ["python", "-m", "benchmarks.gpu"]
    if run is not None and (run / "config.json").exists():
        return RunFolder.resume(run, command, device=str(device))
    path = run or Path(tempfile.mkdtemp()) / "run"
    return RunFolder.create(path, preset, config, command, device=str(device), precision=config.precision)


def train(preset: str, mode: str, seconds: float, run: Path | None, device: torch.device) -> dict:
    """Meta-train for `seconds`, then meta-test a few tasks. run: a folder to begin in or to go on with."""
    config = replace(METANAS[preset], precision=mode)
    source, data = _source(config, device)
    network = config.build(source.image_shape)
    with _folder(run, config, preset, device) as opened, precision(mode), libraries(mode), torch.cuda.device(device):
        Loop(metanas_steps.trainer(network, source, config)).launch(0)  # kernels are compiled before the clock starts
        terms = Terms(quiet=True, time_budget=seconds, device=device, checkpoint_seconds=3600.0)
        began = time.monotonic()
        trained = meta_train(metanas_steps.trainer(network, source, config), opened, terms, "search")
        spent = time.monotonic() - began
        began = time.monotonic()
        found = metanas_steps.meta_test_chunk(network, trained.learned, source, config, 0, TASKS)
        per_task = (time.monotonic() - began) / TASKS
    done, planned = trained.iterations, config.meta.iterations
    per_iteration = trained.seconds / max(done, 1)
    accuracy = {name: vars(Score.of(values.cpu())) for name, values in found.pruned.items()}
    return {
        "preset": preset,
        "data": data,
        "mode": mode,
        "iterations": done,
        "planned": planned,
        "seconds": spent,
        "seconds_per_iteration": per_iteration,
        "seconds_per_test_task": per_task,
        "remaining_seconds": remaining(done, planned, per_iteration, config.test.tasks, per_task),
        "whole_seconds": remaining(0, planned, per_iteration, config.test.tasks, per_task),
        "accuracy": accuracy,
        "warmup": config.warmup,
    }
