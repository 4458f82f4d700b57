"""Meters that a network never saw, in four folds: accuracy at one and five pictures of each digit.

    python -m benchmarks.meters [--out runs/meters] [--folds 0 1 2 3] [--draws 10] [--forms] [--set filters=32 ...]

Each fold (`autometa.data.meters.FOLDS`) is left out once: the preset `meters` is trained on the twelve others, if its
run is not in the folder yet. A task is all digits that a meter has: min(k, n - 2) pictures of each are taught, drawn
anew each time, and all the rest asked, as `predict` answers. Means over draws, then meters. --forms: the exports in C
with prototypes, too.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import autometa
from autometa.data import ImageStore
from autometa.data.meters import FOLDS
from autometa.export.c.project import WEIGHTS, Device
from autometa.models.classifier import learn
from autometa.models.model import Model
from autometa.runs.folder import RunFolder
from autometa.train.frozen import training_pictures
from autometa.train.tasks import Source
from benchmarks.meter_on_device import divided, nearest_pixels

SHOTS = (1, 5)


def trained(fold: int, folder: Path, settings: dict[str, str]) -> Path:
    """The run of a fold, made where it is not there."""
    place = folder / f"fold-{fold}"
    if not (place / "result.json").exists():
        settings = {"data.name": f"meters:{fold}", **settings}
        autometa.train(preset="meters", settings=settings, out=place, quiet=True)
    return place


def pictures_of(store: ImageStore, meter: str) -> tuple[Tensor, Tensor]:
    """Pictures of a meter, uint8 `[n, C, H, W]`, and their labels, numbers of its digits."""
    classes = [c for c, group in enumerate(store.groups) if group == meter]
    images = [store.images[store.class_start[c] : store.class_start[c + 1]] for c in classes]
    labels = np.repeat(np.arange(len(classes)), [len(own) for own in images])
    return torch.from_numpy(np.concatenate(images)), torch.from_numpy(labels)


def asked(model: Model, forms: dict[str, Device], meter: tuple[Tensor, Tensor], shots: int, draws: int) -> dict:
    """Percent right of each form, over draws."""
    (images, labels), random, right = meter, np.random.default_rng(shots), {}
    names = [str(k) for k in range(int(labels.max()) + 1)]
    for _ in range(draws):
        taught, others = divided(labels, random, shots)
        task = (images[taught], labels[taught], images[others])
        said = {"predict": learn(model, *task[:2], names).probabilities(task[2]).argmax(dim=1)}
        said |= {f"C, {form}": device.answer(*task).argmax(dim=1) for form, device in forms.items()}
        said["nearest pixels"] = nearest_pixels(*task)
        for name, answers in said.items():
            right.setdefault(name, []).append(100 * float((answers == labels[others]).double().mean()))
    return {name: float(np.mean(shares)) for name, shares in right.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/meters"))
    parser.add_argument("--folds", type=int, nargs="*", default=list(range(len(FOLDS))))
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--forms", action="store_true")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows: dict[tuple[int, str], dict[str, float]] = {}
    for fold in given.folds:
        model = Model.of(RunFolder.open(trained(fold, given.out, dict(one.split("=", 1) for one in given.set))))
        source, forms = Source.open(model.config.data), {}
        if given.forms:
            seen = training_pictures(model.config, source)
            forms = {weights: Device.of("meter", model, seen, "prototypes", weights) for weights in WEIGHTS}
        for meter in FOLDS[fold]:
            for shots in SHOTS:
                found = asked(model, forms, pictures_of(source.store, meter), shots, given.draws)
                rows[shots, meter] = found
                told = ", ".join(f"{name} {share:.1f}" for name, share in found.items())
                print(f"fold {fold}, {meter}, {shots}: {told}", flush=True)
    for shots in SHOTS:
        own = [found for (k, _), found in rows.items() if k == shots]
        means = ", ".join(f"{name} {np.mean([found[name] for found in own]):.1f}" for name in own[0])
        print(f"{shots} pictures of each digit, {len(own)} meters: {means}")


if __name__ == "__main__":
    main()
