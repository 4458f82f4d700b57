"""Learners that serve any number of ways: by hand in plain PyTorch, by finite differences, and by their laws."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from autometa.errors import InputError
from autometa.meta.heads import prototypes
from autometa.meta.learner import InnerLoop, TaskChunk
from autometa.meta.maml import FOMAML
from autometa.meta.matching import Matching
from autometa.meta.optimisers import PerKind
from autometa.meta.proto_maml import ProtoMAML
from autometa.meta.protonet import ProtoNet
from autometa.meta.protonet_tuned import TunedProtoNet
from autometa.meta.unicorn import Unicorn
from autometa.nas.networks.many_cells import BlockNetwork
from autometa.nas.networks.side_by_side import Macro
from autometa.nas.spaces.blocks import BlockCell
from autometa.ops.cross_entropy import cross_entropy
from autometa.slots.arena import Arena
from autometa.slots.layout import head_columns
from autometa.train.candidates import Cells
from tests.nas.networks import WAYS, images_for, networks, rows

LR, STEPS = 0.1, 2
LEARNERS = {
    "protonet": ProtoNet(outer="sgd"),
    "protonet, scaled": ProtoNet(outer="sgd", scale=0.3),
    "matching": Matching(outer="sgd", scale=3.0),
    "proto-maml": ProtoMAML(outer="sgd", gradient="exact"),
    "unicorn": Unicorn(outer="sgd", gradient="exact"),
}
EACH = pytest.mark.parametrize("name", LEARNERS)
NETWORKS = networks()


@dataclass(frozen=True)
class Support:
    """The same images in every step, two of each class."""

    images: Tensor
    labels: Tensor

    def step(self, t: int) -> tuple[Tensor, Tensor]:
        return self.images, self.labels

    def support(self) -> tuple[Tensor, Tensor]:
        return self.images, self.labels


def drawn(network, slots=2, order=None):
    """Support and queries of one task for every slot, two and three images of each class."""
    images, _ = images_for(network, slots, 5 * WAYS)
    order = torch.arange(WAYS) if order is None else order
    two, three = (order.repeat_interleave(n).expand(slots, -1) for n in (2, 3))
    return Support(images[:, : 2 * WAYS], two), (images[:, 2 * WAYS :], three)


def task_of(learner, network, row, support, query):
    model = learner.classifier(network, row)

    def loss(phi, images, labels, step):
        return cross_entropy(model.logits(phi, images), labels)

    return TaskChunk.of(network, loss, support)._replace(queries=lambda: query)


def trained(name, network, phi, support, query, steps=STEPS):
    """Gradient of the query loss for the rows `phi`, as `train_` leaves it, and the losses."""
    learner = LEARNERS[name]
    arena = Arena.single(network.layout, phi[0], len(phi))
    arena.phi.copy_(phi)
    task = task_of(learner, network, network.layout.row, support, query)
    found = learner.train_(
        arena, task, InnerLoop(learner.optimiser(PerKind(LR, LR), PerKind(0.0), 0.999, "reset"), steps, {})
    )
    return phi - arena.phi, found.losses


def by_hand(name, network, phi, support, query, steps=STEPS):
    """The query loss `[S]` of rows `phi`, from features alone, in the words of the papers."""
    images, labels = support.support()
    layout, losses = network.layout, []
    for s in range(len(phi)):
        row, own = phi[s : s + 1], labels[s]

        def features(row, x):
            return network.logits(row, x[None], features=True)[0]

        def head(row):
            return layout.view(row, "head.weight")[0], layout.view(row, "head.bias")[0]

        f = features(row, images[s])
        c = torch.stack([f[own == k].mean(dim=0) for k in range(WAYS)])
        if name.startswith("protonet"):
            logits = -LEARNERS[name].scale * torch.cdist(features(row, query[0][s]), c).square()
        elif name == "matching":
            q = features(row, query[0][s])
            a = (3.0 * F.cosine_similarity(q[:, None], f[None], dim=2)).softmax(dim=1)
            logits = torch.stack([a[:, own == k].sum(dim=1) for k in range(WAYS)], dim=1).log()
        else:
            weight, bias = head(row)
            weight, bias = weight[:1].expand(WAYS, -1), bias[:1].expand(WAYS)
            if name == "proto-maml":
                weight, bias = 2 * c, -(c * c).sum(dim=1)
            row = row.clone()  # the inner gradient is that of the weights alone, not through the prototypes
            for _ in range(steps):
                loss = F.cross_entropy(features(row, images[s]) @ weight.T + bias, own)
                grads = torch.autograd.grad(loss, (row, weight, bias), create_graph=True)
                row, weight, bias = (v - LR * g for v, g in zip((row, weight, bias), grads, strict=True))
            logits = features(row, query[0][s]) @ weight.T + bias
        losses.append(F.cross_entropy(logits, query[1][s]))
    return torch.stack(losses)


@pytest.mark.parametrize("kind", ["maml", "one-shot"])
@EACH
def test_value_and_gradient_by_hand(name, kind):
    network = NETWORKS[kind]
    phi, (support, query) = rows(network, 2), drawn(network)
    leaf = phi.clone().requires_grad_(True)
    loss = by_hand(name, network, leaf, support, query)
    (wanted,) = torch.autograd.grad(loss.sum(), leaf)
    found, losses = trained(name, network, phi, support, query)
    assert float(wanted.abs().max()) > 1e-3
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-10)
    if not LEARNERS[name].inner_loop:
        torch.testing.assert_close(losses, loss.detach().expand(STEPS, -1), rtol=1e-12, atol=1e-12)


@EACH
def test_gradient_by_finite_differences(name):
    """Along random directions, so short that no ReLU turns within the difference."""
    network = NETWORKS["maml"]
    phi, (support, query) = rows(network, 1), drawn(network, 1)
    found, _ = trained(name, network, phi, support, query)
    learner, generator = LEARNERS[name], torch.Generator().manual_seed(5)

    def loss(row):
        arena = Arena.single(network.layout, row[0], 1)
        task = task_of(learner, network, network.layout.row, support, query)
        learner.adapt_(
            arena, task, InnerLoop(learner.optimiser(PerKind(LR, LR), PerKind(0.0), 0.999, "reset"), STEPS, {})
        )
        ready = learner.ready(arena.phi, arena.head_of_slot, task)
        return task.objective(ready, *query, STEPS)

    for _ in range(3):
        step = 1e-8 * torch.randn(phi.shape, generator=generator, dtype=torch.float64) * (found != 0)
        change = float(loss(phi + step) - loss(phi - step)) / 2
        assert change == pytest.approx(float((found * step).sum()), rel=1e-4, abs=1e-14)
        assert abs(change) > 1e-10


@EACH
def test_the_order_of_classes_says_nothing(name):
    """Classes numbered otherwise give the same losses and gradients, but for the rows of a last layer."""
    network = NETWORKS["reptile"]
    phi, body = rows(network, 1), ~network.layout.columns("head")
    found, losses = trained(name, network, phi, *drawn(network, 1))
    other, others = trained(name, network, phi, *drawn(network, 1, torch.tensor([2, 0, 3, 1])))
    torch.testing.assert_close(found[:, body], other[:, body], rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(losses, others, rtol=1e-10, atol=1e-11)
    assert float(found[:, body].abs().max()) > 1e-4
    if name != "unicorn":
        assert not bool(found[:, ~body].any()), "the learned last layer is never looked at"
    else:
        shifted = phi + network.layout.columns("head.weight")
        moved, _ = trained(name, network, shifted, *drawn(network, 1))
        assert float(found[:, ~body].abs().max()) < 1e-15, "what all classes share, a softmax cancels"
        torch.testing.assert_close(moved, found, rtol=1e-9, atol=1e-11)


def test_without_inner_steps_proto_maml_is_a_prototypical_network():
    network = NETWORKS["maml"]
    phi, (support, query) = rows(network, 2), drawn(network)
    one, other = (trained(name, network, phi, support, query, n)[0] for name, n in (("protonet", 1), ("proto-maml", 0)))
    torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("scale", [0.0, -1.0, 65.0, float("nan")])
def test_a_scale_out_of_range_is_told(scale):
    for learner in (ProtoNet, TunedProtoNet, Matching):
        with pytest.raises(InputError, match="learner.scale must be above 0 and at most 64, not"):
            learner(scale=scale)


def test_prototypes_of_one_shot_are_the_features():
    features = torch.randn(2, 3, 5, dtype=torch.float64)
    labels = torch.tensor([[2, 0, 1], [0, 1, 2]])
    found = prototypes(features, labels, 3)
    assert torch.equal(found[0, labels[0]], features[0]) and torch.equal(found[1], features[1])
    assert not bool(prototypes(features, labels, 4)[:, 3].any()), "a class without images"


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("kind", NETWORKS)
def test_features_are_what_the_last_layer_reads(kind, dtype):
    network = NETWORKS[kind]
    phi, (x, _) = rows(network, 2, dtype), images_for(network, 2, 4, dtype)
    found = network.logits(phi, x, features=True)
    weight, bias = (network.layout.view(phi, f"head.{role}") for role in ("weight", "bias"))
    logits = found @ weight.transpose(1, 2) + bias[:, None]
    torch.testing.assert_close(logits, network.logits(phi, x), rtol=1e-4, atol=1e-5)
    assert float(found.std()) > 1e-3


CELLS = [BlockCell.parse(key) for key in ("0c1m", "0i0a|1c2m", "0m1a|0c0c")]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("cells", [CELLS, CELLS[:1]], ids=["three", "one"])
def test_features_of_slots_with_different_cells(cells, dtype):
    """Of a slot with fewer, 0 stands behind them, in the columns of its own last layer."""
    network = BlockNetwork(Macro(2, 0, 1, 3, (1, 9, 9)), cells)
    of_slot = torch.arange(2 * len(cells)) % len(cells)
    phi = network.initial([7, 8, 9][: len(cells)]).to(dtype)[of_slot]
    x = torch.randn(len(of_slot), 5, 1, 9, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)
    model = Cells(network, of_slot)
    found, columns = model.logits(phi, x, features=True), head_columns(network.layouts, network.row)[of_slot]
    widths = {int((columns[s, 0] < network.row).sum()) - 1 for s in range(len(of_slot))}
    assert len(widths) == (2 if len(cells) > 1 else 1)
    head = F.pad(phi, (0, 1)).gather(1, columns.flatten(1)).view(columns.shape)
    narrow = found[..., : head.shape[2] - 1]
    assert not bool(found[..., narrow.shape[2] :].any())
    logits = narrow @ head[..., :-1].transpose(1, 2) + head[:, None, :, -1]
    torch.testing.assert_close(logits, model.logits(phi, x), rtol=1e-4, atol=1e-5)


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(InputError, match="gradient must be first-order, exact, differences, not second"):
        Unicorn(gradient="second")
    with pytest.raises(InputError, match="scale must be above 0 and at most 64, not -1"):
        Matching(scale=-1.0)
    assert FOMAML().order == 1 and not FOMAML().second_order
