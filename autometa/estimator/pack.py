"""Make a model small and measure its confidences: `python -m autometa.estimator.pack RUN FOLDER [--by RUN ...]`.

What FOLDER then holds can be given away: `--run FOLDER` and `FewShotClassifier(FOLDER)` begin with it. Confidences are
measured on test classes of the run, or, where it trained on all there are, of the runs named by --by, which are like it
but left some out.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from autometa.data import ImageStore
from autometa.data.images import FITS
from autometa.errors import InputError
from autometa.models.classifier import learn
from autometa.models.compact import keep
from autometa.models.confidence import KEEPS, SORTS, Answers
from autometa.models.find import find_start
from autometa.models.model import Model
from autometa.runs.files import write_json
from autometa.runs.folder import CONFIDENCE, RunFolder
from autometa.train.data_config import WITHIN_GROUP
from autometa.train.tasks import Source


def ask(
    model: Model,
    store: ImageStore,
    classes: np.ndarray,
    *,
    shots: int,
    tasks: int,
    queries: int = 5,
    seed: int = 0,
    ways: int | None = None,
) -> Answers:
    """Teach `tasks` times `ways` of the classes, as many as the model was trained with where None, from `shots` images
    each, and ask about other images of these and about images of as many other classes. Where the run's tasks are
    within a group, so are these, and they have half of the classes of the largest group at most.

    Raises `InputError` where there are too few classes or images.
    """
    starts, counts = store.class_start, np.diff(store.class_start)
    groups, ways = taught_together(model, store, classes, shots + queries, ways)
    if ways < 2 or len(groups[0]) < 2 * ways or int(counts[np.concatenate(groups)].min()) < shots + queries:
        raise InputError(f"{2 * max(ways, 2)} classes of {shots + queries} images are needed to measure confidences")
    rng, rows = np.random.default_rng(seed), {"right": [], "wrong": [], "unknown": []}
    labels = np.repeat(np.arange(ways), shots)
    for _ in range(tasks):
        support, asked = [], []
        own = groups[0] if len(groups) == 1 else groups[rng.integers(len(groups))]
        for c in rng.choice(own, 2 * ways, replace=False):
            images = store.images[starts[c] + rng.permutation(counts[c])[: shots + queries]]
            support.append(images[:shots])
            asked.append(images[shots:])
        taught = learn(model, np.concatenate(support[:ways]), labels, [str(k) for k in range(ways)])
        found = taught.probabilities(np.concatenate(asked)).double().numpy()
        best, confidence = found.argmax(axis=1), found.max(axis=1)
        known = np.arange(len(found)) < ways * queries
        right = known & (best == np.repeat(np.arange(2 * ways), queries))
        for name, chosen in (("right", right), ("wrong", known & ~right), ("unknown", ~known)):
            rows[name].append(confidence[chosen])
    return Answers(**{name: np.concatenate(found) for name, found in rows.items()})


def taught_together(
    model: Model, store: ImageStore, classes: np.ndarray, images: int, ways: int | None = None
) -> tuple[list[np.ndarray], int]:
    """The groups that classes of a task come from, one of all where they come from anywhere; how many are taught."""
    ways, counts, names = ways or model.network.ways, np.diff(store.class_start), np.array(store.groups)
    if model.config.data.tasks != WITHIN_GROUP:
        return [classes], ways
    able = classes[counts[classes] >= images]
    groups = [able[names[able] == name] for name in np.unique(names[able])]
    ways = min(ways, max(map(len, groups), default=0) // 2)
    return [own for own in groups if len(own) >= 2 * ways] or [able], ways


Asked = tuple[Model, ImageStore, np.ndarray]
"""A model, images, and classes of them that it never saw."""


def halves(model: Model, store: ImageStore, classes: np.ndarray) -> tuple[list[Asked], list[Asked]]:
    """The classes in two; groups of classes (alphabets) are not torn apart where there are several."""
    groups = np.array(store.groups)[classes]
    names = np.unique(groups)
    first = np.isin(groups, names[::2]) if len(names) > 1 else np.arange(len(classes)) % 2 == 0
    return [(model, store, classes[first])], [(model, store, classes[~first])]


def measured(first: Sequence[Asked], second: Sequence[Asked], tasks: int, ways: int | None = None) -> dict:
    """What confidence.json says: the threshold found with the first, 1 shot, and what it refuses with the second, with
    the calibration error there; so many tasks of each, of so many classes (`ask`)."""

    def together(asked: Sequence[Asked], shots: int, seed: int) -> Answers:
        parts = [ask(*one, shots=shots, tasks=tasks, seed=seed, ways=ways) for one in asked]
        return Answers(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in SORTS})

    least = round(float(np.quantile(together(first, 1, 0).right, 1 - KEEPS)), 2)
    taught = max(taught_together(*one, images=6, ways=ways)[1] for one in second)
    found = {"min_confidence": least, "keeps": 100 * KEEPS, "ways": taught, "tasks": tasks}
    for shots in (1, 5):
        answers = together(second, shots, 1)
        found[f"{shots}-shot"] = {
            "accuracy": answers.accuracy,
            "refused": answers.refused(least),
            "calibration_error": calibration_error(answers),
        }
    return found


def calibration_error(answers: Answers, bins: int = 10) -> float:
    """Percent by which probability and share of right answers differ, over images of taught classes: the mean over bins
    of equal width, each by its number of answers (Guo et al. 2017, equation 3)."""
    sure = np.concatenate([answers.right, answers.wrong])
    right = np.arange(len(sure)) < len(answers.right)
    place = np.minimum((sure * bins).astype(int), bins - 1)
    apart = [abs(sure[place == k].mean() - right[place == k].mean()) * (place == k).mean() for k in np.unique(place)]
    return 100 * float(sum(apart))


def main(words: Sequence[str] | None = None) -> None:
    """Write FOLDER from RUN."""
    parser = argparse.ArgumentParser(prog="python -m autometa.estimator.pack", description=__doc__)
    parser.add_argument("run", help="folder of a finished run")
    parser.add_argument("folder", help="where the small model goes")
    parser.add_argument("--tasks", type=int, default=200, help="for each measurement of confidences (default: 200)")
    parser.add_argument("--ways", type=int, help="classes that are taught (default: as many as in training)")
    parser.add_argument("--fit", choices=FITS, help="how people's pictures become squares (default: as in training)")
    parser.add_argument("--by", nargs="+", default=[], metavar="RUN", help="runs whose confidences are measured")
    given = parser.parse_args(words)
    run = RunFolder.open(given.run)
    recipe = Model.of(run).recipe
    polarity = "auto" if recipe.polarity == "inverted" else None
    folder = keep(run, Path(given.folder), polarity=polarity, fit=given.fit)
    asked = [unseen(Model.of(RunFolder.open(place))) for place in given.by]
    parts = (asked[::2], asked[1::2]) if len(asked) > 1 else halves(*(asked or [unseen(find_start(folder).model)])[0])
    write_json(folder / CONFIDENCE, measured(*parts, given.tasks, given.ways))


def unseen(model: Model) -> Asked:
    """With the test classes of its data."""
    source = Source.open(model.config.data)
    return model, source.store, np.setdiff1d(source.split.test, source.split.train)


if __name__ == "__main__":
    main()
