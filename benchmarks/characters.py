"""Characters that a network never saw: twenty of one alphabet by one picture each, and scanned digits.

    python -m benchmarks.characters [characters omniglot-5way RUN ...] [--tasks 400] [--digits 40] [--ways 20]

Alphabets: tasks of Omniglot's 20 evaluation alphabets in turn, `--ways` of an alphabet's characters, one picture each
by one drawer taught, one by another drawer asked (the task of Lake et al. 2015, with characters and drawers drawn at
random instead of their twenty fixed ones). Digits: 10-way 2-shot tasks of `sklearn.datasets.load_digits`, 20 queries
for each class, 8x8 pixels. Both as `FewShotClassifier` answers, beside the nearest class means of pixels and of
histograms of gradients on the same tasks. Names are of models inside the package, of runs or of their folders.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator

import numpy as np

from autometa.data.omniglot import DRAWINGS, open_omniglot
from autometa.estimator import FewShotClassifier
from autometa.train.baselines import FEATURES, nearest_means
from benchmarks.learners import digit_tasks, told

Task = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Pictures and labels that are taught, pictures that are asked and their labels."""


def alphabet_tasks(count: int, ways: int, size: int = 105) -> Iterator[Task]:
    """Tasks within evaluation alphabets, black ink on white, uint8 `[n, size, size]`."""
    store = open_omniglot(size)
    alphabets: dict[str, list[int]] = {}
    for number, (group, part) in enumerate(zip(store.groups, store.parts, strict=True)):
        if part == "evaluation":
            alphabets.setdefault(group, []).append(number)
    groups, labels = list(alphabets.values()), np.arange(ways)
    for task in range(count):
        random = np.random.default_rng(task)
        chosen = store.class_start[random.permutation(groups[task % len(groups)])[:ways]]
        taught, asked = random.permutation(DRAWINGS)[:2]
        yield 255 - store.images[chosen + taught, 0], labels, 255 - store.images[chosen + asked, 0], labels


def by_means(features: str, task: Task) -> float:
    """Share of right answers of the nearest class mean."""
    images, labels, queries, answers = task
    top = 255 if images.dtype == np.uint8 else 1
    found = [FEATURES[features](pictures[:, None] / top) for pictures in (images, queries)]
    order = np.argsort(labels, kind="stable")
    return float((nearest_means(found[0][None, order], found[1][None], labels.max() + 1)[0] == answers).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["characters", "omniglot-5way"])
    parser.add_argument("--tasks", type=int, default=400)
    parser.add_argument("--digits", type=int, default=40)
    parser.add_argument("--ways", type=int, default=20)
    given = parser.parse_args()
    warnings.simplefilter("ignore")  # of rows for more classes than a last layer was trained with
    sets = {"alphabets": list(alphabet_tasks(given.tasks, given.ways)), "digits": list(digit_tasks(given.digits))}
    for name, tasks in sets.items():
        for features in ("pixels", "gradients"):
            print(f"{name}, nearest class mean of {features}: {told([by_means(features, task) for task in tasks])}")
    for model in given.models:
        for name, tasks in sets.items():
            found = [FewShotClassifier(model).fit(a, b).score(c, d) for a, b, c, d in tasks]
            print(f"{name}, {model}: {told(found)}", flush=True)


if __name__ == "__main__":
    main()
