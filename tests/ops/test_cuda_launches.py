"""Every CUDA op is one launch: counted on the host by what stands in for the launcher, on a GPU by torch's profiler."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from autometa.ops._cuda import cuda_refuses
from autometa.ops.adam import adam_
from autometa.ops.augment_images import Augment, augment_images
from autometa.ops.batch_indices import batch_indices
from autometa.ops.clip_grad import clip_grad_
from autometa.ops.drop_masks import drop_masks
from autometa.ops.finite_slots import finite_slots
from autometa.ops.gather_images import gather_images
from autometa.ops.reptile import reptile_
from autometa.ops.rows import Rows
from autometa.ops.sample_tasks import sample_tasks
from autometa.ops.sgd import sgd_
from tests.ops import cuda_on_host

REASON = cuda_refuses(torch.device("cuda"), torch.float32)
SLOTS, ROW = 3, 5000
OPS = {source.parent.name for source in cuda_on_host.SOURCES} - {"versions"}


def calls(device: str) -> dict[str, Callable[[], object]]:
    """Op -> a call of it on the device; rows of several tiles, two kinds."""
    cuda = {"device": device}
    phi, grad, second, first = (torch.rand(SLOTS, ROW, **cuda) for _ in range(4))
    theta, steps = torch.rand(1, ROW, **cuda), torch.zeros(SLOTS, 2, dtype=torch.int64, **cuda)
    half = torch.full((1, 2), 0.5, dtype=torch.float64, **cuda)
    of_slot = torch.zeros(SLOTS, dtype=torch.int64, **cuda)
    rows = Rows(torch.tensor([[0, 4000, ROW]], **cuda), of_slot, of_slot)
    ids, finite = torch.arange(SLOTS, **cuda), torch.ones(SLOTS, dtype=torch.bool, **cuda)
    images, ones = torch.zeros(9, 1, 28, 28, dtype=torch.uint8, **cuda), torch.ones(1, **cuda)
    starts, picks = torch.arange(0, 101, 20, **cuda), torch.zeros(SLOTS, 4, dtype=torch.int64, **cuda)
    shown = torch.rand(SLOTS, 4, 1, 28, 28, **cuda)
    exempt, options = torch.zeros(7, dtype=torch.bool, **cuda), {"seed": 1, "backend": "cuda"}
    return {
        "adam": lambda: adam_(phi, grad, second, steps, half, half, rows, first=first, backend="cuda"),
        "sgd": lambda: sgd_(phi, grad, half, half, rows, backend="cuda"),
        "reptile": lambda: reptile_(theta, phi, half, finite, rows, backend="cuda"),
        "clip_grad": lambda: clip_grad_(grad, half, rows, backend="cuda"),
        "finite_slots": lambda: finite_slots(phi, backend="cuda"),
        "sample_tasks": lambda: sample_tasks(starts, ids, ids, rotations=4, ways=5, shots=1, queries=1, **options),
        "batch_indices": lambda: batch_indices(ids, n_items=9, batch=4, steps=2, mode="passes", **options),
        "drop_masks": lambda: drop_masks(ids, exempt, keep=0.8, step=0, batch=2, **options),
        "augment_images": lambda: augment_images(shown, ids, picks, Augment(shift=0.1, noise=0.1), **options),
        "gather_images": lambda: gather_images(images, picks, picks, ones, ones, backend="cuda"),
    }


def test_every_op_is_called():
    assert set(calls("cpu")) == OPS


@pytest.mark.parametrize("op", sorted(OPS))
def test_an_op_is_one_launch(op, monkeypatch):
    cuda_on_host.use(monkeypatch)
    launches, call = cuda_on_host.build().launches, calls("cpu")[op]
    before = launches.value
    call()
    assert launches.value == before + 1


@pytest.mark.gpu
@pytest.mark.skipif(REASON is not None, reason=str(REASON))
@pytest.mark.parametrize("op", sorted(OPS))
def test_an_op_is_one_piece_of_work_for_the_device(op):
    """Kernels, fills and copies alike."""
    call = calls("cuda")[op]
    call()
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        call()
        torch.cuda.synchronize()
    found = [event.name for event in profile.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    if not found:
        pytest.skip("torch's profiler sees nothing of the device here")
    assert len(found) == 1, found
