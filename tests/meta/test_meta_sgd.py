"""Meta-SGD: rates of all weights, learned by the gradient of the query loss, slot by slot."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from autometa.meta.learner import InnerLoop, TaskChunk
from autometa.meta.maml import FOMAML, MAML
from autometa.meta.meta_sgd import MetaSGD
from autometa.meta.optimisers import SGD, PerKind
from autometa.slots.arena import Arena
from tests.meta.tasks import Images
from tests.meta.test_maml import NETWORK, OBJECTIVE, SHAPE

RATE, STEPS, IDS = 0.1, 2, (1, 2)
QUERY = Images(IDS, SHAPE).step(99)
BOTH = pytest.mark.parametrize("gradient", ["exact", "first-order"])


def arena():
    return Arena.single(NETWORK.layout, NETWORK.initial(3).double(), len(IDS))


def task():
    return TaskChunk(OBJECTIVE, Images(IDS, SHAPE), lambda: QUERY)


def multiples(seed=0):
    row = arena().theta.shape[1]
    return 0.5 + torch.rand(1, row, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def query_loss(rates):
    """Of every slot, after an inner loop with these multiples of the rate."""
    here = arena()
    MetaSGD().adapt_(here, task(), InnerLoop(SGD(PerKind(RATE)), STEPS, {"rates": rates}))
    return OBJECTIVE(here.phi, *QUERY, STEPS)


@BOTH
def test_with_even_rates_it_is_maml(gradient):
    learner, here, there = MetaSGD(gradient=gradient), arena(), arena()
    how = (SGD(PerKind(RATE)), STEPS)
    found = learner.train_(here, task(), InnerLoop(*how, learner.state(here, STEPS)))
    wanted = (MAML() if gradient == "exact" else FOMAML()).train_(there, task(), InnerLoop(*how, {}))
    torch.testing.assert_close(here.phi, there.phi, rtol=1e-10, atol=1e-12)
    assert torch.equal(found.losses, wanted.losses)


def test_the_exact_gradient_of_the_rates_agrees_with_finite_differences():
    learner, rates, generator = MetaSGD(gradient="exact"), multiples(), torch.Generator().manual_seed(1)
    move = learner.train_(arena(), task(), InnerLoop(SGD(PerKind(RATE)), STEPS, {"rates": rates})).moves["rates"]
    for _ in range(3):
        way = torch.randn(rates.shape, generator=generator, dtype=torch.float64)
        slope = (query_loss(rates + 1e-6 * way) - query_loss(rates - 1e-6 * way)) / 2e-6
        assert torch.allclose((move * way).sum(dim=1), slope, rtol=1e-6, atol=1e-8)


def test_of_one_step_the_first_order_gradient_of_the_rates_is_exact():
    how = InnerLoop(SGD(PerKind(RATE)), 1, {"rates": multiples()})
    exact, first = (MetaSGD(gradient=g).train_(arena(), task(), how).moves["rates"] for g in ("exact", "first-order"))
    torch.testing.assert_close(exact, first, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("outer", ["adam", "sgd"])
def test_rates_move_against_their_gradient_and_lower_the_query_loss(outer):
    learner, here = MetaSGD(outer=outer), arena()
    state = learner.state(here, STEPS)
    sizes = PerKind(1e-3 if outer == "adam" else 0.5).table(here)
    before = query_loss(state["rates"]).mean()
    here.reload_()
    done = learner.train_(here, task(), InnerLoop(SGD(PerKind(RATE)), STEPS, state))
    theta = here.theta.clone()
    learner.update_(here, done.moves, torch.tensor([True, True]), sizes, state)
    mean = done.moves["rates"].mean(dim=0)
    moved = state["rates"][0] - 1
    assert ((moved * mean) <= 0).all() and not torch.equal(here.theta, theta)
    assert query_loss(state["rates"]).mean() < before, "theta as it was, the rates learned"
    kept = state["rates"].clone()
    learner.update_(here, done.moves, torch.tensor([False, False]), sizes, state)
    assert torch.equal(state["rates"], kept), "no slot stayed finite"


def test_adaptation_descends_by_the_learned_rates_and_by_the_runs_own_without():
    here, even, plain = arena(), arena(), arena()
    rates, how = multiples(), (SGD(PerKind(RATE)), 1)
    start = here.phi.clone()
    MetaSGD().adapt_(here, task(), InnerLoop(*how, {"rates": rates}, frozen=("head",)))
    MetaSGD().adapt_(even, task(), InnerLoop(*how, {}, frozen=("head",)))
    FOMAML().adapt_(plain, task(), InnerLoop(*how, {}, frozen=("head",)))
    torch.testing.assert_close(even.phi, plain.phi, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(here.phi - start, rates * (even.phi - start), rtol=1e-9, atol=1e-14)
    assert replace(MetaSGD(), gradient="exact").second_order
