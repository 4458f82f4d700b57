"""A guard under which everything is forbidden that makes a host wait for its GPU, or that a CUDA graph cannot record.

On the CPU nothing waits, but the calls are the same.  The ops of `autometa.ops` are left alone: each is a launch.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import autometa.ops

OPS = str(Path(autometa.ops.__file__).parent)
LOOKING = ("tolist", "numpy", "item", "cpu", "cuda", "pin_memory", "__bool__", "__int__", "__float__", "__index__")
ASKING = {
    torch.ops.aten._local_scalar_dense,
    torch.ops.aten.nonzero,
    torch.ops.aten.masked_select,
    torch.ops.aten._unique2,
    torch.ops.aten.unique_dim,
    torch.ops.aten.equal,
    torch.ops.aten.repeat_interleave,
    torch.ops.aten.bincount,
    torch.ops.aten.lift_fresh,  # torch.tensor(values): a copy from the host
}


class Waits(Exception):
    """A call that would make the host wait."""


class Watching(TorchDispatchMode):
    """Within, the package's ops go through torch's dispatcher."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


class _Guard(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        packet = func.overloadpacket
        if packet in ASKING:
            raise Waits(str(packet))
        if packet in (torch.ops.aten.index, torch.ops.aten.index_put, torch.ops.aten.index_put_):
            if any(index is not None and index.dtype == torch.bool for index in args[1]):
                raise Waits("an index of flags")
        if packet is torch.ops.aten._to_copy:
            device = (kwargs or {}).get("device")
            if device is not None and torch.device(device).type != args[0].device.type:
                raise Waits("a copy from device to device")
        return func(*args, **(kwargs or {}))


@contextmanager
def nothing_waits() -> Iterator[None]:
    """Within, such a call raises `Waits`, unless an op of the package makes it."""

    def guarded(name: str):
        original = getattr(torch.Tensor, name)

        def call(self, *args, **kwargs):
            if not sys._getframe(1).f_code.co_filename.startswith(OPS):
                raise Waits(f"Tensor.{name}")
            return original(self, *args, **kwargs)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in LOOKING:
            patch.setattr(torch.Tensor, name, guarded(name))
        with _Guard():
            yield
