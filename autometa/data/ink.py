"""Ink on paper: drawings and photographs of them, dark on light or light on dark, as ink 255 on paper 0."""

from __future__ import annotations

import numpy as np
import torch

from autometa.ops.read_ink import read_ink


def ink_of(grey: np.ndarray) -> np.ndarray:
    """uint8 `[H, W]`, any polarity and light -> uint8 `[H, W]`, ink 255 on paper 0 (`ops.read_ink`)."""
    return read_ink(torch.from_numpy(np.array(grey, dtype=np.uint8)[None]))[0].numpy()
