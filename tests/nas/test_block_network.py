"""Networks of different cells side by side: the same as each alone, as the network of one cell, as counted by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from autometa.nas.networks.cell_network import CellNetwork
from autometa.nas.networks.many_cells import BlockNetwork
from autometa.nas.networks.side_by_side import Macro
from autometa.nas.spaces.blocks import BlockCell
from autometa.nas.spaces.cells import discrete_cell
from autometa.ops import backend
from autometa.ops.cell_stack import cell_stack
from autometa.ops.cross_entropy import cross_entropy
from autometa.slots.statistics import Given, Recorder
from tests.ops.arenas import native, threads
from tests.tolerances import assert_agree

WAYS = 3
KEYS = ("0c1m", "0i0f", "1c1c", "0m1f|2a2i", "0c1c|1f1i|2m3a", "0f1a|0c2c")
"""Both inputs or one of them alone, blocks in a row and side by side, one to three states put out."""
OF_SLOT = (3, 0, 5, 1, 4, 2, 0)
MACROS = pytest.mark.parametrize("repeats, scale_rate", [(0, 1), (0, 2), (1, 2)])
NAMES = pytest.mark.parametrize("name", ["reference", pytest.param("cpp", marks=native)])


def macro(repeats: int = 0, scale_rate: int = 2, **changes) -> Macro:
    settings = dict(filters=3, repeats=repeats, scale_rate=scale_rate, ways=WAYS, image_shape=(1, 13, 10))
    return Macro(**settings | changes)


def cells(*keys: str) -> list[BlockCell]:
    return [BlockCell.parse(key) for key in keys or KEYS]


def batch(network: BlockNetwork, of_slot: Tensor, dtype: torch.dtype, images: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    """Rows near each cell's initialisation, moved by what depends on a parameter's name alone; images, labels."""
    generator = torch.Generator().manual_seed(4)
    slots = len(of_slot)
    phi = network.initial(1)[of_slot].to(torch.float64)
    for s, g in enumerate(of_slot.tolist()):
        for entry in network.layouts[g].entries:
            noise = torch.Generator().manual_seed(s * 1000 + hash_of(entry.name))
            columns = slice(entry.offset, entry.offset + entry.size)
            phi[s, columns] += 0.1 * torch.randn(entry.size, generator=noise, dtype=torch.float64)
    x = torch.randn(slots, images, *network.macro.image_shape, generator=generator, dtype=torch.float64)
    y = torch.randint(WAYS, (slots, images), generator=generator)
    return phi.to(dtype), x.to(dtype), y


def hash_of(name: str) -> int:
    return sum((i + 1) * ord(c) for i, c in enumerate(name)) % 997


def op_by_op(network, phi, x, y, of_slot) -> list[Tensor]:
    """Logits, losses and their gradient."""
    leaf = phi.clone().requires_grad_(True)
    logits = network.logits(leaf, x, of_slot)
    losses = cross_entropy(logits, y)
    return [logits.detach(), losses.detach(), *torch.autograd.grad(losses.sum(), leaf)]


def named(network: BlockNetwork, g: int, row: Tensor) -> dict[str, Tensor]:
    return network.layouts[g].unpack(row)


@MACROS
@NAMES
def test_different_cells_in_one_batch_equal_each_alone(repeats, scale_rate, name, monkeypatch):
    """Bit for bit where compiled: neither neighbours nor the columns of a block matter."""
    monkeypatch.setenv("AUTOMETA_BACKEND", name)
    dtype = torch.float64 if name == "reference" else torch.float32
    network, of_slot = BlockNetwork(macro(repeats, scale_rate), cells()), torch.tensor(OF_SLOT)
    phi, x, y = batch(network, of_slot, dtype)
    logits, losses, grad = op_by_op(network, phi, x, y, of_slot)
    for s, g in enumerate(OF_SLOT):
        one = BlockNetwork(network.macro, [cells()[g]])
        row = one.layouts[0].pack(named(network, g, phi[s]), dtype)[None]
        alone = op_by_op(one, row, x[s : s + 1], y[s : s + 1], torch.tensor([0]))
        found = [logits[s : s + 1], losses[s : s + 1]]
        pairs = list(zip(found, alone[:2], strict=True))
        own, due = named(network, g, grad[s]), named(one, 0, alone[2][0])
        pairs.append(tuple(torch.cat([values[key].flatten() for key in due]) for values in (own, due)))
        for a, b in pairs:
            if name == "cpp":
                assert torch.equal(a, b)
            else:
                assert_agree(a, b, "slots, network", dtype)


@native
@MACROS
def test_cpp_agrees_with_the_reference(repeats, scale_rate):
    network, of_slot = BlockNetwork(macro(repeats, scale_rate), cells()), torch.tensor(OF_SLOT)
    phi, x, y = batch(network, of_slot, torch.float32, images=12)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOMETA_BACKEND", "reference")
        expected = op_by_op(network, phi.double(), x.double(), y, of_slot)
    for a, b in zip(op_by_op(network, phi, x, y, of_slot), expected, strict=True):
        assert_agree(a, b, "discrete gradient", torch.float32)


@native
@MACROS
def test_slot_by_slot_is_op_by_op(repeats, scale_rate):
    """`losses` goes through `cell_stack`, on any number of threads, with the bits of the ops one by one."""
    network, of_slot = BlockNetwork(macro(repeats, scale_rate), cells()), torch.tensor(OF_SLOT)
    phi, x, y = batch(network, of_slot, torch.float32)
    _, losses, grad = op_by_op(network, phi, x, y, of_slot)
    for count in (1, 2):
        with threads(count):
            leaf = phi.clone().requires_grad_(True)
            found = network.losses(leaf, x, y, of_slot)
            assert torch.equal(found, losses)
            assert torch.equal(torch.autograd.grad(found.sum(), leaf)[0], grad)
            assert torch.equal(network.losses(phi, x, y, of_slot), losses)
    weights = torch.rand(len(of_slot))
    leaf = phi.clone().requires_grad_(True)
    (scaled,) = torch.autograd.grad((weights * network.losses(leaf, x, y, of_slot)).sum(), leaf)
    assert_agree(scaled, weights[:, None] * grad, "vector", torch.float32)


@native
def test_cell_stack_agrees_with_its_reference():
    network, of_slot = BlockNetwork(macro(), cells()), torch.tensor(OF_SLOT)
    phi, x, y = batch(network, of_slot, torch.float32, images=12)
    programs = [network._program((g,), phi.device) for g in range(len(KEYS))]
    found = []
    for name, dtype in (("cpp", torch.float32), ("reference", torch.float64)):
        leaf = phi.to(dtype).requires_grad_(True)
        losses, logits = cell_stack(leaf, x.to(dtype), y, programs, OF_SLOT, backend=name)
        assert not logits.requires_grad
        found.append([losses.detach(), logits, *torch.autograd.grad(losses.sum(), leaf)])
    for a, b in zip(*found, strict=True):
        assert_agree(a, b, "discrete gradient", torch.float32)
    with pytest.raises(ValueError, match="agree in the batch"):
        cell_stack(phi, x, y[:, 1:], programs, OF_SLOT)
    with pytest.raises(backend.BackendError, match="provided by"):
        cell_stack(phi, x, y, programs, OF_SLOT, backend="triton")


@NAMES
@pytest.mark.parametrize("g", range(len(KEYS)))
def test_equals_the_cell_network(g, name, monkeypatch):
    """At scale rate 1 the existing network of discrete cells expresses the same, with parameters that nobody uses."""
    monkeypatch.setenv("AUTOMETA_BACKEND", name)
    dtype = torch.float64 if name == "reference" else torch.float32
    network = BlockNetwork(macro(1, 1), cells())
    cell = cells()[g].canonical().cell()
    plain = CellNetwork(cell, cell, 6, (1, 3, 5), 3, WAYS, (1, 13, 10), stem_multiplier=1)
    of_slot = torch.tensor([g, g])
    phi, x, _ = batch(network, of_slot, dtype)
    rows = []
    for row in phi:
        values = {e.name: torch.full(e.shape, 0.5) for e in plain.layout.entries} | named(network, g, row)
        rows.append(plain.layout.pack(values, dtype))
    expected = plain.forward(torch.stack(rows), x)
    assert_agree(network.logits(phi, x, of_slot), expected, "slots, network", dtype)
    assert set(named(network, g, phi[0])) <= set(plain.layout.by_name)


def test_parameters_by_hand():
    """F = 3, three reductions, ways 3: convolutions, preprocessings of C_in x C, BN of 2 C each, head."""
    network = BlockNetwork(macro(0, 1), cells("0c1m", "1c1c", "0i0f", "0c1c|1f1i"))
    stem, head = 9 * 3 + 6, 3 * 3 + 3
    pre = 3 * 3 + 6
    conv, factorised, reduction, pool = 9 * 9 + 6, 2 * 5 * 9 + 6, 9 + 6, 6
    assert network.parameters(0) == stem + 3 * (2 * pre + conv + pool) + head
    assert network.parameters(1) == stem + 3 * (pre + 2 * conv) + head
    # state 0 alone: cell 2 reads cell 0, and nobody cell 1
    assert network.parameters(2) == stem + 2 * (pre + reduction + factorised) + head
    wide_pre, wide_head = 6 * 3 + 6, 6 * 3 + 3
    blocks = 2 * conv + factorised + reduction
    assert network.parameters(3) == stem + 3 * blocks + (2 + 1) * pre + 3 * wide_pre + wide_head


def test_the_scale_rate_multiplies_filters_at_reductions():
    network = BlockNetwork(macro(1, 2), cells("0c1c"))
    shapes = {e.name: e.shape for e in network.layouts[0].entries}
    found = [shapes[f"cell{c}.node0.op0.weight"] for c in range(6)]
    assert [shape[0] for shape in found] == [3, 6, 6, 12, 12, 24]
    assert shapes["cell1.pre0.pointwise"] == (6, 3, 1, 1) and shapes["cell2.pre0.pointwise_a"] == (3, 3, 1, 1)
    assert shapes["head.weight"] == (WAYS, 24)


@MACROS
def test_macs_are_those_of_a_forward_pass(repeats, scale_rate, monkeypatch):
    import torch.nn.functional as F

    network, done = BlockNetwork(macro(repeats, scale_rate), cells()), []
    plain = F.conv2d

    def counted(x, weight, *rest):
        y = plain(x, weight, *rest)
        done.append(y.numel() * weight[0].numel())
        return y

    monkeypatch.setattr(F, "conv2d", counted)
    for g in range(len(KEYS)):
        done.clear()
        of_slot = torch.tensor([g])
        phi, x, _ = batch(network, of_slot, torch.float64, images=2)
        network.logits(phi, x, of_slot)
        features = network.networks[g].features
        assert network.macs(g) == sum(done) // 2 + features * WAYS


def test_initialisation_does_not_depend_on_the_batch():
    network = BlockNetwork(macro(1), cells())
    theta = network.initial([7] * len(KEYS))
    for g, cell in enumerate(cells()):
        one = BlockNetwork(macro(1), [cell])
        assert one.parameters(0) == network.parameters(g)
        alone = named(one, 0, one.initial(7)[0])
        for name, value in named(network, g, theta[g]).items():
            assert torch.equal(value, alone[name])
        assert float(theta[g].abs().sum()) == pytest.approx(sum(float(v.abs().sum()) for v in alone.values()), 1e-5)
    starts = {tuple((b.name, b.start, b.stop) for b in layout.blocks) for layout in network.layouts}
    assert len(starts) == 1 and all(start % 16 == 0 for _, start, _ in starts.pop())


@NAMES
def test_gaps_are_neither_read_nor_moved(name, monkeypatch):
    monkeypatch.setenv("AUTOMETA_BACKEND", name)
    network, of_slot = BlockNetwork(macro(), cells()), torch.tensor(OF_SLOT)
    phi, x, y = batch(network, of_slot, torch.float32)
    due = op_by_op(network, phi, x, y, of_slot)
    for s, g in enumerate(OF_SLOT):
        gaps = torch.ones(network.row, dtype=torch.bool)
        for e in network.layouts[g].entries:
            gaps[e.offset : e.offset + e.size] = False
        assert gaps.any() and not due[2][s, gaps].any()
        phi[s, gaps] = torch.nan
    for a, b in zip(op_by_op(network, phi, x, y, of_slot), due, strict=True):
        assert torch.equal(a, b)
    losses = network.losses(phi, x, y, of_slot)
    assert torch.equal(losses, due[1])


@NAMES
def test_every_parameter_takes_part(name, monkeypatch):
    monkeypatch.setenv("AUTOMETA_BACKEND", name)
    network = BlockNetwork(macro(1), cells())
    of_slot = torch.arange(len(KEYS))
    phi, x, y = batch(network, of_slot, torch.float32)
    grad = op_by_op(network, phi, x, y, of_slot)[2]
    for g in range(len(KEYS)):
        assert all(bool(v.any()) for v in named(network, g, grad[g]).values())


def test_support_statistics_make_queries_independent():
    network, of_slot = BlockNetwork(macro(), cells()), torch.tensor(OF_SLOT)
    phi, x, _ = batch(network, of_slot, torch.float64)
    recorder = Recorder()
    own = network.logits(phi, x, of_slot, recorder)
    assert_agree(network.logits(phi, x, of_slot, Given(recorder.kept)), own, "formula", torch.float64)
    one = network.logits(phi, x[:, 2:3], of_slot, Given(recorder.kept))
    assert_agree(one, own[:, 2:3], "formula", torch.float64)


def test_equal_cells_have_equal_networks_however_they_are_written():
    one, other = (BlockNetwork(macro(), [BlockCell.parse(text)]) for text in ("0c1m|0i1i", "1i0i|1m0c"))
    assert torch.equal(one.initial(3), other.initial(3))


def test_a_cell_may_put_out_states_that_others_read():
    """As the published cell does, which concatenates all its blocks."""
    cell = BlockCell.parse("0c1m|2i1a")
    network = BlockNetwork(macro(0, 1), [cell, cell.cell((2, 3))])
    of_slot = torch.tensor([0, 1, 1])
    phi, x, y = batch(network, of_slot, torch.float64)
    assert network.networks[1].features == 2 * network.networks[0].features
    grad = op_by_op(network, phi, x, y, of_slot)[2]
    assert bool(named(network, 1, grad[1])["head.weight"].any(dim=0).all())
    assert isinstance(discrete_cell(((("skip_connect", 0),),), (2,)).outputs, int)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="at least one architecture"):
        BlockNetwork(macro(), [])
    network = BlockNetwork(macro(), cells())
    phi, x, _ = batch(network, torch.tensor([0]), torch.float64)
    for wrong in (torch.tensor([6]), torch.tensor([0, 1]), torch.tensor([-1])):
        with pytest.raises(ValueError, match="must name one of 6 networks"):
            network.logits(phi, x, wrong)
