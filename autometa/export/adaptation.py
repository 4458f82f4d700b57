"""The adaptation itself as a module: support images and labels in, query images in, predictions for the queries out.

What `models.classifier.learn` does, for one number of classes, images per class and steps: the inner loop on a
fixed network, then queries normalised by the support set's statistics.  A step with its gradients is traced once into
plain ops; the loop calls it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from autometa.errors import InputError
from autometa.export.adapted import pixels
from autometa.export.forward import logits
from autometa.export.gradients import DECOMPOSITIONS, batch_norm, moments, tidy
from autometa.export.plan import plan_of
from autometa.meta.optimisers import Adam
from autometa.models.model import Model
from autometa.ops.batch_indices import batch_indices
from autometa.slots.layout import Layout


class Adaptation(nn.Module):
    """support `[M, C, H, W]` and labels int64 `[M]`, `shots` images of each of `ways` classes in any order, queries
    `[n, C, H, W]` -> probabilities `[n, ways]`.

    Raises `InputError` for a search network, whose architecture would adapt too.
    """

    def __init__(self, model: Model, shots: int, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        config, test, learned = model.config, model.config.test, model.learned
        if config.adapts_architecture:
            raise InputError(
                "the adaptation of a search network changes its architecture too and cannot be exported; train the "
                "cell it found (autometa train RUN) and export that run"
            )
        optimiser = config.inner.optimiser(config.learner)
        if not isinstance(optimiser, Adam):
            raise InputError(
                f"the adaptation of a network learned by {config.learner.name} cannot be exported, only an inner loop "
                "of Adam can; export the classifier instead"
            )
        self.plan, self.layout = plan_of(model.network), model.network.layout
        self.ways, self.shots = model.network.ways, shots
        self.dtype = dtype or learned.theta.dtype
        self.adam, images = optimiser, self.ways * shots
        carried = config.inner.adam_state == "carry"
        counts = torch.arange(1, test.steps + 1) + (int(learned.steps[0]) if carried else 0)
        mode = test.batch_mode or config.inner.batch_mode
        task, batch = torch.zeros(1, dtype=torch.int64), min(test.batch, images)
        picks = batch_indices(task, n_items=images, batch=batch, steps=test.steps, seed=test.seed, mode=mode)[0]
        theta, second = (packed(row.cpu().to(self.dtype), self.layout) for row in (learned.theta, learned.second))
        self.register_buffer("theta", theta)
        self.register_buffer("second", second if carried else torch.zeros_like(second))
        self.register_buffer("picks", picks)
        self.register_buffer("unbias", (1 / (1 - self.adam.beta2 ** counts.double())).to(self.dtype))
        self.image_shape = (model.recipe.channels, model.recipe.size, model.recipe.size)
        self.step = self._traced_step()

    def forward(self, support: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
        count = self.ways * self.shots
        order = torch.sort(labels * count + torch.arange(count)).indices
        images = pixels(support, self.dtype).index_select(0, order)
        truth = (labels.index_select(0, order).unsqueeze(1) == torch.arange(self.ways)).to(self.dtype)
        row = self._learned(images, truth)
        values, statistics = unpacked(row, self.layout), {}

        def measure(name: str, x: Tensor, eps: float, scale: float | None = None) -> Tensor:
            statistics[name] = [moment.flatten() for moment in moments(x)]
            return given(name, x, eps)

        def given(name: str, x: Tensor, eps: float, scale: float | None = None) -> Tensor:
            gamma, beta = values[f"{name}bn_gamma"], values[f"{name}bn_beta"]
            return F.batch_norm(x, *statistics[name], gamma, beta, False, 0.0, eps)

        logits(self.plan, images, values, measure)
        return logits(self.plan, pixels(queries, self.dtype), values, given).softmax(dim=1)

    def _learned(self, images: Tensor, truth: Tensor) -> Tensor:
        """The adapted row."""
        from torch._higher_order_ops.scan import scan

        if not len(self.picks):
            return self.theta

        def body(carry: tuple[Tensor, Tensor], x: tuple[Tensor, Tensor]):
            row, second = self.step(*carry, images, truth, *x)
            return (row, second), torch.zeros(())

        (row, _), _ = scan(body, (self.theta.clone(), self.second.clone()), (self.picks, self.unbias))
        return row

    def _traced_step(self) -> GraphModule:
        """(row, second moment, images, truth one-hot `[M, ways]`, pick `[batch]`, Adam's correction) -> the first two
        after one inner step."""
        if not len(self.picks):
            return nn.Module()
        images = torch.zeros(self.ways * self.shots, *self.image_shape, dtype=self.dtype)
        truth = torch.zeros(len(images), self.ways, dtype=self.dtype)
        given = (self.theta, self.second, images, truth, self.picks[0], self.unbias[0])
        try:
            return tidy(make_fx(lambda *inputs: self._step(*inputs), DECOMPOSITIONS, tracing_mode="fake")(*given))
        except NotImplementedError as error:
            raise InputError(
                f"the adaptation of this network cannot be exported: {error} has no form there; export the adapted "
                "classifier (--what classifier)"
            ) from error

    def _step(self, row, second, images, truth, pick, unbias):
        leaf = row.detach().requires_grad_(True)
        values = unpacked(leaf, self.layout)

        def norm(name: str, x: Tensor, eps: float, scale: float | None = None) -> Tensor:
            return batch_norm(x, values[f"{name}bn_gamma"], values[f"{name}bn_beta"], eps)

        out = logits(self.plan, images.index_select(0, pick), values, norm)
        wrong = out.detach().softmax(dim=1) - truth.index_select(0, pick)
        (grad,) = torch.autograd.grad(out, leaf, wrong / len(pick))
        decay, rate = self.adam.weight_decay.weights, self.adam.lr.weights
        if decay:
            grad = grad + decay * row
        second = second * self.adam.beta2 + grad * grad * (1 - self.adam.beta2)
        return row - grad * rate / ((second * unbias).sqrt() + self.adam.eps), second


def packed(row: Tensor, layout: Layout) -> Tensor:
    """`[row]` without its gaps."""
    return torch.cat([value.flatten() for value in layout.unpack(row).values()])


def unpacked(row: Tensor, layout: Layout) -> dict[str, Tensor]:
    """Name of an entry -> its values, of what `packed` gave; one split, whose backward is one concatenation."""
    parts = torch.split(row, [entry.size for entry in layout.entries])
    pairs = zip(layout.entries, parts, strict=True)
    return {e.name: part if len(e.shape) == 1 else part.reshape(e.shape) for e, part in pairs}
