"""Carry out a plan in its run folder, from the start or from where it was left."""

from __future__ import annotations

import contextlib
import gc
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from autometa import plugins
from autometa.algorithms.algorithm import algorithm_of
from autometa.api.outcome import Outcome
from autometa.api.pacing import paced
from autometa.api.planning import Plan
from autometa.errors import DiskError, InputError, Interrupted
from autometa.meta.ranks import Ranks
from autometa.ops import backend
from autometa.ops._triton import NVIDIA_ONLY
from autometa.ops.torch_state import in_own_torch_state
from autometa.report.card import write_card
from autometa.runs import checkpoint
from autometa.runs.budget import parse_duration
from autometa.runs.files import say, shown
from autometa.runs.folder import MODEL_CARD, RunFolder
from autometa.runs.tracking import Tracker, Trackers, trackers_of
from autometa.search.main_guard import check_main_guard
from autometa.train.canary import checked_device
from autometa.train.distributed import follow
from autometa.train.pace import Pace
from autometa.train.phases import Terms
from autometa.train.records import read_result
from autometa.train.run_config import RunConfig, config_of, settled_config
from autometa.train.tasks import Source

NO_GPU = "no CUDA GPU is usable here"


@dataclass(frozen=True)
class RunOptions:
    """How a command behaves: quiet (no progress, no notices), the device, limits, the command line as typed.

    workers, ray: who trains an Auto-Meta search's candidates, processes here or those of a Ray cluster. seeds: runs to
    make, of this seed and the next ones (`api.seeds`)."""

    quiet: bool = False
    device: str = "auto"
    time_budget: str | float | None = None
    checkpoint_every: str | float = 60.0
    command: Sequence[str] = ()
    workers: int | None = None
    ray: str | None = None
    trackers: Sequence[Tracker | str] = ()
    """What follows a run beside its metrics: `tensorboard`, `package.module:Class`, or objects with three methods."""
    before: float = 0.0
    """Seconds that the command took before it came here, such as starting Python; they count."""
    seeds: int | None = None
    words: str | None = None
    """What `--resume` follows in the command that goes on, where that is not the run's own `search` or `train`."""

    @property
    def notice(self) -> Callable[[str], None]:
        return (lambda text: None) if self.quiet else say

    @property
    def typed(self) -> list[str]:
        return list(self.command) or ["python", *sys.argv]

    def __post_init__(self) -> None:
        """Raises `InputError` for a device, a duration or a number that cannot be used."""
        if self.device != "auto":
            device_of(self.device)
        for name in ("time_budget", "checkpoint_every"):
            given = getattr(self, name)
            object.__setattr__(self, name, None if given is None else parse_duration(given))
        for name in ("workers", "seeds"):
            given = getattr(self, name)
            if given is not None and given < 1:
                raise InputError(f"--{name} must be at least 1, not {given}")

    def terms(
        self, resume_command: str, device: torch.device, ranks: Ranks | None = None, trackers: Trackers | None = None
    ) -> Terms:
        who = {"workers": self.workers, "ray": self.ray, "ranks": ranks, "trackers": trackers or Trackers()}
        return Terms(self.quiet, self.time_budget, resume_command, self.checkpoint_every, device, **who)


def device_of(name: str) -> torch.device:
    """`cpu`, `cuda`, `cuda:1`, or `auto`: the first GPU where one works, else the CPU.

    Raises `InputError` unless this machine can compute there.
    """
    if name == "cpu":
        return torch.device("cpu")
    if name == "auto":
        return torch.device("cpu") if gpu_refuses(0) else torch.device("cuda", 0)
    kind, colon, number = name.partition(":")
    if kind != "cuda" or (colon and not number.isdecimal()):
        raise InputError(f"unknown device {name!r}; choose auto, cpu, cuda or cuda:1 (--device)")
    reason = gpu_refuses(int(number or 0))
    if reason:
        raise InputError(f"{reason}; leave --device out to run on the CPU")
    return torch.device("cuda", int(number or 0))


def gpu_refuses(number: int) -> str | None:
    """Why a GPU cannot be used, None where it can: it must run a kernel, which a driver or card too old does not."""
    if torch.version.hip:
        return f"an AMD GPU (ROCm {torch.version.hip}) cannot be used: {NVIDIA_ONLY}"
    if not torch.cuda.is_available():
        other = getattr(torch, "xpu", None)
        return "an Intel GPU cannot be used: " + NVIDIA_ONLY if other and other.is_available() else NO_GPU
    if number >= torch.cuda.device_count():
        return f"there is no GPU {number}, the last one is {torch.cuda.device_count() - 1}"
    try:
        if int(torch.ones(2, device=torch.device("cuda", number)).sum()) != 2:
            return f"GPU {number} computes wrongly"
    except RuntimeError as error:
        return f"GPU {number} does not work ({str(error).splitlines()[0]})"
    return None


