"""Before a run's first step on a GPU: is what its kernels compute right, on small cases and at the run's own size?"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from autometa.ops import ahead, backend, self_check
from autometa.ops._triton import triton_refuses
from autometa.runs.progress import progress
from autometa.train.compiling import compile_jobs
from autometa.train.trainer import Trainer

FAR = {"fp32": 0.05, "tf32": 0.2, "bf16": 0.5}
"""How far a whole step's gradient may be from the reference's in float32, by norms: rounding gives up to 2e-3 in fp32
(`tests/tolerances.py`), 0.2 in bf16."""


def checked_device(device: torch.device, mode: str, notice: Callable[[str], None], quiet: bool) -> None:
    """Every op's kernels on small cases, once for a device and its versions; what fails is left to the reference."""
    if backend.requested(None) not in ("auto", "triton") or triton_refuses(device, torch.float32):
        return
    known = self_check.known(device)
    if any(mode not in known.get(op, {}) for op in self_check.CASES) and not ahead.refuses() and device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        jobs = ahead.jobs_of(lambda: list(self_check.work(device, mode)))
        compile_jobs(ahead.missing(jobs, 10 * major + minor), 10 * major + minor, notice, quiet)
    self_check.trust(device, mode, notice)


def checked_step(trainer: Trainer, warm: bool, notice: Callable[[str], None], quiet: bool = True) -> None:
    """The first slot's first step by the kernels and by the reference, at the run's own size. Where they disagree, the
    op whose kernels make the difference is named and left to the reference; all of them, where it is not one alone."""
    mode = backend.current_precision()
    ops = [
        op
        for op in self_check.CASES
        if backend.requested(None) == "auto" and not backend.why_not(op, "triton", trainer.device, torch.float32)
    ]
    if not ops:
        return
    with backend.without(ops, "triton"):
        expected = _gradient(trainer, warm)
    reason = _disagrees(trainer, warm, expected, FAR[mode])
    if reason is None:
        return
    guilty = ops
    with progress(len(ops), 0, "comparing ops", notice, quiet=quiet, unit="op") as bar:
        for op in ops:
            with backend.without([op], "triton"):
                alone = _disagrees(trainer, warm, expected, FAR[mode]) is None
            bar.update()
            if alone:
                guilty = [op]
                break
    for op in guilty:
        backend.distrust(op, "triton", mode, f"its kernels are wrong in this run: {reason}")
    notice(f"kernels of {', '.join(guilty)} compute wrongly in this run ({reason}); the slower reference takes over")


def _gradient(trainer: Trainer, warm: bool) -> Tensor:
    """Sizes of the gradient's elements, as Adam's moments keep them; without Adam, what the step moved."""
    done = trainer.try_slots(1, warm)
    sizes = done.second.double().sqrt()
    return sizes if bool(sizes.any()) else done.phi.double() - done.theta.double().index_select(0, done.group_of_slot)


def _disagrees(trainer: Trainer, warm: bool, expected: Tensor, far: float) -> str | None:
    try:
        found = _gradient(trainer, warm)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever a compiler or a driver says is the answer
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    off = float((found - expected).norm() / expected.norm().clamp_min(1e-12))
    return None if off <= far else f"a step is {off:.1e} from the reference, at most {far:g} is rounding"
