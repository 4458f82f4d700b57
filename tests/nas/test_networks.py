"""Laws that every network keeps: slots, weights, statistics, sizes."""

from __future__ import annotations

import pytest
import torch

from autometa.nas.networks.cell_network import CellNetwork, NodeWeights
from autometa.nas.networks.conv_network import four_layer
from autometa.nas.one_shot.network import AtTemperature
from autometa.nas.spaces.cells import METANAS_PRIMITIVES, discrete_cell, one_shot_cell, op_table
from autometa.ops import cross_entropy
from autometa.slots.statistics import Given, Recorder
from tests.nas.networks import IMAGE, WAYS, discrete, images_for, networks, one_shot, rows
from tests.tolerances import assert_agree

EACH = pytest.mark.parametrize("name", networks())


def loss_and_gradient(network, phi, x, y):
    leaf = phi.clone().requires_grad_(True)
    logits = network.logits(leaf, x)
    (grad,) = torch.autograd.grad(cross_entropy(logits, y).sum(), leaf)
    return logits.detach(), grad


@EACH
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_slots_in_one_batch_equal_slots_alone(name, dtype):
    network = networks()[name]
    phi, (x, y) = rows(network, 3, dtype), images_for(network, 3, 5, dtype)
    together = loss_and_gradient(network, phi, x, y)
    for s in range(3):
        alone = loss_and_gradient(network, phi[s : s + 1], x[s : s + 1], y[s : s + 1])
        for a, b in zip(together, alone, strict=True):
            assert_agree(a[s : s + 1], b, "slots, network", dtype)


@EACH
def test_gaps_and_tails_have_no_gradient(name):
    """What stands between entries is neither read nor moved."""
    network = networks()[name]
    phi, (x, y) = rows(network, 2), images_for(network, 2, 4)
    gaps = torch.ones(network.layout.row, dtype=torch.bool)
    for entry in network.layout.entries:
        gaps[entry.offset : entry.offset + entry.size] = False
    assert gaps.any()
    logits, grad = loss_and_gradient(network, phi, x, y)
    assert not grad[:, gaps].any()
    phi[:, gaps] = torch.nan
    poisoned, _ = loss_and_gradient(network, phi, x, y)
    assert_agree(poisoned, logits, "exact", torch.float64)


@EACH
def test_every_parameter_takes_part(name):
    network = networks()[name]
    phi, (x, y) = rows(network, 1), images_for(network, 1, 6)
    _, grad = loss_and_gradient(network, phi, x, y)
    found = network.layout.unpack(grad[0])
    without = {name for name, g in found.items() if float(g.abs().max()) < 1e-12}
    assert without <= {name for name in found if name.endswith("conv_bias")}, "BN takes out nothing but biases"


@EACH
def test_support_statistics_make_queries_independent(name):
    network = networks()[name]
    phi, (x, _) = rows(network, 2), images_for(network, 2, 6)
    recorder = Recorder()
    own = network.logits(phi, x, recorder)
    assert_agree(network.logits(phi, x, Given(recorder.kept)), own, "formula", torch.float64)
    one = network.logits(phi, x[:, 2:3], Given(recorder.kept))
    assert_agree(one, own[:, 2:3], "formula", torch.float64)
    assert float((network.logits(phi, x[:, :2]) - own[:, :2]).abs().max()) > 1e-6


@EACH
def test_a_batch_of_one_image(name):
    network = networks()[name]
    phi, (x, y) = rows(network, 2), images_for(network, 2, 1)
    together = loss_and_gradient(network, phi, x, y)
    assert all(bool(torch.isfinite(v).all()) for v in together)
    for a, b in zip(together, loss_and_gradient(network, phi[:1], x[:1], y[:1]), strict=True):
        assert_agree(a[:1], b, "slots, network", torch.float64)


