"""Triton kernels, one file per op; installed as `autometa.kernels` and used by `autometa.ops` only."""
