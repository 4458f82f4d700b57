"""Published sizes: parameters and multiply-accumulates."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from autometa.nas.networks.conv_network import four_layer
from autometa.nas.networks.counting import network_macs
from autometa.nas.networks.discrete import DiscreteNetwork
from autometa.nas.one_shot.network import OneShotNetwork
from autometa.nas.one_shot.pruned import genotype_of, remaining, remaining_weights
from autometa.slots.layout import ARCHITECTURE
from tests.golden.genotypes import GENOTYPES
from tests.nas.networks import WAYS, discrete, images_for, networks, one_shot, rows

SETTINGS = [(28, 20, (1, 28, 28)), (28, 5, (3, 84, 84)), (96, 20, (1, 28, 28)), (96, 5, (3, 84, 84))]
DISCRETE = {
    ("metanas_og_v2", 4): (79_288, 79_525, 846_260, 847_109),
    ("metanas_og_v2", 5): (98_608, 98_845, 1_056_116, 1_056_965),
    ("metanas_in_v2", 4): (81_864, 82_101, 868_148, 868_997),
    ("metanas_in_v2", 5): (107_932, 108_169, 1_159_892, 1_160_741),
    ("metanas_v1", 4): (86_960, 87_197, 950_900, 951_749),
    ("metanas_v1", 5): (110_900, 111_137, 1_222_292, 1_223_141),
}


@pytest.mark.parametrize("setting, count", list(zip(SETTINGS, (462_272, 462_509, 5_110_004, 5_110_853), strict=True)))
def test_search_network(setting, count):
    layout = OneShotNetwork(*setting).layout
    assert layout.count() == count and layout.count(ARCHITECTURE) == 146


@pytest.mark.parametrize("name, cells", DISCRETE)
def test_discrete_networks(name, cells):
    for setting, count in zip(SETTINGS, DISCRETE[name, cells], strict=True):
        assert DiscreteNetwork(GENOTYPES[name], *setting, cells=cells).layout.count() == count
        assert (
            DiscreteNetwork(GENOTYPES[name], *setting, 4, (1, 2)).layout.count()
            == DISCRETE[name, 4][SETTINGS.index(setting)]
        )


def test_reptiles_networks():
    assert four_layer("reptile-omniglot", 5, (1, 28, 28)).layout.count() == 113_221
    assert four_layer("reptile-miniimagenet", 5, (3, 84, 84)).layout.count() == 34_661


@pytest.mark.parametrize("setting, macs", [(SETTINGS[0], 143_090_304), (SETTINGS[1], 1_298_466_708)])
def test_multiply_accumulates_of_the_search_network(setting, macs):
    assert network_macs(OneShotNetwork(*setting).network) == macs


class Counter:
    """Counts the multiply-accumulates of every convolution that PyTorch runs."""

    def __init__(self, monkeypatch):
        self.total, self._conv = 0, F.conv2d
        monkeypatch.setattr(F, "conv2d", self)

    def __call__(self, x, weight, *rest):
        y = self._conv(x, weight, *rest)
        self.total += y.numel() * weight[0].numel()
        return y


@pytest.mark.parametrize("name", networks())
def test_multiply_accumulates_are_those_of_a_forward_pass(name, monkeypatch):
    network = networks()[name]
    counter = Counter(monkeypatch)
    network.logits(rows(network, 1), images_for(network, 1, 2)[0])
    cells = getattr(network, "network", None)
    features = network.features if cells is None else cells.features
    counted = counter.total // 2 + features * WAYS
    assert counted == (network_macs(cells) if cells else network.macs())


def test_live_ops_alone_are_counted():
    network = one_shot(channels=4).network
    nothing = network_macs(network, lambda kind, node, k: False)
    pools = network_macs(network, lambda kind, node, k: k % 7 < 2)
    one = network_macs(network, lambda kind, node, k: (kind, node, k) == ("normal", 0, 4))
    assert nothing == pools
    assert one - nothing == (10 * 9 + 5 * 5) * (4 * 9 + 16)


def test_what_remains_after_pruning():
    network = one_shot(channels=4)
    phi = rows(network, 1)
    everything = remaining(network, network.shares(phi, 1.0), 0, 0.0)
    assert remaining_weights(network, everything) == network.layout.count()
    nothing = remaining(network, network.shares(phi, 1.0), 0, 1.1)
    kept = remaining_weights(network, nothing)
    assert kept == sum(e.size for e in network.layout.entries if e.kind != ARCHITECTURE and ".node" not in e.name)
    alpha = {e.name: torch.zeros(e.shape, dtype=torch.float64) for e in network.layout.entries}
    alpha["pair.normal"][1] = 9.0
    row = network.layout.pack(alpha, torch.float64)[None]
    alive = remaining(network, network.shares(row, 1.0), 0, 0.1)
    assert alive["normal"] == [[True] * 14, [True] * 14 + [False] * 7]
    assert alive["reduction"] == [[True] * 14, [True] * 21]


def test_genotype_of_the_largest_logits():
    network = one_shot()
    values = {e.name: torch.zeros(e.shape) for e in network.layout.entries}
    values["alpha.normal"][[0, 1, 2, 3, 4], [3, 1, 4, 5, 6]] = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    values["pair.normal"][:] = torch.tensor([0.0, 1.0, 5.0, 2.0])
    found = genotype_of(network, network.layout.pack(values)[None], 0)
    assert found.normal.nodes[0] == (("conv_1x5_5x1", 0), ("avg_pool_3x3", 1))
    assert found.normal.nodes[1] == (("conv_3x3", 0), ("dil_conv_3x3", 2))
    plain = one_shot(pairwise=False)
    values = {n: v for n, v in values.items() if not n.startswith("pair")}
    found = genotype_of(plain, plain.layout.pack(values)[None], 0)
    assert found.normal.nodes[1] == (("dil_conv_3x3", 2), ("sep_conv_3x3", 1))


def test_a_discrete_network_ignores_reductions_beyond_its_cells():
    assert discrete(cells=2, reductions=(1, 3)).network.reductions == (1,)
