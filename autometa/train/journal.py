"""What a loop of meta-iterations writes down as it goes: metrics, the architecture's series, alarms."""

from __future__ import annotations

from torch import Tensor

from autometa.runs.files import plain
from autometa.runs.metrics import read_metrics
from autometa.runs.session import Session
from autometa.train.config import MetaConfig
from autometa.train.health import Monitor
from autometa.train.loop import Results
from autometa.train.observations import SERIES, ArchitectureSeries
from autometa.train.trainer import Step

LOG_EVERY = 10
DIGITS = 6
"""Of a relative update: the last bits of a sum over all weights depend on the number of threads."""


class Journal:
    """The outcomes of `iterations` meta-iterations of `batch` tasks, told in order; `open` before the first one.

    series: where the architecture is written down, monitor: what looks for alarms; None where there is none.
    """

    def __init__(
        self, iterations: int, batch: int, series: ArchitectureSeries | None = None, monitor: Monitor | None = None
    ) -> None:
        self._iterations, self._batch, self._series, self._monitor = iterations, batch, series, monitor
        self._session: Session | None = None

    def open(self, session: Session) -> None:
        """Write to a session that was entered; alarms are found again in what it has already."""
        self._session = session
        if self._monitor is None:
            return
        self._monitor.health.notice = session.tell
        if session.step:
            series = () if self._series is None else self._series.lines()
            self._monitor.replay(read_metrics(session.metrics_path), series)

    def tell(self, results: Results) -> None:
        """Outcomes that are known by now."""
        assert self._session is not None, "a journal is opened first"
        for i, done in results:
            names = [f"task {i * self._batch + s}" for s in range(self._batch)]
            self._session.check_finite(done.finite, names, i)
            if i % LOG_EVERY == 0 or i == self._iterations - 1:
                values = plain(told(done), strict=True)
                self._session.log(i, **values)
                if self._monitor is not None:
                    self._monitor.line(i, values)
            if self._series is not None:
                self._look(self._series.tell(i, done.architecture))

    def replan(self, meta: MetaConfig, warmup: int) -> None:
        """Another number of meta-iterations from now on, of which `warmup` are warm-up."""
        self._iterations = meta.iterations
        if self._series is not None:
            self._series.replan(meta.iterations)
        if self._monitor is not None:
            self._monitor.replan(meta.iterations, warmup)

    def finish(self) -> None:
        """Where training ends early: the last iteration was told."""
        if self._series is not None:
            self._look(self._series.finish())

    def close(self) -> None:
        if self._series is not None:
            self._series.close()

    def state(self) -> dict:
        """Of a checkpoint, beside the trainer's."""
        return {} if self._series is None else self._series.state()

    def restore(self, state: dict) -> None:
        """Go on from a checkpoint."""
        if self._series is not None:
            self._series.restore(state)

    def _look(self, line: dict | None) -> None:
        if line is None or self._session is None:
            return
        self._session.track(SERIES, **line)
        if self._monitor is not None:
            self._monitor.series(line["step"], line)


def told(done: Step) -> dict[str, float | int | None]:
    """What the metrics keep of a meta-iteration: means over the finite slots, and how far theta moved."""
    finite = done.finite
    values: dict[str, Tensor] = {"loss": done.losses[-1], "loss_first": done.losses[0], "accuracy": done.accuracy}
    means = {name: float(value[finite].mean()) if bool(finite.any()) else None for name, value in values.items()}
    kinds = ("update", "update_architecture") if len(done.architecture) else ("update",)
    update = {name: float(f"{value:.{DIGITS}g}") for name, value in zip(kinds, done.update.tolist(), strict=False)}
    return {**means, "not_finite": int((~finite).sum()), **update}
