"""The classifier: means or all values, slots, lists of states."""

from __future__ import annotations

import pytest
import torch

from autometa.ops import linear_head
from autometa.ops.primitives import aligned
from tests.tolerances import assert_agree

FLATTEN = pytest.mark.parametrize("flatten", [False, True])
CLASSES = 4


def case(flatten, *, slots=3, batch=2, widths=(2, 3), size=(3, 5), dtype=torch.float64):
    generator = torch.Generator().manual_seed(2)
    features = sum(widths) * (size[0] * size[1] if flatten else 1)
    width = aligned(CLASSES * features) + aligned(CLASSES)
    states = [torch.randn(slots, batch, c, *size, generator=generator, dtype=torch.float64).to(dtype) for c in widths]
    return states, torch.randn(slots, width, generator=generator, dtype=torch.float64).to(dtype), features


@FLATTEN
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_formula_per_slot(flatten, dtype):
    states, params, features = case(flatten, dtype=dtype)
    logits = linear_head(states, params, CLASSES, flatten=flatten)
    for s in range(3):
        x = torch.cat([state[s] for state in states], dim=1).double()
        x = x.flatten(1) if flatten else x.mean(dim=(2, 3))
        weight = params[s, : CLASSES * features].view(CLASSES, features).double()
        start = aligned(CLASSES * features)
        expected = x @ weight.T + params[s, start : start + CLASSES].double()
        assert_agree(logits[s], expected, "formula", dtype)
        alone = linear_head([x[s : s + 1] for x in states], params[s : s + 1], CLASSES, flatten=flatten)
        assert_agree(logits[s : s + 1], alone, "slots, node", dtype)


@FLATTEN
def test_a_list_of_states_is_their_concatenation(flatten):
    states, params, _ = case(flatten)
    joined = linear_head([torch.cat(states, dim=2)], params, CLASSES, flatten=flatten)
    assert_agree(linear_head(states, params, CLASSES, flatten=flatten), joined, "formula", torch.float64)


@FLATTEN
def test_gradcheck(flatten):
    states, params, _ = case(flatten, slots=2, size=(2, 1))
    leaves = [x.requires_grad_(True) for x in (*states, params)]

    def evaluate(a, b, p):
        return linear_head([a, b], p, CLASSES, flatten=flatten)

    assert torch.autograd.gradcheck(evaluate, leaves)
    assert torch.autograd.gradgradcheck(evaluate, leaves, fast_mode=True)


@FLATTEN
def test_one_pixel_one_channel_one_image(flatten):
    states, params, _ = case(flatten, slots=1, batch=1, widths=(1,), size=(1, 1))
    expected = params[:, :CLASSES] * states[0].flatten() + params[:, aligned(CLASSES) : aligned(CLASSES) + CLASSES]
    assert_agree(linear_head(states, params, CLASSES, flatten=flatten)[0], expected, "formula", torch.float64)
