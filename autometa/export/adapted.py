"""An adapted classifier as a module that knows nothing of slots, search spaces or this package."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autometa.errors import InputError
from autometa.export.forward import logits
from autometa.export.plan import plan_of
from autometa.models.classifier import Classifier


class Adapted(nn.Module):
    """images `[n, C, H, W]`, uint8 as a `Recipe` makes them or floating point in 0 .. 1 -> probabilities
    `[n, classes]`.

    Every normalisation is by the support set's statistics; op weights are multiplied into its gamma and beta. What
    was pruned is not there.
    """

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        learner = classifier.config.learner
        if not learner.linear:
            raise InputError(
                f"a classifier learned by {learner.name} compares with the images that it was taught, and cannot be "
                "exported; train with another --learner"
            )
        network, phi = classifier.network, classifier.phi.cpu()
        layout = network.layout
        self.plan, self.dtype = plan_of(network, phi), phi.dtype
        read = self.plan.blocks()
        found = {n: value for n, value in layout.unpack(phi[0]).items() if n.rpartition(".")[0] in read}
        for name, (number, *of_op) in self.plan.places.items():
            if name.rpartition(".")[0] in read and classifier.statistics[number] is not None:
                mean, variance = classifier.statistics[number].cpu()[0][tuple(of_op)]
                scale = self.plan.scales().get(name, 1.0)
                found[f"{name}bn_gamma"] = found.get(f"{name}bn_gamma", torch.ones_like(mean)) * scale
                found[f"{name}bn_beta"] = found.get(f"{name}bn_beta", torch.zeros_like(mean)) * scale
                found |= {f"{name}bn_mean": mean, f"{name}bn_variance": variance}
        self.names = tuple(found)
        for name, value in found.items():
            place(self, name, value.clone())

    def forward(self, images: Tensor) -> Tensor:
        values = {name: self.get_buffer(name) for name in self.names}

        def normalised(name: str, x: Tensor, eps: float, scale: float | None = None) -> Tensor:
            mean, variance, gamma, beta = (values[f"{name}bn_{role}"] for role in ("mean", "variance", "gamma", "beta"))
            return F.batch_norm(x, mean, variance, gamma, beta, False, 0.0, eps)

        return logits(self.plan, pixels(images, self.dtype), values, normalised).softmax(dim=1)


def pixels(images: Tensor, dtype: torch.dtype) -> Tensor:
    """Images in 0 .. 1, of uint8 or already such."""
    return images.to(dtype) / 255 if images.dtype == torch.uint8 else images.to(dtype)


def place(module: nn.Module, name: str, value: Tensor) -> None:
    """Register a buffer under a dotted name, in modules made on the way, so that graphs show that name."""
    *path, last = name.split(".")
    for part in path:
        if part not in module._modules:
            module.add_module(part, nn.Module())
        module = module.get_submodule(part)
    module.register_buffer(last, value)
