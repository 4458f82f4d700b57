"""torchmeta's batches in both directions: our episodes as such batches, and such batches as episodes.

A batch is `{"train": (x, y), "test": (x, y)}` with x float32 `[tasks, images, C, H, W]` and y int64 `[tasks, images]`
(torchmeta 1.8, `BatchMetaDataLoader` over `ClassSplitter`; its `support` and `query` are understood too).
torchmeta itself is not needed.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from autometa.brief import brief
from autometa.data.episodes import Episodes
from autometa.data.errors import DataError
from autometa.ops.batch_indices import batch_indices

KEYS = (("train", "test"), ("support", "query"))
Batch = dict[str, tuple[Tensor, Tensor]]
Loader = Iterable[Mapping[str, Sequence[Tensor]]]


class BatchMetaDataLoader:
    """Episodes as torchmeta's loader of the same name gives them out, for scripts written against torchmeta.

    Each batch is `{"train": (x, y), "test": (x, y)}`, x float32 `[tasks, ways * shots, C, H, W]` (`ways * queries` in
    `test`), y int64, class by class; a class' label is its place in the task.

    Args:
        episodes: gives ways, shots, queries and images; tasks are its tasks `first`, `first + 1`, ...
        batch_size: tasks of a batch.
        shuffle: True: each iteration goes on with new tasks, as torchmeta's does; `next_task` is then the whole state,
            and setting it resumes exactly. False: each iteration gives the tasks from `first` on again.
        num_workers, pin_memory: taken for torchmeta's sake and not used; images are gathered in this process.
        drop_last: leave out a last batch that is smaller.
        tasks: of one iteration; as many as there are choices of classes where None, as in torchmeta.
        first: number of the first task.
    """

    def __init__(
        self,
        episodes: Episodes,
        batch_size: int = 1,
        shuffle: bool = True,
        *,
        num_workers: int = 0,
        pin_memory: bool = False,
        drop_last: bool = False,
        tasks: int | None = None,
        first: int = 0,
    ):
        if batch_size < 1 or first < 0 or (tasks is not None and tasks < 1):
            given = f"{batch_size}, {tasks}, {first}"
            raise DataError(f"a loader needs batch_size >= 1, tasks >= 1 and first >= 0; got {given}")
        choices = episodes.choices
        self.episodes, self.batch_size, self.shuffle, self.drop_last = episodes, batch_size, shuffle, drop_last
        self.tasks = min(choices if tasks is None else tasks, sys.maxsize)
        self.first = self.next_task = first

    def __len__(self) -> int:
        """Batches of one iteration."""
        return self.tasks // self.batch_size if self.drop_last else -(-self.tasks // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        if not self.shuffle:
            self.next_task = self.first
        for number in range(len(self)):
            size = min(self.batch_size, self.tasks - number * self.batch_size)
            start, self.next_task = self.next_task, self.next_task + size
            tasks = self.episodes.tasks(range(start, start + size))
            yield {"train": self.episodes.support(tasks), "test": self.episodes.queries(tasks)}


@brief
@dataclass(frozen=True, eq=False)
class LoadedTasks:
    """Tasks out of batches: ids int64 `[T]`; support, queries float32 `[T, images, C, H, W]`; labels int64."""

    ids: Tensor
    support: Tensor
    support_labels: Tensor
    queries: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return self.ids.numel()


@brief
@dataclass(frozen=True, eq=False)
class LoadedBatches:
    """The inner loop's batches over loaded tasks; index int64 `[T, steps, batch]` into each support set."""

    tasks: LoadedTasks
    index: Tensor

    def __len__(self) -> int:
        return self.index.shape[1]

    def step(self, t: int) -> tuple[Tensor, Tensor]:
        """Images float32 `[T, batch, C, H, W]` and labels int64 `[T, batch]` of inner step t."""
        row = torch.arange(len(self.tasks), device=self.index.device)[:, None]
        return self.tasks.support[row, self.index[:, t]], self.tasks.support_labels[row, self.index[:, t]]


