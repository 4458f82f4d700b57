"""The exact meta-gradient by differences of gradients, against the exact one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from autometa.algorithms.metanas import MetaNASConfig
from autometa.errors import InputError
from autometa.meta import differences
from autometa.meta.learner import InnerLoop, TaskChunk
from autometa.meta.maml import ANIL, MAML, WholeSet, meta_gradient, meta_gradient_by_differences
from autometa.meta.maml_plus_plus import MAMLPlusPlus
from autometa.meta.meta_sgd import MetaSGD
from autometa.meta.optimisers import SGD, PerKind
from autometa.meta.proto_maml import ProtoMAML
from autometa.nas.networks.conv_network import four_layer
from autometa.ops import gates
from autometa.slots.arena import Arena
from tests.meta.tasks import Images, network_objective, plain_layout, quadratic, targets
from tests.meta.test_maml import NETWORK, OBJECTIVE, SHAPE, rows
from tests.nas.networks import discrete
from tests.ops.arenas import native

RATE, STEPS, IDS = 0.4, 5, (1, 2)
BEYOND = 0.05
"""Asked of the part of the gradient beyond first order."""
LEARNERS = {
    "maml": MAML,
    "anil": ANIL,
    "meta-sgd": MetaSGD,
    "proto-maml": ProtoMAML,
    "maml-plus-plus": lambda gradient: MAMLPlusPlus(gradient=gradient, first_order=0.0),
}


def beyond(objective, phi, support, query, dtype=torch.float64):
    """What the exact gradient has that the first-order one lacks."""
    phi, how = phi.to(dtype), {"steps": STEPS, "lr": RATE}
    exact = meta_gradient(objective, phi, support, query, **how).gradient
    return exact - meta_gradient(objective, phi, support, query, second_order=False, **how).gradient


def errors(objective, phi, support, query, wanted):
    """Of each slot, relative to the part beyond first order."""
    how = {"steps": STEPS, "lr": RATE}
    found = meta_gradient_by_differences(objective, phi, support, query, **how).gradient
    plain = meta_gradient(objective, phi, support, query, second_order=False, **how).gradient
    return ((found - plain).double() - wanted).norm(dim=1) / wanted.norm(dim=1)


def test_a_quadratic_has_no_error():
    layout = plain_layout()
    goal, query, phi = targets(layout, 3), targets(layout, 3, 1).step(0), targets(layout, 3, 2).target
    how = {"steps": 4, "lr": 0.3}
    exact, found = meta_gradient(quadratic, phi, goal, query, **how), None
    found = meta_gradient_by_differences(quadratic, phi, goal, query, **how)
    torch.testing.assert_close(found.gradient, exact.gradient, rtol=1e-9, atol=1e-9)
    assert torch.equal(found.adapted, exact.adapted) and torch.equal(found.query_loss, exact.query_loss)
    assert torch.equal(found.support_losses, exact.support_losses)


def test_weights_of_steps_and_a_beginning():
    """Query losses after every step count, and the gradient goes through what makes the first rows."""
    phi, weights = rows(2), torch.tensor([[0.2, 0.3, 0.5], [0.5, 0.0, 0.5]], dtype=torch.float64)
    support, query = Images(IDS, SHAPE), Images(IDS, SHAPE, 7).step(99)
    how = {"steps": 3, "lr": 0.1, "weights": weights, "begin": lambda row: 1.1 * row + 0.01 * row**2}
    exact = meta_gradient(OBJECTIVE, phi, support, query, **how)
    found = meta_gradient_by_differences(OBJECTIVE, phi, support, query, **how)
    assert float((found.gradient - exact.gradient).norm() / exact.gradient.norm()) < 1e-3
    assert torch.allclose(found.query_loss, exact.query_loss)


@pytest.mark.parametrize("name", LEARNERS)
def test_learners(name):
    """Theta's move, and that of what is learned beside it."""
    query, moved = Images(IDS, SHAPE, 7).step(99), {}
    for gradient in ("exact", "differences"):
        learner = LEARNERS[name](gradient=gradient)
        arena = Arena.single(NETWORK.layout, NETWORK.initial(0).double(), len(IDS))
        task = TaskChunk.of(NETWORK, OBJECTIVE, WholeSet(*Images(IDS, SHAPE).step(0)))._replace(queries=lambda: query)
        state = learner.state(arena, 3)
        now = learner.at(1.0, state)
        assert now.in_pairs == (gradient == "differences")
        found = now.train_(arena, task, InnerLoop(SGD(PerKind(0.1)), 3, state))
        moved[gradient] = [arena.phi - NETWORK.initial(0).double(), *found.moves.values(), found.losses]
    for exact, own in zip(*moved.values(), strict=True):
        assert float((own - exact).norm()) < 1e-2 * float(exact.norm())


@native
def test_the_omniglot_network_in_float32_at_a_large_rate():
    """Reptile's network, five steps at 0.4; the same differences over kinks are of no use."""
    network = four_layer("reptile-omniglot", 4, (1, 28, 28), 24)
    objective, phi = network_objective(network), torch.stack([network.initial(s) for s in range(2)])
    support, query = (Images(IDS, (1, 28, 28), n) for n in (4, 12))
    wanted = beyond(objective, phi, support, query.step(9), torch.float64)
    support, query = (replace(own, dtype=torch.float32) for own in (support, query))
    found = errors(objective, phi, support, query.step(9), wanted)
    assert float(found.max()) < BEYOND
    assert float(wanted.norm(dim=1).min()) > 1.0, "there is something beyond first order"

    def over_kinks(row, images, labels, t):
        """Each half by itself: decisions are taken anew."""
        if not gates.are_paired():
            return objective(row, images, labels, t)
        with gates.paired(False):
            return objective(row, images, labels, t)

    assert float(errors(over_kinks, phi, support, query.step(9), wanted).min()) > 1.0


def test_a_network_of_cells_by_the_reference():
    network = discrete(channels=4, ways=4, image_shape=(1, 8, 8))
    objective, phi = network_objective(network), torch.stack([network.initial(s) for s in range(2)]).double()
    support, query = Images(IDS, (1, 8, 8), 4), Images(IDS, (1, 8, 8), 6).step(9)
    assert float(errors(objective, phi, support, query, beyond(objective, phi, support, query)).max()) < BEYOND


def test_no_direction_and_no_steps():
    phi, query = rows(2), Images(IDS, SHAPE, 7).step(99)
    images, labels = Images(IDS, SHAPE).step(0)
    still = differences.times_hessian(OBJECTIVE, phi, torch.zeros_like(phi), images, labels, 0)
    assert torch.equal(still, torch.zeros_like(phi))
    found = meta_gradient_by_differences(OBJECTIVE, phi, Images(IDS, SHAPE), query, steps=0, lr=0.1)
    exact = meta_gradient(OBJECTIVE, phi, Images(IDS, SHAPE), query, steps=0, lr=0.1)
    assert torch.equal(found.gradient, exact.gradient) and found.support_losses.shape == (0, 2)


def test_what_it_cannot_serve_is_told():
    with pytest.raises(InputError, match="must not be differences in a search over op weights"):
        MetaNASConfig(learner=MAML(gradient="differences")).check()
    with pytest.raises(InputError, match=r"learner\.gradient must be exact or differences"):
        MAML(gradient="first-order")
