"""Few-shot episodes: tasks, their support and query images, and the batches of the inner loop.

Task i depends on the data, the split's classes, ways, shots, queries, seed and i alone (Vinyals et al. 2016).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np
import torch

from autometa.brief import brief
from autometa.data.errors import DataError
from autometa.data.store import ImageStore
from autometa.ops.augment_images import Augment, augment_images
from autometa.ops.backend import native
from autometa.ops.batch_indices import batch_indices
from autometa.ops.gather_images import gather_images
from autometa.ops.sample_tasks import sample_tasks

DRAWING = (("sample_tasks", torch.int64), ("batch_indices", torch.int64), ("gather_images", torch.uint8))
RESIDENT_SHARE = 0.5
"""Of a device's free memory: what the images may take, so that the networks find room beside them."""


@brief
@dataclass(frozen=True)
class TaskSpec:
    """The shape of a task: `ways` classes, each with `shots` support and `queries` query images.

    grouped: the classes of a task are of one group (an alphabet, a meter), as the data set divides them.
    """

    ways: int = 5
    shots: int = 1
    queries: int = 1
    rotations: int = 1
    grouped: bool = False

    def __post_init__(self):
        if self.ways < 1 or self.shots < 1 or self.queries < 0:
            given = f"{self.ways}, {self.shots}, {self.queries}"
            raise DataError(f"a task needs ways >= 1, shots >= 1 and queries >= 0; got {given}")
        if self.rotations not in (1, 4):
            raise DataError(f"rotations are 1 (none) or 4 (quarter turns as classes), not {self.rotations}")

    @property
    def images_per_class(self) -> int:
        return self.shots + self.queries


@brief
@dataclass(frozen=True, eq=False)
class Tasks:
    """Drawn tasks, int64: ids `[T]`; image `[T, ways, shots + queries]`; rotation, chosen `[T, ways]`.

    image: numbers of store images, support first. rotation: quarter turns. chosen: virtual class numbers.
    """

    ids: torch.Tensor
    image: torch.Tensor
    rotation: torch.Tensor
    chosen: torch.Tensor

    def __len__(self) -> int:
        return self.ids.numel()


def place_images(
    store: ImageStore, device: torch.device, backend: str | None = None, notice: Callable[[str], None] = lambda _: None
) -> torch.Tensor:
    """The store's images, uint8, on `device` where tasks can be drawn there and half of its free memory holds them;
    else, with a notice, where they lie."""
    images = store.tensor()
    if device.type == "cpu":
        return images
    missing = [op for op, dtype in DRAWING if not native(op, device, dtype, backend)]
    if missing:
        notice(f"tasks are drawn on the CPU: {', '.join(missing)} cannot run on {device} here")
        return images
    free, _ = torch.cuda.mem_get_info(device)
    if images.nbytes > RESIDENT_SHARE * free:
        sizes = f"the images take {images.nbytes / 1e9:.1f} GB, {free / 1e9:.1f} GB of {device} are free"
        notice(f"{sizes}: they stay in the computer's memory, every batch is copied, which is slower")
        return images
    return images.to(device)


