"""Every kind of network on a GPU beside the float64 reference on the CPU, and its slots beside themselves alone."""

import pytest
import torch

from autometa.meta.inner_loop import slot_gradients
from autometa.ops.backend import precision
from autometa.ops.cross_entropy import cross_entropy
from tests.gpu.conftest import GPU
from tests.nas.networks import images_for, networks, one_shot, rows
from tests.tolerances import assert_agree


def gradients(network, device, dtype, mode="fp32"):
    """Losses `[S]` and gradients `[S, row]` of three slots."""
    phi, (images, labels) = rows(network, 3, dtype), images_for(network, 3, 5, dtype)

    def objective(row, x, y, step):
        return cross_entropy(network.logits(row, x), y)

    with precision(mode):
        found = slot_gradients(objective, phi.to(device), images.to(device), labels.to(device), 0)
    return [t.cpu() for t in found]


@pytest.mark.parametrize("name", networks())
def test_networks_agree_with_the_reference(name):
    network = networks()[name]
    (losses, grad), (wanted, expected) = (
        gradients(network, GPU, torch.float32),
        gradients(network, "cpu", torch.float64),
    )
    assert_agree(losses, wanted, "forward", torch.float32)
    assert_agree(grad, expected, "supernet_84 gradient", torch.float32)


@pytest.mark.parametrize("mode, off", [("tf32", 0.05), ("bf16", 0.2)])
def test_faster_modes_stay_close(mode, off):
    network = one_shot(channels=16, cells=2)
    losses, grad = gradients(network, GPU, torch.float32, mode)
    wanted, expected = gradients(network, "cpu", torch.float64)
    assert float((losses - wanted).norm() / wanted.norm()) < off
    assert float((grad - expected).norm() / expected.norm()) < off


@pytest.mark.parametrize("name", networks())
def test_slots_alone_have_the_same_bits(name):
    network = networks()[name]
    phi, (images, labels) = rows(network, 4, torch.float32).to(GPU), images_for(network, 4, 5, torch.float32)
    images, labels = images.to(GPU), labels.to(GPU)

    def objective(row, x, y, step):
        return cross_entropy(network.logits(row, x), y)

    together = slot_gradients(objective, phi, images, labels, 0)
    for s in (0, 2, 3):
        alone = slot_gradients(objective, phi[s : s + 1], images[s : s + 1], labels[s : s + 1], 0)
        assert all(torch.equal(a[s : s + 1], b) for a, b in zip(together, alone, strict=True))