@contextlib.contextmanager
def computing(device: torch.device, config: RunConfig, notice: Callable[[str], None]):
    """Within it the config's precision holds, and what libraries compute on a GPU is the same in every run."""
    told = os.environ.get("AUTOMETA_PRECISION", config.precision)
    if told != config.precision:
        notice(f"AUTOMETA_PRECISION={told} is not for runs; this one computes in {config.precision} (--precision)")
    if device.type == "cpu":
        if config.precision != "fp32":
            notice(f"precision {config.precision} is for GPUs; the CPU computes in fp32")
        yield
        return
    with torch.cuda.device(device), backend.precision(config.precision), backend.libraries(config.precision):
        checked_device(device, config.precision, notice, quiet=notice is not say)
        yield


@in_own_torch_state
def carry_out(plan: Plan, options: RunOptions) -> dict[str, Any]:
    """Run to the end; returns `outcome`. A finished run is left as it is.

    Started by torchrun, the processes divide meta-batches; the first one alone keeps the run, the others return `rank`.
    Raises `Interrupted` after Ctrl-C, `DivergedError`, and `InputError` before anything is written.
    """
    check_main_guard(options.workers is not None or options.ray is not None)
    begun, ranks = time.monotonic() - options.before, Ranks.launched()
    if ranks is not None and not plan.algorithm.ranks:
        raise InputError(f"torchrun cannot divide {plan.algorithm.command}; it takes --workers N or --ray ADDRESS")
    if ranks is not None and not ranks.leads:
        return _followed(plan, options, ranks)
    if plan.resume is not None:
        folder = RunFolder.open(plan.resume, whole=True)
        if folder.seeds:
            raise InputError(f"{shown(folder.path)} holds {len(folder.seeds)} seeds; go on with one of their folders")
        if folder.result is not None:
            options.notice(f"{shown(folder.path)} is finished already; nothing was done")
            if ranks is not None:
                ranks.told(None)
            mend_card(folder)
            return outcome(folder)
    trackers = Trackers(trackers_of(options.trackers), options.notice)
    plan.prepare()
    device = _device_for(plan, options)
    for note in plan.notes:
        options.notice(note)
    with contextlib.ExitStack() as held:
        held.enter_context(_threads_of(plan, options))
        held.enter_context(_settled())
        plan, pace, loop = _paced(plan, options, device, begun)
        folder = held.enter_context(enter(plan, options, device))
        if pace is not None:
            pace.write(folder)
        again, config = resume_command(folder, options.words, options.trackers), settled_config(folder)
        try:
            trackers.begin(folder.path, folder.config)
            options.notice(_announcement(plan, folder, device))
            with computing(device, config, options.notice):
                if ranks is not None:
                    ranks.told(config)
                terms = options.terms(again, device, ranks, trackers)
                plan.algorithm.run(config, folder, replace(terms, time_budget=loop, pace=pace))
        except KeyboardInterrupt as error:
            raise Interrupted(f"interrupted; go on with: {again}") from error
        finally:
            trackers.end(folder.result)
        write_card(folder)
        return outcome(folder)


def _paced(
    plan: Plan, options: RunOptions, device: torch.device, begun: float
) -> tuple[Plan, Pace | None, float | None]:
    """The plan, and where there is a time budget the run's pace and the seconds of its loop over candidates."""
    budget = options.time_budget or plan.seconds
    if budget is None:
        return plan, None if plan.resume is None else Pace.read(RunFolder.open(plan.resume)), None
    with computing(device, plan.config, lambda _: None):
        plan, pace, loop = paced(plan, budget, budget - (time.monotonic() - begun), device, options.notice)
        return plan, pace, loop if plan.config.handed_out() is not plan.config else None


def mend_card(folder: RunFolder) -> None:
    """The card of a run that was stopped between its result and its card, where it can be written."""
    if not (folder.path / MODEL_CARD).exists():
        with contextlib.suppress(DiskError, InputError), folder:
            write_card(folder)


