"""Laws that every registered space keeps, and the one of `examples/new_space.py`."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from autometa import plugins
from autometa.nas.networks.side_by_side import Macro
from autometa.nas.spaces.draws import Draws
from autometa.nas.spaces.edges import EdgeSpace
from autometa.nas.spaces.space import MOST_LEVELS, PADDING, SPACES
from autometa.ops.cross_entropy import cross_entropy
from autometa.slots.statistics import Given, Recorder
from tests.registries import restored

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "new_space.py"
LEVELS = 4
WAYS, IMAGE = 3, (1, 12, 9)
MACRO = Macro(2, 0, 2, WAYS, IMAGE)


@pytest.fixture(params=[*SPACES.names(), "layers"])
def space(request):
    with restored():
        plugins.load([str(EXAMPLE)])
        assert request.param in SPACES and SPACES.about(request.param)
        yield SPACES[request.param](LEVELS)


def drawn(space, count=12, level=None):
    return [space.sample(Draws(3, n), level) for n in range(count)]


def test_keys_and_choices_stand_for_architectures(space):
    for level in range(1, LEVELS + 1):
        for made in drawn(space, level=level):
            assert made.level == level and 1 <= made.depth <= level
            assert space.parse(made.key).key == made.key
            choices, options = space.choices(made), space.decisions(level)
            assert space.decide(choices).key == made.key
            assert len(choices) == len(options)
            assert all(0 <= c < n for c, n in zip(choices, options, strict=True))
        assert space.decisions(level)[: len(space.decisions(level - 1))] == space.decisions(level - 1)
    for wrong in ("", "no such key", made.key + "|", "|".join([made.key] * MOST_LEVELS), made.key.replace("|", ",")):
        with pytest.raises(ValueError):
            space.parse(wrong)


def test_a_sample_is_pure_in_its_draws_and_reaches_every_option(space):
    keys = [made.key for made in drawn(space, 400)]
    assert [made.key for made in drawn(space, 400)] == keys and len(set(keys)) > 300
    assert {made.level for made in drawn(space)} == {LEVELS}
    seen = [set(column) for column in zip(*(space.choices(made) for made in drawn(space, 400)), strict=True)]
    assert [len(options) for options in seen] == list(space.decisions(LEVELS))


def test_a_mutation_is_a_neighbour_of_the_same_level(space):
    for n, made in enumerate(drawn(space, 6)):
        near = space.neighbours(made)
        keys = [other.key for other in near]
        assert keys == sorted(set(keys)) and made.key not in keys and {other.level for other in near} == {LEVELS}
        mutants = [space.mutate(made, Draws(n, k)).key for k in range(60)]
        assert mutants == [space.mutate(made, Draws(n, k)).key for k in range(60)]
        assert set(mutants) <= {*keys, made.key} and len(set(mutants)) > 10


def test_expansion_reaches_every_architecture_of_the_next_level_once(space):
    first = list(space.first())
    assert len({made.key for made in first}) == len(first) == space.count(1)
    made = [cell.key for cell in space.expand(first)]
    assert len(set(made)) == len(made) == space.count(2)
    assert all(space.parse(key).level == 2 for key in made[::97])
    apart = [cell.key for one in first for cell in space.expand(first, [one.key])]
    assert sorted(apart) == sorted(made)
    alone = list(space.expand(first[:1]))
    assert 0 < len(alone) <= space.expansions_at_most(first[0])


def test_codes_are_as_wide_for_all(space):
    every = [made for level in range(1, LEVELS + 1) for made in drawn(space, 5, level)]
    codes = space.encode(every)
    assert codes.dtype == np.float64 and codes.shape == (len(every), space.encode(every[:1]).shape[1])
    assert space.encode([]).shape[0] == 0 and np.isfinite(codes).all()
    tokens, parts = space.tokens(every)
    assert tokens.dtype == parts.dtype == torch.int64 and parts.tolist() == [made.level for made in every]
    assert 0 <= int(tokens.min()) and int(tokens.max()) < space.vocabulary
    for made, row, code in zip(every, tokens, codes, strict=True):
        own, _ = space.tokens([made])
        assert own.shape[2] == tokens.shape[2] and torch.equal(own[0], row[: made.level])
        assert (row[: made.level] != PADDING).any(dim=1).all() and (row[made.level :] == PADDING).all()
        assert np.array_equal(space.encode([made])[0], code)
    words = {made.key: tuple(row.flatten().tolist()) for made, row in zip(every, tokens, strict=True)}
    assert len(set(words.values())) == len(words)


class Counter:
    """Counts the multiply-accumulates of every convolution that PyTorch runs."""

    def __init__(self, monkeypatch):
        self.total, self._conv = 0, F.conv2d
        monkeypatch.setattr(F, "conv2d", self)

    def __call__(self, x, weight, *rest):
        y = self._conv(x, weight, *rest)
        self.total += y.numel() * weight[0].numel()
        return y


def test_a_network_has_the_parameters_and_costs_that_are_told(space, monkeypatch):
    monkeypatch.setenv("AUTOMETA_BACKEND", "reference")
    cells = [*drawn(space, 3), *drawn(space, 1, 1), *drawn(space, 1, 2)]
    beside = space.networks(cells, MACRO)
    counter = Counter(monkeypatch)
    for g, made in enumerate(cells):
        network = space.network(made, MACRO)
        x, before = torch.randn(1, 2, *IMAGE, dtype=torch.float64), counter.total
        phi = network.initial(0).double()[None].requires_grad_(True)
        logits = network.logits(phi, x)
        (grad,) = torch.autograd.grad(cross_entropy(logits, torch.tensor([[0, 1]])).sum(), phi)
        features = getattr(network, "whole", network).features
        assert (counter.total - before) // 2 + features * WAYS == network.macs() == beside.macs(g)
        assert network.layout.count() == beside.parameters(g) == sum(e.size for e in network.layout.entries)
        assert {e.name: e.shape for e in network.layout.entries} == {e.name: e.shape for e in beside.layouts[g].entries}
        assert logits.shape == (1, 2, network.ways) and network.image_shape == IMAGE
        for name, part in network.layout.unpack(grad[0]).items():
            assert "weight" not in name or part.abs().sum() > 0 or min(network.smallest_map) == 1, name


def test_networks_side_by_side_are_each_its_own(space):
    cells = [*drawn(space, 2), *drawn(space, 2, 2)]
    beside, of_slot = space.networks(cells, MACRO), torch.tensor([2, 0, 3, 0, 1])
    theta = beside.initial([5, 6, 7, 8])
    phi = theta[of_slot] + 0.01 * torch.randn(5, beside.row) * (theta[of_slot] != 0)
    x, y = torch.randn(5, 4, *IMAGE), torch.tensor([[0, 1, 2, 0]] * 5)
    logits, losses = beside.logits(phi, x, of_slot), beside.losses(phi, x, y, of_slot)
    record = Recorder()
    beside.logits(phi, x, of_slot, record)
    given = beside.logits(phi, x.flip(1), of_slot, Given(record.kept))
    for slot, g in enumerate(of_slot.tolist()):
        alone = beside.alone(g)
        row = alone.layouts[0].pack(beside.layouts[g].unpack(phi[slot]))[None]
        one, zero = x[slot : slot + 1], torch.zeros(1, dtype=torch.int64)
        assert torch.equal(theta[g][: alone.row], alone.initial(5 + g)[0]) or alone.row != beside.row
        torch.testing.assert_close(alone.logits(row, one, zero)[0], logits[slot])
        torch.testing.assert_close(alone.losses(row, one, y[:1], zero)[0], losses[slot])
        torch.testing.assert_close(given[slot], logits[slot].flip(0))
    for wrong in (torch.tensor([4, 0, 0, 0, 0]), of_slot[1:]):
        with pytest.raises(ValueError, match="network_of_slot must name"):
            beside.logits(phi, x, wrong)


def test_cells_are_those_of_the_network(space):
    for made in drawn(space, 5):
        genotype = space.genotype(made)
        if genotype is None:
            assert space.unit == "layer"
            continue
        whole = space.network(made, MACRO).whole
        assert whole.normal == genotype.normal.cell() and whole.reduction == genotype.reduction.cell()


def test_edge_cells_grow_in_turn_and_are_metanas_networks():
    space = EdgeSpace(6)
    made = space.parse("0c1m|0i1s|1f2d|0a2c")
    assert str(made.genotype.normal) == "conv_3x3(0) + max_pool_3x3(1); conv_1x5_5x1(1) + dil_conv_3x3(2)"
    assert str(made.genotype.reduction) == "skip_connect(0) + sep_conv_3x3(1); avg_pool_3x3(0) + conv_3x3(2)"
    assert made.genotype.normal.concat == (2, 3) and made.depth == 2
    one = space.parse("0c1m").genotype
    assert one.normal == one.reduction
    assert [space.count(level) for level in (1, 2, 3)] == [49, 49**2, 49**3 * 3]
    assert {cell.key.rpartition("|")[0] for cell in islice(space.expand([made]), 500)} == {made.key}
    network = space.network(made, Macro(28, 0, 1, 5, (1, 28, 28))).whole
    assert (network.cells, network.reductions, network.stem.c_out) == (4, (1, 3), 84)
    with pytest.raises(ValueError, match="node 1 must read like 0c1m"):
        space.parse("0c1m|1c0m")
    with pytest.raises(ValueError, match="rising and at most 2"):
        space.parse("0c1m|0c1m|0c3m")
