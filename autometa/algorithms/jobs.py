"""Whole runs in a run folder: train, meta-test, compare; killed at any moment they go on where they were."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from autometa.algorithms import confidence, metanas, train
from autometa.errors import InputError
from autometa.meta.bn_modes import MODES
from autometa.nas.networks.conv_network import four_layer
from autometa.nas.spaces.genotype import most_frequent
from autometa.runs import checkpoint
from autometa.runs.files import shown, write_json
from autometa.runs.folder import RunFolder
from autometa.runs.forms import FormError
from autometa.slots.layout import Layout
from autometa.train import records, scores
from autometa.train.checked import STATE, check_learned, check_names
from autometa.train.health import (
    Health,
    Monitor,
    of_architecture,
    of_training,
    only_warmup,
    skips_of_tasks,
    small_batches,
)
from autometa.train.judging import judged
from autometa.train.learned import Learned
from autometa.train.network import Network
from autometa.train.observations import ArchitectureSeries, observations
from autometa.train.pace import Pacer
from autometa.train.phases import Terms, in_chunks, meta_train, pacer_of
from autometa.train.records import DATA
from autometa.train.tasks import Source

INIT = "init"
"""The part of a run's folder that holds what an earlier run had learned, from which this one starts."""
OWN_GENOTYPE = "network"


def train_network(config: train.ReptileConfig, folder: RunFolder, terms: Terms) -> dict:
    """Meta-train a fixed network, then evaluate it; returns (and keeps as result.json) what was found."""
    source = terms.source(config.data)
    network = config.build(source.image_shape)
    record_data(folder, source)
    health = Health(folder, terms.notice)
    health.tell("train", 0, small_batches(network, config.inner, config.test))
    monitor = Monitor(health, "train", of_training(config.inner, config.meta))
    run = train.trainer(network, source, config)
    pacer = pacer_of(folder, terms)
    trained = meta_train(run, folder, terms, "train", ranks=terms.ranks, monitor=monitor, pacer=pacer)
    found, test_seconds = evaluate_reptile(network, trained.learned, source, config, folder, terms, "test")
    result = {
        "kind": "train",
        "network": config.network,
        "learner": config.learner.name,
        "protocol": protocol(config, source),
        "scores": scores.as_json(scores.scores(found)),
        "accuracy": scores.Score.of(found["support_statistics"]).mean,
        "parameters": network.layout.count(),
        "macs": network.macs(),
        "finite_tasks": int(found["finite"].sum()),
        **judged(source, network.ways, config.test, found, found["support_statistics"]),
        "data_hash": source.store.data_hash,
        **computed(config, terms),
        "seconds": {"train": trained.seconds, "test": test_seconds},
    }
    result |= confident(network, trained.learned, source, config, folder, terms)
    folder.write_observations(observations(source, config.inner.ways, config.test, found))
    health.finish()
    folder.write_result(result)
    return result


def evaluate_reptile(
    network: Network,
    learned: Learned,
    source: Source,
    config: train.ReptileConfig,
    folder: RunFolder,
    terms: Terms,
    phase: str,
    pacer: Pacer | None = None,
) -> tuple[dict[str, Tensor], float]:
    """Evaluation in chunks: accuracy per task by BN mode `[tasks]`, `finite`, and seconds; pacer as of `in_chunks`."""

    def work(start: int, stop: int) -> dict[str, Tensor]:
        return train.evaluate_chunk(network, learned, source, config, start, stop)

    return in_chunks(folder, terms, phase, config.test, work, (*MODES, "finite"), pacer)


def search_metanas(config: metanas.MetaNASConfig, folder: RunFolder, terms: Terms) -> dict:
    """Search, meta-test, compare; returns (and keeps as result.json) what was found."""
    source = terms.source(config.data)
    network = config.build(source.image_shape)
    record_data(folder, source)
    series = ArchitectureSeries(folder, network, config.t_max, config.meta.first_planned)
    series.replan(config.meta.iterations)
    run = metanas.trainer(network, source, config, begun_from(folder, config, network.layout))
    health = Health(folder, terms.notice)
    for finding in (small_batches(network, config.inner, config.test), only_warmup(config)):
        health.tell("search", 0, finding)
    monitor = Monitor(health, "search", of_training(config.inner, config.meta), of_architecture(config))
    watched = {"series": series, "monitor": monitor, "pacer": (pacer := pacer_of(folder, terms))}
    trained = meta_train(run, folder, terms, "search", ranks=terms.ranks, **watched)
    config = replace(config, meta=trained.meta, warmup=trained.warmup)
    found, test_seconds, genotypes = meta_test(network, trained.learned, source, config, folder, terms, "test", pacer)
    config = tested(config, found, pacer)
    if "trace.ops" in found:
        skips = skips_of_tasks(found["genotypes"], found["trace.ops"], network.primitives)
        health.tell("test", config.test.tasks, skips)
    genotype, often, reduction_often = most_frequent(genotypes)
    folder.write_genotype("most_frequent", genotype.to_json())
    folder.write_genotype("tasks", [g.to_json() for g in genotypes])
    result = {
        "kind": "search metanas",
        "protocol": protocol(config, source),
        **metanas_scores(found),
        **judged(source, network.ways, config.test, found, found["pruned.support_statistics"]),
        "genotype": {
            "normal": str(genotype.normal),
            "reduction": str(genotype.reduction),
            "normal_found_in": often,
            "reduction_found_in": reduction_often,
            "different_cells": len({str(g) for g in genotypes}),
        },
        "search_network": {"parameters": network.layout.count(), "macs": network.macs()},
        **limits_of(config),
        "data_hash": source.store.data_hash,
        **computed(config, terms),
        "warmup": config.warmup,
        "seconds": {"search": trained.seconds, "test": test_seconds},
        "compare": {},
    }
    if "untrained" in config.compare:
        start = Learned.untrained(network, config.seed, source.device)
        plain, took, _ = meta_test(network, start, source, config, folder, terms, "test-untrained")
        result["compare"]["untrained"] = metanas_scores(plain)
        result["seconds"]["test-untrained"] = took
    if "four-layer" in config.compare:
        result["compare"]["four-layer"] = _compare_four_layer(
            config, trained.iterations, source, result["parameters"], folder, terms
        )
    result |= confident(network, trained.learned, source, config, folder, terms)
    folder.write_observations(observations(source, network.ways, config.test, found, network, config))
    health.finish()
    folder.write_result(result)
    return result


