"""What the runs of all algorithms have in common: the data they saw, evaluation, and what a result says of both."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from torch import Tensor

from autometa.algorithms.earlier import Config
from autometa.errors import InputError
from autometa.models import confidence
from autometa.nas.networks.network import Network
from autometa.runs.files import shown, write_json
from autometa.runs.folder import RunFolder
from autometa.train import records, scores
from autometa.train.judging import judged
from autometa.train.learned import Learned
from autometa.train.pace import Pacer
from autometa.train.phases import Terms, in_chunks
from autometa.train.records import DATA
from autometa.train.run_config import RunConfig
from autometa.train.tasks import Source


def confident(
    network: Network, learned: Learned, source: Source, config: RunConfig, folder: RunFolder, terms: Terms
) -> dict[str, Any]:
    """The `confidence` of result.json, measured on classes that training never saw."""
    asking = confidence.Asking(network, learned, source, config)
    return {"confidence": confidence.measure(asking, folder, terms.session)}


def evaluated(
    network: Network,
    learned: Learned,
    source: Source,
    config: RunConfig,
    folder: RunFolder,
    terms: Terms,
    phase: str,
    pacer: Pacer | None = None,
) -> tuple[dict[str, Tensor], float]:
    """Evaluation in chunks: tensors `[tasks, ...]` by name, and seconds; pacer as of `in_chunks`."""

    def work(start: int, stop: int) -> dict[str, Tensor]:
        return config.evaluate_chunk(network, learned, source, start, stop)

    return in_chunks(folder, terms, phase, config.test, work, config.evaluated, pacer)


def figures(network: Network, source: Source, config: RunConfig, found: dict[str, Tensor]) -> dict[str, Any]:
    """Scores and sizes of a network whose cell is the same for all tasks."""
    return {
        "scores": scores.as_json(scores.scores(found)),
        "accuracy": scores.Score.of(found["support_statistics"]).mean,
        "parameters": network.layout.count(),
        "macs": network.macs(),
        "finite_tasks": int(found["finite"].sum()),
        **judged(source, network.ways, config.test, found, found["support_statistics"]),
    }


def tested(config: Config, found: dict[str, Tensor], pacer: Pacer | None) -> Config:
    """The config with as many test tasks as were done."""
    return config if pacer is None else replace(cast(Any, config), test=pacer.tested(config.test, len(found["finite"])))


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


def limits_of(config: RunConfig) -> dict[str, Any]:
    """The limits that a run's network kept to, where there were any."""
    found = {"max_params": config.max_params, "max_macs": config.max_macs}
    found = {name: limit for name, limit in found.items() if limit is not None}
    return {"limits": found} if found else {}


def protocol(config: RunConfig, source: Source) -> dict[str, Any]:
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


def computed(config: RunConfig, terms: Terms) -> dict[str, Any]:
    """Where and in which precision a result was computed: the CPU knows float32 alone."""
    kind = terms.device.type
    return {"device": kind, "precision": "fp32" if kind == "cpu" else config.precision}
