"""Triton kernels, one file per op; installed as autometa.kernels. Only autometa.ops imports them."""
