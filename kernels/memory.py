"""Memory that nobody has written yet; it needs no Triton."""

from __future__ import annotations

import os

import torch
from torch import Tensor


def poisoned(x: Tensor) -> Tensor:
    """x, filled with NaN (77 where it holds integers) where AUTOMETA_DEBUG is set."""
    return x.fill_(torch.nan if x.is_floating_point() else 77) if os.environ.get("AUTOMETA_DEBUG") else x
