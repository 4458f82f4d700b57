"""The MAML family: by hand on quadratics, by finite differences on a network, and slot by slot."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autometa.meta.inner_loop import adapt_
from autometa.meta.learner import InnerLoop, TaskChunk
from autometa.meta.maml import ANIL, FOMAML, MAML, WholeSet, adapt, meta_gradient
from autometa.meta.optimisers import SGD, PerKind
from autometa.meta.outer_gradient import mean_over_finite
from autometa.nas.networks.conv_network import ConvNetwork
from autometa.ops import ConvBlock
from autometa.slots.arena import Arena
from tests.meta.tasks import Images, gaps, network_objective, plain_layout, quadratic, targets
from tests.tolerances import assert_agree

VARIANTS = {"maml": (True, False), "fomaml": (False, False), "anil": (True, True), "anil_first_order": (False, True)}
"""Whether the gradient is exact, and whether the inner loop changes the head alone."""
EACH = pytest.mark.parametrize("name", VARIANTS)
SHAPE = (1, 6, 6)
NETWORK = ConvNetwork(
    (ConvBlock(1, 2, bias=True, relu=True, pool=True), ConvBlock(2, 3, stride=2, bias=True, relu=True)), 4, SHAPE
)
OBJECTIVE = network_objective(NETWORK)
HEAD = NETWORK.layout.columns("head")


def rows(slots, dtype=torch.float64):
    return torch.stack([NETWORK.initial(s) for s in range(slots)]).to(dtype)


def gradient_of(name, phi, ids, *, steps=2, lr=0.1, dtype=torch.float64):
    second_order, head_alone = VARIANTS[name]
    return meta_gradient(
        OBJECTIVE,
        phi,
        Images(ids, SHAPE, dtype=dtype),
        Images(ids, SHAPE, 7, dtype).step(99),
        steps=steps,
        lr=lr * HEAD.to(dtype) if head_alone else lr,
        second_order=second_order,
    )


@given(st.integers(0, 4), st.floats(0.01, 0.9), st.booleans())
@settings(max_examples=30, deadline=None)
def test_quadratic_by_hand(steps, lr, second_order):
    """Each step maps phi to (1 - lr) phi + lr target, so the exact gradient is (1 - lr)^steps times that of FOMAML."""
    layout = plain_layout()
    goal, query = targets(layout, 3), targets(layout, 3, 1)
    phi = targets(layout, 3, 2).target
    found = meta_gradient(quadratic, phi, goal, query.step(0), steps=steps, lr=lr, second_order=second_order)
    row, losses = phi, []
    for t in range(steps):
        losses.append(0.5 * ((row - goal.step(t)[0]) ** 2).sum(dim=1))
        row = (1 - lr) * row + lr * goal.step(t)[0]
    first_order = row - query.target
    assert_agree(found.adapted, row, "formula", torch.float64)
    assert_agree(found.gradient, first_order * ((1 - lr) ** steps if second_order else 1.0), "formula", torch.float64)
    assert_agree(found.query_loss, 0.5 * (first_order**2).sum(dim=1), "formula", torch.float64)
    assert found.support_losses.shape == (steps, 3)
    if steps:
        assert_agree(found.support_losses, torch.stack(losses), "formula", torch.float64)


@pytest.mark.parametrize("name", ["maml", "anil"])
def test_exact_gradients_agree_with_finite_differences(name):
    """Along random directions of all parameters of the starting row."""
    phi, generator = rows(2), torch.Generator().manual_seed(5)
    gradient = gradient_of(name, phi, (1, 2)).gradient
    for _ in range(4):
        direction = torch.randn(phi.shape, generator=generator, dtype=torch.float64)
        ahead, behind = (gradient_of(name, phi + h * direction, (1, 2)).query_loss for h in (1e-6, -1e-6))
        slope = (ahead - behind) / 2e-6
        assert torch.allclose((gradient * direction).sum(dim=1), slope, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["fomaml", "anil_first_order"])
def test_first_order_gradients_are_those_at_the_adapted_row(name):
    phi = rows(2)
    found = gradient_of(name, phi, (1, 2))
    leaf = found.adapted.clone().requires_grad_(True)
    images, labels = Images((1, 2), SHAPE, 7).step(99)
    (expected,) = torch.autograd.grad(OBJECTIVE(leaf, images, labels, 2).sum(), leaf)
    assert_agree(found.gradient, expected, "exact", torch.float64)
    exact = gradient_of({"fomaml": "maml", "anil_first_order": "anil"}[name], phi, (1, 2))
    assert_agree(found.adapted, exact.adapted, "formula", torch.float64)
    assert float((found.gradient - exact.gradient).abs().max()) > 1e-3 * float(exact.gradient.abs().max())


@EACH
def test_only_the_columns_of_the_variant_adapt(name):
    phi = rows(2)
    found = gradient_of(name, phi, (1, 2))
    moved = (found.adapted != phi).any(dim=0)
    assert moved[HEAD].all()
    assert bool(moved[~HEAD].any()) != VARIANTS[name][1]
    assert found.gradient[:, ~HEAD].any(), "the body has a gradient too"


@EACH
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_slots_alone(name, dtype):
    phi = rows(3, dtype)
    together = gradient_of(name, phi, (1, 2, 3), dtype=dtype)
    for s, task in enumerate((1, 2, 3)):
        alone = gradient_of(name, phi[s : s + 1], (task,), dtype=dtype)
        assert_agree(together.gradient[s : s + 1], alone.gradient, "slots, inner loop", dtype)
        assert_agree(together.query_loss[s : s + 1], alone.query_loss, "slots, inner loop", dtype)
        assert_agree(together.support_losses[:, s : s + 1], alone.support_losses, "slots, inner loop", dtype)


@EACH
def test_no_steps_give_the_gradient_of_the_query_loss(name):
    phi = rows(2)
    found = gradient_of(name, phi, (1, 2), steps=0)
    assert torch.equal(found.adapted, phi) and found.support_losses.shape == (0, 2)
    assert_agree(found.gradient, gradient_of("maml", phi, (1, 2), steps=0).gradient, "formula", torch.float64)


def test_adaptation_is_gradient_descent_on_the_arena():
    arena = Arena.single(NETWORK.layout, NETWORK.initial(0).double(), 2)
    path = adapt(OBJECTIVE, arena.phi, Images((1, 2), SHAPE), 3, 0.1)
    losses = adapt_(arena, OBJECTIVE, Images((1, 2), SHAPE), SGD(PerKind(0.1, 0.1)), 3)
    assert len(path.rows) == 4 and not any(row.requires_grad for row in path.rows[1:])
    assert_agree(path.rows[-1], arena.phi, "formula", torch.float64)
    assert_agree(path.losses, losses, "formula", torch.float64)


@EACH
def test_nothing_is_changed_in_place(name):
    phi = rows(2)
    before = phi.clone()
    found = gradient_of(name, phi, (1, 2))
    assert torch.equal(phi, before) and not phi.requires_grad
    assert not any(v.requires_grad for v in (found.adapted, found.gradient, found.query_loss, found.support_losses))


def test_columns_by_name():
    layout = NETWORK.layout
    head = layout.columns("head")
    assert int(head.sum()) == sum(e.size for e in layout.entries if e.name.startswith("head."))
    bias = layout.columns("head.bias", "conv0.conv_bias")
    assert int(bias.sum()) == 4 + 2
    with pytest.raises(ValueError, match="'hea'"):
        layout.columns("hea")
    adapting = PerKind(1.0).columns(Arena.single(layout, NETWORK.initial(0), 1), ANIL.still)[0] != 0
    assert torch.equal(adapting & ~gaps(layout), head), "the kind is that of the names"


def test_mean_over_the_finite_tasks_of_a_group():
    gradient = torch.arange(8.0, dtype=torch.float64).view(4, 2)
    gradient[1] = torch.nan
    finite = torch.tensor([True, False, True, True])
    found = mean_over_finite(gradient, finite, torch.tensor([0, 0, 0, 2]), 3)
    assert found.tolist() == [[2.0, 3.0], [0.0, 0.0], [6.0, 7.0]]


def test_wrong_arguments_are_named():
    images, labels = Images((1,), SHAPE).step(0)
    with pytest.raises(ValueError, match="must not be negative"):
        meta_gradient(OBJECTIVE, rows(1), WholeSet(images, labels), (images, labels), steps=-1, lr=0.1)


FAMILY = {"fomaml": FOMAML(outer="sgd"), "maml": MAML(outer="sgd"), "anil": ANIL(outer="sgd")}


def trained(learner, steps=2, frozen=(), state=None):
    """An arena after `train_` on three tasks, and its learner's queries."""
    arena = Arena.single(NETWORK.layout, NETWORK.initial(0).double(), 3)
    query = Images((1, 2, 3), SHAPE, 7).step(99)
    task = TaskChunk(OBJECTIVE, Images((1, 2, 3), SHAPE), lambda: query)
    optimiser = learner.optimiser(PerKind(0.1), PerKind(0.0), 0.999, "reset")
    learner.train_(arena, task, InnerLoop(optimiser, steps, state or {}, frozen=frozen))
    return arena, query


