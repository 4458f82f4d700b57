"""A whole Auto-Meta run in its folder: search by the ledger, train the winner in full, test it on unseen classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

import torch

from autometa import plugins
from autometa.algorithms import jobs, train
from autometa.algorithms.auto_meta import AutoMetaConfig, Fits
from autometa.algorithms.jobs import Job
from autometa.errors import InputError
from autometa.nas.spaces.space import MOST_LEVELS, SPACES, Space
from autometa.nas.strategies.strategy import DONE, Trial
from autometa.ops import backend
from autometa.runs.environment import usable_cpus
from autometa.runs.files import plain, shown, write_json
from autometa.runs.folder import RunFolder
from autometa.runs.ledger import LEDGER, Batch, Candidate, Ledger
from autometa.search.driver import Driver, trials
from autometa.search.summary import measured, winner
from autometa.search.workers import Unit, Work, workforce
from autometa.train import records
from autometa.train.candidates import CandidateConfig, Outcome, Snapshot
from autometa.train.config import DataConfig
from autometa.train.health import of_training, small_batches
from autometa.train.observations import observations
from autometa.train.phases import Terms, pacer_of
from autometa.train.records import EARLIER, FOUND, KNOWN, check_candidates, read_candidates
from autometa.train.run_config import config_of
from autometa.train.scoring import train_candidates
from autometa.train.tasks import Source, silent

SEARCH, FINAL = "search", "final"
BLOCK = "block"
"""What a part of an architecture is where a result does not say it."""

Train = Callable[..., Sequence[Outcome]]
"""Keys of cells, and of `train_candidates` where training begins and ends -> one outcome per cell."""


@dataclass(frozen=True)
class CandidateUnit:
    """The unit of work of every search over candidates: batches of cells, trained and scored side by side.

    precision: on a GPU, the same in every process that works. space: of the cells, by name.
    """

    config: CandidateConfig
    data: DataConfig
    precision: str = "fp32"
    space: str = "blocks"
    known: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Outcomes by key that an earlier run found: these cells are not trained again."""

    def __call__(self, device: str) -> Work:
        plugins.load()  # a process of its own may have to learn what the data's name means
        where = torch.device(device)
        source, space = Source.open(self.data, where, silent), SPACES[self.space](MOST_LEVELS)

        def train(keys: Sequence[str], **part: Any) -> Sequence[Outcome]:
            return train_candidates([space.parse(key) for key in keys], self.config, source, space=space, **part)

        work = work_of(train, self.config.seed, self.config.meta.iterations)
        work = knowing(self.known, work)
        if where.type == "cpu":
            return work

        def on_device(batch: Batch) -> Sequence[Mapping[str, Any]]:
            with torch.cuda.device(where), backend.precision(self.precision), backend.libraries(self.precision):
                return work(batch)

        return on_device


def work_of(train: Train, seed: int, iterations: int = 0) -> Work:
    """The ledger's view of `train`: a batch in, mappings out; iterations: of a full training."""

    def work(batch: Batch) -> list[dict]:
        made: dict[str, bytes] = {}
        found = outcomes_of(batch, train, made)
        each = ({**plain(outcome), "seed": seed, "step": iterations} for outcome in found)
        return [{**one, "checkpoint": made.get(one["key"])} for one in each]

    return work


def knowing(known: Mapping[str, Mapping[str, Any]], work: Work) -> Work:
    """`work` that hands out the outcomes it knows, and does the rest."""

    def done(batch: Batch) -> Sequence[Mapping[str, Any]]:
        if batch.until is not None:  # what is known is how full trainings ended
            return work(batch)
        unknown = [k for k, key in enumerate(batch.keys) if key not in known]
        found = {outcome["key"]: outcome for outcome in (work(batch.part(unknown)) if unknown else ())}
        return [known[key] if key in known else found[key] for key in batch.keys]

    return done if known else work


def known_outcomes(rows: Sequence[Candidate]) -> dict[str, dict[str, Any]]:
    """Outcomes by key of an earlier run's ledger, as the ledger takes them; they cost no time now."""
    names = ("key", "accuracy", "interval", "parameters", "macs")
    found = {}
    for row in (row for row in rows if row.state == "done"):
        seed = next(iter(row.scores), 0)
        found[row.key] = {**{name: getattr(row, name) for name in names}, "seconds": 0.0, "seed": seed}
    return found


def _known(folder: RunFolder, config: AutoMetaConfig) -> dict[str, dict[str, Any]]:
    if config.init is None:
        return {}
    found = records.read(folder, KNOWN)
    if found is None:
        raise InputError(f"{shown(folder.path / KNOWN)} is missing, from which this run starts; begin a new run")
    return found["outcomes"]


