"""What the runs of all algorithms have in common: the data they saw, evaluation, and what a result says of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic

from torch import Tensor

from autometa.algorithms.earlier import Config
from autometa.errors import InputError
from autometa.models import confidence
from autometa.nas.networks.network import Network
from autometa.runs.files import shown, write_json
from autometa.runs.folder import RunFolder
from autometa.train import records, scores
from autometa.train.frozen import evaluated, names_of
from autometa.train.health import Check, Health, Monitor
from autometa.train.judging import judged
from autometa.train.learned import Learned
from autometa.train.pace import Pacer
from autometa.train.phases import MetaTrained, Terms, in_chunks, meta_train
from autometa.train.records import DATA
from autometa.train.run_config import RunConfig
from autometa.train.tasks import Source
from autometa.train.trainer import Trainer


@dataclass(frozen=True)
class Job(Generic[Config]):
    """A run as its algorithm works on it; source: the data, for computing on its device; health: its alarms."""

    config: Config
    folder: RunFolder
    terms: Terms
    source: Source
    health: Health

    @classmethod
    def of(cls, config: Config, folder: RunFolder, terms: Terms, source: Source) -> Job[Config]:
        """In a run's folder, of any config of its algorithm."""
        return cls(config, folder, terms, source, Health(folder, terms.notice))

    @classmethod
    def begun(cls, config: Config, folder: RunFolder, terms: Terms) -> Job[Config]:
        """Of a run that begins or goes on. Raises `InputError` where it goes on with other data than it began with."""
        source = terms.source(config.data)
        record_data(folder, source)
        return cls.of(config, folder, terms, source)

    def trained(self, run: Trainer, phase: str, *checks: Sequence[Check], **how: Any) -> MetaTrained:
        """A loop of meta-iterations that is watched; checks: as of `Monitor`; how: as of `meta_train`."""
        return meta_train(run, self.folder, self.terms, phase, monitor=Monitor(self.health, phase, *checks), **how)

    def evaluated(
        self, network: Network, learned: Learned, phase: str, pacer: Pacer | None = None
    ) -> tuple[dict[str, Tensor], float]:
        """Evaluation in chunks: tensors `[tasks, ...]` by name, and seconds; pacer as of `in_chunks`."""
        config = self.config

        def work(start: int, stop: int) -> dict[str, Tensor]:
            return evaluated(config, network, learned, self.source, start, stop)

        return in_chunks(self.folder, self.terms, phase, config.test, work, names_of(config), pacer)

    def judged(self, network: Network, found: dict[str, Tensor], of: str = "") -> dict[str, Any]:
        """See `train.judging`; of: what stands before the names of the accuracies that count."""
        return judged(self.source, network.ways, self.config.test, found, found[f"{of}support_statistics"])

    def figures(self, network: Network, found: dict[str, Tensor]) -> dict[str, Any]:
        """Scores and sizes of a network whose cell is the same for all tasks."""
        return {
            "scores": scores.as_json(scores.scores(found)),
            "accuracy": scores.Score.of(found["support_statistics"]).mean,
            "parameters": network.layout.count(),
            "macs": network.macs(),
            "finite_tasks": int(found["finite"].sum()),
            **self.judged(network, found),
        }

    def tested(self, found: dict[str, Tensor], pacer: Pacer | None) -> Job[Config]:
        """With as many test tasks as `found` has."""
        config: Any = self.config
        test = config.test if pacer is None else pacer.tested(config.test, len(found["finite"]))
        return replace(self, config=replace(config, test=test))

    def finished(
        self, network: Network, learned: Learned, own: Mapping[str, Any], seen: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The end of the run: its result, `own` with what every result has, is kept and returned; seen: observations.

        Confidences are measured on classes that training never saw.
        """
        config, folder = self.config, self.folder
        asking = confidence.Asking(network, learned, self.source, config)
        result = {
            "protocol": protocol(config, self.source),
            "data_hash": self.source.store.data_hash,
            **computed(config, self.terms),
            **own,
            "confidence": confidence.measure(asking, folder, self.terms.session),
        }
        folder.write_observations(seen)
        self.health.finish()
        folder.write_result(result)
        return result


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
