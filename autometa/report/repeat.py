"""The command that repeats a run: as it was typed, or with the length that a time budget gave it."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from typing import Any

from autometa.algorithms.algorithm import algorithm_of
from autometa.runs import checkpoint
from autometa.runs.folder import CONFIG, PACE, RunFolder
from autometa.train.run_config import RunConfig, config_of

UNKNOWN = "(the command was not recorded)"
BUDGET = "--time-budget"


def command_to_repeat(run: RunFolder) -> str:
    """A run under a time budget is repeated without one, by the numbers of meta-iterations that it came to."""
    typed = str(run.environment.get("command") or "")
    if not typed:
        return UNKNOWN
    config = config_of(run)
    done, planned = iterations_of(run, config)
    if done == planned and not (run.path / PACE).exists():
        return typed
    try:
        words = shlex.split(typed)
    except ValueError:
        words = []
    if words[:1] != ["autometa"]:
        words = ["autometa", *algorithm_of(config).command.split(), "--config", CONFIG]
    settings = _length(run, config, done)
    words = without(words, {BUDGET, *(f"--{name}" for name in settings)})
    return shlex.join([*words, *(word for name, value in settings.items() for word in (f"--{name}", value))])


def iterations_of(run: RunFolder, config: RunConfig) -> tuple[int, int]:
    """Meta-iterations done, by the newest checkpoint, and planned, of the network that the run hands out."""
    found = checkpoint.entries(run.checkpoints / config.phase)
    meta = config.outer
    return (found[0].step if found else meta.iterations), meta.iterations


def _length(run: RunFolder, config: RunConfig, done: int) -> dict[str, str]:
    """The settings that say how long the run was."""
    meta, group = config.outer, f"{config.prefix}meta"
    if done < meta.iterations:
        meta = meta.changed(done, done)
    found: dict[str, Any] = {f"{group}.iterations": meta.iterations}
    if meta.planned:
        found[f"{group}.planned"] = list(meta.planned)
    found |= algorithm_of(config).length(run, replace(config, **{group: meta}))
    found["test.tasks"] = config.test.tasks
    return {name: json.dumps(value, separators=(",", ":")) for name, value in found.items()}


def without(words: list[str], options: set[str]) -> list[str]:
    """The words without these options and their values."""
    kept, waiting = [], list(words)
    while waiting:
        word = waiting.pop(0)
        if word in options:
            waiting[:1] = []
        elif word.partition("=")[0] not in options:
            kept.append(word)
    return kept