@pytest.mark.parametrize("name", FAMILY)
def test_the_update_is_the_mean_meta_gradient(name):
    learner = FAMILY[name]
    arena, _ = trained(learner)
    expected = gradient_of(name, NETWORK.initial(0).double().expand(3, -1), (1, 2, 3)).gradient.mean(dim=0)
    before, finite = arena.theta[0].clone(), torch.ones(3, dtype=torch.bool)
    learner.update_(arena, {}, finite, PerKind(0.5).table(arena), {})
    assert_agree(arena.theta[0], before - 0.5 * expected, "formula", torch.float64)


def test_first_order_maml_without_inner_steps_is_gradient_descent():
    arena, query = trained(FAMILY["fomaml"], steps=0)
    leaf = NETWORK.initial(0).double().expand(3, -1).clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(OBJECTIVE(leaf, *query, 0).sum(), leaf)
    assert_agree(arena.phi, leaf.detach() - gradient, "exact", torch.float64)


def test_anil_leaves_the_body_alone_in_the_inner_loop():
    arena, batches = Arena.single(NETWORK.layout, NETWORK.initial(0).double(), 2), Images((1, 2), SHAPE)
    before, learner = arena.phi.clone(), ANIL()
    task = TaskChunk(OBJECTIVE, batches)
    learner.adapt_(arena, task, InnerLoop(learner.optimiser(PerKind(0.1), PerKind(0.0), 0.999, "reset"), 3, {}))
    assert torch.equal(arena.phi[:, ~HEAD], before[:, ~HEAD]) and not torch.equal(arena.phi, before)


def test_the_outer_adam_is_that_of_torch():
    learner, reference = FOMAML(), NETWORK.initial(0).double()[None].clone().requires_grad_(True)
    outer = torch.optim.Adam([reference], lr=1e-2)
    arena = Arena.single(NETWORK.layout, NETWORK.initial(0).double(), 3)
    state, finite = learner.state(arena, 2), torch.ones(3, dtype=torch.bool)
    for step in range(3):
        gradient = rows(3) * (step + 1) + 0.1
        arena.phi.copy_(arena.theta.expand(3, -1) - gradient)
        learner.update_(arena, {}, finite, PerKind(1e-2).table(arena), state)
        reference.grad = gradient.mean(dim=0, keepdim=True).clone()
        outer.step()
    assert_agree(arena.theta, reference.detach(), "formula", torch.float64)
    before = arena.theta.clone()
    learner.update_(arena, {}, torch.zeros(3, dtype=torch.bool), PerKind(1e-2).table(arena), state)
    assert torch.equal(arena.theta, before), "nothing moves where no slot is finite"
