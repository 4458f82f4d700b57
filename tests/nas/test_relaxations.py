"""Relaxations: whose gradient the architecture gets, penalties, and ops that are taken away for good."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from autometa.errors import InputError
from autometa.nas.one_shot.network import AtTemperature
from autometa.nas.relax.relaxation import GONE, RELAXATIONS, SEARCH, SPARSE, TEST, WARMUP, Phase, Task, shrunk_
from autometa.nas.relax.same_batch import SameBatch
from autometa.nas.relax.unrolled import Unrolled
from tests.nas.networks import one_shot, rows

WEIGHTS, ARCHITECTURE, SLOTS, STEPS, RATE = 5, 3, 2, 4, 0.05
COUPLING = torch.randn(WEIGHTS, ARCHITECTURE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def loss(phi, images, labels, step):
    """Smooth in weights and architecture, and mixed in both; images and labels are numbers."""
    weights, architecture = phi[:, :WEIGHTS], phi[:, WEIGHTS:]
    mixed = ((weights @ COUPLING) * torch.tanh(architecture) * images).sum(dim=1)
    return torch.sin(mixed + labels) + ((weights - labels) ** 2).sum(dim=1) + (1 + step) * (architecture**2).sum(dim=1)


OWN, HELD = (
    (torch.tensor(0.7, dtype=torch.float64), torch.tensor(0.2, dtype=torch.float64)),
    (
        torch.tensor(-0.4, dtype=torch.float64),
        torch.tensor(1.1, dtype=torch.float64),
    ),
)
TASK = Task(STEPS, WEIGHTS, lambda: HELD, RATE, lambda phi: {}, ("conv_3x3", "skip_connect"))
DURING = Phase(SEARCH, STEPS, 1.0, 0.1)


@pytest.fixture
def phi():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(SLOTS, WEIGHTS + ARCHITECTURE, generator=generator, dtype=torch.float64).requires_grad_(True)


def gradient(objective, phi, batch, step=STEPS - 1):
    value = objective(phi, *batch, step)
    return value.detach(), torch.autograd.grad(value.sum(), phi)[0]


def found(name, phi, step=STEPS - 1, **settings):
    relaxation = RELAXATIONS[name](**settings)
    relaxation.check()
    return gradient(relaxation.objective(loss, TASK, DURING), phi, OWN, step)


def ahead(phi, judged, rate=RATE):
    """The exact gradient of the architecture: `judged` after one step of the weights, differentiated twice."""
    weights, architecture = phi[:, :WEIGHTS], phi[:, WEIGHTS:]
    now = loss(torch.cat([weights, architecture], dim=1), *OWN, STEPS - 1)
    (down,) = torch.autograd.grad(now.sum(), weights, create_graph=True)
    later = torch.cat([weights - rate * down, architecture], dim=1)
    return torch.autograd.grad(loss(later, *judged, STEPS - 1).sum(), architecture)[0]


@pytest.mark.parametrize("name", RELAXATIONS.names())
def test_value_and_gradient_of_the_weights_are_those_of_the_batch(name, phi):
    value, grad = found(name, phi)
    plain, own = gradient(loss, phi, OWN)
    assert torch.equal(value, plain) and torch.allclose(grad[:, :WEIGHTS], own[:, :WEIGHTS], rtol=1e-12)
    assert len(RELAXATIONS.about(name)) > 40 and RELAXATIONS[name]().name == name


@pytest.mark.parametrize("name", RELAXATIONS.names())
def test_warm_up_and_meta_testing_learn_from_the_batch_alone(name, phi):
    plain = gradient(loss, phi, OWN)[1]
    relaxation = RELAXATIONS[name](entropy=1.0, skip=1.0)
    warm = gradient(relaxation.objective(loss, TASK, Phase(WARMUP, STEPS, 1.0, 0.1)), phi, OWN)[1]
    assert torch.equal(warm, plain)
    if relaxation.needs_queries:
        tested = RELAXATIONS[name]().objective(loss, TASK._replace(held_out=None), Phase(TEST, STEPS, 1.0, 0.1))
        assert torch.equal(gradient(tested, phi, OWN)[1], plain)


def test_held_out_is_the_gradient_of_the_other_images(phi):
    other = gradient(loss, phi, HELD)[1][:, WEIGHTS:]
    assert torch.allclose(found("held-out", phi)[1][:, WEIGHTS:], other, rtol=1e-12)
    assert torch.allclose(found("query", phi)[1][:, WEIGHTS:], other, rtol=1e-12)
    assert not torch.allclose(found("same-batch", phi)[1][:, WEIGHTS:], other, rtol=1e-2)


def test_query_moves_the_architecture_once_a_task(phi):
    for step in range(STEPS - 1):
        assert not found("query", phi, step)[1][:, WEIGHTS:].any()


def test_unrolled_is_the_exact_second_order_gradient(phi):
    wanted = ahead(phi, HELD)
    assert torch.allclose(found("unrolled", phi, epsilon=1e-4)[1][:, WEIGHTS:], wanted, rtol=1e-5)
    assert not torch.allclose(found("held-out", phi)[1][:, WEIGHTS:], wanted, rtol=1e-2)
    longer = found("unrolled", phi, epsilon=1e-4, rate=0.2)[1][:, WEIGHTS:]
    assert torch.allclose(longer, ahead(phi, HELD, 0.2), rtol=1e-5)


def test_training_speed_is_the_gradient_of_the_sum_over_two_steps(phi):
    wanted = ahead(phi, OWN) + gradient(loss, phi, OWN)[1][:, WEIGHTS:]
    assert torch.allclose(found("training-speed", phi, epsilon=1e-4)[1][:, WEIGHTS:], wanted, rtol=1e-5)


def test_slots_do_not_mix(phi):
    alone = Unrolled().objective(loss, TASK, DURING)
    both = gradient(alone, phi, OWN)[1]
    one = phi[:1].detach().requires_grad_(True)
    assert torch.allclose(gradient(alone, one, OWN)[1], both[:1], rtol=1e-12)


def test_penalties_sharpen_and_thin_out_skip_connections():
    task = TASK._replace(weights=lambda phi: {"normal": [(torch.softmax(phi[:, None], dim=-1), None)]})
    logits = torch.tensor([[0.3, 0.1]], dtype=torch.float64, requires_grad=True)
    (sharper,) = torch.autograd.grad(SameBatch(entropy=1.0).penalty(logits, task).sum(), logits)
    assert sharper[0, 0] < 0 < sharper[0, 1], "descent raises the larger weight"
    (thinner,) = torch.autograd.grad(SameBatch(skip=1.0).penalty(logits, task).sum(), logits)
    assert thinner[0, 1] > 0 > thinner[0, 0]
    assert not SameBatch(skip=1.0).penalty(logits, task._replace(primitives=("conv_3x3",))).any()


def test_what_is_taken_away_has_weight_0_and_stays_away():
    logits = torch.tensor([[0.1, 0.3, 0.2], [0.5, 0.5, 0.1]])
    shrunk_(logits, 2)
    assert logits.tolist() == [[pytest.approx(GONE), pytest.approx(0.3), pytest.approx(0.2)], [0.5, 0.5, GONE]]
    before = logits.clone()
    shrunk_(logits, 2)
    assert torch.equal(logits, before)
    assert SameBatch().weights(logits / 1.0)[0, 0] == 0


def test_the_space_shrinks_by_an_equal_factor_each_time():
    steps = replace(SameBatch(), shrink=(0.2, 0.4, 0.6))
    assert [steps.left(share, 8, 1) for share in (0.1, 0.2, 0.4, 0.59, 0.6, 1.0)] == [8, 4, 2, 2, 1, 1]
    assert steps.left(0.9, 2, 3) == 2 and SameBatch().left(0.9, 7, 1) == 7


def test_a_network_keeps_its_strongest_ops_and_pairs():
    net = replace(one_shot(), relaxation=SameBatch(shrink=(0.5,), ops=2))
    theta = rows(net, 1)
    kept = theta.clone()
    net.shrink_(theta, 0.4)
    assert torch.equal(theta, kept)
    net.shrink_(theta, 0.5)
    shares = net.shares(theta, 1.0)
    for kind, nodes in net.shares(kept, 1.0).items():
        for (ops, pair), (old_ops, old_pair) in zip(shares[kind], nodes, strict=True):
            assert ((ops > 0).sum(dim=-1) == 2).all() and torch.equal(ops.argmax(-1), old_ops.argmax(-1))
            assert ((pair > 0).sum(dim=-1) == 1).all() and torch.equal(pair.argmax(-1), old_pair.argmax(-1))


@pytest.mark.parametrize("sparse", SPARSE)
def test_whose_weights_grow_sparse(sparse):
    """At a low temperature: both, ops alone, or neither (Elsken et al. 2020, table 3)."""
    net = replace(one_shot(), relaxation=SameBatch(sparse=sparse))
    phi = rows(net, 2)
    for kind, nodes in net.architecture(phi).items():
        for (ops, pair), (own_ops, own_pair) in zip(nodes, net.shares(phi, 0.1)[kind], strict=True):
            assert torch.equal(own_ops, torch.softmax(ops / (1.0 if sparse == "none" else 0.1), dim=-1))
            assert torch.equal(own_pair, torch.softmax(pair / (0.1 if sparse == SPARSE[0] else 1.0), dim=-1))
    cold, images = AtTemperature(net, 0.1), torch.rand(2, 3, *net.image_shape, dtype=phi.dtype)
    both = replace(net, relaxation=SameBatch())
    assert torch.equal(cold.logits(phi, images), AtTemperature(both, 0.1).logits(phi, images)) == (sparse == SPARSE[0])


def test_hard_pruning_leaves_the_strongest_alone():
    net = one_shot()
    phi = rows(net, 2)
    given = phi.clone()
    pruned = net.strongest(phi)
    assert torch.equal(phi, given) and torch.equal(net.strongest(pruned), pruned)
    for kind, nodes in net.shares(pruned, 1.0).items():
        for (ops, pair), (own_ops, own_pair) in zip(nodes, net.shares(phi, 1.0)[kind], strict=True):
            for found, own in ((ops, own_ops), (pair, own_pair)):
                assert set(found.unique().tolist()) <= {0.0, 1.0} and (found.sum(dim=-1) == 1).all()
                assert torch.equal(found.argmax(-1), own.argmax(-1))


@pytest.mark.parametrize(
    "wrong",
    [
        {"shrink": (0.5, 0.5)},
        {"shrink": (1.0,)},
        {"shrink": (0.0,)},
        {"ops": 0},
        {"sparse": "both"},
        {"parameters": 0.0},
        {"parameters": 0.4},
    ],
)
def test_settings_that_do_not_fit_are_refused(wrong):
    with pytest.raises(InputError, match="relaxation"):
        SameBatch(**wrong).check()
