"""The conv block, forward and backward, beside the reference: layers of the four-layer networks, and stems."""

import pytest
import torch

from autometa.nas.networks.conv_network import four_layer
from autometa.ops import ConvBlock, conv_block
from autometa.ops._memory import as_activation
from autometa.ops.primitives import aligned
from benchmarks.measure import side_by_side

SLOTS = 5
NETWORKS = {
    "reptile-omniglot": four_layer("reptile-omniglot", 5, (1, 28, 28)),
    "reptile-miniimagenet": four_layer("reptile-miniimagenet", 5, (3, 84, 84)),
}
# block, size, batch
CASES = {
    **{
        f"{name}, layer {i}": (block, size, 10)
        for name, network in NETWORKS.items()
        for i, (block, size) in enumerate(zip(network.blocks, network.sizes[:-1], strict=True))
    },
    "64 to 64, stride 2, 28x28": (NETWORKS["reptile-omniglot"].blocks[1], (28, 28), 20),
    "32 to 32, 84x84": (NETWORKS["reptile-miniimagenet"].blocks[1], (84, 84), 10),
    "stem 1 to 84, 28x28": (ConvBlock(1, 84), (28, 28), 20),
    "stem 3 to 84, 84x84": (ConvBlock(3, 84), (84, 84), 10),
}


def flops(block: ConvBlock, size: tuple[int, int], images: int, first: bool) -> int:
    """Of the convolution, with the gradient of its weights and, unless it is the first, of its input."""
    height, width = ((n + sum(block.pads(n)) - block.kernel) // block.stride + 1 for n in size)
    return (2 if first else 3) * 2 * images * height * width * block.c_in * block.c_out * block.kernel**2


@pytest.mark.parametrize("name", CASES)
def test_conv_block(benchmark, name):
    block, size, batch = CASES[name]
    generator = torch.Generator().manual_seed(0)
    first = block.c_in <= 3
    images = torch.randn(SLOTS, batch, block.c_in, *size, generator=generator)
    width = sum(aligned(p.size) for p in block.parameters())
    params = torch.randn(SLOTS, width, generator=generator).requires_grad_(True)

    def step(backend, x, gy):
        leaves = [params] if first else [x, params]
        y, _ = conv_block(x, params, block, backend=backend)
        return torch.autograd.grad(y, leaves, gy)

    x = images.clone().requires_grad_(not first)
    own = x if first else as_activation(images).requires_grad_(True)
    gy = torch.randn(conv_block(x, params, block, backend="reference")[0].shape, generator=generator)
    own_gy = as_activation(gy)
    rivals = {"reference": lambda: step("reference", x, gy)}
    ratios = side_by_side(benchmark, lambda: step("cpp", own, own_gy), rivals)
    work = flops(block, size, SLOTS * batch, first)
    benchmark.extra_info["GFLOP_per_s"] = work / benchmark.stats.stats.median / 1e9
    assert ratios["reference"] > 1
