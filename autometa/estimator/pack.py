"""Make a model small and measure its confidences: `python -m autometa.estimator.pack RUN FOLDER`.

What FOLDER then holds can be given away: `--run FOLDER` and `FewShotClassifier(FOLDER)` begin with it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from autometa.data import ImageStore
from autometa.errors import InputError
from autometa.models.classifier import learn
from autometa.models.compact import keep
from autometa.models.confidence import KEEPS, Answers
from autometa.models.find import find_start
from autometa.models.model import Model
from autometa.runs.files import write_json
from autometa.runs.folder import CONFIDENCE, RunFolder
from autometa.train.tasks import Source


def ask(
    model: Model, store: ImageStore, classes: np.ndarray, *, shots: int, tasks: int, queries: int = 5, seed: int = 0
) -> Answers:
    """Teach `tasks` times as many of the classes as the model was trained with, from `shots` images each, and ask about
    other images of these and about images of as many other classes.

    Raises `InputError` where there are too few classes or images.
    """
    ways, starts, counts = model.network.ways, store.class_start, np.diff(store.class_start)
    if len(classes) < 2 * ways or int(counts[classes].min()) < shots + queries:
        raise InputError(f"{2 * ways} classes of {shots + queries} images are needed to measure confidences")
    rng, rows = np.random.default_rng(seed), {"right": [], "wrong": [], "unknown": []}
    labels = np.repeat(np.arange(ways), shots)
    for _ in range(tasks):
        support, asked = [], []
        for c in rng.choice(classes, 2 * ways, replace=False):
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


def measured(model: Model, store: ImageStore, classes: np.ndarray, tasks: int) -> dict:
    """What confidence.json says: the threshold found with one half of the classes, 1 shot, and what it refuses with the
    other half; groups of classes (alphabets) are not torn apart where there are several."""
    groups = np.array(store.groups)[classes]
    names = np.unique(groups)
    first = np.isin(groups, names[::2]) if len(names) > 1 else np.arange(len(classes)) % 2 == 0
    least = float(np.quantile(ask(model, store, classes[first], shots=1, tasks=tasks).right, 1 - KEEPS))
    least = round(least, 2)
    found = {"min_confidence": least, "keeps": 100 * KEEPS, "ways": model.network.ways, "tasks": tasks}
    for shots in (1, 5):
        answers = ask(model, store, classes[~first], shots=shots, tasks=tasks, seed=1)
        found[f"{shots}-shot"] = {"accuracy": answers.accuracy, "refused": answers.refused(least)}
    return found


def main(words: Sequence[str] | None = None) -> None:
    """Write FOLDER from RUN."""
    parser = argparse.ArgumentParser(prog="python -m autometa.estimator.pack", description=__doc__)
    parser.add_argument("run", help="folder of a finished run")
    parser.add_argument("folder", help="where the small model goes")
    parser.add_argument("--tasks", type=int, default=200, help="for each measurement of confidences (default: 200)")
    given = parser.parse_args(words)
    run = RunFolder.open(given.run)
    recipe = Model.of(run).recipe
    folder = keep(run, Path(given.folder), polarity="auto" if recipe.polarity == "inverted" else None)
    model = find_start(folder).model
    source = Source.open(model.config.data)
    write_json(folder / CONFIDENCE, measured(model, source.store, source.split.test, given.tasks))


if __name__ == "__main__":
    main()
