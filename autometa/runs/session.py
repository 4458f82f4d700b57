"""What a long loop runs in: progress, metrics, checkpoints, Ctrl-C, a time budget.

    with Session(folder, capture, restore) as session:
        for step in session.steps(total):
            ...
            session.log(step, loss=loss)

Nothing here touches the caller's state between `restore` and the end, so the bits of a run do not depend
on when checkpoints were made.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from autometa.errors import DivergedError, InputError, Interrupted
from autometa.printable import printable
from autometa.runs import checkpoint
from autometa.runs.files import say, shown, sweep
from autometa.runs.folder import RunFolder
from autometa.runs.forms import FormError, maybe, number, record, whole
from autometa.runs.metrics import MetricsWriter
from autometa.runs.progress import progress
from autometa.runs.tracking import Trackers
from autometa.runs.watch import WATCHED, NonFiniteWatch

_SESSION = record(
    {"elapsed": number(0), "torch_threads": whole(1, 4096), "watch": WATCHED},
    {"total": maybe(whole()), "deadline": maybe(number(0))},
)
STATE = record({"session": _SESSION, "caller": record()})
"""What a checkpoint of a loop holds beside its tensors."""

Capture = Callable[[], tuple[dict[str, torch.Tensor], dict[str, Any]]]
Restore = Callable[[dict[str, torch.Tensor], dict[str, Any]], None]


class Session:
    """One loop of one run; entering it restores the newest checkpoint where there is one.

    capture: () -> (tensors, state), all that the next step depends on; restore: the reverse, in place.
    every_seconds, every_steps: a checkpoint is made when either is due, and always at the end.
    time_budget: seconds from entering; the loop then ends as if finished and `stopped_early` is True. Where None, a
    resumed loop keeps the budget it had, counted over all its parts.
    resume_command: the command line that goes on with this run, told to whoever interrupts it.
    phase: a name where a run has several loops; each has checkpoints and metrics of its own.
    catch_up: called before anything is saved and before the loop ends, where outcomes of steps are known later than the
    steps are done: it waits for them, logs them and calls `check_finite`.
    trackers: are told every line as well.
    """

    def __init__(
        self,
        folder: RunFolder,
        capture: Capture,
        restore: Restore,
        *,
        every_seconds: float | None = 60.0,
        every_steps: int | None = None,
        keep: int = 2,
        time_budget: float | None = None,
        resume_command: Sequence[str] | str | None = None,
        quiet: bool = False,
        phase: str = "",
        watch: NonFiniteWatch | None = None,
        notice: Callable[[str], None] | None = None,
        catch_up: Callable[[], None] = lambda: None,
        trackers: Trackers | None = None,
    ):
        if phase and (not re.fullmatch(r"[A-Za-z0-9_-]+", phase) or phase.startswith("step-")):
            raise InputError(f"phase {phase!r} may hold letters, digits, dash and underscore only")
        if every_steps is not None and every_steps < 1:
            raise InputError(f"every_steps must be at least 1, not {every_steps}")
        self.folder = folder
        self.checkpoints = folder.checkpoints / phase if phase else folder.checkpoints
        self.metrics_path = folder.phase_metrics(phase)
        self.watch = watch or NonFiniteWatch()
        self.quiet = quiet
        self.step = 0
        self.stopped_early = False
        self._capture, self._restore = capture, restore
        self._every_seconds, self._every_steps, self._keep = every_seconds, every_steps, keep
        self._budget = time_budget
        self._resume_command = _as_typed(resume_command, folder)
        self._notice = notice or self._say
        self._phase = phase
        self._total: int | None = None
        self._deadline: float | None = time_budget
        self._took = (0.0, 0.0)
        self._metrics: MetricsWriter | None = None
        self._elapsed_before = 0.0
        self._saved_step: int | None = None
        self._in_step = False
        self._wanted: list[str] = []
        self._diverged: DivergedError | None = None
        self._catch_up, self._trackers = catch_up, trackers or Trackers()
        self._signals = Signals()
        self._bar: Any = None

    def __enter__(self) -> Session:
        self._had_lock, self._threads = self.folder.locked, torch.get_num_threads()
        self.folder.acquire()
        try:
            sweep(self.checkpoints)
            found = checkpoint.load_latest(self.checkpoints, self._notice)
            if found is not None:
                self._resume_from(found)
            if self._budget is not None:
                self._deadline = self._elapsed_before + self._budget
            self._metrics = MetricsWriter(self.metrics_path, found.metrics_bytes if found else 0)
            if found is not None and self._metrics.position < found.metrics_bytes:
                self._notice(f"{shown(self.metrics_path)} is shorter than it was at the checkpoint")
        except BaseException:
            self._leave()
            raise
        self._entered = self._saved_at = time.monotonic()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, _: object) -> None:
        self._leave()
        if isinstance(error, KeyboardInterrupt) and self._signals.asked:
            kept = "nothing saved" if self._saved_step is None else f"saved up to step {self._saved_step}"
            raise Interrupted(
                f"stopped at once in step {self.step}, {kept}; go on with: {self._resume_command}"
            ) from error

    @property
    def elapsed(self) -> float:
        """Seconds spent in this loop, those before a resumption included."""
        return self._elapsed_before + time.monotonic() - self._entered

    def steps(self, total: int) -> Iterator[int]:
        """Numbers of the steps still to do, up to `total`; the work of a step is done in the loop's body.

        Raises, between two steps and with a checkpoint saved, `Interrupted` after a signal and
        `DivergedError` after too many slots that are not finite.
        """
        if self._total is not None:
            raise RuntimeError("a Session runs one loop; use another one, with a phase of its own")
        self._total = total
        self._signals.install()
        self._bar = progress(total, self.step, self._phase, say, quiet=self.quiet, unit="step")
        try:
            while True:
                self._settle()
                if self.step >= self._total or self._budget_spent():
                    self._catch_up()
                    self._stop_if_diverged()
                    break
                self._in_step, begun = True, time.monotonic()
                yield self.step
                self._in_step = False
                self.step += 1
                self._took = (self._took[1], time.monotonic() - begun)
                self._bar.update()
            if self._saved_step != self.step or self.stopped_early:
                self._save()
            self._stop_if_asked()
        finally:
            self._in_step = False
            self._bar.close()
            self._signals.restore()

    def replan(self, total: int) -> None:
        """Another number of steps from now on."""
        self._total = self._bar.total = total

    def end_within(self, seconds: float) -> None:
        """End the loop after so many seconds from now, as by a time budget."""
        self._deadline = self.elapsed + seconds

    def log(self, step: int, **values: Any) -> None:
        """Append a line to the metrics and show loss and accuracy, where given, with the progress."""
        assert self._metrics is not None, "a session logs once it is entered"
        self._metrics.log(step, **values)
        self.track(self._phase, step, **values)
        told = {key: f"{values[key]:.4g}" for key in ("loss", "accuracy") if values.get(key) is not None}
        if self._bar is not None and told:
            self._bar.set_postfix(told, refresh=False)

    def track(self, phase: str, step: int, **values: Any) -> None:
        """Tell trackers alone, of what stands in a file of its own."""
        self._trackers.log(phase, step, values)

    def tell(self, text: str) -> None:
        """A notice above the progress bar; a quiet run says nothing."""
        if not self.quiet:
            self._notice(text)

    def check_finite(
        self, finite: torch.Tensor | Sequence[bool], names: Sequence[str] | None = None, step: int | None = None
    ) -> int:
        """`NonFiniteWatch.update`; `DivergedError` is raised at the end of the step under way, after a checkpoint.

        step: whose slots these are, where it may not be the one under way.
        """
        try:
            return self.watch.update(finite, names)
        except DivergedError as error:
            where = "" if step is None else f" (seen in step {step})"
            self._diverged = self._diverged or DivergedError(f"{error}{where}")
            return sum(not flag for flag in finite)

    def save(self, name: str) -> None:
        """Keep a checkpoint under `name`: at the end of the step under way, or now between steps."""
        if self._in_step:
            self._wanted.append(name)
        else:
            self._save(name)

    def _settle(self) -> None:
        """All that is due between two steps."""
        while self._wanted:
            self._save(self._wanted.pop(0))
        self._stop_if_diverged()
        self._stop_if_asked()
        since = self.step - (self._saved_step or 0)
        by_steps = self._every_steps is not None and since >= self._every_steps
        late = time.monotonic() - self._saved_at
        by_time = self._every_seconds is not None and since > 0 and late >= self._every_seconds
        if by_steps or by_time:
            self._save()

    def _stop_if_diverged(self) -> None:
        if self._diverged is not None:
            self._save()
            raise DivergedError(f"{self._diverged}; the state is saved in {shown(self.checkpoints)}")

    def _stop_if_asked(self) -> None:
        if self._signals.asked:
            if self._saved_step != self.step:
                self._save()
            raise Interrupted(
                f"{self._signals.asked}: stopped and saved after step {self.step} of {self._total}; "
                f"go on with: {self._resume_command}"
            )

    def _budget_spent(self) -> bool:
        next_one = min(self._took)  # a first step alone says nothing: much is done once in it
        self.stopped_early = self._deadline is not None and self.elapsed + next_one >= self._deadline
        if self._deadline is not None and self.stopped_early:
            self._deadline = min(self._deadline, self.elapsed)  # spent, for whoever resumes it as well
            self._notice(f"time budget spent after {self.step} of {self._total} steps")
        return self.stopped_early

    def _save(self, name: str | None = None) -> Path:
        assert self._metrics is not None, "a session saves once it is entered"
        self._catch_up()
        tensors, state = self._capture()
        own = {
            "total": self._total,
            "elapsed": self.elapsed,
            "deadline": self._deadline,
            "torch_threads": torch.get_num_threads(),
            "watch": self.watch.state(),
        }
        path = checkpoint.save(
            self.checkpoints,
            self.step,
            tensors,
            {"session": own, "caller": state},
            metrics_bytes=self._metrics.sync(),
            name=name,
            keep=self._keep,
        )
        if name is None:
            self._saved_step, self._saved_at = self.step, time.monotonic()
        return path

    def _resume_from(self, found: checkpoint.Checkpoint) -> None:
        try:
            STATE(found.state, "")
        except FormError as error:
            raise InputError(f"checkpoint {shown(found.path)} is no loop's: {error}; remove it to go on") from error
        checkpoint.set_aside_after(self.checkpoints, found.path)
        own = found.state["session"]
        if own["torch_threads"] != self._threads:
            self._notice(f"going on with {own['torch_threads']} threads as before, to keep the same bits")
            torch.set_num_threads(own["torch_threads"])
        self.watch.restore(own["watch"])
        self.step = self._saved_step = found.step
        self._elapsed_before, self._deadline = own["elapsed"], own.get("deadline")
        try:
            self._restore(found.tensors, found.state["caller"])
        except FormError as error:
            raise InputError(
                f"checkpoint {shown(found.path)} does not fit this run: {error}; remove it to go on from the one before"
            ) from error

    def _leave(self) -> None:
        self._signals.restore()
        if self._metrics is not None:
            self._metrics.close()
        if torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)
        if not self._had_lock:
            self.folder.close()

    def _say(self, text: str) -> None:
        if self._bar is None or self._bar.disable:
            say(text)
        else:
            self._bar.write(printable(text), file=sys.stderr)


class Signals:
    """The first of SIGINT, SIGTERM, SIGHUP is noted in `asked`; the second stops at once."""

    told = True
    """Whether the first one is answered on standard error; not in processes whose parent has done so."""
    NAMES = {"SIGINT": "interrupted", "SIGTERM": "asked to terminate", "SIGHUP": "terminal closed"}

    def __init__(self) -> None:
        self.asked: str | None = None
        self._before: dict[int, Any] = {}

    def install(self) -> None:
        """Take over in the main thread; signals that are ignored (nohup) stay so."""
        if threading.current_thread() is not threading.main_thread():
            return
        self._process = os.getpid()
        for name in self.NAMES:
            number = getattr(signal, name)
            before = signal.getsignal(number)
            if before not in (signal.SIG_IGN, None):
                signal.signal(number, self._note)
                self._before[number] = before

    def restore(self) -> None:
        """Hand back; a second call does nothing."""
        while self._before:
            number, before = self._before.popitem()
            signal.signal(number, before)

    def _note(self, number: int, _: Any) -> None:
        if os.getpid() != self._process:  # a forked worker does as it would without us
            signal.signal(number, self._before[number])
            os.kill(os.getpid(), number)
            return
        if self.asked:
            raise KeyboardInterrupt
        self.asked = self.NAMES[signal.Signals(number).name]
        if not self.told:
            return
        try:  # print may not be entered anew from a signal handler
            os.write(2, b"\nfinishing this step, then saving; once more to stop at once\n")
        except OSError:
            pass


def _as_typed(command: Sequence[str] | str | None, folder: RunFolder) -> str:
    if command is None:
        return f"--resume {shlex.quote(shown(folder.path))}"
    return command if isinstance(command, str) else shlex.join(command)
