"""The tolerance table is complete and honest."""

import numpy as np
import pytest
import torch

from tests.tolerances import TABLE, assert_agree, distance, relative_error


@pytest.mark.parametrize("dtype, depth", TABLE)
def test_bounds_are_above_what_was_measured(dtype, depth):
    row = TABLE[dtype, depth]
    assert row.where
    if depth != "exact":
        assert row.worst < row.bound <= (1e-9 if dtype == torch.float64 else 1.5e-2)


def test_every_depth_has_both_dtypes():
    depths = {dtype: {d for t, d in TABLE if t == dtype} for dtype in (torch.float64, torch.float32)}
    native = {"node, y", "node, gradient", "node, statistics", "output, kernel", "gradient, kernel", "shifted, kernel"}
    assert depths[torch.float32] - depths[torch.float64] == {"shifted", "fuzz", *native}
    assert depths[torch.float64] <= depths[torch.float32]


def test_errors_are_seen():
    good = torch.tensor([1.0, -4.0], dtype=torch.float64)
    assert relative_error(good + torch.tensor([0.0, 0.4]), good) == pytest.approx(0.1)
    assert relative_error(torch.tensor([1e-7]), torch.zeros(1)) == pytest.approx(1e-7)
    for wrong in (good[:1], good * torch.nan, good * torch.inf):
        assert distance(wrong.numpy(), good.numpy())[0] == float("inf")
    assert distance(np.array(["a"]), np.array(["b"]))[0] == float("inf")
    assert distance(np.zeros(0), np.zeros(0))[0] == 0.0
    with pytest.raises(AssertionError, match="relative error"):
        assert_agree(good * (1 + 1e-8), good, "primitive", torch.float64)
    with pytest.raises(AssertionError, match="should be 0"):
        assert_agree(good, good * 0, "primitive", torch.float64)
