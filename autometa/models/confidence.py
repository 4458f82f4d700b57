"""How sure a network is of classes that it was taught, and of others: the threshold of `--min-confidence calibrated`.

Measured at the end of every run, on classes that it never trained on: a network is taught some of them and asked about
other images of these and about images of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autometa.data import Episodes, TaskSpec
from autometa.meta.bn_modes import query_logits
from autometa.nas.networks.network import Network
from autometa.runs.files import write_json
from autometa.runs.folder import CONFIDENCE, RunFolder
from autometa.runs.session import Session
from autometa.runs.tensors import check_tensor
from autometa.train.learned import Learned
from autometa.train.run_config import RunConfig
from autometa.train.tasks import Source, TestTasks, chunks

KEEPS = 0.9
"""Share of the right answers that the measured threshold keeps."""
TASKS, FOLDS, QUERIES = 40, 4, 5
"""Tasks for each number of shots, no more than the run's own test has; ways to divide the classes into those that are
taught and those that are not; images asked about for each class."""
SHOTS = (1, 5)
SORTS = ("right", "wrong", "unknown")
PHASE = "confidence"


@dataclass(frozen=True)
class Answers:
    """Probabilities of the best class, float64: of right answers, of wrong ones, and of images of no taught class."""

    right: np.ndarray
    wrong: np.ndarray
    unknown: np.ndarray

    @property
    def accuracy(self) -> float:
        """Percent of the images of taught classes, nothing refused."""
        return 100 * len(self.right) / (len(self.right) + len(self.wrong))

    def refused(self, least: float) -> dict[str, float]:
        """Percent refused below a probability, by sort."""
        found = {sort: getattr(self, sort) for sort in SORTS}
        return {sort: 100 * float((sure < least).mean()) if len(sure) else 0.0 for sort, sure in found.items()}


@dataclass(frozen=True)
class Part:
    """A piece of the work: tasks start .. stop - 1 of `shots` shots, with classes divided as of `fold`."""

    shots: int
    fold: int
    start: int
    stop: int


@dataclass(frozen=True)
class Asking:
    """Who is asked: a network with what it learned, and the images."""

    network: Network
    learned: Learned
    source: Source
    config: RunConfig

    @property
    def unseen(self) -> np.ndarray:
        """Class ids that training never saw: the test classes, and the validation classes where they did not train."""
        split = self.source.split
        train = split.without_val().train if self.config.test.part == "val" else split.train
        return np.setdiff1d(np.union1d(split.test, split.val), train)

    @property
    def rotations(self) -> int:
        return self.source.split.test_rotations

    def refusal(self) -> str | None:
        """Why nothing can be measured; None where it can."""
        ways, classes = self.network.ways, self.unseen
        if (len(classes) - len(classes) // 2) * self.rotations < ways or len(classes) < 3:
            return (
                f"{len(classes)} classes that training never saw are too few to be taught {ways} and asked about others"
            )
        if int(np.diff(self.source.store.class_start)[classes].min()) < 2:
            return "a class that training never saw has one image, two are needed"
        return None

    def parts(self) -> list[Part]:
        """All work, in order."""
        fewest = int(np.diff(self.source.store.class_start)[self.unseen].min())
        tasks = min(TASKS, self.config.test.tasks)
        each = -(-tasks // FOLDS)
        made = []
        for shots in (s for s in SHOTS if fewest > s):
            for fold in range(min(FOLDS, tasks)):
                made += [Part(shots, fold, a, b) for a, b in chunks(each, self.config.test.max_slots)]
        return made

    def answers(self, part: Part) -> dict[str, Tensor]:
        """Of each task `[T, images]`: the probability of the best class float32, and whether it is right int8, -1 for
        images of classes not taught."""
        test, config, ways = self.config.test, self.config, self.network.ways
        classes = self.unseen[np.random.default_rng([test.seed, part.fold]).permutation(len(self.unseen))]
        half = len(classes) // 2
        fewest = int(np.diff(self.source.store.class_start)[classes].min())
        queries, shots = min(QUERIES, fewest - part.shots), part.shots
        taught = self._episodes(np.sort(classes[half:]), TaskSpec(ways, shots, queries, self.rotations))
        others = min(ways, half * self.rotations)
        strange = self._episodes(np.sort(classes[:half]), TaskSpec(others, queries, 0, self.rotations))
        mode = test.batch_mode or config.inner.batch_mode
        first = part.fold << 20  # other tasks in each fold
        start, stop = first + part.start, first + part.stop
        tasks = TestTasks.draw(taught, start, stop, min(test.batch, ways * shots), config.adaptation_steps, mode)
        phi = config.adapt(self.network, self.learned, tasks.batches, stop - start)
        unknown, _ = strange.support(strange.tasks(torch.arange(start, stop, device="cpu")))
        model = config.classifier(self.network)
        asked = torch.cat([tasks.queries, unknown], dim=1)
        logits = query_logits(model, phi, tasks.support, asked, "support_statistics")
        sure, said = logits.float().softmax(dim=-1).nan_to_num(0.0).max(dim=-1)
        right = torch.full_like(said, -1, dtype=torch.int8)
        right[:, : tasks.labels.shape[1]] = said[:, : tasks.labels.shape[1]] == tasks.labels
        return {"sure": sure.cpu(), "right": right.cpu()}

    def _episodes(self, classes: np.ndarray, spec: TaskSpec) -> Episodes:
        source = self.source
        return Episodes(source.store, classes, spec, self.config.test.seed, device=source.device, images=source.images)


def answers_of(tensors: Mapping[str, Tensor]) -> Answers:
    """Of what `Asking.answers` gave."""
    sure, right = tensors["sure"].double().numpy().ravel(), tensors["right"].numpy().ravel()
    return Answers(sure[right == 1], sure[right == 0], sure[right < 0])


Sessions = Callable[[RunFolder, Callable, Callable, str], Session]


def measure(asking: Asking, folder: RunFolder, session: Sessions) -> dict[str, Any]:
    """What confidence.json says, which is written: the threshold found with one half of the 1-shot tasks, and percent
    refused below it in the others and at 5 shots; or `unmeasured`, a sentence that says why there is none.

    session: opens one of the run, so that a killed measurement goes on behind its last part.
    """
    why = asking.refusal()
    found = {"unmeasured": why} if why is not None else _told(asking, _asked(asking, folder, session))
    write_json(folder.path / CONFIDENCE, found)
    return found


def _asked(asking: Asking, folder: RunFolder, session: Sessions) -> list[dict[str, Tensor]]:
    """The answers of all parts."""
    kept: list[dict[str, Tensor]] = []

    def capture() -> tuple[dict[str, Tensor], dict]:
        return {f"{name}.{n}": value for n, part in enumerate(kept) for name, value in part.items()}, {}

    def restore(tensors: dict[str, Tensor], state: dict) -> None:
        found = [{name: tensors.get(f"{name}.{n}") for name in ("sure", "right")} for n in range(len(tensors) // 2)]
        for row in found:
            sure = check_tensor("sure", row["sure"], torch.float32, (None, None))
            check_tensor("right", row["right"], torch.int8, tuple(sure.shape))
        kept[:] = found

    parts = asking.parts()
    with session(folder, capture, restore, PHASE) as running:
        for n in running.steps(len(parts)):
            kept.append(asking.answers(parts[n]))
            running.log(n, shots=parts[n].shots, accuracy=answers_of(kept[-1]).accuracy / 100)
    return kept


def _told(asking: Asking, kept: list[dict[str, Tensor]]) -> dict[str, Any]:
    parts = asking.parts()

    def joined(chosen: Callable[[Part], bool]) -> Answers:
        rows = [answers_of(tensors) for part, tensors in zip(parts, kept, strict=True) if chosen(part)]
        return Answers(*(np.concatenate([getattr(row, sort) for row in rows]) for sort in SORTS))

    one = any(part.fold % 2 for part in parts)
    chosen = joined(lambda part: part.shots == SHOTS[0] and part.fold % 2 == 0)
    if not len(chosen.right):
        return {"unmeasured": "no answer was right, so no probability tells right answers from others"}
    least = round(float(np.quantile(chosen.right, 1 - KEEPS)), 2)
    tasks = sum(part.stop - part.start for part in parts if part.shots == SHOTS[0])
    found: dict[str, Any] = {"min_confidence": least, "keeps": 100 * KEEPS, "ways": asking.network.ways, "tasks": tasks}
    found |= {"classes": len(asking.unseen), "turned": asking.rotations > 1}
    for shots in sorted({part.shots for part in parts}):
        answers = joined(lambda part, s=shots: part.shots == s and (part.fold % 2 == 1 or s != SHOTS[0] or not one))
        found[f"{shots}-shot"] = {"accuracy": answers.accuracy, "refused": answers.refused(least)}
    return found