def _followed(plan: Plan, options: RunOptions, ranks: Ranks) -> dict[str, Any]:
    """One of several processes that does not lead: the leader's config, its own device and copy of the data."""
    config = ranks.told()
    if config is None:
        return {"rank": ranks.rank}
    number = f"cuda:{ranks.local}"
    device = device_of(number if options.device == "auto" and not gpu_refuses(ranks.local) else options.device)
    with _settled(), computing(device, config, lambda _: None):
        source = Source.open(config.data, device, lambda _: None)
        follow(plan.algorithm.trainer(config.build(source.image_shape), source, config), ranks)
    return {"rank": ranks.rank}


def _device_for(plan: Plan, options: RunOptions) -> torch.device:
    """A resumed run goes on where it began, if that works here and nothing else is asked for: it decides its bits."""
    began = None if plan.resume is None else RunFolder.open(plan.resume).environment.get("device")
    if options.device != "auto" or began is None:
        return device_of(options.device)
    try:
        return device_of(began)
    except InputError:
        return device_of("auto")


def enter(plan: Plan, options: RunOptions, device: torch.device, seeds: Mapping[str, Any] | None = None) -> RunFolder:
    """The folder of a plan's run, begun or opened to go on; seeds: as of `RunFolder.create`."""
    if plan.resume is not None:
        return RunFolder.resume(plan.resume, options.typed, notice=options.notice, device=str(device))
    config = plan.config
    about = {"seed": config.seed, "device": str(device), "precision": config.precision, "seeds": seeds}
    folder = RunFolder.create(plan.out, plan.name, config, options.typed, notice=options.notice, **about)
    config.keep(folder)
    if plan.earlier is not None:
        plan.earlier.copy_to(folder, config.build(Source.open(config.data).image_shape))
    return folder


def _announcement(plan: Plan, folder: RunFolder, device: torch.device) -> str:
    config, preset = plan.config, f", preset {plan.preset}" if plan.preset else ""
    doing = "going on with" if plan.resume else f"{plan.algorithm.word}{preset} in"
    where = "" if device.type == "cpu" else f" on {torch.cuda.get_device_name(device)}, {config.precision}"
    before = plan.algorithm.announcement(config)
    return (
        f"{doing} {shown(folder.path)}{where}: {before}{config.outer.iterations} meta-iterations "
        f"on {config.data.name}, then {config.test.tasks} test tasks; Ctrl-C saves and stops"
    )


@contextlib.contextmanager
def _settled() -> Iterator[None]:
    """What lives now stays: Python's collector need not look through all of torch again and again."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextlib.contextmanager
def _threads_of(plan: Plan, options: RunOptions) -> Iterator[None]:
    """A resumed run goes on with as many threads as it began with: their number decides its bits."""
    before = torch.get_num_threads()
    began = before if plan.resume is None else RunFolder.open(plan.resume).environment.get("torch_threads", before)
    if began != before:
        options.notice(f"going on with {began} thread{'s' * (began > 1)} as before, to keep the same bits")
        torch.set_num_threads(began)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def resume_command(folder: RunFolder, words: str | None = None, trackers: Sequence[Tracker | str] = ()) -> str:
    """What to type to go on with a run, followed by the plugins, and the trackers that have a name."""
    track = "".join(f" --track {shlex.quote(one)}" for one in trackers if isinstance(one, str))
    word = words or algorithm_of(config_of(folder)).word
    return f"autometa {word} --resume {shlex.quote(shown(folder.path))}{plugins.options()}{track}"


def outcome(folder: RunFolder) -> Outcome:
    """A finished run's result.json, its folder, and how far its training went."""
    return Outcome({"run": str(folder.path), "iterations": iterations(folder), **read_result(folder)})


def iterations(folder: RunFolder) -> Mapping[str, int]:
    """Meta-iterations done (as of the newest checkpoint) and planned."""
    config = config_of(folder)
    found = checkpoint.entries(folder.checkpoints / config.phase)
    return {"done": found[0].step if found else 0, "planned": config.outer.iterations}


def tell_unfinished(folder: RunFolder, notice: Callable[[str], None]) -> Mapping[str, int]:
    """`iterations` of a run that is about to be used; says so where its training is not over."""
    done = iterations(folder)
    if done["done"] < done["planned"]:
        notice(f"{shown(folder.path)} has trained {done['done']} of {done['planned']} iterations so far")
    return done


def open_run(run: str | Path | RunFolder) -> RunFolder:
    """A run by folder, by its name in ./runs, or by the word `latest`."""
    return RunFolder.open(run)
