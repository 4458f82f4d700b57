"""Keeping to a time budget while a run goes on: how long its loop of meta-iterations may take, and how many it makes.

What is decided on the way is written into the run's config.json at once, as the plan from a numbered meta-iteration on
(`MetaConfig.planned`): all that follows is a function of it, so a resumed run has the same bits and a new one with the
same settings repeats it.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import asdict, dataclass, field, replace

from autometa.errors import InputError
from autometa.runs import checkpoint
from autometa.runs.files import plain, read_json, shown, write_json
from autometa.runs.folder import PACE, RunFolder
from autometa.train.config import EvalConfig, MetaConfig, from_json
from autometa.train.cost import LoopCost

RESERVE = 1.2
"""What the estimated time after a loop is multiplied by, for machines that grow busier."""
LEAST_SHARE = 0.25
"""Of a time budget: what the loop gets even where the rest needs more than is left."""
EVERY = 0.04
"""Of the time left at the start: how long a plan stands at least, and over how long the speed is measured."""
TOLERANCE, LEAST_CHANGE = 0.1, 0.01
"""By how much of the meta-iterations left, or of the time left at the start, a plan may miss what fits."""


@dataclass
class Pace:
    """What was measured before a run with a time budget began.

    left: seconds for the loop of meta-iterations and all after it, where `spent` seconds of loops were done before;
    iteration: of a meta-iteration; after: of what follows the loop; tested: the share of it that the first evaluation
    is; ratio: of an iteration of a rival that trains as long to one of the loop; stretch: whether the numbers of
    meta-iterations and test tasks may be changed; warm: the share of the schedule that is warm-up.
    """

    left: float
    iteration: LoopCost
    after: float
    tested: float = 1.0
    ratio: float = 0.0
    stretch: bool = False
    warm: float = 0.0
    spent: float = 0.0

    def __post_init__(self) -> None:
        self.end = time.monotonic() + self.left

    @classmethod
    def read(cls, folder: RunFolder) -> Pace | None:
        """That of a run to go on with, less what was done since; None where it has none."""
        path = folder.path / PACE
        if not path.exists():
            return None
        found = read_json(path)
        if isinstance(found, dict) and "early" in found:  # of an earlier version, which knew warm-up and the rest
            begins, seconds = [0.0, found.get("warm")], [found.pop("early"), found.pop("late", None)]
            found["iteration"] = {"begins": begins, "seconds": seconds}
        try:
            pace, spent = from_json(cls, found), spent_in(folder)
        except InputError as error:
            raise InputError(
                f"{shown(path)} does not hold a run's pace; remove it to go on without the time budget"
            ) from error
        return replace(pace, left=pace.left - (spent - pace.spent), spent=spent)

    def write(self, folder: RunFolder) -> None:
        """Keep it for a process that goes on."""
        write_json(folder.path / PACE, asdict(self))

    def warmup(self, over: float, count: int) -> int:
        """Of `count` meta-iterations that the schedule has left: those in warm-up."""
        return round(max(0.0, self.warm - over) / (1 - over) * count) if over < 1 else 0


def spent_in(folder: RunFolder) -> float:
    """Seconds that all loops of a run have taken, by their newest checkpoints."""
    found = [checkpoint.load_latest(path) for path in folder.checkpoints.iterdir() if path.is_dir()]
    return sum(one.state.get("session", {}).get("elapsed", 0.0) for one in found if one is not None)


@dataclass
class Pacer:
    """A pace as one process keeps to it.

    group: of the config, whose meta-iterations these are.
    """

    pace: Pace
    folder: RunFolder
    group: str = "meta"
    _marks: deque[tuple[float, float]] = field(default_factory=deque, init=False)
    _speed: float = field(default=1.0, init=False)

    def __post_init__(self) -> None:
        self._begun = self._changed = time.monotonic()
        self._floor = self._begun + LEAST_SHARE * max(self.pace.end - self._begun, 0.0)
        self._marks.append((self._begun, 0.0))

    def left(self, elapsed: float) -> float:
        """Seconds left to a loop that has taken `elapsed`."""
        pace, now = self.pace, time.monotonic()
        after = RESERVE * pace.after * self._speed + pace.ratio * elapsed
        return max((pace.end - now - after) / (1 + pace.ratio), self._floor - now)

    def done(self, over: float) -> None:
        """A meta-iteration is done, before which this share of the schedule was over."""
        pace, now = self.pace, time.monotonic()
        expected = self._marks[-1][1] + pace.iteration.at(over)
        self._marks.append((now, expected))
        window = EVERY * pace.left
        while len(self._marks) > 3 and now - self._marks[1][0] >= window:
            self._marks.popleft()
        begun, before = self._marks[0]
        if now - begun >= window / 2 and expected > before:
            self._speed = (now - begun) / (expected - before)

    def plan(self, step: int, elapsed: float, meta: MetaConfig, warmup: int) -> tuple[MetaConfig, int] | None:
        """Another number of meta-iterations from number `step` on, and how many of them are warm-up; None where those
        planned fit well enough. It is kept in the run's folder."""
        now, left = time.monotonic(), self.left(elapsed)
        planned = meta.iterations - step
        decided = meta.planned[-2] if meta.planned else 0  # a resumed run keeps to what was decided for later
        if not self.pace.stretch or planned < 1 or step <= decided:
            return None
        over = meta.position(step)
        each = self._speed * self.pace.iteration.mean(over)
        fit = max(0, int(left / each))
        missed = max(TOLERANCE * planned, LEAST_CHANGE * self.pace.left / each)
        if left > 0 and (now - self._changed < EVERY * self.pace.left or abs(fit - planned) <= missed):
            return None
        self._changed = now
        made = meta.changed(step, step + fit)
        warmup = warmup if step >= warmup else step + self.pace.warmup(over, fit)
        self._keep({self.group: plain(made), "warmup": warmup})
        return made, warmup

    def stop_testing(self, begun: float, chunks: int) -> bool:
        """Whether another chunk of test tasks would take longer than is left to the first evaluation, of which some
        were done since `begun` (of `time.monotonic`)."""
        now = time.monotonic()
        return self.pace.stretch and (now - begun) / chunks > (self.pace.end - now) * self.pace.tested

    def tested(self, test: EvalConfig, tasks: int) -> EvalConfig:
        """`test` with as many tasks as were done; it is kept in the run's folder."""
        if tasks == test.tasks:
            return test
        made = replace(test, tasks=tasks)
        self._keep({"test": plain(made)})
        return made

    def _keep(self, values: dict) -> None:
        config = self.folder.config
        self.folder.write_config({**config, **{name: value for name, value in values.items() if name in config}})
