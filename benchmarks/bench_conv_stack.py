"""The stack of conv blocks, forward and backward, beside the reference and beside its blocks one by one."""

import pytest
import torch

from autometa.nas.networks.conv_network import four_layer
from autometa.ops import conv_block, conv_stack, linear_head
from benchmarks.measure import side_by_side

NETWORKS = {
    "reptile-omniglot": four_layer("reptile-omniglot", 5, (1, 28, 28)),
    "reptile-miniimagenet": four_layer("reptile-miniimagenet", 5, (3, 84, 84)),
}


@pytest.mark.parametrize("slots", [1, 5])
@pytest.mark.parametrize("name", NETWORKS)
def test_conv_stack(benchmark, name, slots):
    network = NETWORKS[name]
    made = torch.Generator().manual_seed(0)
    images = torch.rand(slots, 10, *network.image_shape, generator=made)
    rows = torch.stack([network.initial(s) for s in range(slots)]).requires_grad_(True)

    def gradient(logits):
        return torch.autograd.grad(logits, rows, torch.ones_like(logits))

    def step(backend):
        return gradient(conv_stack(images, rows, network.blocks, 5, backend=backend))

    def by_blocks():
        parts, x = network.layout.split(rows), images
        for i, block in enumerate(network.blocks):
            x, _ = conv_block(x, parts[f"conv{i}"], block, backend="cpp")
        return gradient(linear_head([x], parts["head"], 5, flatten=True, backend="cpp"))

    ratios = side_by_side(
        benchmark, lambda: step("cpp"), {"reference": lambda: step("reference"), "block by block": by_blocks}
    )
    assert ratios["reference"] > 1
