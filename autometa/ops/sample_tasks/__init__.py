"""Which classes and images make up each task, from the task's number alone."""

from __future__ import annotations

import math

import numpy as np
import torch

from autometa.ops._checks import check_numbers, check_table, require
from autometa.ops.backend import dispatch, implements
from autometa.ops.philox import TASK, bounded, check_key, philox_uint32
from autometa.ops.sample_tasks import native as native

MOST_DRAWN = 2**14  # of a task's classes, or images of one: drawing takes time by the square


def sample_tasks(
    class_start: torch.Tensor,
    classes: torch.Tensor,
    task_ids: torch.Tensor,
    *,
    rotations: int,
    ways: int,
    shots: int,
    queries: int,
    seed: int,
    group_start: torch.Tensor | None = None,
    backend: str | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Draw the episodes with the given numbers (few-shot protocol of Vinyals et al. 2016).

    Virtual class v in 0 .. K * rotations - 1 is class ``classes[v % K]`` turned counter-clockwise by
    ``v // K`` quarter turns. A task draws `ways` virtual classes, then `shots + queries` images of each,
    without replacement and in random order (Floyd's algorithm in the permutation form of Bentley and
    Floyd 1987) from stream TASK, item = task id. Where `classes` are in groups, such as alphabets, which follow one
    another, a task first draws its group, each as likely, then its classes from that group alone.

    Args:
        class_start: int64 `[all_classes + 1]`; images of class c are class_start[c] .. class_start[c+1]-1.
        classes: int64 `[K]`, the classes to draw from.
        task_ids: int64 `[T]`, at least 0; all on one device.
        rotations: 1 or 4.
        seed: 0 .. 2^32 - 1.
        group_start: int64 `[G + 1]`, where each group begins in `classes`, and the end; None: all are one group.

    Returns:
        image numbers int64 `[T, ways, shots + queries]` (the first `shots` are support), quarter turns
        int64 `[T, ways]`, virtual classes int64 `[T, ways]`; on the device of task_ids.

    Raises:
        ValueError: fewer virtual classes than ways, in all or in a group, a class with too few images, or a bad
            argument. The values of tensors on a GPU are not looked at: there the caller guarantees them.
        BackendError: the forced backend cannot run.
    """
    device = task_ids.device
    if group_start is None:
        group_start = torch.arange(2, dtype=torch.int64, device=device) * classes.numel()
    named = {"class_start": class_start, "classes": classes, "group_start": group_start, "task_ids": task_ids}
    for name, table in named.items():
        check_table(name, table, (table.numel(),), torch.int64, device)
    check_key(seed, TASK)
    entries = 2 if classes.numel() and device.type != "cpu" else 1
    require(class_start.numel() >= entries, "class_start must have an entry per class and one more")
    require(group_start.numel() >= 2, "group_start must have an entry per group and one more")
    require(rotations in (1, 4), f"rotations must be 1 or 4, it is {rotations}")
    require(
        ways >= 1 and shots >= 0 and queries >= 0,
        f"need ways >= 1, shots >= 0, queries >= 0; got {ways}, {shots}, {queries}",
    )
    available = classes.numel() * rotations
    require(available >= ways, f"{ways} ways need as many classes, there are {available}")
    require(max(ways, shots + queries) <= MOST_DRAWN, f"a task of more than {MOST_DRAWN} classes, or images of a class")
    check_numbers("sample_tasks", task_ids.numel(), ways, shots + queries)
    image = torch.empty(task_ids.numel(), ways, shots + queries, dtype=torch.int64, device=device)
    rotation, chosen = (torch.empty(task_ids.numel(), ways, dtype=torch.int64, device=device) for _ in range(2))
    run = dispatch("sample_tasks", device, torch.int64, backend)
    run(class_start, classes, group_start, task_ids, rotations, ways, shots, queries, seed, image, rotation, chosen)
    return image, rotation, chosen


def check_classes(class_start: np.ndarray, classes: np.ndarray, need: int) -> None:
    """Every selectable class must exist and have at least `need` images."""
    total = class_start.size - 1
    require(
        bool(((classes >= 0) & (classes < total)).all()),
        f"classes must lie in 0..{total - 1}",
    )
    sizes = class_start[classes + 1] - class_start[classes]
    require(
        sizes.size == 0 or (class_start[classes].min() >= 0 and sizes.max() < 2**32),
        "class_start must rise from 0, by less than 2^32 a class",
    )
    if sizes.size and sizes.min() < need:
        worst = int(classes[sizes.argmin()])
        raise ValueError(f"a task needs {need} images per class, class {worst} has {int(sizes.min())}")


def check_groups(group_start: np.ndarray, classes: int, rotations: int, ways: int) -> None:
    """Groups must divide the classes, and each have enough of them."""
    require(group_start[0] == 0 and group_start[-1] == classes, "group_start must go from 0 to the number of classes")
    few = np.diff(group_start) * rotations < ways
    require(not few.any(), f"group {int(few.argmax())} has too few classes for {ways} ways")


def permutation(numbers: np.ndarray, size: np.ndarray) -> np.ndarray:
    """k distinct integers below `size`, in random order, from k random numbers; int64 `[..., k]`.

    Args:
        numbers: uint32 `[..., k]`.
        size: integers `[...]`, at least k.
    """
    shape, count = numbers.shape, numbers.shape[-1]
    flat = numbers.reshape(math.prod(shape[:-1]), count)
    sizes = np.broadcast_to(np.asarray(size, dtype=np.int64), shape[:-1]).reshape(-1)
    found = np.full((flat.shape[0], count), -1, dtype=np.int64)
    places = np.arange(count)
    for have in range(count):
        limit = sizes - count + have
        drawn = bounded(flat[:, have], limit + 1)
        same = found == drawn[:, None]
        known = same.any(axis=1)
        place = np.where(known, same.argmax(axis=1) + 1, 0)[:, None]
        moved = np.roll(found, 1, axis=1)
        entry = np.where(known, limit, drawn)[:, None]
        found = np.where(places < place, found, np.where(places == place, entry, moved))
    return found.reshape(shape)


@implements("sample_tasks", "reference")
def _reference(
    class_start, classes, group_start, task_ids, rotations, ways, shots, queries, seed, image, rotation, chosen
) -> None:
    start, pool, groups, ids = (table.cpu().numpy() for table in (class_start, classes, group_start, task_ids))
    each = shots + queries
    check_classes(start, pool, each)
    require(ids.size == 0 or ids.min() >= 0, "task_ids must be at least 0")
    check_groups(groups, pool.size, rotations, ways)
    numbers = philox_uint32(seed, TASK, ids[:, None], np.arange(ways * (each + 1) + 1)[None])
    group = bounded(numbers[:, -1], groups.size - 1)
    count = (groups[group + 1] - groups[group])[:, None]
    own = permutation(numbers[:, :ways], count[:, 0] * rotations)
    place, turns = groups[group][:, None] + own % count, own // count
    real = pool[place]
    within = permutation(numbers[:, ways:-1].reshape(ids.size, ways, each), start[real + 1] - start[real])
    image.copy_(torch.from_numpy(start[real][..., None] + within))
    rotation.copy_(torch.from_numpy(turns))
    chosen.copy_(torch.from_numpy(turns * pool.size + place))
