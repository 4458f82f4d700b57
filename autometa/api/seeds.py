"""Several seeds of one search or training: each an ordinary run in a folder of its own, side by side where they fit."""

from __future__ import annotations

import contextlib
import os
import shlex
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from autometa import plugins
from autometa.api import running
from autometa.api.children import Children
from autometa.api.estimate import estimate_plan, free_memory
from autometa.api.evaluating import evaluate_run
from autometa.api.outcome import Outcome
from autometa.api.planning import Plan
from autometa.api.running import RunOptions, computing, device_of, gpu_refuses, resume_command
from autometa.errors import AutometaError, InputError, Interrupted
from autometa.meta.ranks import Ranks
from autometa.ops.torch_state import in_own_torch_state
from autometa.report.card import write_card
from autometa.report.repeat import without
from autometa.report.seeds import read_summary, summary
from autometa.runs.environment import process_age
from autometa.runs.files import shown
from autometa.runs.folder import CONFIG, RunFolder
from autometa.runs.places import read_seeds, seeds_of
from autometa.search.main_guard import check_main_guard
from autometa.train.run_config import settled_config

SPARE = 0.9
"""Of the memory that is free: what runs side by side may take by the estimate of one of them."""


def carry_out(plan: Plan, options: RunOptions) -> dict[str, Any]:
    """Run to the end, one run or one of each of `options.seeds`; returns `outcome`.

    Raises as `running.carry_out`. What ends one seed leaves the others to go on, and is raised when they are done.
    """
    known, asked = {} if plan.resume is None else seeds_of(plan.resume), options.seeds
    if plan.resume is not None and asked not in (None, len(known) or 1):
        has = f"{len(known)} seeds" if known else "one run"
        raise InputError(
            f"{shown(plan.resume)} holds {has}, not {asked} seeds; go on with --resume alone, or begin anew with --out"
        )
    if not known and asked in (None, 1):
        return running.carry_out(plan, options)
    return _carry_out_all(plan, options)


