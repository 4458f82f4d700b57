"""Carry out a plan in its run folder, from the start or from where it was left."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from autometa.algorithms.jobs import Terms
from autometa.algorithms.reptile import ReptileConfig
from autometa.algorithms.trained import config_of
from autometa.api.planning import OWN_GENOTYPE, Plan, job_of, settled_config
from autometa.errors import InputError, Interrupted
from autometa.nas.conv_network import FOUR_LAYER
from autometa.nas.genotype import Genotype
from autometa.runs import checkpoint
from autometa.runs.budget import parse_duration
from autometa.runs.files import say, shown
from autometa.runs.folder import RunFolder


@dataclass(frozen=True)
class Manner:
    """How a command behaves: quiet (no progress, no notices), the device, limits, the command line as typed."""

    quiet: bool = False
    device: str = "auto"
    time_budget: str | float | None = None
    checkpoint_every: str | float = 60.0
    command: Sequence[str] = ()

    @property
    def notice(self) -> Callable[[str], None]:
        return (lambda text: None) if self.quiet else say

    @property
    def typed(self) -> list[str]:
        return list(self.command) or ["python", *sys.argv]

    def check(self) -> None:
        """Raise `InputError` for a device or duration that cannot be used."""
        check_device(self.device)
        parse_duration(self.checkpoint_every)
        if self.time_budget is not None:
            parse_duration(self.time_budget)

    def terms(self, resume_command: str) -> Terms:
        budget = None if self.time_budget is None else parse_duration(self.time_budget)
        return Terms(self.quiet, budget, resume_command, parse_duration(self.checkpoint_every))


def check_device(device: str) -> None:
    """Raise `InputError` unless this machine and this version can run there."""
    if device in ("auto", "cpu"):
        return
    if device != "cuda" and not device.startswith("cuda:"):
        raise InputError(f"unknown device {device!r}; choose cpu or cuda")
    if not torch.cuda.is_available():
        raise InputError("no CUDA GPU is usable here; leave --device out to run on the CPU")
    raise InputError("this version runs on the CPU only; leave --device out")


def carry_out(plan: Plan, manner: Manner) -> dict[str, Any]:
    """Run to the end; returns `outcome`. A finished run is left as it is.

    Raises `Interrupted` after Ctrl-C, `DivergedError`, and `InputError` before anything is written.
    """
    manner.check()
    if plan.resume is not None:
        folder = RunFolder.open(plan.resume)
        if folder.result is not None:
            manner.notice(f"{shown(folder.path)} is finished already; nothing was done")
            return outcome(folder)
    plan.prepare()
    with _enter(plan, manner) as folder:
        again = resume_command(folder)
        try:
            manner.notice(_announcement(plan, folder))
            plan.job.run(settled_config(folder), folder, _terms(plan, folder, manner, again))
        except KeyboardInterrupt as error:
            raise Interrupted(f"interrupted; go on with: {again}") from error
        return outcome(folder)


def _enter(plan: Plan, manner: Manner) -> RunFolder:
    if plan.resume is not None:
        return RunFolder.resume(plan.resume, manner.typed, notice=manner.notice)
    config = plan.config
    folder = RunFolder.create(plan.out, plan.name, config, manner.typed, seed=config.seed, notice=manner.notice)
    if isinstance(config, ReptileConfig) and config.network not in FOUR_LAYER:
        folder.write_genotype(OWN_GENOTYPE, Genotype.load(config.network).to_json())
    return folder


def _announcement(plan: Plan, folder: RunFolder) -> str:
    config, preset = plan.config, f", preset {plan.preset}" if plan.preset else ""
    doing = "going on with" if plan.resume else f"{plan.job.word}{preset} in"
    return (
        f"{doing} {shown(folder.path)}: {config.meta.iterations} meta-iterations on {config.data.name}, then "
        f"{config.test.tasks} test tasks; Ctrl-C saves and stops"
    )


def _terms(plan: Plan, folder: RunFolder, manner: Manner, again: str) -> Terms:
    """Training that a time budget ended before the tests began is over, whatever this command's budget."""
    terms = manner.terms(again)
    tested = any(checkpoint.entries(folder.checkpoints / phase) for phase in ("test", "test-untrained"))
    return replace(terms, time_budget=1e-9) if plan.resume is not None and tested else terms


def resume_command(folder: RunFolder) -> str:
    """What to type to go on with a run."""
    return f"autometa {job_of(config_of(folder)).word} --resume {shlex.quote(shown(folder.path))}"


def outcome(folder: RunFolder) -> dict[str, Any]:
    """A finished run's result.json, its folder, and how far its training went."""
    phase = job_of(config_of(folder)).phase
    return {"run": str(folder.path), "iterations": iterations(folder, phase), **folder.result}


def iterations(folder: RunFolder, phase: str) -> Mapping[str, int]:
    """Meta-iterations done (as of the newest checkpoint) and planned."""
    found = checkpoint.entries(folder.checkpoints / phase)
    return {"done": found[0].step if found else 0, "planned": config_of(folder).meta.iterations}


def open_run(run: str | Path | RunFolder) -> RunFolder:
    """A run by folder or by the word `latest`."""
    return run if isinstance(run, RunFolder) else RunFolder.open(run)
