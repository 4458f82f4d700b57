"""A search's commonest cell among random hard-pruned cells of its space, of equal weights and equal training.

    python -m benchmarks.cell_among_random runs/NAME [--cells 20] [--iterations 500] [--tasks 150] [--steps 100]

Each cell is trained alone, as `autometa train` would, with channels, cells, data and inner loop of the search, by one
thread (`--workers 2`: two at once), and answers the same tasks after so many steps on each, transductively and with
support statistics; what is done already in the folder (`--out`, or one in that of the run) is not done again.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import repeat
from pathlib import Path

import torch

from autometa.algorithms.metanas import MetaNASConfig
from autometa.algorithms.train import ReptileConfig, evaluate_chunk, trainer
from autometa.nas.networks.discrete import DiscreteNetwork
from autometa.nas.relax.soft_pruning import pairs
from autometa.nas.spaces.cells import INPUT_STATES
from autometa.nas.spaces.draws import Draws
from autometa.nas.spaces.genotype import CellGenotype, Genotype
from autometa.runs.files import write_json
from autometa.runs.migrate import migrated
from autometa.train.config import EvalConfig, from_json
from autometa.train.learned import Learned
from autometa.train.loop import Loop
from autometa.train.tasks import Source, chunks

TOLD = ("transductive", "support_statistics")
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


def network_of(config: MetaNASConfig, genotype: Genotype, image_shape: tuple[int, int, int]) -> DiscreteNetwork:
    return DiscreteNetwork(
        genotype=genotype,
        channels=config.channels,
        ways=config.inner.ways,
        image_shape=image_shape,
        cells=config.cells,
        reductions=tuple(config.reductions),
        stem_stride=config.stem_stride,
    )


def alike(config: MetaNASConfig, genotype: Genotype, count: int, image_shape: tuple[int, int, int]) -> list[Genotype]:
    """`count` random cells whose networks have about as many weights as that of `genotype`."""
    wanted, found, number = network_of(config, genotype, image_shape).layout.count(), list[Genotype](), 0
    while len(found) < count:
        cell = drawn(config.nodes, config.primitives, Draws(config.seed, number))
        number += 1
        weights = network_of(config, cell, image_shape).layout.count()
        if abs(weights - wanted) <= WITHIN * wanted and cell not in found:
            found.append(cell)
    return found


def trained(config: MetaNASConfig, genotype: Genotype, path: Path, iterations: int, tasks: int, steps: int) -> dict:
    """Weights and, by BN mode, the accuracy in percent on every task of one cell's network, once it is trained."""
    if path.exists():
        return json.loads(path.read_text())
    own, plain = config.test, ReptileConfig()
    settings = {name: getattr(config.inner, name) for name in ("ways", "shots", "batch", "batch_mode", "steps", "lr")}
    test = EvalConfig(tasks=tasks, shots=own.shots, queries=own.queries, batch=own.batch, steps=steps)
    meta = replace(plain.meta, iterations=iterations, batch=config.meta.batch)
    training = replace(plain, data=config.data, inner=replace(plain.inner, **settings), meta=meta, test=test)
    source = Source.open(config.data)
    network = network_of(config, genotype, source.image_shape)
    run = trainer(network, source, training)
    loop = Loop(run)
    for i in range(iterations):
        loop.launch(i)
    learned = Learned.of(run.capture()[0])
    found = [evaluate_chunk(network, learned, source, training, *part, TOLD) for part in chunks(tasks, 10)]
    scores = {mode: [100 * share for part in found for share in part[mode].tolist()] for mode in TOLD}
    made = {"parameters": network.layout.count(), "genotype": genotype.to_json(), "scores": scores}
    write_json(path, made)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--cells", type=int, default=20)
    parser.add_argument("--iterations", type=int, default=500)
    parser.add_argument("--tasks", type=int, default=150)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    out = chosen.out or chosen.run / "among-random"
    out.mkdir(parents=True, exist_ok=True)
    config = from_json(MetaNASConfig, migrated(json.loads((chosen.run / "config.json").read_text())))
    genotype = Genotype.load(chosen.run / "genotypes" / "most_frequent.json")
    image_shape = Source.open(config.data).image_shape
    rivals = alike(config, genotype, chosen.cells, image_shape)
    cells = {"found": genotype, **{f"random-{k:02d}": cell for k, cell in enumerate(rivals)}}
    work, scores = partial(trained, iterations=chosen.iterations, tasks=chosen.tasks, steps=chosen.steps), []
    paths = [out / f"{name}-{chosen.iterations}-{chosen.tasks}-{chosen.steps}.json" for name in cells]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(chosen.workers, context, torch.set_num_threads, (1,)) as pool:
        for name, result in zip(cells, pool.map(work, repeat(config), cells.values(), paths), strict=True):
            scores.append(result["scores"])
            means = [statistics.fmean(result["scores"][mode]) for mode in TOLD]
            print(f"{name:10} {result['parameters']:7,}", *(f"{mean:6.2f}" for mean in means), flush=True)
    for mode in TOLD:
        own, *others = [statistics.fmean(score[mode]) for score in scores]
        better = sum(other >= own for other in others)
        mean, cells_half = statistics.fmean(others), half(others)
        of_tasks = zip(*(score[mode] for score in scores), strict=True)
        tasks_half = half([first - statistics.fmean(rest) for first, *rest in of_tasks])
        print(
            f"{mode}: {own:.2f}; random {mean:.2f}, best {max(others):.2f}, {better} of {len(others)} as good; "
            f"ahead of their mean by {own - mean:.2f} ± {tasks_half:.2f} over tasks, ± {cells_half:.2f} over cells"
        )


def half(values: list[float]) -> float:
    """Half width of the mean's 95% interval."""
    return 1.96 * statistics.stdev(values) / len(values) ** 0.5


if __name__ == "__main__":
    main()
