"""Traces of soft pruning agree with what hard pruning leaves, and with closed forms."""

import math

import pytest
import torch

from autometa.nas.one_shot.network import OneShotNetwork
from autometa.nas.one_shot.pruned import remaining
from autometa.nas.one_shot.traces import alive, edges, entropy, joined, traces

NETWORK = OneShotNetwork(channels=2, ways=3, image_shape=(1, 8, 8), cells=2, reductions=(1,), nodes=3)
START = NETWORK.layout.weights


def architectures(points, slots, spread=2.0):
    random = torch.Generator().manual_seed(5)
    width = NETWORK.layout.row - START
    return spread * torch.randn(points, slots, width, generator=random, dtype=torch.float64)


def test_edges_name_every_node_and_state():
    assert edges(NETWORK) == [[0, 0], [0, 1], [1, 0], [1, 1], [1, 2], [2, 0], [2, 1], [2, 2], [2, 3]]


@pytest.mark.parametrize("t, threshold", [(1.0, 0.05), (0.3, 0.05), (0.1, 0.2)])
def test_survivors_are_those_of_hard_pruning(t, threshold):
    seen, heat = architectures(3, 4), [1.0, 0.5, t]
    found = traces(NETWORK, seen, heat, threshold)
    for p, temperature in enumerate(heat):
        shares = NETWORK.shares(None, temperature, seen[p])
        for slot in range(4):
            left = remaining(NETWORK, shares, slot, threshold)
            for k, kind in enumerate(("normal", "reduction")):
                flags = [flag for node in left[kind] for flag in node]
                assert found["trace.alive"][slot, p, k].item() == pytest.approx(sum(flags) / len(flags))
    assert 0 < found["trace.alive"].mean() < 1


def test_shares_at_the_end_are_those_of_the_last_step():
    seen = architectures(3, 4)
    found = traces(NETWORK, seen, [1.0, 0.5, 0.2], 0.05)
    shares = NETWORK.shares(None, 0.2, seen[-1])
    for k, kind in enumerate(("normal", "reduction")):
        ops, pairs = joined(shares[kind])
        torch.testing.assert_close(found["trace.ops"][:, k], ops)
        torch.testing.assert_close(found["trace.pairs"][:, k], pairs)
    assert found["trace.ops"].shape == (4, 2, 9, 7) and found["trace.pairs"].shape == (4, 2, 10)


def test_entropy_is_1_where_all_are_alike_and_0_where_one_has_all():
    alike = torch.full((2, 5, 7), 1 / 7, dtype=torch.float64)
    sure = torch.nn.functional.one_hot(torch.tensor([[0, 1, 2, 3, 4]]), 7).double()
    half = torch.tensor([[[0.5, 0.5, 0.0, 0.0]]], dtype=torch.float64)
    torch.testing.assert_close(entropy(alike), torch.ones(2, dtype=torch.float64))
    assert entropy(sure).tolist() == [0.0]
    assert entropy(half).item() == pytest.approx(math.log(2) / math.log(4))
    assert entropy(torch.ones(3, 5, 1)).tolist() == [0.0, 0.0, 0.0]


def test_a_slots_traces_do_not_depend_on_its_neighbours():
    seen = architectures(4, 5).float()
    whole = traces(NETWORK, seen, [1.0, 0.7, 0.4, 0.1], 0.05)
    alone = traces(NETWORK, seen[:, 2:3], [1.0, 0.7, 0.4, 0.1], 0.05)
    for name, values in alone.items():
        assert torch.equal(values[0], whole[name][2]), name


def test_without_pair_weights_every_input_is_read():
    ops = torch.tensor([[[0.9, 0.1], [0.5, 0.5]]], dtype=torch.float64)
    assert alive([(ops, None)], 0.2).tolist() == [0.75]