class Episodes:
    """The tasks of one part of a split.

    Args:
        classes: int64 `[K]` class ids of `store`.
        seed: 0 .. 2^32 - 1.
        scale, shift: per channel, value = byte * scale + shift; 1/255 and 0 where not given.
        device: where batches come out.
        images: what `place_images` gave; their device is `home`, where tasks are drawn and images picked.
        backend: forces a backend of the image ops.
        augment: how images are changed at random, each of a task once, wherever it is seen.

    Raises:
        DataError: fewer classes than ways, in every group where tasks are `grouped`; or a class with too few images.

    `classes` are those that tasks have, group by group where tasks are `grouped`; `choices` is how many sets of classes
    a task can have.
    """

    def __init__(
        self,
        store: ImageStore,
        classes: np.ndarray,
        spec: TaskSpec,
        seed: int,
        *,
        scale: Sequence[float] | None = None,
        shift: Sequence[float] | None = None,
        device: str | torch.device = "cpu",
        images: torch.Tensor | None = None,
        backend: str | None = None,
        augment: Augment | None = None,
    ):
        self.augment = augment if augment is not None and augment.active else None
        self.store, self.spec, self.seed, self.backend = store, spec, seed, backend
        self.device = torch.device(device)
        self._images = place_images(store, self.device, backend) if images is None else images
        self.home = self._images.device
        self.classes, starts = np.array(classes, dtype=np.int64), [0, len(classes)]
        _check(store, self.classes, spec, seed)
        if spec.grouped:
            self.classes, starts = in_groups(store, self.classes, spec)
        self.choices = sum(math.comb(int(count) * spec.rotations, spec.ways) for count in np.diff(starts))
        self.scale = self._per_channel(scale, 1 / 255)
        self.shift = self._per_channel(shift, 0.0)
        self._start = torch.from_numpy(np.array(store.class_start)).to(self.home)
        self._pool = torch.from_numpy(self.classes).to(self.home)
        self._groups = torch.tensor(starts, dtype=torch.int64, device=self.home)

    def _per_channel(self, values: Sequence[float] | None, default: float) -> torch.Tensor:
        values = [default] * self.store.channels if values is None else [float(value) for value in values]
        if len(values) != self.store.channels:
            raise DataError(f"scale and shift need {self.store.channels} values, got {len(values)}")
        return torch.tensor(values, dtype=torch.float32, device=self.home)

    def shaped(self, ways: int, shots: int) -> Episodes:
        """Tasks of fewer classes and support images, of the same images, classes and groups."""
        made = copy.copy(self)
        made.spec = replace(self.spec, ways=ways, shots=shots)
        return made

    def tasks(self, task_ids: torch.Tensor | Sequence[int]) -> Tasks:
        """The tasks with the given numbers (at least 0); numbers on `home` are not copied."""
        ids = torch.as_tensor(task_ids, dtype=torch.int64, device=self.home).contiguous()
        spec = self.spec
        image, rotation, chosen = sample_tasks(
            self._start,
            self._pool,
            ids,
            rotations=spec.rotations,
            ways=spec.ways,
            shots=spec.shots,
            queries=spec.queries,
            seed=self.seed,
            group_start=self._groups,
        )
        return Tasks(ids, image, rotation, chosen)

    def support(self, tasks: Tasks) -> tuple[torch.Tensor, torch.Tensor]:
        """Class-major images float32 `[T, ways * shots, C, H, W]` and labels int64 `[T, ways * shots]`."""
        return self._part(tasks, slice(0, self.spec.shots))

    def queries(self, tasks: Tasks) -> tuple[torch.Tensor, torch.Tensor]:
        """The same of the query images: `[T, ways * queries, C, H, W]` and `[T, ways * queries]`."""
        return self._part(tasks, slice(self.spec.shots, None))

    def _part(self, tasks: Tasks, part: slice) -> tuple[torch.Tensor, torch.Tensor]:
        index, rotation, labels, place = self._flat(tasks, part)
        return self._gather(tasks, index, rotation, place), self._out(labels)

    def _flat(self, tasks: Tasks, part: slice) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Image numbers, quarter turns, labels and places in the task of a part of each class, int64
        `[T, ways * images]`."""
        image = tasks.image[:, :, part]
        rotation = tasks.rotation[:, :, None].expand_as(image)
        labels = torch.arange(self.spec.ways, device=self.home)[None, :, None].expand_as(image)
        place = torch.arange(tasks.image[0].numel(), device=self.home).view(1, *tasks.image.shape[1:])
        place = place[:, :, part].expand_as(image)
        return image.flatten(1), rotation.flatten(1), labels.flatten(1), place.flatten(1)

    def _gather(self, tasks: Tasks, index: torch.Tensor, rotation: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
        images = gather_images(self._images, index, rotation, self.scale, self.shift, backend=self.backend)
        if self.augment is not None:
            images = augment_images(
                images, tasks.ids, place.contiguous(), self.augment, seed=self.seed, backend=self.backend
            )
        return self._out(images)

    def _out(self, made: torch.Tensor) -> torch.Tensor:
        """From `home` to `device`; the copy does not stop the host."""
        if self.home.type == self.device.type:
            return made
        return made.contiguous().pin_memory().to(self.device, non_blocking=True)

    def batches(self, tasks: Tasks, batch: int, steps: int, mode: str, *, first_step: int = 0) -> Batches:
        """The support batches of inner steps first_step .. first_step + steps - 1.

        mode: `replacement` (MetaNAS) or `passes` (Reptile: shuffled passes over the support set).
        """
        index, rotation, labels, place = self._flat(tasks, slice(0, self.spec.shots))
        picks = batch_indices(
            tasks.ids,
            n_items=index.shape[1],
            batch=batch,
            steps=steps,
            seed=self.seed,
            mode=mode,
            first_step=first_step,
        )
        flat = picks.flatten(1)
        tables = (table.gather(1, flat).view_as(picks) for table in (index, rotation, labels, place))
        return Batches(self, tasks, *tables)


@brief
@dataclass(frozen=True, eq=False)
class Batches:
    """The inner loop's batches; images are gathered when a step asks for them.

    index (store images), rotation, labels, place (in the task): int64 `[T, steps, batch]`, on the episodes' home.
    """

    episodes: Episodes
    tasks: Tasks
    index: torch.Tensor
    rotation: torch.Tensor
    labels: torch.Tensor
    place: torch.Tensor

    def __len__(self) -> int:
        return self.index.shape[1]

    def step(self, t: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Images float32 `[T, batch, C, H, W]` and labels int64 `[T, batch]` of inner step t."""
        images = self.episodes._gather(self.tasks, self.index[:, t], self.rotation[:, t], self.place[:, t])
        return images, self.episodes._out(self.labels[:, t])

    def support(self) -> tuple[torch.Tensor, torch.Tensor]:
        """All images and labels of the support sets."""
        return self.episodes.support(self.tasks)


