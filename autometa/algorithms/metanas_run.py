"""A whole MetaNAS run in its folder: search, meta-test, compare; killed at any moment it goes on where it was."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from autometa.algorithms import jobs, metanas_steps, train
from autometa.algorithms.algorithm import UNDECIDED, Algorithm, Chosen, both_kinds
from autometa.algorithms.earlier import Earlier
from autometa.algorithms.jobs import Job
from autometa.algorithms.metanas import MetaNASConfig
from autometa.algorithms.metanas_outcome import genotypes_from
from autometa.errors import InputError
from autometa.meta.bn_modes import EVERY, MODES
from autometa.models.model import Model
from autometa.nas.networks.cell_network import CellNetwork
from autometa.nas.networks.conv_network import four_layer
from autometa.nas.one_shot.network import OneShotNetwork
from autometa.nas.spaces.genotype import CellGenotype, most_frequent
from autometa.runs import checkpoint
from autometa.runs.files import shown
from autometa.runs.folder import RunFolder
from autometa.runs.forms import FormError, record
from autometa.slots.layout import Layout
from autometa.train import scores
from autometa.train.checked import STATE, check_learned, check_names
from autometa.train.health import (
    of_architecture,
    of_training,
    only_warmup,
    skips_of_tasks,
    small_batches,
)
from autometa.train.learned import Learned
from autometa.train.observations import ArchitectureSeries, observations
from autometa.train.phases import Terms, meta_train, pacer_of
from autometa.train.records import FOUND_CELLS, SCORES
from autometa.train.run_config import RunConfig
from autometa.train.tasks import Source
from autometa.train.trainer import Trainer

INIT = "init"
"""The part of a run's folder that holds what an earlier run had learned, from which this one starts."""


class Weights(Earlier[MetaNASConfig]):
    """An earlier search whose weights and architecture are taken over."""

    shape = ("channels", "cells", "reductions", "nodes", "primitives", "stem_stride")

    def check(self, config: MetaNASConfig, source: Source, network: OneShotNetwork) -> None:
        why = "weights can only start a network of the same shape"
        for name in self.shape:
            if getattr(self.config, name) != getattr(config, name):
                self.refuse(name, getattr(self.config, name), getattr(config, name), why)
        images, own = self.images()["image_shape"], list(source.image_shape)
        if images[0] != own[0]:
            self.refuse("images with a number of channels of", images[0], own[0], why)
        self.learned(network)

    def learned(self, network: OneShotNetwork) -> Learned:
        """Weights, architecture and Adam's state in the new network's layout: with other ways the head's rows are
        those of ARCHITECTURE, "Ways"."""
        return Model.of(self.folder).with_ways(network.ways).learned

    def copy_to(self, folder: RunFolder, network: OneShotNetwork) -> None:
        tensors, done = dict(self.learned(network).only(())), self.iterations()
        checkpoint.save(folder.path / INIT, done, tensors, {**self.about(), "iterations": done})

    def told(self) -> str:
        done = f"after {self.iterations()} meta-iterations"
        return f"starting from what {shown(self.folder.path)} had learned {done}"

    def iterations(self) -> int:
        """Meta-iterations done."""
        found = checkpoint.entries(self.folder.checkpoints / self.config.phase)
        return found[0].step if found else 0


EXAMPLES = """  autometa search --data my_photos/                                 settings chosen from the images
  autometa search --data my_photos/ --max-params 20k --init runs/first
  autometa search metanas --preset quick --out runs/first
  autometa search metanas --preset omniglot-small --time-budget 30m
  autometa search --preset quick --meta.iterations 300 --inner.lr 2e-3 --dry-run
  autometa search --preset quick --print-config > mine.yaml;  autometa search --config mine.yaml
  autometa search --resume runs/first"""