def estimate(plan: Plan, options: RunOptions) -> dict[str, Any]:
    """`estimate_plan` of one seed as it will run, and under `seeds` of all that are to be made or gone on with."""
    device, budget = device_of(options.device), options.time_budget or plan.seconds
    todo = _unfinished(plan) if plan.resume is not None else _seeds(plan, options)
    side, threads = _side_by_side(plan, options, device, len(todo)) if len(todo) > 1 else (1, torch.get_num_threads())
    turns = -(-len(todo) // side)
    with _threads(threads), computing(device, plan.config, options.notice):
        found = estimate_plan(plan, None if budget is None else budget / turns, device)
    if len(todo) < 2:
        return found
    of_all = {"seconds": turns * found["seconds"]["all"], "memory_bytes": side * found["memory_bytes"]}
    return {**found, "seeds": {"seeds": todo, "side_by_side": side, **of_all}}


def evaluate(
    run: str | os.PathLike | RunFolder, settings: Mapping[str, Any], ways: int | None, options: RunOptions
) -> dict[str, Any]:
    """`evaluate_run`; of a folder of several seeds of every one that has begun, and what they show together."""
    folder = RunFolder.open(run, whole=True)
    if not folder.seeds:
        return evaluate_run(folder, settings, ways, options)
    found: dict[int, Any] = {}
    for seed, path in folder.seeds.items():
        if (path / CONFIG).is_file():
            options.notice(f"seed {seed}")
            found[seed] = evaluate_run(RunFolder(path), settings, ways, options)
    return Outcome({"run": str(folder.path), **summary(found), "runs": list(found.values())})


def _seeds(plan: Plan, options: RunOptions) -> list[int]:
    return [plan.config.seed + n for n in range(options.seeds or 1)]


def _unfinished(plan: Plan) -> list[int]:
    return [seed for seed, path in seeds_of(plan.resume).items() if RunFolder(path).result is None]


@in_own_torch_state
def _carry_out_all(plan: Plan, options: RunOptions) -> dict[str, Any]:
    begun = time.monotonic() - options.before
    if Ranks.launched() is not None:
        raise InputError("torchrun divides one run among processes; leave --seeds out, or torchrun")
    whole = None if plan.resume is None else RunFolder(plan.resume)
    if whole is not None and whole.result is not None:
        options.notice(f"{shown(whole.path)} is finished already; nothing was done")
        running.mend_card(whole)
        return Outcome(read_summary(whole))
    plan.prepare()
    device = device_of(options.device)
    for note in plan.notes:
        options.notice(note)
    todo = _seeds(plan, options) if plan.resume is None else _unfinished(plan)
    side, threads = _side_by_side(plan, options, device, len(todo))
    each = None if options.time_budget is None else options.time_budget / max(1, -(-len(todo) // side))
    spec = {"seeds": todo, "preset": plan.preset, "seconds": plan.seconds, "length_asked": plan.length_asked}
    with running.enter(plan, options, device, {**spec, "budget": each}) as folder:
        end = None if options.time_budget is None else begun + options.time_budget
        work = _Work(_restored(plan, folder), folder, options, deque(todo), side, threads, end)
        how = f"{side} side by side with {threads} thread{'s' * (threads > 1)} each" if side > 1 else "one by one"
        options.notice(f"{plan.algorithm.word} of seeds {', '.join(map(str, todo))} in {shown(folder.path)}, {how}")
        try:
            work.run()
        except KeyboardInterrupt as error:
            raise Interrupted(f"interrupted; go on with: {work.again}") from error
        found = read_summary(folder)
        folder.write_result({name: value for name, value in found.items() if name != "run"})
        write_card(folder)
    return Outcome(found)


def _restored(plan: Plan, folder: RunFolder) -> Plan:
    """The plan that begins a seed, after a resumption as well."""
    if plan.resume is None:
        return replace(plan, notes=())
    kept = read_seeds(folder.path) or {}
    init = getattr(plan.config, "init", None)
    own = {name: kept[name] for name in ("preset", "seconds", "length_asked") if name in kept}
    return replace(plan, earlier=init and plan.algorithm.earlier.open(init, plan.algorithm), **own)


def _side_by_side(plan: Plan, options: RunOptions, device: torch.device, count: int) -> tuple[int, int]:
    """How many runs fit beside each other, by memory and processors, and the threads of each."""
    own = options.workers or options.ray or not all(isinstance(one, str) for one in options.trackers)
    threads = torch.get_num_threads()
    most = 1 if own else min(count, threads)
    if most > 1:
        with computing(device, plan.config, lambda _: None):
            found = estimate_plan(plan, options.time_budget or plan.seconds, device)
        free = free_memory()
        fit = [most if free is None else int(SPARE * free / found["memory_bytes"])]
        if found["gpu_memory_bytes"]:
            room = sum(torch.cuda.mem_get_info(place)[0] for place in _devices(options))
            fit.append(int(SPARE * room / found["gpu_memory_bytes"]))
        most = max(1, min(most, *fit))
    check_main_guard(most > 1)
    return most, max(1, threads // most)


def _devices(options: RunOptions) -> list[str]:
    """Those that runs side by side are dealt out to."""
    if options.device != "auto" or gpu_refuses(0):
        return [options.device]
    return [f"cuda:{n}" for n in range(torch.cuda.device_count()) if not gpu_refuses(n)]


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass
class _Work:
    """The seeds of a folder that are not finished, as they are made. end: when all shall be done, by
    `time.monotonic`."""

    plan: Plan
    folder: RunFolder
    options: RunOptions
    waiting: deque[int]
    side: int
    threads: int
    end: float | None
    errors: dict[int, AutometaError] = field(default_factory=dict)

    @property
    def again(self) -> str:
        """What goes on with all of them."""
        return resume_command(self.folder, self.options.words, self.options.trackers)

    def run(self) -> None:
        """Until all are done. Raises what ended one of them, and `Interrupted`."""
        if self.side > 1:
            self._side_by_side()
        else:
            self._one_by_one()
        if self.waiting or any(isinstance(error, Interrupted) for error in self.errors.values()):
            raise Interrupted(f"interrupted, every seed saved; go on with: {self.again}")
        if self.errors:
            seed, error = next(iter(self.errors.items()))
            more = f"; seeds that failed: {', '.join(map(str, self.errors))}" if len(self.errors) > 1 else ""
            raise type(error)(f"seed {seed}: {error}{more}; the other seeds are done; go on with: {self.again}")

    def _one_by_one(self) -> None:
        while self.waiting:
            seed = self.waiting[0]
            self.options.notice(f"seed {seed}")
            try:
                running.carry_out(*self._next(0))
            except AutometaError as error:
                self.errors[seed] = error
                if isinstance(error, Interrupted):
                    return

    def _side_by_side(self) -> None:
        places = _devices(self.options)
        with Children() as children:
            while (self.waiting and not children.stopping) or children.running:
                while self.waiting and len(children.running) < self.side and not children.stopping:
                    seed, used = self.waiting[0], [child.device for child in children.running]
                    plan, options = self._next(len(used))
                    if plan.resume is None or self.options.device != "auto":
                        options = replace(options, device=min(places, key=used.count))
                    children.start(seed, options.device, _serve, plan, options, self.threads)
                for child in children.ended():
                    error = child.error()
                    self.options.notice(f"seed {child.name} {'is done' if error is None else f'ended: {error}'}")
                    if error is not None:
                        self.errors[int(child.name)] = error

    def _next(self, others: int) -> tuple[Plan, RunOptions]:
        """What begins the first seed that waits, or goes on with it, while so many others run."""
        turns = -(-(len(self.waiting) + others) // self.side)
        seed = self.waiting.popleft()
        path, share = self.folder.seeds[seed], None
        if self.end is not None:
            share = max(1.0, (self.end - time.monotonic()) / turns)
        options = replace(self.options, seeds=None, time_budget=share, before=0.0)
        if (path / CONFIG).is_file():
            return Plan(self.plan.algorithm, settled_config(RunFolder(path)), resume=path), options
        if share is None:
            options = replace(options, time_budget=(read_seeds(self.folder.path) or {}).get("budget"))
        typed = _of_one(shlex.split(self.folder.environment["command"]), seed)
        config = replace(self.plan.config, seed=seed)
        return replace(self.plan, config=config, out=path, resume=None), replace(options, command=typed)


def _of_one(words: list[str], seed: int) -> list[str]:
    """The command line that repeats one seed, by that which made all of them."""
    if words[:1] != ["autometa"]:
        return words
    return [*without(words, {"--seeds", "--seed", "--out", "--resume", "--time-budget"}), "--seed", str(seed)]


def _serve(plan: Plan, options: RunOptions, threads: int) -> None:
    """A seed in a process of its own."""
    torch.set_num_threads(threads)
    plugins.load()
    running.carry_out(plan, replace(options, before=process_age()))