class TaskStream:
    """The tasks of a loader by number, read one batch at a time; its batches are checked for form and shape.

    Args, raised errors and order: see `LoaderEpisodes`.
    """

    def __init__(self, loader: Loader, *, first: int = 0, repeat: bool = True):
        if first < 0:
            raise DataError(f"the number of the first task is at least 0, not {first}")
        self.loader, self.first, self.repeat = loader, first, repeat
        self._shapes: tuple[tuple[int, ...], ...] | None = None
        self._range: tuple[float, float] | None = None
        self._rewind()

    def _rewind(self) -> None:
        self._iterator: Iterator[Any] | None = None
        self._start, self._batch = self.first, ()

    @property
    def _stop(self) -> int:
        """The number of the task after the present batch."""
        return self._start + (len(self._batch[0]) if self._batch else 0)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width); reads the first batch, which is kept."""
        if self._shapes is None:
            self.task(self.first)
        return self._shapes[0][1:]

    @property
    def range(self) -> tuple[float, float]:
        """The least and the greatest number in the images of the first batch, which is kept."""
        if self._range is None:
            self.task(self.first)
        return self._range

    def task(self, number: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Support images `[images, C, H, W]` and labels `[images]`, then those of the queries."""
        if number < self.first:
            raise DataError(f"the loader begins with task {self.first}, not with {number}; ask for later tasks")
        if number < self._start:
            if self._iterator is self.loader:
                raise DataError(
                    f"task {number} lies before task {self._start}, and the loader can be iterated only once; "
                    "give one that starts anew with each `for`, such as a DataLoader or a list of batches"
                )
            self._rewind()
        while number >= self._stop:
            self._advance(number)
        return tuple(entry[number - self._start] for entry in self._batch)

    def _advance(self, number: int) -> None:
        fresh = self._iterator is None
        if fresh:
            self._iterator = iter(self.loader)
        given = next(self._iterator, None)
        if given is not None:
            try:
                batch = self._checked(given)
            except DataError:
                self._rewind()  # else the next call would take the batch after it for this one
                raise
            self._start, self._batch = self._stop, batch
        elif fresh:
            raise DataError("the loader gave no batch; fill it, or give one that starts anew with each `for`")
        elif not self.repeat or self._iterator is self.loader:
            end = f"the loader ended before task {self._stop}, and task {number} is needed"
            raise DataError(f"{end}; ask for fewer tasks or give a loader of more")
        else:
            self._iterator = None

    def _checked(self, batch: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        where = f"the batch that begins with task {self._stop}"
        keys = next((pair for pair in KEYS if isinstance(batch, Mapping) and set(pair) <= batch.keys()), None)
        if keys is None:
            found = f"the keys {', '.join(map(str, batch))}" if isinstance(batch, Mapping) else type(batch).__name__
            raise DataError(f'{where} must be {{"train": (x, y), "test": (x, y)}}, not {found}; change the loader')
        (x, y), (others, labels) = (_pair(batch[key], f"{key!r} of {where}") for key in keys)
        shapes = tuple(x.shape[1:]), tuple(others.shape[1:])
        if len(x) != len(others) or x.shape[2:] != others.shape[2:]:
            found = f"{list(x.shape)} and {list(others.shape)}"
            raise DataError(f"both parts of {where} need as many tasks and one image shape, not {found}; align them")
        self._shapes = self._shapes or shapes
        if shapes != self._shapes:
            known, found = (" and ".join(str(list(shape)) for shape in pair) for pair in (self._shapes, shapes))
            raise DataError(f"{where} has tasks of {found}, those before had {known}; make all tasks alike")
        if self._range is None:
            ends = [part.aminmax() for part in (x, others) if part.numel()]
            least, greatest = [float(end.min) for end in ends], [float(end.max) for end in ends]
            self._range = min(least, default=0.0), max(greatest, default=0.0)
        return x, y, others, labels


class LoaderEpisodes:
    """Batches of torchmeta's kind as episodes: what a trainer and an evaluation ask of `Episodes`.

    Task n is the n-th task that the loader gives. Tasks are asked for in rising order; for a task before the present
    batch the loader is iterated again from its start, and a run that resumes at task n reads all before it. Both give
    the same tasks only where the loader gives the same order then. `BatchMetaDataLoader` above does with
    `shuffle=False`. torchmeta's own never does when it is iterated again: its `Categorical` permutes the labels, its
    samplers and splitters shuffle with generators that go on. In a new process it does with `shuffle=False`, if the
    data set gets the same `seed`, `torch.manual_seed` is called with the same number before the first batch, nothing
    else draws from that generator, and num_workers is 0. Else a resumed run is sound, but not identical. The inner
    loop's picks depend on `seed` and n alone.

    Args:
        loader: gives batches `{"train": (x, y), "test": (x, y)}` with any number of tasks in each, all alike; or a
            `TaskStream`, which several may share.
        ways: classes of a task, labelled 0 .. ways - 1 in any order.
        shots, queries: images per class in `train` and `test`; where None, as many as come.
        seed: of the inner loop's picks, 0 .. 2^32 - 1.
        device: where tasks are put.
        first: number of the loader's first task, for a loader that was moved on to where a run resumes.
        repeat: iterate the loader again where it ends, so that its tasks come again under new numbers; where False,
            the end is an error.

    Raises:
        DataError: when used, where a batch is not of that form, the loader has no (more) batches, or a loader that can
            be iterated only once would have to start again.
    """

    def __init__(
        self,
        loader: Loader | TaskStream,
        ways: int,
        *,
        shots: int | None = None,
        queries: int | None = None,
        seed: int = 0,
        device: str | torch.device = "cpu",
        first: int = 0,
        repeat: bool = True,
    ):
        if ways < 1 or not 0 <= seed < 2**32:
            raise DataError(f"need ways >= 1 and a seed in 0 .. 2^32 - 1; got {ways} and {seed}")
        is_stream = isinstance(loader, TaskStream)
        self.stream = loader if is_stream else TaskStream(loader, first=first, repeat=repeat)
        self.ways, self.seed, self.device = ways, seed, torch.device(device)
        self.home = torch.device("cpu")  # loaders count their tasks on the host
        self._counts = shots, queries

    def tasks(self, task_ids: Tensor | Sequence[int]) -> LoadedTasks:
        """The tasks with the given numbers, at least one."""
        ids = torch.as_tensor(task_ids, dtype=torch.int64, device="cpu").cpu().reshape(-1).contiguous()
        if not len(ids):
            raise DataError("no tasks were asked for; name at least one task number")
        drawn = [self.stream.task(number) for number in ids.tolist()]
        for number, (_, support, _, queries) in zip(ids.tolist(), drawn, strict=True):
            _check_labels(support, self.ways, self._counts[0], f"the support set of task {number}", complete=True)
            _check_labels(queries, self.ways, self._counts[1], f"the queries of task {number}", complete=False)
        return LoadedTasks(ids, *(torch.stack(entries).to(self.device) for entries in zip(*drawn, strict=True)))

    def support(self, tasks: LoadedTasks) -> tuple[Tensor, Tensor]:
        """Images float32 `[T, images, C, H, W]` and labels int64 `[T, images]`, in the loader's order."""
        return tasks.support, tasks.support_labels

    def queries(self, tasks: LoadedTasks) -> tuple[Tensor, Tensor]:
        """The same of the query images."""
        return tasks.queries, tasks.labels

    def batches(self, tasks: LoadedTasks, batch: int, steps: int, mode: str, *, first_step: int = 0) -> LoadedBatches:
        """The support batches of inner steps first_step .. first_step + steps - 1, picked as `Episodes` picks them."""
        index = batch_indices(
            tasks.ids,
            n_items=tasks.support.shape[1],
            batch=batch,
            steps=steps,
            seed=self.seed,
            mode=mode,
            first_step=first_step,
        )
        return LoadedBatches(tasks, index.to(self.device))


class LoaderSource:
    """Loaders as the data of an algorithm, in the place of `train.tasks.Source`.

    Args:
        train: batches of training tasks, repeated where they end; Reptile and MetaNAS learn from their support alone.
        test: batches of evaluation tasks; as they never repeat, they must be as many as are evaluated.
        first: number of the first task of `train`.
        device: where tasks are put.

    Order, and when a resumed run is identical: see `LoaderEpisodes`.
    """

    def __init__(
        self, train: Loader | None, test: Loader | None = None, *, first: int = 0, device: str | torch.device = "cpu"
    ):
        self.device = torch.device(device)
        self._train = None if train is None else TaskStream(train, first=first)
        self._test = None if test is None else TaskStream(test, repeat=False)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of the first batch."""
        return (self._train or _given(self._test, "test")).image_shape

    def training(self, inner: Any, part: str, seed: int, *learning: Any) -> LoaderEpisodes:
        """Training tasks of `inner`, with its queries where something that learns needs them; `part` changes nothing.

        Raises `DataError` where the images of both loaders are of different scales.
        """
        stream = _given(self._train, "train")
        if inner.drawn:
            raise DataError("a loader's tasks are of one shape; leave inner.least_ways and inner.least_shots out")
        if self._test is not None:
            _check_scales(stream.range, self._test.range)
        counts = {"queries": inner.queries} if any(one.needs_queries for one in learning) else {}
        return LoaderEpisodes(stream, inner.ways, shots=inner.shots, **counts, seed=seed, device=self.device)

    def testing(self, ways: int, test: Any) -> LoaderEpisodes:
        """Evaluation tasks of `ways`, `test.shots` and `test.queries`."""
        stream, counts = _given(self._test, "test"), {"shots": test.shots, "queries": test.queries}
        return LoaderEpisodes(stream, ways, **counts, seed=test.seed, device=self.device)


def _check_scales(train: tuple[float, float], test: tuple[float, float]) -> None:
    """Raises `DataError` where a range of numbers is many times the other, or negative in one alone: 0 .. 255 and
    0 .. 1, 0 .. 1 and normalised."""
    widths = train[1] - train[0], test[1] - test[0]
    signs = train[0] < -widths[0] / 4, test[0] < -widths[1] / 4
    if not all(map(math.isfinite, widths)):
        raise DataError("the images of a loader hold NaN or infinity; remove or replace them")
    if min(widths) > 0 and (signs[0] != signs[1] or max(widths) > 4 * min(widths)):
        ranges = " and ".join(f"from {low:g} to {high:g}" for low, high in (train, test))
        raise DataError(f"images to train and to test on hold numbers {ranges}; give both loaders the same transforms")


def _given(stream: TaskStream | None, name: str) -> TaskStream:
    if stream is None:
        raise DataError(f"there is no loader of {name} tasks; give LoaderSource one as `{name}`")
    return stream


def _pair(pair: Any, where: str) -> tuple[Tensor, Tensor]:
    """Images and labels of one part, after a look at types and shapes."""
    if not isinstance(pair, (tuple, list)) or len(pair) != 2 or not all(isinstance(entry, Tensor) for entry in pair):
        raise DataError(f"{where} must be a pair (x, y) of tensors; use the transforms ToTensor and Categorical")
    images, labels = pair
    if images.dtype != torch.float32:
        raise DataError(f"x in {where} must be float32, not {_kind(images)}; use the transform ToTensor")
    if images.dim() != 5 or 0 in (len(images), *images.shape[2:]):
        found = list(images.shape)
        raise DataError(f"x in {where} must be [tasks, images, channels, height, width], not {found}; stack the tasks")
    if labels.dtype != torch.int64:
        raise DataError(f"y in {where} must be int64, not {_kind(labels)}; use the target_transform Categorical")
    if labels.shape != images.shape[:2]:
        expected, found = list(images.shape[:2]), list(labels.shape)
        raise DataError(f"y in {where} must be {expected} as x is, not {found}; give each image one label")
    return images, labels


def _kind(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _check_labels(labels: Tensor, ways: int, count: int | None, where: str, complete: bool) -> None:
    """All of `[images]` in 0 .. ways - 1; each class there, if complete; `count` times, where that is given."""
    found = sorted(set(labels.tolist()))
    if found and not 0 <= found[0] <= found[-1] < ways:
        span = f"0 .. {ways - 1}"
        raise DataError(f"{where} has labels {found[0]} .. {found[-1]}, {ways} ways have {span}; set ways to match")
    if complete and len(found) < ways:
        raise DataError(f"{where} has {len(found)} classes, not {ways}; set ways to match the loader")
    if count is not None:
        held = torch.bincount(labels.cpu(), minlength=ways).tolist()
        wrong = [(label, images) for label, images in enumerate(held) if images != count]
        if wrong:
            label, images = wrong[0]
            raise DataError(f"{where} has {images} images of class {label}, not {count}; set shots or queries to match")
