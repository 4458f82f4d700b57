"""A pruned network within limits: exact sizes, nothing changed without need, nothing removed beyond the smallest."""

import pytest
import torch

from autometa.algorithms.metanas import MetaNASConfig
from autometa.algorithms.metanas_outcome import pruned_size
from autometa.nas.one_shot.network import AtTemperature
from autometa.nas.one_shot.pruned import remaining
from autometa.nas.one_shot.size_limits import Limits, costs_of, smallest, typical, within
from tests.nas.networks import images_for, one_shot, rows

CONFIG = MetaNASConfig(prune_testing=0.05, t_min_test=0.5)
SLOTS = 4


def sizes(network, phi):
    return [pruned_size(network, phi, slot, CONFIG) for slot in range(len(phi))]


def limited(network, phi, limits):
    return within(network, phi, CONFIG.t_min_test, CONFIG.prune_testing, limits)


@pytest.fixture(params=[True, False], ids=["pairs", "plain"])
def network(request):
    return one_shot(channels=4, nodes=3, pairwise=request.param)


def test_instances_and_the_rest_add_up_to_the_whole(network):
    costs = costs_of(network)
    total = [fixed + sum(cost[d] for cost in costs.of.values()) for d, fixed in enumerate(costs.fixed)]
    assert total == [network.layout.count(), network.macs()]
    assert costs.fixed <= smallest(network) < typical(network) < tuple(total)


@pytest.mark.parametrize("which", [0, 1])
def test_every_limit_down_to_the_smallest_is_kept(network, which):
    phi, least = rows(network, SLOTS, torch.float32), smallest(network)
    before = sizes(network, phi)
    top = max(size[which] for size in before)
    for limit in (least[which], (least[which] + top) // 2, top):
        limits = Limits(limit, None) if which == 0 else Limits(None, limit)
        made = limited(network, phi, limits)
        after = sizes(network, made)
        for slot, (old, new) in enumerate(zip(before, after, strict=True)):
            assert new[which] <= limit and new[which] <= old[which]
            if old[which] <= limit:
                assert torch.equal(made[slot], phi[slot]), "what fits stays as it is"
        assert torch.equal(made[:, : network.layout.weights], phi[:, : network.layout.weights])


def test_both_limits_at_once_and_none(network):
    phi, least = rows(network, SLOTS, torch.float32), smallest(network)
    assert all(Limits(*least).hold(size) for size in sizes(network, limited(network, phi, Limits(*least))))
    assert limited(network, phi, Limits()) is phi and not Limits()
    assert str(Limits(50_000, 2_000_000)) == "50,000 weights and 2,000,000 MACs"


def test_the_weakest_instances_go_first():
    network = one_shot(channels=4, nodes=3)
    phi = rows(network, 1, torch.float32)
    shares = network.shares(phi, CONFIG.t_min_test)
    strength = {
        (kind, i, j * len(network.primitives) + op): float(ops[0, j, op])
        * float(sum(pair[0, p] for p, ab in enumerate(_pairs(len(ops[0]))) if j in ab))
        for kind, nodes in shares.items()
        for i, (ops, pair) in enumerate(nodes)
        for j in range(len(ops[0]))
        for op in range(len(network.primitives))
    }
    before = _alive(network, phi)
    size = sizes(network, phi)[0][0]
    costs, weights = costs_of(network).of, []
    for place in sorted(before, key=strength.get):
        if costs[place][0]:
            weights.append((place, costs[place][0]))
    (first, gain), (second, _) = weights[:2]
    after = _alive(network, limited(network, phi, Limits(size - gain)))
    assert before - after == {first} and second in after


def _pairs(inputs):
    return [(a, b) for a in range(inputs) for b in range(a + 1, inputs)]


def _alive(network, phi):
    left = remaining(network, network.shares(phi, CONFIG.t_min_test), 0, CONFIG.prune_testing)
    return {(k, i, n) for k in left for i, node in enumerate(left[k]) for n, flag in enumerate(node) if flag}


def test_a_network_at_its_smallest_still_answers(network):
    phi = limited(network, rows(network, SLOTS, torch.float32), Limits(*smallest(network)))
    images, _ = images_for(network, SLOTS, 3, torch.float32)
    logits = AtTemperature(network, CONFIG.t_min_test, CONFIG.prune_testing).logits(phi, images)
    assert bool(torch.isfinite(logits).all()) and float(logits.std(dim=1).min()) > 0
    alive = _alive(network, phi)
    assert {place[:2] for place in alive} == {(k, i) for k in ("normal", "reduction") for i in range(network.nodes)}


def test_without_a_free_op_pairs_go_too():
    network = one_shot(channels=4, nodes=3, primitives=("conv_3x3", "sep_conv_3x3"), alpha_std=0.01)
    phi, least = rows(network, SLOTS, torch.float32), smallest(network)
    made = limited(network, phi, Limits(*least))
    assert all(Limits(*least).hold(size) for size in sizes(network, made))
    assert least[0] > costs_of(network).fixed[0]
