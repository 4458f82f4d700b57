"""Which support images the inner steps of each task see."""

from __future__ import annotations

import numpy as np
import torch

from autometa.ops._checks import check_numbers, check_table, require
from autometa.ops.backend import dispatch, implements
from autometa.ops.batch_indices import native as native
from autometa.ops.philox import BATCH, bounded, check_key, philox_uint32

MODES = ("replacement", "passes")
MOST_SHUFFLED = 2**24


def batch_indices(
    task_ids: torch.Tensor,
    *,
    n_items: int,
    batch: int,
    steps: int,
    seed: int,
    mode: str,
    first_step: int = 0,
    backend: str | None = None,
) -> torch.Tensor:
    """Indices into a task's `n_items` support images for inner steps first_step .. first_step + steps - 1.

    "replacement" (MetaNAS) draws every index by itself. "passes" (Reptile) cuts an endless row of
    shuffles of all items into batches; a batch may reach over the end of a pass.

    Args:
        task_ids: int64 `[T]`, at least 0.
        mode: "replacement" or "passes".
        seed: 0 .. 2^32 - 1; the numbers come from stream BATCH, item = task id.

    Returns:
        int64 `[T, steps, batch]`, on the device of task_ids.

    Raises:
        ValueError: an argument out of range. Task ids on a GPU are not looked at.
        BackendError: the forced backend cannot run.
    """
    device = task_ids.device
    check_table("task_ids", task_ids, (task_ids.numel(),), torch.int64, device)
    check_key(seed, BATCH)
    require(mode in MODES, f"mode must be one of {', '.join(MODES)}, it is {mode!r}")
    require(1 <= n_items < 2**31, f"n_items must lie in 1..2^31 - 1, it is {n_items}")
    require(
        batch >= 1 and steps >= 0 and first_step >= 0,
        f"need batch >= 1, steps >= 0, first_step >= 0; got {batch}, {steps}, {first_step}",
    )
    last_draw = (first_step + steps) * batch + n_items
    require(last_draw < 2**34, f"{last_draw} draws per task are more than the generator's 2^34")
    require(mode != "passes" or n_items <= MOST_SHUFFLED, f"{n_items} items are too many to shuffle")
    check_numbers("batch_indices", task_ids.numel(), steps, batch)
    run = dispatch("batch_indices", device, torch.int64, backend)
    index = torch.empty(task_ids.numel(), steps, batch, dtype=torch.int64, device=device)
    run(task_ids, n_items, batch, steps, seed, mode == "passes", first_step, index)
    return index


@implements("batch_indices", "reference")
def _reference(task_ids, n_items, batch, steps, seed, passes, first_step, index) -> None:
    ids = task_ids.cpu().numpy()
    require(ids.size == 0 or ids.min() >= 0, "task_ids must be at least 0")
    begin, count = first_step * batch, steps * batch
    if passes:
        flat = _passes(ids, n_items, begin, count, seed)
    else:
        draws = np.arange(begin, begin + count)
        flat = bounded(philox_uint32(seed, BATCH, ids[:, None], draws[None]), n_items)
    index.copy_(torch.from_numpy(flat.reshape(index.shape)))


def _passes(ids: np.ndarray, n_items: int, begin: int, count: int, seed: int) -> np.ndarray:
    first, last = begin // n_items, -(-(begin + count) // n_items)
    draws = np.arange(first * n_items, last * n_items)
    numbers = philox_uint32(seed, BATCH, ids[:, None], draws[None]).reshape(-1, n_items)
    order = np.tile(np.arange(n_items), (numbers.shape[0], 1))
    rows = np.arange(numbers.shape[0])
    for j in range(n_items - 1, 0, -1):
        other = bounded(numbers[:, j], j + 1)
        order[rows, j], order[rows, other] = order[rows, other], order[rows, j]
    skip = begin - first * n_items
    return order.reshape(ids.size, draws.size)[:, skip : skip + count]
