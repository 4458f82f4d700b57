"""Compiling the GPU kernels of a training step before it runs, told as it goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from autometa.ops import ahead
from autometa.runs.progress import progress
from autometa.train.trainer import Trainer


def compile_jobs(jobs: Sequence[str], capability: int, notice: Callable[[str], None], quiet: bool) -> dict[str, str]:
    """Compile what `ahead.missing` found; returns what failed, by job, with the reason."""
    if not jobs:
        return {}
    beside = ahead.processes(len(jobs))
    notice(f"compiling {len(jobs)} GPU kernels in {beside} processes; they are kept for later runs")
    with progress(len(jobs), 0, "GPU kernels", notice, quiet=quiet, unit="kernel") as bar:
        return ahead.compile_ahead(jobs, capability, bar.update)


def compile_step(trainer: Trainer, warm: bool, notice: Callable[[str], None], quiet: bool) -> None:
    """Before a trainer's first step on a GPU: the kernels that it launches and that the cache lacks, in processes
    beside each other, where one after the other in this one would take minutes. What fails is met again when it is
    launched."""
    if ahead.refuses():
        return
    major, minor = torch.cuda.get_device_capability(trainer.device)
    capability = 10 * major + minor
    try:
        jobs = ahead.missing(ahead.jobs_of(lambda: trainer.try_slots(1, warm)), capability)
    except RuntimeError as error:
        notice(f"GPU kernels are compiled one by one as they are met ({' '.join(str(error).split())[:160]})")
        return
    for reason in compile_jobs(jobs, capability, notice, quiet).values():
        notice(reason)
