"""Where no GPU is, Triton kernels are interpreted. Triton decides when it is imported, so this comes first."""

import os

import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")