class MetaNAS(Algorithm[MetaNASConfig]):
    """DARTS inside Reptile, with soft pruning to task-dependent cells (Elsken et al. 2020)."""

    config = MetaNASConfig
    word = "search"
    title = "MetaNAS search"
    card = """A search network with its initialisation, found by MetaNAS (Elsken et al. 2020): for every new
task it is trained on the support images, then pruned to a cell of the task's own."""
    sections = ("architecture", "pruning", "task_cells", "op_weights")
    result = staticmethod(record({"genotype": FOUND_CELLS, "scores_before_pruning": SCORES, "pruning_cost": SCORES}))
    about = "Find a small network and an initialisation for few-shot classification."
    examples = EXAMPLES
    what = "a metanas search"
    earlier = Weights
    command = "search metanas"

    def run(self, config: MetaNASConfig, folder: RunFolder, terms: Terms) -> dict[str, Any]:
        return search_metanas(config, folder, terms)

    def trainer(self, network: Any, source: Source, config: MetaNASConfig) -> Trainer:
        return metanas_steps.trainer(network, source, config)

    def evaluate(self, model: Model, job: Job[MetaNASConfig], phase: str) -> dict[str, Any]:
        found, seconds = job.evaluated(model.network, model.learned, phase)
        return {**metanas_scores(found), **job.judged(model.network, found, "pruned."), "seconds": {"test": seconds}}

    def drawn(self, config: MetaNASConfig, image_shape: tuple[int, int, int], chosen: Chosen) -> CellNetwork:
        """Without the operations that hard pruning also kept."""
        genotype = chosen.genotypes["most_frequent"]
        return CellNetwork(
            normal=genotype.normal.cell(),
            reduction=genotype.reduction.cell(),
            cells=config.cells,
            reductions=tuple(config.reductions),
            channels=config.channels,
            ways=config.inner.ways,
            image_shape=image_shape,
            affine=False,
            stem_stride=config.stem_stride,
        )

    def cells(self, chosen: Chosen) -> dict[str, CellGenotype]:
        return both_kinds(chosen.genotypes.get("most_frequent"))

    def introduction(self, chosen: Chosen) -> str:
        if not self.cells(chosen):
            return UNDECIDED
        config = chosen.config
        at = [str(c) for c in config.get("reductions", []) if c < config["cells"]]
        halve = f"cell{'s' * (len(at) > 1)} {' and '.join(at)} (from 0) halve{'s' * (len(at) == 1)} the resolution"
        halve = halve if at else "none halves the resolution"
        cells = f"{config['cells']:,} cell{'s' * (config['cells'] != 1)}"
        return (
            f"A network of {cells} with {config['channels']} channels; {halve}. Each node adds up two operations, each "
            "on an earlier state; the nodes together are the output."
        )

    def length(self, folder: RunFolder, config: MetaNASConfig) -> dict[str, Any]:
        return {"warmup": min(config.warmup, config.meta.iterations)}

    def baselines(
        self, config: MetaNASConfig, parameters: float, image_shape: tuple[int, int, int]
    ) -> dict[str, RunConfig | None]:
        iterations = config.meta.iterations
        known = {
            "untrained": lambda: None,
            "four-layer": lambda: four_layer_like(config, iterations, parameters, image_shape),
        }
        return {name: known[name]() for name in config.compare}


METANAS = MetaNAS()


def search_metanas(config: MetaNASConfig, folder: RunFolder, terms: Terms) -> dict[str, Any]:
    """Search, meta-test, compare; returns (and keeps as result.json) what was found."""
    job = Job.begun(config, folder, terms)
    source, network = job.source, config.build(job.source.image_shape)
    series = ArchitectureSeries(folder, network, config.t_max, config.meta.first_planned)
    series.replan(config.meta.iterations)
    run = metanas_steps.trainer(network, source, config, begun_from(folder, config, network.layout))
    for finding in (small_batches(network, config.inner, config.test), only_warmup(config)):
        job.health.tell("search", 0, finding)
    checks, pacer = (of_training(config.inner, config.meta), of_architecture(config)), pacer_of(folder, terms)
    trained = job.trained(run, "search", *checks, ranks=terms.ranks, series=series, pacer=pacer)
    config = replace(config, meta=trained.meta, warmup=trained.warmup)
    job = replace(job, config=config)
    found, test_seconds = job.evaluated(network, trained.learned, "test", pacer)
    genotypes = genotypes_from(network, found["genotypes"])
    job = job.tested(found, pacer)
    config = job.config
    if "trace.ops" in found:
        skips = skips_of_tasks(found["genotypes"], found["trace.ops"], network.primitives)
        job.health.tell("test", config.test.tasks, skips)
    genotype, often, reduction_often = most_frequent(genotypes)
    folder.write_genotype("most_frequent", genotype.to_json())
    folder.write_genotype("tasks", [g.to_json() for g in genotypes])
    own: dict[str, Any] = {
        "kind": "search metanas",
        **metanas_scores(found),
        **job.judged(network, found, "pruned."),
        "genotype": {
            "normal": str(genotype.normal),
            "reduction": str(genotype.reduction),
            "normal_found_in": often,
            "reduction_found_in": reduction_often,
            "different_cells": len({str(g) for g in genotypes}),
        },
        "search_network": {"parameters": network.layout.count(), "macs": network.macs()},
        **jobs.limits_of(config),
        "warmup": config.warmup,
        "seconds": {"search": trained.seconds, "test": test_seconds},
        "compare": {},
    }
    if "untrained" in config.compare:
        start = Learned.untrained(network, config.seed, source.device)
        plain, own["seconds"]["test-untrained"] = job.evaluated(network, start, "test-untrained")
        own["compare"]["untrained"] = metanas_scores(plain)
    if "four-layer" in config.compare:
        rival = four_layer_like(config, trained.iterations, own["parameters"], source.image_shape)
        own["compare"]["four-layer"] = _compared(job, rival)
    seen = observations(source, network.ways, config.test, found, network, config)
    return job.finished(network, trained.learned, own, seen)


