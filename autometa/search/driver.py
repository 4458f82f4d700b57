"""The driver of a search: asks any strategy what to train next, and writes it into the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

from autometa.nas.strategies.strategy import SearchSpec, Strategy, Trial
from autometa.runs.ledger import Candidate, Ledger
from autometa.search.summary import measured, report


class Recorder(Protocol):
    """Keeps the report of a round that is over."""

    def __call__(self, level: int, report: Mapping) -> None: ...


def trials(rows: Sequence[Candidate]) -> list[Trial]:
    """The history that a strategy decides from: what the ledger holds, in the order of proposals."""
    return [
        Trial(
            id=number,
            round=row.level,
            place=row.place,
            key=row.key,
            state=row.state,
            mean=row.predicted_mean,
            std=row.predicted_std,
            accuracy=row.accuracy,
            parameters=row.parameters,
            macs=row.macs,
            seconds=row.seconds,
            failure=row.failure,
        )
        for number, row in enumerate(rows)
    ]


@dataclass(frozen=True)
class Driver:
    """One search: what to train next is decided from the ledger alone, by whoever asks.

    record: receives the report of each round that is over.
    """

    strategy: Strategy
    spec: SearchSpec
    ledger: Ledger
    record: Recorder

    def advance(self) -> bool:
        """Where all that was proposed has ended, report on that round and propose the next one; whether anything waits
        to be trained now.

        Raises `DivergedError` where no candidate came through.
        """
        levels = self.ledger.levels()
        if levels and not levels[-1].finished:
            return True
        rows = self.ledger.outcomes()
        history = trials(rows)
        proposals = self.strategy.ask(history, self.spec)
        if levels:
            self._report(levels[-1].level, rows, history)
        if not proposals:
            return False
        entries = [(proposal.key, proposal.mean, proposal.std) for proposal in proposals]
        self.ledger.propose(len(levels) + 1, entries, self.spec.batch)
        return True

    def report_rest(self, known: set[int]) -> None:
        """Report on the rounds that are not in `known`, such as the one within which time was up."""
        rows = self.ledger.outcomes()
        history = trials(rows)
        for level, _ in groupby(rows, key=lambda row: row.level):
            if level not in known:
                self._report(level, rows, history)

    def _report(self, level: int, rows: Sequence[Candidate], history: Sequence[Trial]) -> None:
        own = [row for row in rows if row.level == level]
        if not measured(own):
            return
        predictor = self.strategy.predictor_after(history, self.spec, level)
        over = all(row.state in ("done", "failed") for row in own)
        told = report(level, own, predictor, self.spec.space)
        self.record(level, {**told, "unit": self.strategy.unit, **({} if over else {"finished": False})})