def in_groups(store: ImageStore, classes: np.ndarray, spec: TaskSpec) -> tuple[np.ndarray, list[int]]:
    """The classes of groups that have enough for a task, group by group, int64; where each group begins, and the end.

    Raises `DataError` where no group has enough.
    """
    members: dict[str, list[int]] = {}
    for number in classes.tolist():
        members.setdefault(store.groups[number], []).append(number)
    large = [own for own in members.values() if len(own) * spec.rotations >= spec.ways]
    if not large:
        most = max(map(len, members.values())) * spec.rotations
        has = f"the largest of {len(members)} groups has {most}" if len(members) > 1 else f"the only group has {most}"
        raise DataError(
            f"{spec.ways} ways need as many classes in a group, {has}; lower the ways, or take tasks of any"
        )
    return np.array([number for own in large for number in own], dtype=np.int64), [0, *accumulate(map(len, large))]


def _check(store: ImageStore, classes: np.ndarray, spec: TaskSpec, seed: int) -> None:
    if not 0 <= seed < 2**32:
        raise DataError(f"the seed lies in 0 .. 2^32 - 1, it is {seed}")
    if len(classes) and not (0 <= classes.min() and classes.max() < len(store.class_names)):
        last = len(store.class_names) - 1
        raise DataError(f"class ids lie in 0 .. {last}; take them from a split of this store")
    if len(np.unique(classes)) != len(classes):
        raise DataError("a class stands twice in the list of classes; name each once")
    virtual = len(classes) * spec.rotations
    if virtual < spec.ways:
        turned = " (rotations counted)" if spec.rotations > 1 else ""
        more = "" if spec.rotations > 1 else ", or make quarter turns classes too (--rotations 4)"
        raise DataError(f"{spec.ways} ways need as many classes, there are {virtual}{turned}; lower the ways{more}")
    counts = np.diff(store.class_start)[classes]
    if counts.min() < spec.images_per_class:
        short = int(counts.argmin())
        name, need = store.class_names[classes[short]], spec.images_per_class
        raise DataError(
            f"class {name} has {counts[short]} images, but {spec.shots} shots and {spec.queries} queries "
            f"need {need}; lower them or add images"
        )
