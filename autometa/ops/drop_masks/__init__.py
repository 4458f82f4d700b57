"""Drop path's masks: which op instances survive, image by image."""

from __future__ import annotations

import numpy as np
import torch

from autometa.ops._checks import FLOATS, check_numbers, check_table, require
from autometa.ops.backend import dispatch, implements
from autometa.ops.drop_masks import native as native
from autometa.ops.philox import DROP_PATH, check_key, philox_uint32


def drop_masks(
    task_ids: torch.Tensor,
    exempt: torch.Tensor,
    *,
    keep: float,
    seed: int,
    step: int,
    batch: int,
    dtype: torch.dtype = torch.float32,
    backend: str | None = None,
) -> torch.Tensor:
    """Masks of 0 and 1/keep for every slot, image and op instance (Larsson et al. 2017, as MetaNAS uses it).

    Slot s draws from item task_ids[s] of stream DROP_PATH: instance i of image n in inner step t is draw
    ``(t * batch + n) * instances + i``, kept where the 32-bit number is below ``keep * 2^32``.

    Args:
        task_ids: int64 `[S]`, at least 0.
        exempt: bool `[instances]`, those that are never dropped and get 1 (identities).
        keep: probability to survive, 0 < keep <= 1.
        seed: 0 .. 2^32 - 1.
        step: inner step t, at least 0; batch: images N of a step.
        dtype: float32 or float64, of the masks.

    Returns:
        `[S, N, instances]` on the device of task_ids.

    Raises:
        ValueError: an argument out of range. Task ids on a GPU are not looked at.
        BackendError: the forced backend cannot run.
    """
    check_table("task_ids", task_ids, (task_ids.numel(),), torch.int64, task_ids.device)
    check_table("exempt", exempt, (exempt.numel(),), torch.bool, task_ids.device)
    check_key(seed, DROP_PATH)
    require(dtype in FLOATS, f"masks are float32 or float64, not {dtype}")
    require(0.0 < keep <= 1.0, f"keep must lie above 0 and not above 1, it is {keep}")
    require(batch >= 1 and step >= 0, f"need batch >= 1, step >= 0; got {batch}, {step}")
    last_draw = (step + 1) * batch * exempt.numel()
    require(last_draw < 2**34, f"{last_draw} draws per task are more than the generator's 2^34")
    check_numbers("drop_masks", task_ids.numel(), batch, exempt.numel())
    run = dispatch("drop_masks", task_ids.device, dtype, backend)
    mask = torch.empty(task_ids.numel(), batch, exempt.numel(), dtype=dtype, device=task_ids.device)
    run(task_ids, exempt, float(keep), seed, step * batch, mask)
    return mask


@implements("drop_masks", "reference")
def _reference(task_ids, exempt, keep, seed, first_image, mask) -> None:
    ids = task_ids.cpu().numpy()
    require(ids.size == 0 or ids.min() >= 0, "task_ids must be at least 0")
    per_image = exempt.numel()
    draws = first_image * per_image + np.arange(mask.shape[1] * per_image)
    uniform = philox_uint32(seed, DROP_PATH, ids[:, None], draws[None, :])
    kept = torch.from_numpy((uniform < keep * 2.0**32).reshape(mask.shape))
    mask.copy_(torch.where(exempt.cpu(), 1.0, kept * native.kept_value(keep, mask.dtype)))