def begun_from(folder: RunFolder, config: MetaNASConfig, layout: Layout) -> Learned | None:
    """What the run starts from where its config names an earlier run: the copy in its own folder.

    Raises `InputError` where that is missing or does not fit the network's layout.
    """
    if config.init is None:
        return None
    found = checkpoint.load_latest(folder.path / INIT)
    if found is None:
        raise InputError(f"{shown(folder.path / INIT)} is missing, from which this run starts; begin a new run")
    try:
        check_names(found.tensors, STATE)
        return check_learned(Learned.named(found.tensors, earlier=True), layout)
    except FormError as error:
        raise InputError(f"checkpoint {shown(found.path)} does not fit this run: {error}; begin a new run") from error


def metanas_scores(found: dict[str, Tensor]) -> dict:
    """Scores before and after hard pruning, the paired cost of pruning, and the sizes of the pruned networks."""
    soft = {mode: found[f"soft.{mode}"] for mode in MODES}
    pruned = {mode: found[f"pruned.{mode}"] for mode in EVERY if mode in MODES or f"pruned.{mode}" in found}
    cost = {mode: soft[mode] - pruned[mode] for mode in MODES}
    return {
        "scores": scores.as_json(scores.scores(pruned)),
        "scores_before_pruning": scores.as_json(scores.scores(soft)),
        "pruning_cost": scores.as_json(scores.scores(cost)),
        "accuracy": scores.Score.of(pruned["support_statistics"]).mean,
        "parameters": float(found["parameters"].double().quantile(0.5, interpolation="nearest")),
        "macs": float(found["macs"].double().quantile(0.5, interpolation="nearest")),
        "finite_tasks": int(found["finite"].sum()),
    }


def four_layer_like(
    config: MetaNASConfig, iterations: int, parameters: float, image_shape: tuple[int, int, int]
) -> train.ReptileConfig:
    """Reptile with the four-layer net whose size comes closest to `parameters`, on as many images.

    Inner loop, step sizes and test tasks as the search's, and as many steps on each test task's support set.
    """

    def distance(filters: int) -> float:
        net = four_layer("reptile-omniglot", config.inner.ways, image_shape, filters)
        return abs(net.layout.count() - parameters)

    filters = min(range(2, 257), key=distance)
    return train.ReptileConfig.like(
        config,
        network="reptile-omniglot",
        filters=filters,
        meta=replace(config.meta, iterations=iterations, planned=()),
        test=replace(config.test, steps=config.test.steps + config.test_weight_steps),
        precision=config.precision,
    )


def _compared(search: Job[Any], rival: train.ReptileConfig) -> dict[str, Any]:
    """Train and test a search's rival; its part of the result."""
    job, source = replace(search, config=rival), search.source
    network = rival.build(source.image_shape)
    trained = meta_train(train.trainer(network, source, rival), job.folder, job.terms, "four-layer", budget=False)
    found, took = job.evaluated(network, trained.learned, "test-four-layer")
    return {
        "filters": rival.filters,
        "scores": scores.as_json(scores.scores(found)),
        "parameters": network.layout.count(),
        "macs": network.macs(),
        "seconds": {"train": trained.seconds, "test": took},
    }
