"""Where the tests of Triton kernels run: on a GPU, else in Triton's interpreter, on the CPU and slowly."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from autometa.ops import backend
from autometa.ops._triton import triton_refuses
from tests.tolerances import assert_agree

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
_REASON = triton_refuses(DEVICE, torch.float32)
triton_ready = pytest.mark.skipif(_REASON is not None, reason=str(_REASON))
# How far a mode may be from the float64 reference: the row of the tolerance table.
ROW = {"fp32": torch.float32, "bf16": torch.bfloat16}
MODES = pytest.mark.parametrize("mode", ROW)


def in_mode(mode: str, run, *args, **options) -> list[Tensor]:
    """`run(..., backend="triton")` in a precision mode."""
    with backend.precision(mode):
        return list(run(*args, backend="triton", **options))


def assert_all_agree(found, expected, mode: str) -> None:
    """The first is an output, the others are statistics or gradients; on the device, in float32."""
    for i, (own, due) in enumerate(zip(found, expected, strict=True)):
        assert own.dtype == torch.float32 and own.device.type == DEVICE.type and own.shape == due.shape
        assert_agree(own, due, "gradient, kernel" if i else "output, kernel", ROW[mode])


def assert_same_bits(found, expected) -> None:
    """Equal, also where both are NaN."""
    for own, due in zip(found, expected, strict=True):
        assert torch.equal(own.nan_to_num(7.0), due.nan_to_num(7.0)) and torch.equal(own.isnan(), due.isnan())
