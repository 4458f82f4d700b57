"""A search's commonest cell among random hard-pruned cells of its space, of equal weights and equal training.

    python -m benchmarks.cell_among_random runs/NAME [--cells 20] [--iterations 500] [--tasks 150] [--workers 2]

Each cell is trained alone by `autometa train` with channels, cells, data and inner loop of the search, by one thread;
what is done already in the folder (`--out`, or one in that of the run) is not done again.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import repeat
from pathlib import Path

import torch

import autometa
from autometa.algorithms.metanas import MetaNASConfig
from autometa.data import open_dataset
from autometa.meta.bn_modes import MODES
from autometa.nas.networks.discrete import DiscreteNetwork
from autometa.nas.relax.soft_pruning import pairs
from autometa.nas.spaces.cells import INPUT_STATES
from autometa.nas.spaces.draws import Draws
from autometa.nas.spaces.genotype import CellGenotype, Genotype
from autometa.runs.migrate import migrated
from autometa.train.config import from_json

WITHIN = 0.1
"""Of the commonest cell's weights: how far a random cell's may be off."""


def drawn(nodes: int, primitives: tuple[str, ...], draws: Draws) -> Genotype:
    """A cell of each kind: on every node a pair of inputs, on each of them an op, all as likely."""

    def cell() -> CellGenotype:
        made = []
        for inputs in range(INPUT_STATES, INPUT_STATES + nodes):
            chosen = pairs(inputs)[draws.below(len(pairs(inputs)))]
            made.append(tuple((primitives[draws.below(len(primitives))], state) for state in chosen))
        return CellGenotype(tuple(made), tuple(range(INPUT_STATES, INPUT_STATES + nodes)))

    return Genotype(cell(), cell())


def alike(config: MetaNASConfig, genotype: Genotype, count: int, image_shape: tuple[int, int, int]) -> list[Genotype]:
    """`count` random cells whose networks have about as many weights as that of `genotype`."""

    def weights(cell: Genotype) -> int:
        return DiscreteNetwork(
            genotype=cell,
            channels=config.channels,
            ways=config.inner.ways,
            image_shape=image_shape,
            cells=config.cells,
            reductions=tuple(config.reductions),
            stem_stride=config.stem_stride,
        ).layout.count()

    wanted, found, number = weights(genotype), [], 0
    while len(found) < count:
        cell = drawn(config.nodes, config.primitives, Draws(config.seed, number))
        number += 1
        if abs(weights(cell) - wanted) <= WITHIN * wanted and cell not in found:
            found.append(cell)
    return found


def trained(config: MetaNASConfig, genotype: Genotype, out: Path, iterations: int, tasks: int) -> dict:
    """The result of one cell's training."""
    if (out / "result.json").exists():
        return json.loads((out / "result.json").read_text())
    path = out.with_suffix(".json")
    path.write_text(json.dumps(genotype.to_json()))
    inner, test = config.inner, config.test
    settings = {
        "network": str(path),
        "filters": config.channels,
        "cells": config.cells,
        "reductions": list(config.reductions),
        "stem_stride": config.stem_stride,
        "data.name": config.data.name,
        "data.image_size": config.data.image_size,
        "data.variant": config.data.variant,
        **{f"inner.{name}": getattr(inner, name) for name in ("ways", "shots", "batch", "batch_mode", "steps", "lr")},
        "meta.iterations": iterations,
        "meta.batch": config.meta.batch,
        "test.tasks": tasks,
        "test.queries": test.queries,
        "test.batch": test.batch,
        "test.steps": test.steps + config.test_weight_steps,
    }
    return autometa.train("reptile-omniglot", settings=settings, out=out, resume=out.exists(), quiet=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--cells", type=int, default=20)
    parser.add_argument("--iterations", type=int, default=500)
    parser.add_argument("--tasks", type=int, default=150)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    out = chosen.out or chosen.run / "among-random"
    out.mkdir(parents=True, exist_ok=True)
    config = from_json(MetaNASConfig, migrated(json.loads((chosen.run / "config.json").read_text())))
    genotype = Genotype.load(chosen.run / "genotypes" / "most_frequent.json")
    size, variant = config.data.image_size, config.data.variant
    store, _ = open_dataset(config.data.name, size=size, variant=variant)
    rivals = alike(config, genotype, chosen.cells, tuple(store.images.shape[1:]))
    cells = {"found": genotype, **{f"random-{k:02d}": cell for k, cell in enumerate(rivals)}}
    work, scores = partial(trained, iterations=chosen.iterations, tasks=chosen.tasks), []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(chosen.workers, context, torch.set_num_threads, (1,)) as pool:
        results = pool.map(work, repeat(config), cells.values(), map(out.joinpath, cells))
        for name, result in zip(cells, results, strict=True):
            scores.append([result["scores"][mode]["mean"] for mode in MODES])
            print(f"{name:10} {result['parameters']:7,}", *(f"{score:6.2f}" for score in scores[-1]), flush=True)
    for mode, own, *others in zip(MODES, *scores, strict=True):
        mean, spread = statistics.fmean(others), statistics.stdev(others)
        better = sum(other >= own for other in others)
        half = 1.96 * spread / len(others) ** 0.5
        print(f"{mode}: {own:.2f}; random {mean:.2f} ± {half:.2f}, best {max(others):.2f}; {better} as good or better")


if __name__ == "__main__":
    main()
