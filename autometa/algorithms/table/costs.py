"""What a cell's cost in seconds is predicted from, and the times of some cells that were timed alone."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace

import numpy as np
import torch

from autometa.algorithms.table.spec import TableSpec, all_cells
from autometa.nas.networks.counting import map_sizes
from autometa.nas.networks.many_cells import in_stages, parts_used
from autometa.nas.networks.side_by_side import Macro
from autometa.nas.spaces.blocks import OPS
from autometa.train.candidates import CandidateTrainer
from autometa.train.scoring import score
from autometa.train.tasks import Source

TIMED = 50
ROUNDS = 3
ITERATIONS, TASKS = 4, 10
FEATURES = ("network", "preprocessing", *OPS, *(f"{op} output" for op in OPS))
"""1; thousand multiply-accumulates of the preprocessings; of each op how often it stands in the network, and thousand
pixels that it puts out."""


def features(key: str, macro: Macro) -> tuple[float, ...]:
    """A cell's `FEATURES` in the network around it."""
    network = in_stages(all_cells()[key].cell(), macro)
    sizes, parts = map_sizes(network), parts_used(network)
    preprocessing, often, pixels = 0, Counter[str](), Counter[str]()
    for c, used in parts.items():
        height, width = sizes[c]
        preprocessing += sum(height * width * network.output_channels(c - 2 + p) * network.width(c) for p in used)
        for node in network.cell(c).nodes:
            for instance in node:
                often[instance.primitive] += 1
                pixels[instance.primitive] += sizes[c + 1][0] * sizes[c + 1][1]
    counts, outputs = [often[op] for op in OPS], [pixels[op] / 1000 for op in OPS]
    return (1.0, preprocessing / 1000, *map(float, counts), *outputs)


def timed(spec: TableSpec, source: Source, cells: int = TIMED) -> tuple[np.ndarray, np.ndarray]:
    """Processor seconds `[cells, 2]` of a meta-iteration and of a scored task, each cell alone and by one thread, the
    smallest of some rounds; and the cells' features."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        keys = spec.keys[:cells]
        best = np.full((len(keys), 2), np.inf)
        for _ in range(ROUNDS):
            best = np.minimum(best, [_once(key, spec, source) for key in keys])
    finally:
        torch.set_num_threads(threads)
    macro = spec.config.macro(source.image_shape)
    return best, np.array([features(key, macro) for key in keys])


def _once(key: str, spec: TableSpec, source: Source) -> tuple[float, float]:
    trainer = CandidateTrainer.create([all_cells()[key]], spec.config, source)
    trainer.step(0)  # the first one makes plans and draws memory
    begin = time.process_time()
    for i in range(1, 1 + ITERATIONS):
        trainer.step(i)
    between = time.process_time()
    score(trainer, source, replace(spec.config.validation, tasks=TASKS, max_slots=TASKS))
    return (between - begin) / ITERATIONS, (time.process_time() - between) / TASKS
