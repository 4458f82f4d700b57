"""Which small setting ranks cells as the preset `omniglot-small` does: accuracies of a few random cells.

python -m benchmarks.table_setting preset.jsonl
python -m benchmarks.table_setting again.jsonl --seed 1
python -m benchmarks.table_setting s14.jsonl --set data.image_size=14 --steps 5 10 20
python -m benchmarks.table_setting --compare preset.jsonl again.jsonl s14.jsonl
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import combinations
from pathlib import Path

import torch

from autometa.algorithms.presets import AUTO_META
from autometa.algorithms.table.spec import all_cells, order
from autometa.api.settings import settle
from autometa.search.summary import correlations
from autometa.train.candidates import CandidateConfig, CandidateTrainer
from autometa.train.scoring import score
from autometa.train.tasks import Source

BATCH = 12


def measured(config: CandidateConfig, keys: list[str], steps: list[int], source: Source) -> list[dict]:
    """Of each cell: validation accuracy by inner steps when scored, and processor seconds of its training."""
    begin = time.process_time()
    trainer = CandidateTrainer.create([all_cells()[key] for key in keys], config, source)
    trainer.train(source.notice)
    seconds = (time.process_time() - begin) / len(keys)
    rows = [{"cell": key, "seconds": seconds, "accuracy": {}} for key in keys]
    for count in steps:
        found = score(trainer, source, settle(config, None, {"validation.steps": count}).validation)[0]
        for g, row in zip(trainer.alive, found, strict=True):
            rows[g]["accuracy"][str(count)] = 100 * float(row.mean())
    return rows


def compare(paths: list[Path]) -> None:
    """Spearman's rank correlation of every two columns of these files, on the cells that both have."""
    columns = {}
    for path in paths:
        for row in map(json.loads, path.read_text().splitlines()):
            for steps, value in row["accuracy"].items():
                columns.setdefault(f"{path.stem}, {steps} steps", {})[row["cell"]] = value
    for (one, a), (two, b) in combinations(columns.items(), 2):
        both = [key for key in a if key in b]
        found = correlations([a[key] for key in both], [b[key] for key in both])
        print(f"{one} and {two}: {found['spearman']:.3f} on {found['cells']} cells")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--compare", action="store_true")
    parser.add_argument("--cells", type=int, default=36)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, nargs="+", default=[20])
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE")
    given = parser.parse_args()
    if given.compare:
        compare(given.files)
        return
    torch.set_num_threads(1)
    changes = dict(word.split("=") for word in given.set)
    config = settle(AUTO_META["omniglot-small"].candidate(), None, {**changes, "seed": given.seed})
    source, keys = Source.open(config.data), list(order()[: given.cells])
    with given.files[0].open("a") as file:
        for first in range(0, len(keys), BATCH):
            for row in measured(config, keys[first : first + BATCH], given.steps, source):
                file.write(json.dumps(row) + "\n")
            file.flush()


if __name__ == "__main__":
    main()
