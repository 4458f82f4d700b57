"""The driver of a search: asks any strategy what to train next, and writes it into the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from autometa.nas.strategies.strategy import CLAIMED, PAUSED, STOPPED, SearchSpec, Strategy, Trial, Verdict
from autometa.runs.ledger import Ledger
from autometa.runs.ledger_rows import Candidate, Entry
from autometa.search.summary import measured, report


class Recorder(Protocol):
    """Keeps the report of a round that is over."""

    def __call__(self, level: int, report: Mapping) -> None: ...


def trials(rows: Sequence[Candidate], iterations: int = 0) -> list[Trial]:
    """The history that a strategy decides from: what the ledger holds, in the order of proposals; iterations: of a full
    training, which ledgers of earlier versions do not tell."""
    found: list[Trial] = []
    for row in rows:
        parent = None if row.parent is None else found[row.parent]
        before = parent.reports if parent is not None and parent.key == row.key else {}
        made = Trial(
            id=row.id,
            round=row.level,
            place=row.place,
            key=row.key,
            state=CLAIMED if row.state == "reported" else row.state,
            fidelity=row.fidelity,
            parent=row.parent,
            mean=row.predicted_mean,
            std=row.predicted_std,
            accuracy=row.accuracy,
            parameters=row.parameters,
            macs=row.macs,
            seconds=row.seconds,
            failure=row.failure,
            reports={**before, **{step or iterations: value for step, value in row.reports.items()}},
        )
        found.append(made)
    return found


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
        """Judge what was scored on its way; where all that was proposed has ended, report on that round and propose the
        next one; whether anything waits to be trained now.

        Raises `DivergedError` where no candidate came through.
        """
        self._judge()
        levels = self.ledger.levels()
        if levels and not levels[-1].finished:
            return True
        rows = self.ledger.outcomes()
        history = trials(rows, self.spec.iterations)
        proposals = self.strategy.ask(history, self.spec)
        if levels:
            self._report(levels[-1].level, rows, history)
        if not proposals:
            self.ledger.keep(())
            return False
        stands: dict[tuple[int | None, str], int] = {
            (trial.id, trial.key): max(trial.reports, default=0) for trial in history
        }
        keep = self.strategy.inherits(self.spec)
        entries = []
        for p in proposals:
            until = self._until(stands.get((p.parent, p.key), 0), p.fidelity)
            entries.append(Entry(p.key, p.mean, p.std, p.fidelity, p.parent, until, keep or until is not None))
        parents = [p.parent for p in proposals if p.parent is not None]
        self.ledger.propose(len(levels) + 1, entries, self.spec.batch)
        self.ledger.keep({*self.strategy.resumable(history, self.spec), *parents})
        return True

    def _until(self, done: int, fidelity: int | None) -> int | None:
        """Meta-iterations after which a trial that has done so many is scored next, None at the end of a training."""
        whole = self.spec.iterations
        end = whole if fidelity is None else min(fidelity, whole)
        found = min([step for step in self.strategy.reports(self.spec) if done < step < end], default=end)
        return None if found == whole else found

    def _judge(self) -> None:
        """Let trials that were scored on their way go on, or not."""
        waiting = self.ledger.reported()
        history = trials(self.ledger.outcomes(), self.spec.iterations) if waiting else []
        for rows in waiting:
            before, ended = [trial for trial in history if trial.round < rows[0].level], {}
            until = self._until(rows[0].step, rows[0].fidelity)
            for row in rows:
                verdict = self.strategy.judge(history[row.id], before, self.spec)
                if verdict is Verdict.STOP:
                    ended[row.id] = STOPPED
                elif verdict is Verdict.PAUSE or until == row.step:
                    ended[row.id] = PAUSED
            self.ledger.judge(rows[0].batch, ended, until)

    def report_rest(self, known: set[int]) -> None:
        """Report on the rounds that are not in `known`, such as the one within which time was up."""
        self._judge()
        rows = self.ledger.outcomes()
        history = trials(rows, self.spec.iterations)
        for level in sorted({row.level for row in rows} - known):
            self._report(level, rows, history)

    def _report(self, level: int, rows: Sequence[Candidate], history: Sequence[Trial]) -> None:
        own = [row for row in rows if row.level == level]
        if not measured(own):
            return
        predictor = self.strategy.predictor_after(history, self.spec, level)
        over = all(row.ended for row in own)
        told = report(level, own, predictor, self.spec.space)
        self.record(
            level, {**told, "unit": self.strategy.unit or self.spec.space.unit, **({} if over else {"finished": False})}
        )