def earlier_searches(config: AutoMetaConfig, folder: RunFolder) -> tuple[list[Trial], ...]:
    """Histories of the searches that the strategy learns from, as they were when this one began."""
    if not config.strategy.learns_from():
        return ()
    found = records.read(folder, EARLIER)
    if found is None:
        found = {"searches": [_measured(RunFolder.open(run), config) for run in config.strategy.learns_from()]}
        write_json(folder.path / EARLIER, found)
    return tuple(
        [
            Trial(n, 1, n, row["key"], DONE, accuracy=row["accuracy"], reports={row["step"]: row["accuracy"]})
            for n, row in enumerate(rows)
        ]
        for rows in found["searches"]
    )


def _measured(folder: RunFolder, config: AutoMetaConfig) -> list[dict[str, Any]]:
    """Accuracies in a search's ledger, and after how many meta-iterations they were measured."""
    theirs = config_of(folder)
    if getattr(theirs, "space", None) != config.space:
        raise InputError(f"{shown(folder.path)} is no search of the space {config.space}; learn from one that is")
    history = trials(read_candidates(folder), theirs.meta.iterations)
    return [{"key": t.key, "accuracy": t.accuracy, "step": max(t.reports, default=0)} for t in history if t.scored]


def search_auto_meta(config: AutoMetaConfig, folder: RunFolder, terms: Terms) -> dict[str, Any]:
    """Search, train, test; returns (and keeps as result.json) what was found."""
    begun, kept = Job.begun(config, folder, terms), Kept(folder, config.cells)
    source = begun.source
    candidate = replace(config, final=config.macro).build(source.image_shape)
    begun.health.tell(SEARCH, 0, small_batches(candidate, config.inner, config.validation, test_group="validation"))
    known = _known(folder, config)
    unit = CandidateUnit(config.candidate(), config.data, config.precision, config.space, known)
    seconds = progress(config, folder, terms, kept, unit, config.fits(source.image_shape))
    best, rows = kept.winner, kept.rows()
    assert best is not None, "progress ends with a winner or raises"
    final = config.final_config(best["key"])
    network, job = final.build(source.image_shape), Job(final, folder, terms, source, begun.health)
    job.health.tell(FINAL, 0, small_batches(network, final.inner, final.test, inner_group="final_inner"))
    run, alarms = train.trainer(network, source, final), of_training(final.inner, final.meta)
    pacer = pacer_of(folder, terms, "final_meta") if terms.pace is not None and terms.pace.stretch else None
    trained = job.trained(run, FINAL, alarms, budget=False, pacer=pacer)
    final = replace(final, meta=trained.meta)
    job = replace(job, config=final)
    found, test_seconds = job.evaluated(network, trained.learned, "test", pacer)
    job = job.tested(found, pacer)
    own = {
        "kind": "search auto-meta",
        "strategy": config.strategy.name,
        **job.figures(network, found),
        **jobs.limits_of(config),
        "cell": best,
        "levels": [{name: value for name, value in level.items() if name != "cells"} for level in kept.levels],
        "candidates": {
            "trained": len({row.key for row in measured(rows)} - set(known)),
            **({"known": sum(row.key in known for row in rows)} if config.init else {}),
            "failed": sum(row.state == "failed" for row in rows),
        },
        "validation": plain(config.validation),
        "seconds": {"search": seconds, "final": trained.seconds, "test": test_seconds},
    }
    return job.finished(network, trained.learned, own, observations(source, network.ways, job.config.test, found))


@dataclass
class Kept:
    """search.json of a run; space: of its cells."""

    folder: RunFolder
    space: Space
    levels: list[dict] = field(init=False)
    winner: dict | None = field(init=False)

    def __post_init__(self) -> None:
        value = records.read(self.folder, FOUND, {"levels": [], "winner": None})
        self.levels, self.winner = value["levels"], value["winner"]

    def record(self, level: int, report: Mapping[Any, Any]) -> None:
        """Keep the report of a level, in the place of an earlier one of the same level."""
        self.levels = [*(known for known in self.levels if known["level"] < level), plain(dict(report), strict=True)]
        self._write()

    def decide(self, best: Candidate) -> None:
        """Keep the winner, and its cells as a genotype where it has some."""
        cell = self.space.parse(best.key)
        made = self.space.genotype(cell)
        if made is not None:
            self.folder.write_genotype("best", made.to_json())
        self.winner = {
            "key": best.key,
            "level": best.level,
            "depth": cell.depth,
            "blocks": best.key.replace("|", "; ") if made is None else str(made.normal),
            "output": [] if made is None else list(made.normal.concat),
            "validation_accuracy": best.accuracy,
            "validation_interval": best.interval,
            "parameters": best.parameters,
            "macs": best.macs,
        }
        if made is not None and made.normal != made.reduction:
            self.winner["reduction"] = str(made.reduction)
        if self.space.unit != BLOCK:
            self.winner["unit"] = self.space.unit
        self._write()

    def _write(self) -> None:
        write_json(self.folder.path / FOUND, {"levels": self.levels, "winner": self.winner})

    def rows(self) -> list[Candidate]:
        return read_candidates(self.folder)


