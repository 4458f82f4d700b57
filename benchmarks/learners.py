"""Meta-learners on one network and one data set, at equal images: accuracy on unseen characters, and on digits.

    python -m benchmarks.learners [reptile fomaml ...] [--iterations 400] [--seeds 1] [--tasks 200] [--digits 40]

Every learner sees 250 images in a meta-iteration of five 5-way tasks of Omniglot's background characters. Then 5-way
1-shot tasks of the evaluation characters, in the three BN modes, and 10-way 2-shot tasks of `load_digits`, the same for
all, 20 queries for each class, beside the nearest class mean of their pixels. Rates are those of the papers or presets
(below), tuned for none. What is trained already in the folder (`--out`) is not trained again.
"""

from __future__ import annotations

import argparse
import math
import warnings
from pathlib import Path

import numpy as np

import autometa
from autometa.estimator import FewShotClassifier
from autometa.meta.bn_modes import MODES
from autometa.runs.folder import RunFolder

ALL = {
    "network": "reptile-omniglot",
    "data.name": "omniglot:background",
    "data.variant": "ink",
    "inner.ways": 5,
    "meta.batch": 5,
    "test.queries": 5,
    "test.batch": 5,
}
GRADIENTS = {"inner.shots": 1, "inner.batch": 5, "inner.steps": 5, "inner.queries": 5, "meta.step_size": 1e-3}
ONE_LOOK = {"inner.shots": 1, "inner.queries": 9, "meta.step_size": 1e-3}
LEARNERS = {
    # the model inside the package: Adam inside, 50 steps at a test
    "reptile": {"inner.shots": 10, "inner.batch": 10, "inner.steps": 5, "inner.lr": 3e-3, "test.steps": 50},
    # Finn et al. 2017, Omniglot: gradient descent at 0.4, an outer Adam at 1e-3
    "fomaml": {**GRADIENTS, "inner.lr": 0.4, "test.steps": 5},
    # Antoniou et al. 2019: the same, with a cosine
    "maml-plus-plus": {**GRADIENTS, "inner.lr": 0.4, "meta.schedule": "cosine", "test.steps": 5},
    "unicorn": {**GRADIENTS, "inner.lr": 0.4, "test.steps": 5},
    "proto-maml": {**GRADIENTS, "inner.lr": 0.1, "test.steps": 5},
    # Snell et al. 2017, Vinyals et al. 2016: Adam at 1e-3
    "protonet": ONE_LOOK,
    "matching": ONE_LOOK,
}


def trained(name: str, seed: int, iterations: int, tasks: int, folder: Path) -> dict:
    """What the run of `train` in the folder found."""
    place = folder / f"{name}-{iterations}-{seed}"
    settings = {**ALL, **LEARNERS[name], "learner": name, "seed": seed, "test.tasks": tasks}
    settings |= {"meta.iterations": iterations}
    if not (place / "result.json").exists():
        autometa.train("reptile-omniglot", settings=settings, out=place, quiet=True)
    return RunFolder.open(place).result


def digit_tasks(count: int):
    """Support and queries of 10-way 2-shot tasks: images `[n, 8, 8]` and labels."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8) / 16
    for task in range(count):
        order = np.random.default_rng(task).permutation(len(labels))
        of_class = [order[labels[order] == k] for k in range(10)]
        chosen = (np.concatenate([own[part] for own in of_class]) for part in (slice(2), slice(2, 22)))
        yield tuple(part for rows in chosen for part in (images[rows], labels[rows]))


def class_means(images, labels, queries, answers) -> float:
    """Share of right answers of the nearest class mean of the pixels."""
    means = np.stack([images[labels == k].mean(axis=0).ravel() for k in range(10)])
    distance = ((queries.reshape(len(queries), 1, -1) - means) ** 2).sum(axis=2)
    return float((distance.argmin(axis=1) == answers).mean())


def told(shares) -> str:
    """Mean and 95% interval over tasks, percent."""
    values = 100 * np.asarray(shares)
    return f"{values.mean():.1f} ± {1.96 * values.std(ddof=1) / math.sqrt(len(values)):.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("learners", nargs="*", default=list(LEARNERS))
    parser.add_argument("--iterations", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--tasks", type=int, default=200)
    parser.add_argument("--digits", type=int, default=40)
    parser.add_argument("--out", type=Path, default=Path("runs/learners"))
    given = parser.parse_args()
    warnings.simplefilter("ignore")  # of rows for more classes than a last layer was trained with
    digits = list(digit_tasks(given.digits))
    print(f"digits, nearest class mean of pixels: {told([class_means(*task) for task in digits])}")
    for name in given.learners:
        for seed in range(given.seeds):
            result = trained(name, seed, given.iterations, given.tasks, given.out)
            model = given.out / f"{name}-{given.iterations}-{seed}"
            found = [FewShotClassifier(str(model)).fit(a, b).score(c, d) for a, b, c, d in digits]
            row = "  ".join("{mean:.1f} ± {ci95:.1f}".format(**result["scores"][mode]) for mode in MODES)
            took = "{train:.0f} + {test:.0f} s".format(**result["seconds"])
            print(f"{name} seed {seed}: {row}  digits {told(found)}  {took}", flush=True)


if __name__ == "__main__":
    main()
