"""A whole Auto-Meta run in its folder: search by the ledger, train the winner in full, test it on unseen classes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from autometa.algorithms import jobs, reptile, scores
from autometa.algorithms.auto_meta import AutoMetaConfig, Progression, measured, report, winner
from autometa.algorithms.candidates import Outcome, train_candidates
from autometa.algorithms.jobs import Terms
from autometa.algorithms.sources import Source
from autometa.nas.block_space import BlockCell
from autometa.nas.genotype import Genotype
from autometa.runs.files import plain, read_json, write_json
from autometa.runs.folder import RunFolder
from autometa.runs.ledger import LEDGER, Candidate, Ledger

SEARCH, FINAL = "search", "final"
FOUND = "search.json"
"""Reports of the levels that are over, and the winner once there is one."""
DRIVER = "driver"
LEASE_SECONDS = 1e9
"""The driver gives back what it holds when it begins: the run folder's lock says that it is alone."""
POLL_SECONDS = 0.5

Work = Callable[[Sequence[BlockCell]], Sequence[Outcome]]


def search_auto_meta(config: AutoMetaConfig, folder: RunFolder, terms: Terms) -> dict:
    """Search, train, test; returns (and keeps as result.json) what was found."""
    source = Source.open(config.data)
    jobs.record_data(folder, source)
    candidate = config.candidate()
    kept = Kept(folder)
    seconds = progress(config, folder, terms, kept, lambda cells: train_candidates(cells, candidate, source))
    best, rows = kept.winner, kept.rows()
    final = config.final_config(best["key"])
    network = final.build(source.image_shape)
    trained = jobs.meta_train(reptile.trainer(network, source, final), folder, terms, FINAL, budget=False)
    found, test_seconds = jobs.evaluate_reptile(network, trained.learned, source, final, folder, terms, "test")
    result = {
        "kind": "search auto-meta",
        "protocol": jobs.protocol(final, source),
        "scores": scores.as_json(scores.scores(found)),
        "accuracy": scores.Score.of(found["support_statistics"]).mean,
        "parameters": network.layout.count(),
        "macs": network.macs(),
        "finite_tasks": int(found["finite"].sum()),
        "cell": best,
        "levels": [{name: value for name, value in level.items() if name != "cells"} for level in kept.levels],
        "candidates": {"trained": len(measured(rows)), "failed": sum(row.state == "failed" for row in rows)},
        "validation": plain(config.validation),
        "data_hash": source.store.data_hash,
        "seconds": {"search": seconds, "final": trained.seconds, "test": test_seconds},
    }
    folder.write_result(result)
    return result


@dataclass
class Kept:
    """search.json of a run."""

    folder: RunFolder
    levels: list[dict] = field(init=False)
    winner: dict | None = field(init=False)

    def __post_init__(self) -> None:
        path = self.folder.path / FOUND
        value = read_json(path) if path.exists() else {"levels": [], "winner": None}
        self.levels, self.winner = value["levels"], value["winner"]

    def record(self, level: int, found: dict) -> None:
        """Keep the report of a level, in the place of an earlier one of the same level."""
        self.levels = [*(known for known in self.levels if known["level"] < level), plain(found, strict=True)]
        self._write()

    def decide(self, best: Candidate) -> None:
        """Keep the winner, and its cell as a genotype."""
        cell = BlockCell.parse(best.key)
        made = cell.genotype()
        self.folder.write_genotype("best", Genotype(made, made).to_json())
        self.winner = {
            "key": best.key,
            "level": best.level,
            "depth": cell.depth,
            "blocks": str(made),
            "output": list(cell.unused),
            "validation_accuracy": best.accuracy,
            "validation_interval": best.interval,
            "parameters": best.parameters,
            "macs": best.macs,
        }
        self._write()

    def _write(self) -> None:
        write_json(self.folder.path / FOUND, {"levels": self.levels, "winner": self.winner})

    def rows(self) -> list[Candidate]:
        with Ledger.open(self.folder.path / LEDGER, create=False) as ledger:
            return ledger.outcomes()


