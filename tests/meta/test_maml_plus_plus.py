"""MAML++: its laws in float64, every gradient beside one by hand, and what is annealed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from autometa.errors import InputError
from autometa.meta.learner import InnerLoop, TaskChunk
from autometa.meta.maml import FOMAML, MAML
from autometa.meta.maml_plus_plus import MAMLPlusPlus
from autometa.meta.optimisers import SGD, PerKind
from autometa.ops import backend
from autometa.slots.arena import Arena
from autometa.slots.layout import entry_starts, norm_columns
from tests.meta.tasks import Images
from tests.meta.test_maml import NETWORK, OBJECTIVE, SHAPE
from tests.nas.networks import networks

RATE, STEPS, IDS = 0.1, 3, (1, 2)
QUERY = Images(IDS, SHAPE, 7).step(99)
LAYOUT = NETWORK.layout
NORMED = LAYOUT.columns(*(e.name for e in LAYOUT.entries if "bn_" in e.name))
PLAIN = MAMLPlusPlus(multi_step=0.0, first_order=0.0, layer_rates=False, step_norms=False)
HOW = SGD(PerKind(RATE))


def arena():
    return Arena.single(LAYOUT, NETWORK.initial(3).double(), len(IDS))


def task():
    return TaskChunk(OBJECTIVE, Images(IDS, SHAPE), lambda: QUERY)


def state_of(learner, steps=STEPS):
    """As after some training: nothing is what it was at first."""
    generator = torch.Generator().manual_seed(0)
    state = learner.state(arena(), steps)
    for name in learner.learns:
        state[name] += 0.3 * torch.randn(state[name].shape, generator=generator, dtype=torch.float64)
    state["loss_weights"][:] = torch.tensor([0.1, 0.2, 0.7][:steps])
    return state


def by_hand(learner, theta, own, weights, steps=STEPS):
    """The objective `[S]` of rows `theta [S, row]`, entry by entry; own: rates and norms of each slot."""
    row, total = theta, 0.0
    images = Images(IDS, SHAPE)
    for t in range(steps):
        with backend.second_order():
            loss = OBJECTIVE(row, *images.step(t), t)
        (grad,) = torch.autograd.grad(loss.sum(), row, create_graph=True)
        grad = grad if learner.second_order else grad.detach()
        parts, column, place = [], 0, 0
        for number, e in enumerate(LAYOUT.entries):
            parts.append(row[:, column : e.offset])
            column = e.offset + e.size
            here = slice(e.offset, column)
            if "bn_" in e.name and "norms" in own:
                parts.append(own["norms"][:, t, place : place + e.size])
                place += e.size
            else:
                rate = own["rates"][:, t, number : number + 1] if "rates" in own else 1.0
                parts.append(row[:, here] - RATE * rate * grad[:, here])
        row = torch.cat([*parts, row[:, column:]], dim=1)
        total = total + weights[t] * OBJECTIVE(row, *QUERY, t + 1)
    return total


@pytest.mark.parametrize("steps", [1, STEPS])
@pytest.mark.parametrize("rates", [False, True])
def test_without_what_it_adds_it_is_maml(steps, rates):
    for learner, other in ((PLAIN, MAML()), (replace(PLAIN, first_order=1.0), FOMAML())):
        learner, here, there = replace(learner, layer_rates=rates), arena(), arena()
        found = learner.train_(here, task(), InnerLoop(HOW, steps, learner.state(here, steps)))
        wanted = other.train_(there, task(), InnerLoop(HOW, steps, {}))
        torch.testing.assert_close(here.phi, there.phi, rtol=1e-10, atol=1e-12)
        assert torch.equal(found.losses, wanted.losses)
        learner.adapt_(here, task(), InnerLoop(HOW, steps, learner.state(here, steps)))
        other.adapt_(there, task(), InnerLoop(HOW, steps, {}))
        torch.testing.assert_close(here.phi, there.phi, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("first_order", [0.0, 1.0], ids=["exact", "first-order"])
@pytest.mark.parametrize("multi_step", [0.0, 0.5], ids=["last", "every step"])
@pytest.mark.parametrize("on", [(True, True), (True, False), (False, True)], ids=["both", "rates", "norms"])
def test_gradients_by_hand(first_order, multi_step, on):
    learner = MAMLPlusPlus(multi_step=multi_step, first_order=first_order, layer_rates=on[0], step_norms=on[1])
    state, here = state_of(learner), arena()
    weights = state["loss_weights"][0].tolist() if multi_step else [0.0, 0.0, 1.0]
    start = here.phi.clone()
    moves = learner.train_(here, task(), InnerLoop(HOW, STEPS, state)).moves
    leaf = start.clone().requires_grad_(True)
    own = {name: state[name].expand(len(IDS), -1, -1).clone().requires_grad_(True) for name in learner.learns}
    assert set(moves) == set(own)
    total = by_hand(learner, leaf, own, weights)
    wanted = torch.autograd.grad(total.sum(), (leaf, *own.values()))
    for found, gradient in zip((start - here.phi, *moves.values()), wanted, strict=True):
        assert float(gradient.abs().max()) > 1e-4
        torch.testing.assert_close(found, gradient, rtol=1e-9, atol=1e-12)


def test_the_weights_of_losses_sum_to_one_and_end_on_the_last_step():
    learner = MAMLPlusPlus(multi_step=0.4, first_order=0.6)
    state, last = learner.state(arena(), STEPS), 0.0
    for share in (0.0, 0.1, 0.3, 0.39, 0.4, 0.5, 0.6, 0.99):
        now, weights = learner.at(share, state), state["loss_weights"][0]
        assert float(weights.sum()) == pytest.approx(1.0, abs=1e-15) and bool((weights >= 0).all())
        assert float(weights[-1]) > last or share >= 0.4
        last = float(weights[-1])
        assert (now.multi_step > 0) == (share < 0.4) and now.second_order == (share >= 0.6)
        assert (now.query_weights(arena(), state) is None) == (share >= 0.4)
    learner.at(0.0, state)
    assert state["loss_weights"][0].tolist() == pytest.approx([1 / 3] * 3)
    assert torch.equal(learner.at(1.0, state).state(arena(), 2)["loss_weights"], torch.full((1, 2), 0.5).double())
    PLAIN.at(0.0, state)
    assert state["loss_weights"][0].tolist() == [0.0, 0.0, 1.0]


def test_adaptation_takes_the_last_steps_rates_and_norms_beyond_those_of_training():
    learner, here, parts = MAMLPlusPlus(), arena(), arena()
    state = state_of(learner)
    learner.adapt_(here, task(), InnerLoop(HOW, STEPS + 2, state))
    learner.adapt_(parts, task(), InnerLoop(HOW, STEPS, state))
    assert torch.equal(parts.phi[:, NORMED], state["norms"][:, -1].expand(len(IDS), -1))
    learner.adapt_(parts, task(), InnerLoop(HOW, 2, state, first_step=STEPS))
    assert torch.equal(here.phi, parts.phi)
    frozen, before = arena(), arena().phi
    learner.adapt_(frozen, task(), InnerLoop(HOW, 1, state, frozen=("head",)))
    head = LAYOUT.columns("head")
    assert torch.equal(frozen.phi[:, head], before[:, head]) and not torch.equal(frozen.phi, before)
    untrained, plain = arena(), arena()
    learner.adapt_(untrained, task(), InnerLoop(HOW, 2, {}))
    FOMAML().adapt_(plain, task(), InnerLoop(HOW, 2, {}))
    assert torch.equal(untrained.phi, plain.phi), "an initialisation has no state"


@pytest.mark.parametrize("outer", ["adam", "sgd"])
def test_what_is_learned_moves_against_its_gradient(outer):
    learner, here = MAMLPlusPlus(outer=outer, multi_step=1.0), arena()
    state = learner.state(here, STEPS)
    done = learner.train_(here, task(), InnerLoop(HOW, STEPS, state))
    before = {name: state[name].clone() for name in learner.learns}
    sizes = PerKind(1e-3, head=0.0).table(here)
    learner.update_(here, done.moves, torch.tensor([True, True]), sizes, state)
    head = [number for number, e in enumerate(LAYOUT.entries) if e.name.startswith("head.")]
    for name, old in before.items():
        moved, slope = state[name] - old, done.moves[name].mean(dim=0)
        assert bool(((moved * slope) <= 0).all()) and float(moved.abs().max()) > 1e-6
    assert torch.equal(state["rates"][:, :, head], before["rates"][:, :, head]), "a frozen kind keeps its rates"
    kept = {name: state[name].clone() for name in learner.learns}
    learner.update_(here, done.moves, torch.tensor([False, False]), sizes, state)
    assert all(torch.equal(state[name], value) for name, value in kept.items()), "no slot stayed finite"


@pytest.mark.parametrize("name", networks())
def test_entries_and_norms_of_a_layout(name):
    layout = networks()[name].layout
    starts, norms = entry_starts([layout], layout.row)[0], norm_columns([layout], layout.row)[0]
    assert starts.tolist() == [e.offset for e in layout.entries]
    chosen = torch.zeros(layout.row, dtype=torch.bool)
    chosen[norms] = True
    wanted = layout.columns(*(e.name for e in layout.entries if "bn_gamma" in e.name or "bn_beta" in e.name))
    assert torch.equal(chosen, wanted) and int(wanted.sum()) == len(norms) > 0


def test_tables_of_layouts_of_other_widths_are_padded():
    wide, narrow = networks()["reptile"].layout, LAYOUT
    starts = entry_starts([wide, narrow], wide.row)
    assert starts.shape == (2, len(wide.entries)) and set(starts[1, len(narrow.entries) :].tolist()) == {wide.row}


def test_shares_that_are_none():
    with pytest.raises(InputError, match="learner.multi_step must be a share from 0 to 1, not 15"):
        MAMLPlusPlus(multi_step=15)
    with pytest.raises(InputError, match="learner.first_order must be a share"):
        MAMLPlusPlus(first_order=-0.1)
