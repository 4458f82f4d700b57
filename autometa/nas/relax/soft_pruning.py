"""Soft pruning (MetaNAS, section 3.3): op and input weights whose softmax grows sharper within every task.

Op weights are `softmax(alpha / t)` over the primitives of an edge. Input weights come from weights
`softmax(beta / t)` over all pairs of a node's inputs: a state's weight is the sum of those of its pairs, because
`sum over (a, b) of g_ab (m_a + m_b) = sum over a of (sum over pairs with a of g_ab) m_a`.
"""

from __future__ import annotations

from functools import cache
from itertools import combinations

import torch
from torch import Tensor


def temperature(step: int, steps: int, t_max: float, t_min: float) -> float:
    """Linear from t_max at step 0 to t_min at step `steps - 1`, constant t_min afterwards; t_min where steps is 1."""
    if step >= steps - 1:
        return t_min
    return t_max - step * (t_max - t_min) / (steps - 1)


def pairs(inputs: int) -> list[tuple[int, int]]:
    """Pairs of a node's inputs: (0, 1), (0, 2), .., (1, 2), .."""
    return list(combinations(range(inputs), 2))


def above(weights: Tensor, threshold: float | None) -> Tensor:
    """Weights, those not strictly above `threshold` exactly 0, the others not rescaled; all as they are where None."""
    if threshold is None:
        return weights
    return torch.where(weights > threshold, weights, torch.zeros_like(weights))


def input_weights(pair_weights: Tensor, inputs: int) -> Tensor:
    """Weights of pairs `[S, pairs]` -> weights of inputs `[S, inputs]`."""
    member = _membership(inputs, pair_weights.dtype, pair_weights.device)
    if pair_weights.device.type == "cpu":
        return pair_weights @ member
    return (pair_weights[:, :, None] * member).sum(dim=1)  # a library's product may add up otherwise for other S


@cache
def _membership(inputs: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """`[pairs, inputs]`, 1 where the input belongs to the pair."""
    member = torch.zeros(len(pairs(inputs)), inputs, dtype=dtype, device="cpu")
    for p, (a, b) in enumerate(pairs(inputs)):
        member[p, a] = member[p, b] = 1.0
    return member.to(device)
