"""A whole run of `train` in its folder: meta-train a fixed network, then evaluate it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autometa.algorithms import train
from autometa.algorithms.algorithm import Algorithm, Chosen, Drawn, both_kinds
from autometa.algorithms.jobs import Job
from autometa.algorithms.train import OWN_GENOTYPE, ReptileConfig
from autometa.models.model import Model
from autometa.nas.networks.discrete import DiscreteNetwork
from autometa.nas.networks.named import genotype_named, space_of
from autometa.nas.spaces.genotype import CellGenotype
from autometa.runs.folder import RunFolder
from autometa.runs.forms import record, text
from autometa.train.health import of_training, small_batches
from autometa.train.observations import observations
from autometa.train.phases import Terms, pacer_of
from autometa.train.tasks import Source
from autometa.train.trainer import Trainer

EXAMPLES = """  autometa train reptile-omniglot --out runs/reptile
  autometa train runs/first --meta.iterations 2000        the cell that the search in runs/first found most often
  autometa train cell.json --data my_photos/              a genotype from anywhere
  autometa train cell.json --preset metanas-scaled-omniglot    as the paper trains the cell that it found
  autometa train --resume runs/reptile"""


class Training(Algorithm[ReptileConfig]):
    """Meta-training of a fixed network."""

    config = ReptileConfig
    word = command = "train"
    title = "Meta-training"
    card = "A fixed network with a meta-trained initialisation."
    result = staticmethod(record({"network": text}))
    about = "Meta-train a fixed network with Reptile, then evaluate it."
    examples = EXAMPLES
    what = "a training run"
    searches = False

    def run(self, config: ReptileConfig, folder: RunFolder, terms: Terms) -> dict[str, Any]:
        return train_network(config, folder, terms)

    def trainer(self, network: Any, source: Source, config: ReptileConfig) -> Trainer:
        return train.trainer(network, source, config)

    def evaluate(self, model: Model, job: Job[ReptileConfig], phase: str) -> dict[str, Any]:
        found, seconds = job.evaluated(model.network, model.learned, phase)
        return {**job.figures(model.network, found), "seconds": {"test": seconds}}

    def drawn(self, config: ReptileConfig, image_shape: tuple[int, int, int], chosen: Chosen) -> Drawn | None:
        made = config.build(image_shape, chosen.genotypes.get(OWN_GENOTYPE))
        return made.network if isinstance(made, DiscreteNetwork) else made

    def cells(self, chosen: Chosen) -> dict[str, CellGenotype]:
        network = str(chosen.config.get("network", ""))
        return both_kinds(genotype_named(network) if space_of(network) else chosen.genotypes.get(OWN_GENOTYPE))

    def introduction(self, chosen: Chosen) -> str:
        return f"No search: the fixed network {chosen.config.get('network', '')} was meta-trained."

    def label(self, config: ReptileConfig) -> str:
        return Path(config.network).stem if config.by_genotype else config.network


TRAIN = Training()


def train_network(config: ReptileConfig, folder: RunFolder, terms: Terms) -> dict[str, Any]:
    """Meta-train a fixed network, then evaluate it; returns (and keeps as result.json) what was found."""
    job = Job.begun(config, folder, terms)
    source, network = job.source, config.build(job.source.image_shape)
    job.health.tell("train", 0, small_batches(network, config.inner, config.test))
    run, alarms = train.trainer(network, source, config), of_training(config.inner, config.meta)
    trained = job.trained(run, "train", alarms, ranks=terms.ranks, pacer=pacer_of(folder, terms))
    found, test_seconds = job.evaluated(network, trained.learned, "test")
    own = {
        "kind": "train",
        "network": config.network,
        "learner": config.learner.name,
        **job.figures(network, found),
        "seconds": {"train": trained.seconds, "test": test_seconds},
    }
    return job.finished(network, trained.learned, own, observations(source, config.inner.ways, config.test, found))
