"""Neural predictors: accuracy from an architecture's tokens (PNAS, Liu et al. 2018, section 4; Auto-Meta, section 3).

Accuracies are standardised before they are learned, so their unit does not matter. Fits are deterministic by seed; on
the CPU the last bits depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from autometa.nas.predictors.predictor import checked
from autometa.nas.spaces.space import PADDING, Architecture, Space


@dataclass(frozen=True)
class Training:
    """How a network learns: Adam at 0.01 (Auto-Meta, section 4), full batches.

    Args:
        units: of the hidden layer (the paper's LSTM: 100).
        embedding: numbers that stand for a token.
        epochs: passes over all cells.
        lr: learning rate of Adam, which falls linearly to a tenth.
        weight_decay: L2 decay; a few hundred cells are little to learn from.
    """

    units: int = 100
    embedding: int = 32
    epochs: int = 60
    lr: float = 0.01
    weight_decay: float = 1e-4


class LSTM(nn.Module):
    """The paper's: an embedding, one layer of `units`, a linear read-out of the state after the last part."""

    def __init__(self, vocabulary: int, width: int, how: Training):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, how.embedding, PADDING)
        self.recurrent = nn.LSTM(how.embedding, how.units, batch_first=True)
        self.out = nn.Linear(how.units, 1)

    def forward(self, made: Tensor, levels: Tensor) -> Tensor:
        """`[n, parts, width]`, `[n]` -> `[n]`. What stands behind a cell's last token has no say."""
        states, _ = self.recurrent(self.embedding(made.flatten(1)))
        last = states[torch.arange(len(made), device="cpu"), levels * made.shape[2] - 1]
        return self.out(last).squeeze(1)


class MLP(nn.Module):
    """PNAS's: tokens of a part side by side, averaged over parts, one hidden layer."""

    def __init__(self, vocabulary: int, width: int, how: Training):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, how.embedding, PADDING)
        self.hidden = nn.Linear(width * how.embedding, how.units)
        self.out = nn.Linear(how.units, 1)

    def forward(self, made: Tensor, levels: Tensor) -> Tensor:
        """`[n, parts, width]`, `[n]` -> `[n]`. Padding embeds to 0."""
        mean = self.embedding(made).flatten(2).sum(dim=1) / levels[:, None]
        return self.out(torch.relu(self.hidden(mean))).squeeze(1)


@dataclass
class NeuralPredictor:
    """One network, so no uncertainty: its standard deviation is 0."""

    model: Callable[[int, int, Training], nn.Module]
    space: Space
    how: Training = field(default_factory=Training)

    def __post_init__(self) -> None:
        self._network: nn.Module | None = None
        self._centre, self._spread = 0.0, 1.0

    def fit(self, cells: Sequence[Architecture], accuracies: Sequence[float], seed: int) -> None:
        targets = torch.tensor(checked(cells, accuracies), dtype=torch.float32, device="cpu")
        spread = float(targets.std(correction=0))
        self._centre, self._spread = float(targets.mean()), spread if spread > 0 else 1.0
        wanted, (made, levels) = (targets - self._centre) / self._spread, self.space.tokens(cells)
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(seed)
            self._network = network = self.model(self.space.vocabulary, made.shape[2], self.how)
            optimiser = torch.optim.Adam(network.parameters(), lr=self.how.lr, weight_decay=self.how.weight_decay)
            for epoch in range(self.how.epochs):
                optimiser.param_groups[0]["lr"] = self.how.lr * (1.0 - 0.9 * epoch / self.how.epochs)
                optimiser.zero_grad()
                (network(made, levels) - wanted).square().mean().backward()
                nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimiser.step()

    @torch.no_grad()
    def predict(self, cells: Sequence[Architecture]) -> tuple[np.ndarray, np.ndarray]:
        if self._network is None:
            raise ValueError("this predictor has learned nothing yet; fit it first")
        if not cells:
            return np.zeros(0), np.zeros(0)
        mean = self._network(*self.space.tokens(cells)).double() * self._spread + self._centre
        return mean.numpy(), np.zeros(len(cells))


class LSTMPredictor(NeuralPredictor):
    """LSTM over an architecture's tokens, the paper's surrogate (Kim et al. 2018, section 3.1)."""

    def __init__(self, space: Space, how: Training | None = None):
        super().__init__(LSTM, space, how or Training())


class MLPPredictor(NeuralPredictor):
    """Multi-layer perceptron over the mean of an architecture's parts (PNAS, section 4), faster to train."""

    def __init__(self, space: Space, how: Training | None = None):
        super().__init__(MLP, space, how or Training())