def test_one_hot_architecture_equals_the_discrete_network():
    """Weights 0 and 1 turn the one-shot network into the network of that genotype, without affine BN."""
    primitives = METANAS_PRIMITIVES
    search, genotype = one_shot(pairwise=False).network, discrete().genotype
    cells = {
        k: discrete_cell(cell.nodes, cell.concat) for k, cell in (("n", genotype.normal), ("r", genotype.reduction))
    }
    fixed = CellNetwork(cells["n"], cells["r"], 3, (1,), 2, WAYS, IMAGE, affine=False)
    phi, (x, _) = rows(one_shot(pairwise=False), 2), images_for(one_shot(), 2, 4)
    values, weights = {}, {}
    for entry in fixed.layout.entries:
        name = entry.name
        if ".node" in name:
            cell, node, op, role = name.split(".")
            kind = genotype.reduction if int(cell[4:]) in (1,) else genotype.normal
            primitive, state = kind.nodes[int(node[4:])][int(op[2:])]
            name = f"{cell}.{node}.op{state * 7 + primitives.index(primitive)}.{role}"
        values[entry.name] = search.layout.view(phi, name)
    for kind, cell in (("normal", genotype.normal), ("reduction", genotype.reduction)):
        made = []
        for i, node in enumerate(cell.nodes):
            op = torch.zeros(2, (2 + i) * 7, dtype=torch.float64)
            for primitive, state in node:
                op[:, state * 7 + primitives.index(primitive)] = 1.0
            made.append(NodeWeights(op, torch.ones(2, 2 + i, dtype=torch.float64)))
        weights[kind] = made
    packed = torch.stack([fixed.layout.pack({n: v[s] for n, v in values.items()}, torch.float64) for s in range(2)])
    assert_agree(search.forward(phi, x, weights), fixed.forward(packed, x), "formula", torch.float64)


def test_pruned_weights_of_the_search_network_are_not_read():
    """Above a threshold only: NaN in every other op changes nothing, and its gradient is exactly 0."""
    network = one_shot(alpha_std=1.0)
    phi, (x, y) = rows(network, 2), images_for(network, 2, 4)
    pruned = AtTemperature(network, 0.3, 0.1)
    logits, grad = loss_and_gradient(pruned, phi, x, y)
    weights = network.weights(phi, 0.3, 0.1)
    poisoned, hit = phi.clone(), 0
    for entry in network.layout.entries:
        parts = entry.name.split(".")
        if len(parts) != 4:
            continue
        cell, node, op = (int(p.lstrip("celnodp")) for p in parts[:3])
        own = weights["reduction" if cell == 1 else "normal"][node]
        off = (own.op[:, op] == 0) | (own.input[:, op // 7] == 0)
        where = slice(entry.offset, entry.offset + entry.size)
        poisoned[off, where] = torch.nan
        assert not grad[off, where].any()
        hit += int(off.sum())
    assert hit > 20
    again, grad_again = loss_and_gradient(pruned, poisoned, x, y)
    assert_agree(again, logits, "exact", torch.float64)
    assert_agree(grad_again, grad, "exact", torch.float64)


def test_activations_are_those_of_stem_and_cells():
    network, kept = one_shot(), {}
    phi, (x, _) = rows(network, 2), images_for(network, 2, 3)
    network.logits(phi, x, activations=kept)
    sizes = {name: [tuple(s.shape) for s in states] for name, states in kept.items()}
    assert sizes["stem"] == [(2, 3, 6, 10, 9)]
    assert sizes["cell0"] == [(2, 3, 2, 10, 9)] * 2
    assert sizes["cell1"] == sizes["cell2"] == [(2, 3, 2, 5, 5)] * 2


def test_op_tables_count_parameters_in_order():
    cell = one_shot_cell(METANAS_PRIMITIVES, 2)
    for reduction in (False, True):
        table, width = op_table(cell, 1, 3, reduction, True)
        assert table.shape == (1, 21, 5) and width % 16 == 0
        assert (table[0, :, 4].diff() >= 0).all() and int(table[0, -1, 4]) < width
        assert table[0, :, 3].tolist() == ([2] * 14 + [1] * 7 if reduction else [1] * 21)


def test_networks_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="reductions"):
        one_shot(reductions=(3,)).initial(0)
    with pytest.raises(ValueError, match="channels must be at least 2"):
        one_shot(channels=1).initial(0)
    with pytest.raises(ValueError, match="unknown four-layer network"):
        four_layer("lenet", 5, (1, 28, 28))
    network = one_shot()
    with pytest.raises(ValueError, match="3 channels, this network was made for 1"):
        network.logits(rows(network, 1), torch.zeros(1, 2, 3, 10, 9, dtype=torch.float64))
