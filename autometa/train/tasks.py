"""Where data meets the meta-learner: episodes of a data set, as the inner loop wants them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from autometa.brief import brief
from autometa.data import Episodes, ImageStore, Split, TaskSpec, open_dataset
from autometa.data.episodes import place_images
from autometa.meta.inner_loop import Batches
from autometa.ops.augment_images import Augment
from autometa.train.config import EvalConfig, InnerConfig
from autometa.train.data_config import WITHIN_GROUP, DataConfig


def silent(text: str) -> None:
    """A notice that nobody wants."""


class Learning(Protocol):
    """What learns from tasks: a meta-learner, a relaxation."""

    needs_queries: ClassVar[bool]


@brief
@dataclass(frozen=True)
class Source:
    """A data set opened for an algorithm that computes on `device`; what is notable is told to `notice`.

    grouped: the classes of a task are of one group. augment: how images of training tasks are changed at random.
    """

    store: ImageStore
    split: Split
    device: torch.device = torch.device("cpu")
    notice: Callable[[str], None] = silent
    grouped: bool = False
    augment: Augment = Augment()

    @classmethod
    def open(
        cls, config: DataConfig, device: torch.device | str = "cpu", notice: Callable[[str], None] = silent
    ) -> Source:
        """Raises `DataError` where the data are missing or wrong."""
        found = open_dataset(
            config.name,
            size=config.image_size,
            root=config.root,
            seed=config.seed,
            variant=config.variant,
            rotations=config.rotations,
            reading=config.reading,
            fit=config.fit,
        )
        return cls(*found, torch.device(device), notice, config.tasks == WITHIN_GROUP, config.augment)

    @cached_property
    def images(self) -> Tensor:
        """All images, uint8, on the device if they fit: copied there once, for all episodes."""
        return place_images(self.store, self.device, notice=self.notice)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return tuple(self.store.images.shape[1:])

    def training(self, inner: InnerConfig, part: str, seed: int, *learning: Learning) -> Episodes:
        """Tasks of the training classes, with queries where something that learns needs them.

        part: what the run is judged on; where that is `val`, its classes are kept out of training.
        """
        queries = inner.queries if any(one.needs_queries for one in learning) else 0
        split = self.split.without_val() if part == "val" else self.split
        spec = TaskSpec(inner.ways, inner.shots, queries, split.train_rotations, self.grouped)
        return self._episodes(split.train, spec, seed, self.augment)

    def testing(self, ways: int, test: EvalConfig) -> Episodes:
        """Tasks of the test (or validation) classes."""
        classes = self.split.test if test.part == "test" else self.split.val
        rotations = self.split.test_rotations if test.part == "test" else self.split.val_rotations
        return self._episodes(classes, TaskSpec(ways, test.shots, test.queries, rotations, self.grouped), test.seed)

    def _episodes(self, classes: np.ndarray, spec: TaskSpec, seed: int, augment: Augment | None = None) -> Episodes:
        made = Episodes(self.store, classes, spec, seed, device=self.device, images=self.images, augment=augment)
        if (left := len(classes) - len(made.classes)) > 0:
            self.notice(f"{left:,} classes are in no task: their groups have fewer than {spec.ways} classes")
        return made


@brief
@dataclass(frozen=True)
class TestTasks:
    """A chunk of evaluation tasks: support `[S, M, C, H, W]`, queries `[S, Q, C, H, W]`, labels `[S, Q]`."""

    ids: Tensor
    batches: Batches
    support: Tensor
    support_labels: Tensor
    queries: Tensor
    labels: Tensor

    @classmethod
    def draw(cls, episodes: Episodes, start: int, stop: int, batch: int, steps: int, mode: str) -> TestTasks:
        tasks = episodes.tasks(torch.arange(start, stop, device="cpu"))
        support, support_labels = episodes.support(tasks)
        queries, labels = episodes.queries(tasks)
        batches = episodes.batches(tasks, batch, steps, mode)
        return cls(tasks.ids, batches, support, support_labels, queries, labels)


class SameBatches:
    """Batches of a few tasks for many slots: `task` int64 `[S]` is the task of each slot; whole() gives the support
    sets of the tasks, where a learner asks for them."""

    def __init__(
        self,
        steps: Sequence[tuple[Tensor, Tensor]],
        task: Tensor,
        whole: Callable[[], tuple[Tensor, Tensor]] | None = None,
    ) -> None:
        self._steps, self._task, self._whole = steps, task, whole

    @staticmethod
    def drawn(batches: Batches, steps: int) -> list[tuple[Tensor, Tensor]]:
        """All steps of all tasks, made once."""
        return [batches.step(t) for t in range(steps)]

    def step(self, t: int) -> tuple[Tensor, Tensor]:
        return self.of_slots(self._steps[t])

    def support(self) -> tuple[Tensor, Tensor]:
        assert self._whole is not None, "given wherever a learner may want them"
        return self.of_slots(self._whole())

    def of_slots(self, drawn: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """What tasks have, for their slots."""
        images, labels = drawn
        return images.index_select(0, self._task), labels.index_select(0, self._task)


def chunks(total: int, size: int) -> list[tuple[int, int]]:
    """`[0, total)` in pieces of at most `size`."""
    return [(start, min(start + size, total)) for start in range(0, total, size)]
