"""The tolerance table: one bound per dtype and depth of the computation, and the worst error seen.

An error is `max |a - b| / max |b|` with b the expected array; arrays that are 0 up to rounding have an absolute bound.
The worst errors were measured with torch 2.13 and the reference backend on one thread of an AVX-512 CPU.  "Made-up"
files are those of `tests/golden/made.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

ZERO = 1e-16
ABSOLUTE = {torch.float64: 1e-12, torch.float32: 1e-6, torch.bfloat16: 1e-3}


@dataclass(frozen=True)
class Tolerance:
    """bound: what is allowed; worst: the largest error measured; where: on which check."""

    bound: float
    worst: float
    where: str


_FLOAT64 = {
    "exact": Tolerance(0.0, 0.0, "integers, names, equal bits"),
    "vector": Tolerance(1e-09, 8.4e-16, "golden soft_pruning, weights"),
    "primitive": Tolerance(1e-09, 2.3e-15, "golden primitive_max_pool_3x3, running statistics"),
    "forward": Tolerance(1e-09, 7.6e-15, "golden discrete_metanas_in_v2_L4, running statistics"),
    "cell": Tolerance(1e-09, 3.4e-15, "golden cell_normal_after_reduction, dparam"),
    "supernet_28 gradient": Tolerance(1e-09, 1.9e-14, "golden supernet_28, t0.05, weights"),
    "supernet_28 gradient, pruned": Tolerance(1e-09, 1.6e-14, "golden supernet_28, weights"),
    "supernet_84 gradient": Tolerance(1e-09, 0, "only on a made-up file: the folder has none"),
    "discrete gradient": Tolerance(1e-09, 1.7e-14, "golden discrete_metanas_og_v2_L4"),
    "meta-gradient": Tolerance(1e-09, 1.4e-15, "golden meta_gradients_plain, anil"),
    "formula": Tolerance(1e-12, 8.1e-15, "test_support_statistics_make_queries_independent, one-shot"),
    "slots, node": Tolerance(1e-13, 6.2e-15, "test_slots_in_one_batch_equal_slots_alone, one channel"),
    "slots, network": Tolerance(1e-12, 2.6e-15, "nas, test_slots_in_one_batch_equal_slots_alone, reptile"),
    "slots, inner loop": Tolerance(1e-11, 4.5e-14, "test_chunks_change_nothing, Adam, change of weights"),
}
_FLOAT32 = {
    "exact": Tolerance(0.0, 0.0, "integers, names, equal bits"),
    "vector": Tolerance(1.1e-05, 2.1e-07, "golden soft_pruning, weights"),
    "primitive": Tolerance(1.1e-05, 9.8e-07, "golden mixed_op, dw"),
    "forward": Tolerance(1.1e-05, 3.1e-06, "made-up discrete network, running statistics"),
    "cell": Tolerance(2e-05, 3e-06, "made-up cell_normal, dparam"),
    "supernet_28 gradient": Tolerance(0.0002, 2.2e-05, "golden supernet_28"),
    "supernet_28 gradient, pruned": Tolerance(0.0006, 2.2e-05, "golden supernet_28, logits"),
    "supernet_84 gradient": Tolerance(0.005, 5.2e-05, "made-up supernet_84"),
    "discrete gradient": Tolerance(0.015, 0.00014, "made-up discrete network"),
    "meta-gradient": Tolerance(1.1e-05, 4.2e-06, "made-up meta_gradients_bn, maml"),
    "formula": Tolerance(2e-06, 1.5e-06, "test_conv_block, cpp, stem of 84, gradient of x"),
    "slots, node": Tolerance(4e-06, 3.7e-07, "conv_block, test_slots_alone, stem"),
    "slots, network": Tolerance(1.2e-05, 1.3e-06, "nas, test_slots_in_one_batch_equal_slots_alone, one-shot"),
    "slots, inner loop": Tolerance(0.001, 2.7e-05, "meta, test_slots_in_one_batch_equal_slots_alone, one-shot, Adam"),
    "node, y": Tolerance(8e-06, 8.4e-07, "mixed_op_cpp, test_all_primitives_together, 128 channels of 4x7"),
    "node, gradient": Tolerance(
        2e-05, 7.3e-06, "mixed_op_cpp, test_all_primitives_together, 20 images of 5x28x28, sep_conv_3x3"
    ),
    "node, statistics": Tolerance(2e-06, 1.9e-07, "mixed_op_cpp, test_statistics_and_given_ones"),
    "output, kernel": Tolerance(8e-06, 8e-07, "linear_head_triton, means of 28 channels of 7x7; interpreted"),
    "gradient, kernel": Tolerance(2e-05, 4.1e-07, "preprocess_triton, test_zeros_pass_nothing_on; interpreted"),
    "shifted, kernel": Tolerance(0.005, 0.0019, "preprocess_triton, test_means_of_100_standard_deviations, weights"),
    "fuzz": Tolerance(0.0005, 2.1e-06, "ops, test_random_calls_agree_with_float64, preprocess, 450 calls"),
    "shifted": Tolerance(0.001, 0.00033, "preprocess_cpp, test_means_of_100_standard_deviations, halved, weights"),
}
# Of float32 results that the Triton kernels computed in mode bf16, against the float64 reference.
_BFLOAT16 = {
    "output, kernel": Tolerance(0.015, 0.0063, "preprocess_triton, test_with_gamma_and_beta, halved; interpreted"),
    "gradient, kernel": Tolerance(0.015, 0.0078, "preprocess_triton, 17 channels of 9x8, halved; interpreted"),
}
TABLE: dict[tuple[torch.dtype, str], Tolerance] = {
    **{(torch.float64, depth): found for depth, found in _FLOAT64.items()},
    **{(torch.float32, depth): found for depth, found in _FLOAT32.items()},
    **{(torch.bfloat16, depth): found for depth, found in _BFLOAT16.items()},
}


def tolerance(dtype: torch.dtype, depth: str) -> float:
    """The bound of a row of the table."""
    return TABLE[dtype, depth].bound


def distance(actual: np.ndarray, expected: np.ndarray) -> tuple[float, float]:
    """max |a - b| and max |b|; infinite where shapes differ or a number is not finite."""
    if actual.shape != expected.shape:
        return float("inf"), 1.0
    if expected.size == 0:
        return 0.0, 1.0
    if expected.dtype.kind not in "fiub" or actual.dtype.kind not in "fiub":
        return (0.0 if bool((actual == expected).all()) else float("inf")), 1.0
    gap = np.abs(actual.astype(np.float64) - expected.astype(np.float64)).max()
    scale = np.abs(expected).max()
    if not (np.isfinite(gap) and np.isfinite(scale)):
        return float("inf"), 1.0
    return float(gap), float(scale)


def array(value: Tensor | np.ndarray) -> np.ndarray:
    """A tensor as an array."""
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else value


def relative_error(actual: Tensor | np.ndarray, expected: Tensor | np.ndarray) -> float:
    """The error as the table measures it; the absolute one where `expected` is 0 up to rounding."""
    gap, scale = distance(array(actual), array(expected))
    return gap if scale < ZERO else gap / scale


def assert_agree(actual: Tensor | np.ndarray, expected: Tensor | np.ndarray, depth: str, dtype: torch.dtype) -> None:
    """Fail where `actual` is further from `expected` than the table allows."""
    gap, scale = distance(array(actual), array(expected))
    if scale < ZERO:
        assert gap <= ABSOLUTE[dtype], f"{depth}: should be 0, is up to {gap:.2e}"
    else:
        assert gap <= tolerance(dtype, depth) * scale, f"{depth}: relative error {gap / scale:.2e}"
