"""Auto-Meta as an algorithm among others."""

from __future__ import annotations

import time
from typing import Any

from autometa.algorithms import train
from autometa.algorithms.algorithm import UNDECIDED, Algorithm, Chosen, Drawn, both_kinds
from autometa.algorithms.auto_meta import AutoMetaConfig
from autometa.algorithms.auto_meta_job import SEARCH, known_outcomes, search_auto_meta
from autometa.algorithms.earlier import Earlier
from autometa.algorithms.train_run import TRAIN
from autometa.errors import InputError
from autometa.nas.networks.network import Network
from autometa.nas.spaces.draws import Draws
from autometa.nas.spaces.genotype import CellGenotype
from autometa.nas.spaces.space import MOST_LEVELS, SPACES, Architecture, Space
from autometa.runs import checkpoint
from autometa.runs.files import shown, write_json
from autometa.runs.folder import RunFolder
from autometa.runs.forms import many, record, text
from autometa.train.config import differences
from autometa.train.cost import Measuring, candidate_cost
from autometa.train.phases import Terms
from autometa.train.records import COUNT, KNOWN, LEVEL, WINNER, read_candidates
from autometa.train.tasks import Source
from autometa.train.trainer import Trainer

EXAMPLES = """  autometa search auto-meta --preset quick --out runs/cells
  autometa search auto-meta --preset omniglot-small --time-budget 25m
  autometa search auto-meta --preset quick --blocks 3 --beam 20 --uncertainty_weight 0.5
  autometa search auto-meta --resume runs/cells
  autometa train runs/cells --meta.iterations 5000               the best cell again"""

TRIES = 5
"""Draws for each cell that is wanted for an estimate."""
ALIKE = ("data.root", "meta.max_slots", "validation.max_slots")
"""Settings of a candidate that do not change its score."""


class Scores(Earlier[AutoMetaConfig]):
    """An earlier search whose candidates' scores are taken over."""

    alike = True

    def check(self, config: AutoMetaConfig, source: Source, network: Network) -> None:
        why = "a score means the same only where cells are trained and scored alike"
        for name, (has, asked) in differences(self.config.candidate(), config.candidate()).items():
            if name not in ALIKE:
                self.refuse(name, has, asked, why)
        if self.config.space != config.space:
            self.refuse("space", self.config.space, config.space, why)
        if self.config.precision != config.precision:
            self.refuse("precision", self.config.precision, config.precision, why)
        if self.images()["data_hash"] != source.store.data_hash:
            raise InputError(
                f"the images of {source.split.name} are not those that {shown(self.folder.path)} saw: {why}; leave "
                "--init out"
            )

    def copy_to(self, folder: RunFolder, network: Network) -> None:
        found = known_outcomes(read_candidates(self.folder))
        write_json(folder.path / KNOWN, {**self.about(), "outcomes": found})

    def told(self) -> str:
        return f"candidates that {shown(self.folder.path)} has scored are not trained again"


def some(space: Space, level: int, count: int) -> list[Architecture]:
    """Different random cells of a level, as many as are wanted where draws find them."""
    found: dict[str, Architecture] = {}
    for number in range(TRIES * count):
        made = space.sample(Draws(0, number), level)
        if len(found) < count:
            found.setdefault(made.key, made)
    return list(found.values())


class AutoMeta(Algorithm[AutoMetaConfig]):
    """Progressive search with a surrogate around Reptile (Kim et al. 2018), or another strategy and meta-learner."""

    config = AutoMetaConfig
    word = command = "search auto-meta"
    title = "Auto-Meta search"
    card = """The best cell of a search by Auto-Meta (Kim et al. 2018), with an initialisation meta-trained
in full."""
    loop_title = "Training of the best cell"
    sections = ("levels",)
    result = staticmethod(
        record(
            {
                "strategy": text,
                "cell": WINNER,
                "levels": many(LEVEL),
                "candidates": record({"trained": COUNT, "failed": COUNT}, {"known": COUNT}),
                "validation": record({"tasks": COUNT}),
            }
        )
    )
    about = "Search cells of growing size: train many side by side, learn which will do well, train those."
    examples = EXAMPLES
    what = "an auto-meta search"
    earlier = Scores
    workers = True
    ranks = False

    def run(self, config: AutoMetaConfig, folder: RunFolder, terms: Terms) -> dict[str, Any]:
        return search_auto_meta(config, folder, terms)

    def trainer(self, network: Any, source: Source, config: Any) -> Trainer:
        return train.trainer(network, source, config)

    def seconds_before(self, config: AutoMetaConfig, source: Source, left: Measuring) -> dict[str, float]:
        """Of all candidates, trained and scored in this process; surrogates, seconds each, are left out. A level for
        which there is no time to measure takes as long for each candidate, by its share of a training, as the one
        before."""
        total, each, took = 0.0, 0.0, 0.0
        for level, count, share in config.strategy.workload(config.spec()):
            if left.allows(took):
                cells, begun = some(config.cells, level, min(config.batch, count)), time.perf_counter()
                each = candidate_cost(cells, config.candidate(), source, share, config.cells, left) / share
                took = time.perf_counter() - begun
            total += count * share * each
        return {"search": total}

    def drawn(self, config: AutoMetaConfig, image_shape: tuple[int, int, int], chosen: Chosen) -> Drawn | None:
        return None if chosen.key is None else TRAIN.drawn(config.final_config(chosen.key), image_shape, chosen)

    def cells(self, chosen: Chosen) -> dict[str, CellGenotype]:
        space = SPACES[chosen.config.get("space", "blocks")](MOST_LEVELS)
        return {} if chosen.key is None else both_kinds(space.genotype(space.parse(chosen.key)))

    def introduction(self, chosen: Chosen) -> str:
        if chosen.winner is None:
            return UNDECIDED
        mean, width = (chosen.winner[f"validation_{name}"] for name in ("accuracy", "interval"))
        accuracy = f"{mean:.2f}" if width is None else f"{mean:.2f} ± {width:.2f}"
        return (
            f"The best of all cells tried, {accuracy} % on validation classes as a candidate. "
            f"{SPACES[chosen.config.get('space', 'blocks')].about_units} Its key: {chosen.key}"
        )

    def length(self, folder: RunFolder, config: AutoMetaConfig) -> dict[str, Any]:
        batches = checkpoint.entries(folder.checkpoints / SEARCH)
        return {"most_batches": batches[0].step} if batches and batches[0].step < config.batches else {}

    def announcement(self, config: AutoMetaConfig) -> str:
        parts = f"{config.blocks} {config.cells.unit}s"
        return f"up to {sum(config.rounds)} cells of up to {parts}, then the best one in full: "


AUTO_META = AutoMeta()
