"""Compiling the GPU kernels of a preset ahead of its first run: `autometa doctor --compile`."""

from __future__ import annotations

import re
import time
from typing import Any

import torch

from autometa.algorithms.presets import PRESETS
from autometa.api.running import RunOptions, gpu_refuses
from autometa.errors import InputError
from autometa.meta.inner_loop import slot_gradients
from autometa.ops import ahead, backend
from autometa.ops.cross_entropy import cross_entropy
from autometa.train.compiling import compile_jobs


def compile_kernels(preset: str = "omniglot", capability: str | None = None, quiet: bool = False) -> dict[str, Any]:
    """Compile what a training step of a preset launches, in processes beside each other; kept below AUTOMETA_CACHE.

    capability: of the device that is to run it, such as 9.0; the GPU of this machine where None. Nothing runs, so that
    no GPU is needed where it is named. Returns how many kernels there are, were compiled now, and why others were not.

    Raises `InputError` for an unknown preset, for no capability, or where Triton cannot compile here.
    """
    found = [presets[preset] for presets in PRESETS.values() if preset in presets]
    if not found:
        names = ", ".join(sorted({name for presets in PRESETS.values() for name in presets}))
        raise InputError(f"unknown preset {preset!r}; choose from {names}")
    target = _target(capability)
    if reason := ahead.refuses():
        raise InputError(f"kernels cannot be compiled here: {reason}")
    begun, jobs = time.monotonic(), {}
    for config in found:
        size = config.data.image_size
        network = config.build((3 if config.data.variant == "colour" else 1, size, size))
        with backend.precision(config.precision):
            jobs |= dict.fromkeys(ahead.jobs_anywhere(lambda n=network, c=config: _step(n, c.inner.batch)))
    due = ahead.missing(list(jobs), target)
    failed = compile_jobs(due, target, RunOptions(quiet).notice, quiet)
    return {
        "preset": preset,
        "capability": "{}.{}".format(*divmod(target, 10)),
        "kernels": len(jobs),
        "compiled": len(due) - len(failed),
        "failed": list(failed.values()),
        "seconds": round(time.monotonic() - begun, 1),
    }


def _target(capability: str | None) -> int:
    if capability is None:
        if reason := gpu_refuses(0):
            raise InputError(f"{reason}; name a GPU's compute capability, such as --capability 9.0")
        major, minor = torch.cuda.get_device_capability(0)
        return 10 * major + minor
    if not re.fullmatch(r"\d{1,2}\.\d", capability):
        raise InputError(f"a compute capability is a number such as 9.0, not {capability!r} (--capability)")
    target = int(capability.replace(".", ""))
    if target < 80:
        raise InputError(f"the kernels need compute capability 8.0 or later, not {capability}")
    return target


def _step(network: Any, batch: int) -> None:
    """Forward and backward of one slot."""
    images, labels = torch.zeros(1, batch, *network.image_shape), torch.zeros(1, batch, dtype=torch.int64)
    slot_gradients(lambda row, x, y, step: cross_entropy(network.logits(row, x), y), _row(network), images, labels, 0)


def _row(network: Any) -> torch.Tensor:
    return network.initial(0)[None]