def progress(config: AutoMetaConfig, folder: RunFolder, terms: Terms, kept: Kept, work: Work) -> float:
    """The search, batch by batch, to the winner in `kept`; seconds it took.

    Everything that decides stands in the ledger: batch n is trained where it has no outcome yet, and only logged where
    it has. Raises `DivergedError` where a whole level failed.
    """
    if kept.winner is not None:
        return _elapsed(folder, terms)
    with (
        Ledger.open(folder.path / LEDGER) as ledger,
        terms.session(folder, lambda: ({}, {}), lambda *_: None, SEARCH, budget=True) as session,
    ):
        ledger.release(DRIVER)
        search = Progression(config, ledger, kept.record)
        going = True
        for n in session.steps(config.batches):
            while going and len(done := finished(ledger)) <= n:
                going = search.advance()
                if going:
                    train_one(ledger, work, config.seed)
            if going or n < len(done):
                session.log(n, **told(done, n))
        rows = ledger.outcomes()
        if going and not session.stopped_early:
            search.advance()
        elif session.stopped_early:
            _report_unfinished(search, rows, kept)
        kept.decide(winner(rows))
        return session.elapsed


def _elapsed(folder: RunFolder, terms: Terms) -> float:
    """Seconds of a search that is over."""
    with terms.session(folder, lambda: ({}, {}), lambda *_: None, SEARCH) as session:
        return session.elapsed


def _report_unfinished(search: Progression, rows: Sequence[Candidate], kept: Kept) -> None:
    """Where time was up within a level: what its measured cells show."""
    last = rows[-1].level if rows else 0
    own = [row for row in rows if row.level == last]
    if len(measured(own)) > 1:
        kept.record(last, {**report(last, own, search.learned(last)), "finished": False})


def finished(ledger: Ledger) -> list[list[Candidate]]:
    """The batches that are over, in order."""
    batches = (list(rows) for _, rows in groupby(ledger.outcomes(), key=lambda row: row.batch))
    return [rows for rows in batches if all(row.state in ("done", "failed") for row in rows)]


def told(batches: Sequence[Sequence[Candidate]], n: int) -> dict[str, float | int | None]:
    """What the metrics keep of batch n."""
    own, so_far = measured(batches[n]), measured([row for rows in batches[: n + 1] for row in rows])
    return {
        "level": batches[n][0].level,
        "candidates": len(batches[n]),
        "failed": len(batches[n]) - len(own),
        "accuracy": max((row.accuracy for row in own), default=None),
        "best": max((row.accuracy for row in so_far), default=None),
        "trained": len(so_far),
    }


def train_one(
    ledger: Ledger, work: Work, seed: int, worker: str = DRIVER, lease_seconds: float = LEASE_SECONDS
) -> bool:
    """Claim a batch, train and record it; False, after a moment's wait, where others hold all that is left."""
    batch = ledger.claim(worker, lease_seconds)
    if batch is None:
        time.sleep(POLL_SECONDS)
        return False
    try:
        outcomes = outcomes_of([BlockCell.parse(key) for key in batch.keys], work)
    except BaseException:
        ledger.release(worker)
        raise
    return ledger.finish(batch, [{**plain(outcome), "seed": seed} for outcome in outcomes])


def outcomes_of(cells: Sequence[BlockCell], work: Work) -> list[Outcome]:
    """One outcome per cell. Where a batch breaks, each of its cells is tried alone, and those that break alone have
    failed: neighbours do not change a cell's outcome."""
    try:
        return list(work(cells))
    except (RuntimeError, ArithmeticError, ValueError) as error:
        if len(cells) > 1:
            return [outcome for cell in cells for outcome in outcomes_of([cell], work)]
        reason = f"{type(error).__name__}: {error}"
        return [Outcome(cells[0].key, float("nan"), float("nan"), 0, 0, 0.0, reason)]