def progress(
    config: AutoMetaConfig, folder: RunFolder, terms: Terms, kept: Kept, unit: Unit, fits: Fits | None = None
) -> float:
    """The search, batch by batch, to the winner in `kept`; seconds it took. `terms` says who works, `fits` which cells
    may be trained.

    Everything that decides stands in the ledger: batch n is trained where it has no outcome yet, and only logged where
    it has. Raises `DivergedError` where a whole level failed.
    """
    if kept.winner is not None:
        return _elapsed(folder, terms)
    with (
        Ledger.open(folder.path / LEDGER) as ledger,
        terms.session(folder, lambda: ({}, {}), lambda *_: None, SEARCH, budget=True) as session,
    ):
        check_candidates(ledger.outcomes(), shown(ledger.path))
        spec = replace(config.spec(fits or Fits(), _helpers(terms)), earlier=earlier_searches(config, folder))
        search = Driver(config.strategy, spec, ledger, kept.record)
        going = True
        with workforce(ledger, unit, terms.workers, terms.ray, _devices(terms), terms.notice) as force:
            for n in session.steps(config.batches):
                done = finished(ledger)
                while going and len(done) <= n:
                    going = search.advance()
                    if going:
                        force.turn()
                    done = finished(ledger)
                if n < len(done):
                    session.log(n, **told(done, n))
            while going and config.most_batches is None and not session.stopped_early:
                going = search.advance()
                if going:
                    force.turn()
        search.report_rest({level["level"] for level in kept.levels})
        kept.decide(winner(ledger.outcomes()))
        return session.elapsed


def _helpers(terms: Terms) -> int:
    """Processes for the driver's decisions: this machine's processors where a search has workers at all."""
    return (usable_cpus() or 1) if terms.workers is not None or terms.ray is not None else 1


def _devices(terms: Terms) -> list[str]:
    """Several workers share out the GPUs that this process sees (CUDA_VISIBLE_DEVICES), the run's own first."""
    if terms.device.type == "cpu" or terms.workers is None:
        return [str(terms.device)]
    first, count = terms.device.index or 0, torch.cuda.device_count()
    return [f"cuda:{(first + n) % count}" for n in range(count)]


def _elapsed(folder: RunFolder, terms: Terms) -> float:
    """Seconds of a search that is over."""
    with terms.session(folder, lambda: ({}, {}), lambda *_: None, SEARCH) as session:
        return session.elapsed


def finished(ledger: Ledger) -> list[list[Candidate]]:
    """The batches that are over, in order."""
    batches = (list(rows) for _, rows in groupby(ledger.outcomes(), key=lambda row: row.batch))
    return [rows for rows in batches if all(row.ended for row in rows)]


def told(batches: Sequence[Sequence[Candidate]], n: int) -> dict[str, float | int | None]:
    """What the metrics keep of batch n."""
    own, so_far = (
        [row.accuracy for row in measured(rows) if row.accuracy is not None]
        for rows in (batches[n], [row for rows in batches[: n + 1] for row in rows])
    )
    return {
        "level": batches[n][0].level,
        "candidates": len(batches[n]),
        "failed": len(batches[n]) - len(own),
        "accuracy": max(own, default=None),
        "best": max(so_far, default=None),
        "trained": len(so_far),
    }


def outcomes_of(batch: Batch, train: Train, checkpoints: dict[str, bytes]) -> list[Outcome]:
    """One outcome per trial; `checkpoints` receives by key where those stand that may go on. Where a batch breaks, each
    of its trials is tried alone, and those that break alone have failed: neighbours do not change an outcome."""
    part: dict[str, Any] = {}
    if batch.starts:
        part = {"first": batch.first, "starts": [start and Snapshot.decoded(start) for start in batch.starts]}
    if batch.until is not None:
        part["last"] = batch.until
    if batch.keep:
        part["keep"] = lambda k, snapshot: checkpoints.update({batch.keys[k]: snapshot.encoded()})
    try:
        return list(train(batch.keys, **part))
    except (RuntimeError, ArithmeticError, ValueError) as error:
        if len(batch.keys) > 1:
            return [o for k in range(len(batch.keys)) for o in outcomes_of(batch.part([k]), train, checkpoints)]
        reason = f"{type(error).__name__}: {error}"
        return [Outcome(batch.keys[0], float("nan"), float("nan"), 0, 0, 0.0, reason)]
