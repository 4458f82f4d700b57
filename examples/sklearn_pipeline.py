"""The estimator among scikit-learn's tools: drawn characters from one image of each, in a pipeline, cross-validated.

    pip install '.[sklearn]' && python examples/sklearn_pipeline.py

The network is the one inside the package, meta-trained on Omniglot; it has never seen these characters, which autometa
draws itself: no download.
"""

from __future__ import annotations

import numpy as np
from sklearn.model_selection import StratifiedShuffleSplit, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import autometa
from autometa.data import open_dataset

CLASSES, SHOTS = 5, 1


def drawings() -> tuple[np.ndarray, np.ndarray]:
    """Rows `[n, 784]` of 0 .. 255 and their names: all drawings of five characters of one alphabet."""
    store, split = open_dataset("strokes:6x10x20", size=28)
    ids = split.test[:CLASSES]
    images = np.concatenate([store.images[store.class_start[k] : store.class_start[k + 1]] for k in ids])
    names = np.repeat([store.class_names[k] for k in ids], len(images) // CLASSES)
    return images.reshape(len(images), -1).astype(np.float32), names


def main() -> None:
    images, names = drawings()
    few = StratifiedShuffleSplit(n_splits=6, train_size=CLASSES * SHOTS, test_size=60, random_state=0)
    scaled = FunctionTransformer(lambda rows: rows / 255.0)

    for classifier in (autometa.FewShotClassifier(), KNeighborsClassifier(1)):
        pipeline = make_pipeline(scaled, classifier)
        scores = 100 * cross_val_score(pipeline, images, names, cv=few)
        told = f"{scores.mean():5.1f}% right, from {scores.min():.0f} to {scores.max():.0f} in {len(scores)} draws"
        print(f"{type(classifier).__name__:<21} {told}; {SHOTS} image of each of {CLASSES} classes")

    train, test = next(few.split(images, names))
    taught = make_pipeline(scaled, autometa.FewShotClassifier()).fit(images[train], names[train])
    sure = taught.predict_proba(images[test]).max(axis=1)
    right, surer = taught.predict(images[test]) == names[test], sure >= np.median(sure)
    print(
        f"answers it is surer of: {100 * right[surer].mean():.0f}% right, the others {100 * right[~surer].mean():.0f}%"
    )


if __name__ == "__main__":
    main()
