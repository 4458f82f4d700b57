"""Settings of a run, tagged with their algorithm, and what a trained network needs of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, ClassVar, TypeVar, cast

from torch import Tensor

from autometa.data.names import READINGS
from autometa.errors import InputError
from autometa.meta.bn_modes import MODES
from autometa.meta.inner_loop import Batches
from autometa.meta.learner import MetaLearner
from autometa.nas.networks.network import Network
from autometa.nas.one_shot.size_limits import Limits
from autometa.nas.spaces.genotype import Genotype
from autometa.registry import Registry, Tagged
from autometa.runs.files import shown
from autometa.runs.folder import CONFIG, RunFolder
from autometa.runs.migrate import migrated
from autometa.train.config import DataConfig, EvalConfig, InnerConfig, MetaConfig, check_common, from_json, require
from autometa.train.learned import Learned
from autometa.train.shapes import check_shapes
from autometa.train.tasks import Source

Self = TypeVar("Self", bound="RunConfig")


class RunConfig(Tagged):
    """Settings of one run: base of every algorithm's config, a frozen dataclass with at least these fields.

    algorithm: their tag, by which `ALGORITHMS` knows whose they are. phase: the loop of meta-iterations whose outcome
    the run hands out, as its checkpoints and metrics call it. prefix: of the settings of that loop (`PREFIXmeta`).
    inners, tests: the settings that say how tasks are learned and how networks are tested. evaluated: what
    `evaluate_chunk` gives at least; answering: what stands before the accuracies of the network that answers.
    """

    algorithm: ClassVar[str]
    phase: ClassVar[str] = ""
    prefix: ClassVar[str] = ""
    inners: ClassVar[tuple[str, ...]] = ("inner",)
    tests: ClassVar[tuple[str, ...]] = ("test",)
    evaluated: ClassVar[tuple[str, ...]] = (*MODES, "finite")
    answering: ClassVar[str] = ""
    data: DataConfig
    learner: MetaLearner
    inner: InnerConfig
    meta: MetaConfig
    test: EvalConfig
    max_params: int | None
    max_macs: int | None
    seed: int
    precision: str
    adapts_architecture: ClassVar[bool] = False
    # of searches that train an architecture alone
    warmup = 0
    test_weight_steps = 0
    compare: tuple[str, ...] = ()

    def tag(self) -> dict[str, str]:
        """The algorithm."""
        return {"algorithm": self.algorithm}

    def check(self) -> None:
        """Raise `InputError` where fields do not fit together: here for what no algorithm takes."""
        check_common(self.data, self.inner, self.meta, self.test, self.seed, self.precision)
        for name in self.inners:
            check_shapes(name, getattr(self, name), self.learner)
        for name, limit in (("max_params", self.max_params), ("max_macs", self.max_macs)):
            require(limit is None or limit >= 1, f"{name} must be at least 1, not {limit}")

    def build(self, image_shape: tuple[int, int, int], genotype: Genotype | None = None) -> Network:
        """The network; genotype: in place of a file that the settings name. Raises `InputError` or `ValueError`."""
        raise NotImplementedError

    def adapt(self, network: Any, learned: Learned, batches: Batches, slots: int) -> Tensor:
        """Train on the support sets of tasks, all slots at once, as `test` says; the adapted rows `[slots, row]`."""
        raise NotImplementedError

    def evaluate_chunk(
        self, network: Any, learned: Learned, source: Source, start: int, stop: int
    ) -> dict[str, Tensor]:
        """Adapt to evaluation tasks start .. stop - 1, and answer; tensors by name, one value per task `[T, ...]`."""
        raise NotImplementedError

    def classifier(self, network: Any) -> Any:
        """What classifies after adaptation, with `logits(phi, images, statistics)`."""
        return self.learner.classifier(network, network.layout.row)

    def learning(self, network: Any) -> Any:
        """What classifies by the weights that adaptation begins at, with `logits(phi, images, statistics)`."""
        return network

    @property
    def by_genotype(self) -> bool:
        """Whether the network is built from the file of a genotype."""
        return False

    @property
    def adaptation_steps(self) -> int:
        """Steps on a support set in all."""
        return self.test.steps + self.test_weight_steps

    def with_steps(self: Self, steps: int) -> Self:
        """With so many steps on a support set."""
        return replace(cast(Any, self), test=replace(self.test, steps=steps))

    def with_iterations(self: Self, iterations: int) -> Self:
        """With another number of meta-iterations, planned from the start."""
        return replace(cast(Any, self), **{f"{self.prefix}meta": replace(self.outer, iterations=iterations)})

    def settled(self: Self, folder: RunFolder) -> Self:
        """The config of a run there, with what its folder has a copy of read from the copy."""
        return self

    def keep(self, folder: RunFolder) -> None:
        """Copy into the run's new folder what the settings name outside it."""

    def handed_out(self, folder: RunFolder | None = None) -> RunConfig:
        """The config of the network that a run hands out; without a folder, of one much like it.

        Raises `InputError` where the run has not found it yet.
        """
        return self

    def with_room(self: Self, image_shape: tuple[int, int, int], given: Collection[str]) -> tuple[Self, str | None]:
        """A network that can keep to the limits, where settings other than `given` allow it; what was changed."""
        return self, None

    def smallest(self, network: Any) -> tuple[tuple[int, int], str, str]:
        """Weights and MACs of the smallest network of this run; what it is, and how it could be smaller, in words."""
        raise NotImplementedError

    def check_size(self, network: Network) -> None:
        """Raise `InputError` where no network of this run can keep to its limits, naming the smallest."""
        if not self.limits:
            return
        size, what, hint = self.smallest(network)
        if not self.limits.hold(size):
            raise InputError(f"{what} {size[0]:,} weights and {size[1]:,} MACs, the limit is {self.limits}; {hint}")

    @property
    def limits(self) -> Limits:
        """What the network that is handed out keeps to."""
        return Limits(self.max_params, self.max_macs)

    def training(self, genotype: str) -> RunConfig:
        """Training of a genotype as this run trained or would have: its data, protocol and sizes."""
        raise NotImplementedError

    def sizes(self) -> dict[str, Any]:
        """Settings by which a training has a network as large as this run's."""
        return {}

    @property
    def selects(self) -> bool:
        """Whether networks are chosen by validation classes, which then do not train."""
        return len(self.tests) > 1

    @property
    def warm(self) -> float:
        """The share of the schedule that is warm-up."""
        return self.warmup / max(self.meta.iterations, 1)

    @property
    def stages(self) -> tuple[float, ...]:
        """Shares of the schedule from which on a meta-iteration costs something else, the first 0."""
        return (0.0, *sorted(share for share in {self.warm, *self.learner.stages} if 0 < share < 1))

    @property
    def outer(self) -> MetaConfig:
        """The loop of meta-iterations whose outcome the run hands out."""
        return getattr(self, f"{self.prefix}meta")


