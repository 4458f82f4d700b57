"""Small models of every kind, and what this package itself makes of them."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from autometa.algorithms import train
from autometa.algorithms.metanas import MetaNASConfig
from autometa.algorithms.train import ReptileConfig
from autometa.data import Recipe
from autometa.models.classifier import Classifier, SupportBatches, balanced
from autometa.models.model import Model
from autometa.nas.networks.discrete import DiscreteNetwork
from autometa.nas.spaces.genotype import CellGenotype, Genotype
from autometa.slots.statistics import Given, Recorder
from autometa.train.config import EvalConfig, InnerConfig
from autometa.train.learned import Learned

WAYS, SHOTS, STEPS = 3, 2, 3
NORMAL = CellGenotype(((("sep_conv_3x3", 0), ("skip_connect", 1)), (("dil_conv_3x3", 2), ("avg_pool_3x3", 1))), (2, 3))
REDUCTION = CellGenotype(
    ((("skip_connect", 0), ("conv_1x5_5x1", 1)), (("avg_pool_3x3", 1), ("max_pool_3x3", 0))), (2, 3)
)
GENOTYPE = Genotype(NORMAL, REDUCTION)
NETWORKS = {
    "strided": dict(network="reptile-omniglot", size=9),
    "pooled": dict(network="reptile-miniimagenet", size=17),
    "genotype": dict(network="genotype", size=9, cells=2, reductions=(0,)),
    "block cell": dict(network="cell:0c0m|1a2f", size=9, repeats=0, scale_rate=2),
}


def model(name: str, dtype: torch.dtype = torch.float32, ways: int = WAYS) -> Model:
    """A model at its initialisation, with an Adam state as if it had been trained."""
    settings = dict(NETWORKS[name])
    size = settings.pop("size")
    inner = InnerConfig(ways=ways, shots=SHOTS, batch=4, lr=5e-3, weight_decay=1e-3)
    config = ReptileConfig(filters=4, inner=inner, test=EvalConfig(batch=4, steps=STEPS), **settings)
    network = config.build((1, size, size), GENOTYPE if name == "genotype" else None)
    start, random = network.initial(0).to(dtype), torch.Generator().manual_seed(3)
    second = torch.rand(len(start), generator=random).to(dtype) * 1e-3
    return Model(config, network, Learned(start, second, torch.tensor([7, 7, 0])), Recipe(1, size), "made up")


def pictures(count: int, size: int, seed: int) -> Tensor:
    """uint8 `[count, 1, size, size]` with large even areas, in which pooling meets equal values."""
    random = torch.Generator().manual_seed(seed)
    found = torch.randint(0, 256, (count, 1, size, size), generator=random, dtype=torch.uint8)
    found[:, :, : size // 2] = 0
    return found


def adapted(model: Model, support: Tensor, labels: Tensor) -> Classifier:
    """The classifier of a fixed network, in the dtype of its weights; support uint8."""
    config, test = model.config, model.config.test
    order = balanced(labels)
    images = support[order].to(model.learned.theta.dtype) / 255
    mode = test.batch_mode or config.inner.batch_mode
    batches = SupportBatches.draw(images, labels[order], test.batch, test.steps, test.seed, mode)
    phi = train.adapt(model.network, model.learned, batches, 1, config)
    return classifier(config, model.network, phi, images, model.recipe)


def classifier(config, network, phi: Tensor, images: Tensor, recipe: Recipe) -> Classifier:
    """With the statistics of these support images, in 0 .. 1."""
    recorder = Recorder()
    with torch.no_grad():
        config.classifier(network).logits(phi, images[None], recorder)
    genotype = network.genotype if isinstance(network, DiscreteNetwork) else None
    names = tuple(f"class {k}" for k in range(network.ways))
    return Classifier(config, names, recipe, phi, tuple(recorder.kept), genotype)


def answers(classifier: Classifier, queries: Tensor) -> Tensor:
    """`Classifier.probabilities` in the dtype of its weights."""
    images = queries.to(classifier.phi.dtype) / 255
    return classifier.network.logits(classifier.phi, images[None], Given(classifier.statistics))[0].softmax(dim=-1)


def pruned() -> Classifier:
    """A search network whose architecture has decided, most of it pruned."""
    config = MetaNASConfig(channels=3, cells=2, reductions=(1,), nodes=2, t_min_test=0.3)
    config = replace(config, inner=replace(config.inner, ways=WAYS))
    network = config.build((1, 9, 9))
    phi, start = network.initial(0)[None], network.layout.weights
    phi[:, start:] = torch.randn(phi[:, start:].shape, generator=torch.Generator().manual_seed(1))
    return classifier(config, network, phi, pictures(WAYS, 9, 5).float() / 255, Recipe(1, 9))
