"""Which images normalise a query."""

from __future__ import annotations

import pytest
import torch

from autometa.meta.bn_modes import MODES, Frozen, accuracies, query_logits
from autometa.slots.statistics import Given, Recorder
from tests.meta.tasks import Images, arena_of, small_networks
from tests.tolerances import assert_agree

EACH = pytest.mark.parametrize("name", small_networks())


def case(name, slots=2):
    network, shape = small_networks()[name]
    support, _ = Images(tuple(range(slots)), shape, batch=4).step(0)
    queries, labels = Images(tuple(range(slots)), shape, batch=3).step(1)
    return network, arena_of(network, slots).phi, support, queries, labels


@EACH
def test_what_each_mode_computes(name):
    network, phi, support, queries, _ = case(name)
    assert torch.equal(query_logits(network, phi, support, queries, "transductive"), network.logits(phi, queries))
    plus_one = query_logits(network, phi, support, queries, "support_plus_one")
    for q in range(3):
        batch = torch.cat([support, queries[:, q : q + 1]], dim=1)
        assert_agree(plus_one[:, q], network.logits(phi, batch)[:, -1], "formula", torch.float64)
    own = query_logits(network, phi, support, support, "support_statistics")
    assert_agree(own, network.logits(phi, support), "formula", torch.float64)


@EACH
@pytest.mark.parametrize("mode", MODES)
def test_whether_an_answer_depends_on_the_other_queries(name, mode):
    network, phi, support, queries, _ = case(name)
    whole = query_logits(network, phi, support, queries, mode)
    one = query_logits(network, phi, support, queries[:, 1:2], mode)
    gap = float((whole[:, 1:2] - one).abs().max() / whole.abs().max())
    assert gap > 1e-6 if mode == "transductive" else gap < 1e-12


@EACH
@pytest.mark.parametrize("mode", MODES)
def test_slots_alone(name, mode):
    network, phi, support, queries, _ = case(name)
    together = query_logits(network, phi, support, queries, mode)
    alone = query_logits(network, phi[1:], support[1:], queries[1:], mode)
    assert_agree(together[1:], alone, "slots, network", torch.float64)


@EACH
def test_frozen_statistics_are_the_same_in_every_batch_and_slot(name):
    network, phi, support, queries, _ = case(name)
    recorder = Recorder()
    network.logits(phi[:1], support[:1], recorder)
    frozen = Frozen(network, tuple(recorder.kept))
    whole = frozen.logits(phi, queries)
    assert float((whole - network.logits(phi, queries)).abs().max()) > 1e-3
    assert_agree(whole[:, 1:2], frozen.logits(phi, queries[:, 1:2]), "formula", torch.float64)
    assert_agree(whole[1:], frozen.logits(phi[1:], queries[1:]), "slots, network", torch.float64)
    assert_agree(whole[:1], network.logits(phi[:1], queries[:1], Given(recorder.kept)), "formula", torch.float64)
    assert frozen.layout is network.layout and frozen.ways == network.ways


def test_modes_differ():
    network, phi, support, queries, _ = case("conv")
    found = [query_logits(network, phi, support, queries, mode) for mode in MODES]
    assert float((found[0] - found[1]).abs().max()) > 1e-3 and float((found[1] - found[2]).abs().max()) > 1e-3


def test_accuracies_count_right_answers():
    network, phi, support, queries, _ = case("conv")
    right = query_logits(network, phi, support, queries, "support_statistics").argmax(dim=-1)
    labels = right.clone()
    labels[1, 0] = (labels[1, 0] + 1) % 4
    found = accuracies(network, phi, support, queries, labels)
    assert set(found) == set(MODES)
    assert found["support_statistics"].tolist() == pytest.approx([1.0, 2 / 3])


def test_an_unknown_mode_is_named():
    network, phi, support, queries, _ = case("conv")
    with pytest.raises(ValueError, match="unknown BN mode 'running'"):
        query_logits(network, phi, support, queries, "running")