def confident(network, learned: Learned, source: Source, config, folder: RunFolder, terms: Terms) -> dict:
    """The `confidence` of result.json, measured on classes that training never saw."""
    asking = confidence.Asking(network, learned, source, config)
    return {"confidence": confidence.measure(asking, folder, terms.session)}


def begun_from(folder: RunFolder, config: metanas.MetaNASConfig, layout: Layout) -> Learned | None:
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


def tested(config, found: dict[str, Tensor], pacer: Pacer | None):
    """The config with as many test tasks as were done."""
    return config if pacer is None else replace(config, test=pacer.tested(config.test, len(found["finite"])))


def meta_test(network, learned, source, config, folder, terms, phase, pacer=None):
    """Meta-testing in chunks; scores per task, seconds, genotypes."""

    def work(start: int, stop: int) -> dict[str, Tensor]:
        return metanas.as_tensors(network, metanas.meta_test_chunk(network, learned, source, config, start, stop))

    needed = (*(f"{part}.{mode}" for part in ("soft", "pruned") for mode in MODES), "finite", *metanas.CODED)
    found, seconds = in_chunks(folder, terms, phase, config.test, work, needed, pacer)
    return found, seconds, metanas.genotypes_from(network, found["genotypes"])


def metanas_scores(found: dict[str, Tensor]) -> dict:
    """Scores before and after hard pruning, the paired cost of pruning, and the sizes of the pruned networks."""
    soft = {mode: found[f"soft.{mode}"] for mode in MODES}
    pruned = {mode: found[f"pruned.{mode}"] for mode in MODES}
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
    config: metanas.MetaNASConfig, iterations: int, parameters: float, image_shape: tuple[int, int, int]
) -> train.ReptileConfig:
    """Reptile with the four-layer net whose size comes closest to `parameters`, on as many images.

    Inner loop, step sizes and test tasks as the search's, and as many steps on each test task's support set.
    """

    def distance(filters: int) -> float:
        net = four_layer("reptile-omniglot", config.inner.ways, image_shape, filters)
        return abs(net.layout.count() - parameters)

    filters = min(range(2, 257), key=distance)
    return train.ReptileConfig(
        network="reptile-omniglot",
        filters=filters,
        data=config.data,
        inner=config.inner,
        meta=replace(config.meta, iterations=iterations, planned=()),
        test=replace(config.test, steps=config.test.steps + config.test_weight_steps),
        seed=config.seed,
        precision=config.precision,
    )


def _compare_four_layer(config, iterations: int, source: Source, parameters: float, folder, terms) -> dict:
    """Train and test the rival of a search that did `iterations`; its part of the result."""
    rival = four_layer_like(config, iterations, parameters, source.image_shape)
    network: Network = rival.build(source.image_shape)
    run = train.trainer(network, source, rival)
    trained = meta_train(run, folder, terms, "four-layer", budget=False)
    found, took = evaluate_reptile(network, trained.learned, source, rival, folder, terms, "test-four-layer")
    return {
        "filters": rival.filters,
        "scores": scores.as_json(scores.scores(found)),
        "parameters": network.layout.count(),
        "macs": network.macs(),
        "seconds": {"train": trained.seconds, "test": took},
    }


def record_data(folder: RunFolder, source: Source) -> None:
    """data.json: how images must be read for this run's network, and which data it saw.

    Raises `InputError` where a resumed run finds other data than it began with.
    """
    store, path = source.store, folder.path / DATA
    if records.read(folder, DATA, {"data_hash": store.data_hash})["data_hash"] != store.data_hash:
        raise InputError(
            f"the images of {source.split.name} are not those that {shown(folder.path)} began with; "
            "put them back, or begin a new run"
        )
    about = {"recipe": store.recipe.to_dict(), "image_shape": list(source.image_shape), "data_hash": store.data_hash}
    write_json(path, about)


def limits_of(config) -> dict:
    """The limits that a run's network kept to, where there were any."""
    found = {"max_params": config.max_params, "max_macs": config.max_macs}
    found = {name: limit for name, limit in found.items() if limit is not None}
    return {"limits": found} if found else {}


def protocol(config, source: Source) -> dict:
    """What every accuracy must be read with: split, ways, shots, queries, tasks, seeds."""
    test, inner = config.test, config.inner
    return {
        "split": source.split.name,
        "part": test.part,
        "ways": inner.ways,
        "shots": test.shots,
        "queries": test.queries,
        "tasks": test.tasks,
        "seed": config.seed,
        "test_seed": test.seed,
    }


def computed(config, terms: Terms) -> dict:
    """Where and in which precision a result was computed: the CPU knows float32 alone."""
    kind = terms.device.type
    return {"device": kind, "precision": "fp32" if kind == "cpu" else config.precision}