ALGORITHMS: Registry[Any] = Registry(
    "algorithm",
    "autometa.algorithms",
    {
        "metanas": "autometa.algorithms.metanas_run:METANAS",
        "auto-meta": "autometa.algorithms.auto_meta_run:AUTO_META",
        "train": "autometa.algorithms.train_run:TRAIN",
    },
)
"""Objects of `autometa.algorithms.algorithm.Algorithm`, by the tag of their configs."""


def read_config(value: Mapping[str, Any]) -> RunConfig:
    """A config from a file of this or an earlier version, checked: types and limits of all fields, before anything is
    allocated.

    Raises `InputError`, also where what it names is of a plugin that is not loaded.
    """
    value = migrated(value)
    if isinstance(value.get("data"), Mapping):  # what does not say how it reads names began before that was recorded
        value = {**value, "data": {"reading": READINGS[0], **value["data"]}}
    if not isinstance(value.get("algorithm"), str):
        raise InputError("it is no config of a search or training run")
    config = from_json(ALGORITHMS[value["algorithm"]].config, value)
    config.check()
    return config


def config_of(folder: RunFolder) -> RunConfig:
    """The run's config, checked. Raises `InputError` where it is damaged, or the folder holds another sort of run."""
    value = folder.config
    if "algorithm" not in value:
        raise InputError(f"{shown(folder.path)} holds no search and no training run; choose another one with --run")
    try:
        return read_config(value)
    except InputError as error:
        raise InputError(f"{shown(folder.path / CONFIG)}: {error}") from error


def settled_config(folder: RunFolder) -> RunConfig:
    """The config of a run, its genotype read from the run's own copy."""
    return config_of(folder).settled(folder)


def model_config(folder: RunFolder) -> RunConfig:
    """The config of the network that a run hands out. Raises `InputError` where that is not yet found."""
    return settled_config(folder).handed_out(folder)
