"""Alarms of a run: what commonly goes wrong in a search, found from what the metrics hold, and what to do about it.

Alarms are a function of the lines of metrics alone. A resumed run reads those again that its checkpoint kept, and
arrives at the same alarms.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, median
from typing import Any, Protocol

import torch
from torch import Tensor

from autometa.nas.networks.cell_network import KINDS
from autometa.nas.networks.network import Network
from autometa.nas.spaces.cells import INPUT_STATES
from autometa.runs.files import write_json
from autometa.runs.folder import HEALTH, RunFolder
from autometa.train import records
from autometa.train.config import ArchitectureConfig, EvalConfig, InnerConfig, MetaConfig

SKIP = "skip_connect"
Line = Mapping[str, Any]


@dataclass(frozen=True)
class Finding:
    """found: what was seen, with figures; do: what helps."""

    alarm: str
    found: str
    do: str


class Check(Protocol):
    """Looks at lines of metrics in order, until it has found something once."""

    def look(self, step: int, line: Line) -> Finding | None: ...


@dataclass
class ExplodingUpdates:
    """The norm of a meta-update over that of the weights.

    LARGEST 1: a step that is longer than what it changes leaves nothing of it; measured, the presets' largest are
    0.058 (`quick`), 0.051 (`omniglot-small`) and 0.017 (`reptile-omniglot`). GROWTH 10 times the median of the last
    WINDOW lines: schedules let updates shrink, and none of these grew to twice it; FLOOR keeps quiet about growth
    among small ones.
    """

    LARGEST, GROWTH, FLOOR, WINDOW, LEAST = 1.0, 10.0, 0.2, 20, 5

    def __post_init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=self.WINDOW)

    def look(self, step: int, line: Line) -> Finding | None:
        update = line.get("update")
        if update is None:
            return None
        usual = median(self._recent) if len(self._recent) >= self.LEAST else math.inf
        self._recent.append(update)
        if update > self.LARGEST:
            found = f"a meta-update was {update:.3g} times as long as the weights themselves"
        elif update > max(self.FLOOR, self.GROWTH * usual):
            found = f"a meta-update was {update:.3g} of the weights' norm, the usual one {usual:.2g}"
        else:
            return None
        return Finding("exploding-updates", found, "lower inner.lr (by a factor of 3 to 10) or meta.step_size")


@dataclass
class AccuracyAtChance:
    """The share of right answers on the last inner step's batch, before its update, over WINDOW lines.

    answers: that a line is the mean of. Well below chance is below BELOW of it, and by three standard errors, which
    guessing reaches once in a thousand windows. Late is from half of the iterations on; still at chance is less than
    AT of the way from chance to 1: `quick` is beyond a half of it by then. Needs two inner steps: before the first
    one no network knows the labels of a task.
    """

    WINDOW, BELOW, AT = 10, 0.8, 0.1
    ways: int
    answers: int
    iterations: int

    def __post_init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=self.WINDOW)

    def look(self, step: int, line: Line) -> Finding | None:
        if line.get("accuracy") is not None:
            self._recent.append(line["accuracy"])
        if len(self._recent) < self.WINDOW:
            return None
        chance, mean = 1 / self.ways, fmean(self._recent)
        error = math.sqrt(chance * (1 - chance) / (self.WINDOW * self.answers))
        seen = f"{mean:.1%} of answers were right over the last {self.WINDOW} lines, chance is {chance:.1%}"
        if mean < min(self.BELOW * chance, chance - 3 * error):
            do = "worse than guessing points to labels that do not belong to their images: check the data"
            return Finding("accuracy-below-chance", seen, do + "; else lower inner.lr")
        if step >= self.iterations / 2 and mean < chance + max(self.AT * (1 - chance), 3 * error):
            do = "the network does not learn within a task: try another inner.lr (3 times as much, a third), more "
            return Finding("accuracy-at-chance", f"{seen}, after half of the run", do + "inner.steps or a larger batch")
        return None


@dataclass
class SkipCollapse:
    """The share of skip connections among the strongest ops of a cell's edges, of the meta-learned architecture.

    DARTS is known to end there (Zela et al. 2020; DARTS+ stops a search at two of a cell's eight edges). Alarm is
    given beyond the middle between what chance gives, 1 / primitives, and all; an edge counts where skip has
    DECISIVE times its even share, since before that the strongest op is noise.
    """

    DECISIVE = 1.5
    primitives: Sequence[str]

    def look(self, step: int, line: Line) -> Finding | None:
        if SKIP not in self.primitives:
            return None
        skip, count = list(self.primitives).index(SKIP), len(self.primitives)
        for kind, edges in line["ops"].items():
            own = sum(ops[skip] == max(ops) and ops[skip] >= self.DECISIVE / count for ops in edges)
            if own / len(edges) > middle(count):
                found = f"skip connections lead on {own} of {len(edges)} edges of the {kind} cell"
                return Finding("skip-collapse", found, LESS_SKIP)
        return None


LESS_SKIP = "lower arch_lr or arch_step_size, lengthen warmup, or search without skip_connect (primitives)"


def middle(primitives: int) -> float:
    """Halfway between an op's share by chance and all."""
    return (1 + 1 / primitives) / 2


def skips_of_tasks(genotypes: Tensor, ops: Tensor, primitives: Sequence[str]) -> Finding | None:
    """The same of the cells that tasks adapted to: genotypes int64 `[tasks, kind, node, input, (op, state)]`, op shares
    `[tasks, kind, edges, primitives]`."""
    if SKIP not in primitives:
        return None
    skip, nodes = list(primitives).index(SKIP), torch.arange(genotypes.shape[2], device="cpu")
    first = nodes * INPUT_STATES + nodes * (nodes - 1) // 2  # a node has as many edges as states before it
    edge = (first[:, None] + genotypes[..., 1]).flatten(2)
    decisive = ops[..., skip].gather(2, edge) >= SkipCollapse.DECISIVE / len(primitives)
    shares = (decisive & (genotypes[..., 0].flatten(2) == skip)).double().mean(dim=(0, 2)).tolist()
    for kind, share in zip(KINDS, shares, strict=True):
        if share > middle(len(primitives)):
            found = f"{share:.0%} of the ops in the {kind} cells of {len(genotypes)} test tasks are skip connections"
            return Finding("skip-collapse", found, LESS_SKIP)
    return None


@dataclass
class OpWeightsStill:
    """How far the op shares of the meta-learned architecture have come since the end of warm-up, and from each other.

    Looked at once, when half of the iterations after warm-up are done and at least LEAST of them: an op whose share
    has moved by less than MOVED of its even share by then will not become the strongest one for a reason. Then, with
    at least LONG iterations done: an architecture whose edges' strongest ops have, on average, less than LEADS times
    the even share has not chosen. `omniglot-small` with `--arch_lr 0.01 --warmup 450` and temperatures down to 0.05 has
    1.09 times at half and 1.11 at the end (shares of 0.09 to 0.19, even 0.143); with 0.1 and 300 it ends at 1.75 times.
    """

    MOVED, LEADS, LEAST, LONG = 0.05, 1.15, 20, 60
    warmup: int
    iterations: int

    def __post_init__(self) -> None:
        self._start: Line | None = None

    def look(self, step: int, line: Line) -> Finding | None:
        if self._start is None or step < self.warmup:
            self._start = line
            return None
        done = step + 1 - self.warmup
        if done < max(self.LEAST, (self.iterations - self.warmup) / 2):
            return None
        moved = max(_farthest(now, self._start["ops"][kind]) for kind, now in line["ops"].items())
        edges = [edge for kind in line["ops"] for edge in line["ops"][kind]]
        even, leading = 1 / len(edges[0]), fmean(max(edge) for edge in edges)
        if moved < self.MOVED * even:
            found = f"in {done} iterations no op share moved by more than {moved:.2g}"
        elif done >= self.LONG and leading < self.LEADS * even:
            lowest, highest = min(map(min, edges)), max(map(max, edges))
            found = (
                f"after {done} iterations op shares lie between {lowest:.2g} and {highest:.2g} of an even {even:.2g}, "
                f"the largest of an edge at {leading:.2g} on average"
            )
        else:
            return None
        sharp = " and ".join(f"{line['entropy'][kind]:.2%} ({kind})" for kind in line["entropy"])
        return Finding("op-weights-still", f"{found}; their entropy is {sharp} of its most", STILL)


STILL = "raise arch_lr (5 to 10 times) or arch_step_size, or train longer after a shorter warmup"


def _farthest(now: Sequence[Sequence[float]], before: Sequence[Sequence[float]]) -> float:
    pairs = zip(now, before, strict=True)
    return max(abs(a - b) for one, other in pairs for a, b in zip(one, other, strict=True))


FEW = 8
"""Values per channel from which a BN must not estimate a variance: its standard error is over sqrt(2 / 7), a half."""


def small_batches(
    network: Network, inner: InnerConfig, test: EvalConfig, inner_group: str = "inner", test_group: str = "test"
) -> Finding | None:
    """Batches that leave a BN fewer than `FEW` values per channel and slot, at the smallest feature map.

    inner_group, test_group: the names of these settings.
    """
    height, width = network.smallest_map
    sizes = {f"{inner_group}.batch": inner.batch, f"{test_group}.batch": test.batch}
    sizes["support"] = inner.ways * test.shots
    name, images = min(sizes.items(), key=lambda item: item[1])
    if images * height * width >= FEW:
        return None
    what, values = f"{name} {images}", images * height * width
    if name == "support":
        what, name = f"a support set of {images} images", f"{test_group}.shots or {inner_group}.ways"
    left = f"{values} value{'s' * (values > 1)} per channel"
    found = f"{what} leaves a BN {left} at the smallest feature map, {height} x {width}"
    return Finding("small-bn-batches", found, f"raise {name}, or take larger images or fewer reductions")


def only_warmup(config: ArchitectureConfig) -> Finding | None:
    """A search whose architecture never trains."""
    if config.meta.iterations == 0 or config.warmup < config.meta.iterations:
        return None
    found = f"all {config.meta.iterations} iterations are warm-up, in which op weights stand still"
    return Finding("op-weights-still", found, "lower warmup (the presets take a tenth to half of meta.iterations)")


def of_training(inner: InnerConfig, meta: MetaConfig) -> list[Check]:
    """What looks at the metrics of meta-training."""
    checks: list[Check] = [ExplodingUpdates()]
    if inner.steps > 1:
        checks.append(AccuracyAtChance(inner.ways, meta.batch * inner.batch, meta.iterations))
    return checks


def of_architecture(config: ArchitectureConfig) -> list[Check]:
    """What looks at the series of the architecture."""
    return [SkipCollapse(config.primitives), OpWeightsStill(config.warmup, config.meta.iterations)]


class Health:
    """health.json of a run: alarms in order of appearance, each once, told when they are new.

    notice: receives the sentence of an alarm.
    """

    def __init__(self, folder: RunFolder, notice: Callable[[str], None]) -> None:
        self._path, self.notice = folder.path / HEALTH, notice
        self.alarms: list[dict] = []
        self._before = records.read(folder, HEALTH, [])

    def tell(self, phase: str, step: int, finding: Finding | None) -> None:
        """Record an alarm that this run has not given yet; one that it gave before it was cut off is not told again."""
        if finding is None or any(known["alarm"] == finding.alarm for known in self.alarms):
            return
        about = asdict(finding)
        entry = {"alarm": about.pop("alarm"), "step": step, "phase": phase, **about}
        self.alarms.append(entry)
        if entry not in self._before:
            self.finish()
            self.notice(f"alarm, {finding.alarm} ({phase}, step {step}): {finding.found}; {finding.do}")

    def finish(self) -> None:
        """Write all alarms so far, none too."""
        write_json(self._path, self.alarms)


@dataclass
class Monitor:
    """A phase's checks of its metrics and of the architecture's series, each until it has found something."""

    health: Health
    phase: str
    checks: Sequence[Check] = ()
    of_series: Sequence[Check] = ()

    def line(self, step: int, line: Line) -> None:
        self.checks = self._after(self.checks, step, line)

    def series(self, step: int, line: Line) -> None:
        self.of_series = self._after(self.of_series, step, line)

    def _after(self, checks: Sequence[Check], step: int, line: Line) -> list[Check]:
        left = []
        for check in checks:
            finding = check.look(step, line)
            self.health.tell(self.phase, step, finding)
            if finding is None:
                left.append(check)
        return left

    def replan(self, iterations: int, warmup: int) -> None:
        """Another number of meta-iterations from now on, of which `warmup` are warm-up."""
        for check in (*self.checks, *self.of_series):
            for name, value in (("iterations", iterations), ("warmup", warmup)):
                if hasattr(check, name):
                    setattr(check, name, value)

    def replay(self, lines: Iterable[Line], series: Iterable[Line]) -> None:
        """Look again at what was written before a resumption, in the order in which it was."""
        both = [(line["step"], 0, line) for line in lines] + [(line["step"], 1, line) for line in series]
        for step, late, line in sorted(both, key=lambda item: item[:2]):
            self.series(step, line) if late else self.line(step, line)
