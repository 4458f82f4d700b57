"""Surrogates: predict a cell's accuracy from its tokens (PNAS, Liu et al. 2018, section 4; Auto-Meta, section 3).

Accuracies are standardised before they are learned, so their unit does not matter. Fits are deterministic by seed; on
the CPU the last bits depend on the number of threads.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from autometa.nas.spaces.blocks import OPS, BlockCell
from autometa.nas.spaces.cells import INPUT_STATES

TOKENS = 4
"""Of a block: state and op of either operand."""
PADDING = 0


class Surrogate(Protocol):
    """Learns from trained cells and predicts others."""

    def fit(self, cells: Sequence[BlockCell], accuracies: Sequence[float], seed: int) -> None:
        """Learn anew. Raises `ValueError` without cells or with accuracies that are not finite."""

    def predict(self, cells: Sequence[BlockCell]) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation, float64 `[n]` each, in the accuracies' unit."""


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


def tokens(cells: Sequence[BlockCell]) -> tuple[Tensor, Tensor]:
    """int64 `[n, blocks, 4]`, padded with 0 behind a cell's last block, and the numbers of blocks `[n]`.

    Cells are taken in canonical form, so equal cells read the same. Ops come before states, shifted by one.
    """
    levels = np.array([cell.level for cell in cells], dtype=np.int64)
    made = np.zeros((len(cells), int(levels.max()) * TOKENS), dtype=np.int64)
    there = np.arange(made.shape[1]) < TOKENS * levels[:, None]
    made[there] = np.fromiter(chain.from_iterable(cell.numbers for cell in cells), np.int64, int(there.sum()))
    made[:, 0::2] += 1 + len(OPS)
    made[:, 1::2] += 1
    made[~there] = PADDING
    return torch.from_numpy(made).view(len(cells), -1, TOKENS), torch.from_numpy(levels)


class LSTM(nn.Module):
    """The paper's: an embedding, one layer of `units`, a linear read-out of the state after the last block."""

    def __init__(self, vocabulary: int, how: Training):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, how.embedding, PADDING)
        self.recurrent = nn.LSTM(how.embedding, how.units, batch_first=True)
        self.out = nn.Linear(how.units, 1)

    def forward(self, made: Tensor, levels: Tensor) -> Tensor:
        """`[n, blocks, 4]`, `[n]` -> `[n]`. What stands behind a cell's last token has no say."""
        states, _ = self.recurrent(self.embedding(made.flatten(1)))
        last = states[torch.arange(len(made), device="cpu"), levels * TOKENS - 1]
        return self.out(last).squeeze(1)


class MLP(nn.Module):
    """PNAS's: tokens of a block side by side, averaged over blocks, one hidden layer."""

    def __init__(self, vocabulary: int, how: Training):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, how.embedding, PADDING)
        self.hidden = nn.Linear(TOKENS * how.embedding, how.units)
        self.out = nn.Linear(how.units, 1)

    def forward(self, made: Tensor, levels: Tensor) -> Tensor:
        """`[n, blocks, 4]`, `[n]` -> `[n]`. Padding embeds to 0."""
        mean = self.embedding(made).flatten(2).sum(dim=1) / levels[:, None]
        return self.out(torch.relu(self.hidden(mean))).squeeze(1)


@dataclass
class NeuralSurrogate:
    """One network, so no uncertainty: its standard deviation is 0."""

    architecture: Callable[[int, Training], nn.Module]
    how: Training = field(default_factory=Training)
    blocks: int = 5

    def __post_init__(self) -> None:
        self._network: nn.Module | None = None
        self._centre, self._spread = 0.0, 1.0

    def fit(self, cells: Sequence[BlockCell], accuracies: Sequence[float], seed: int) -> None:
        targets = torch.tensor(_checked(cells, accuracies), dtype=torch.float32, device="cpu")
        spread = float(targets.std(correction=0))
        self._centre, self._spread = float(targets.mean()), spread if spread > 0 else 1.0
        wanted, (made, levels) = (targets - self._centre) / self._spread, tokens(cells)
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(seed)
            self._network = network = self.architecture(1 + len(OPS) + INPUT_STATES + self.blocks, self.how)
            optimiser = torch.optim.Adam(network.parameters(), lr=self.how.lr, weight_decay=self.how.weight_decay)
            for epoch in range(self.how.epochs):
                optimiser.param_groups[0]["lr"] = self.how.lr * (1.0 - 0.9 * epoch / self.how.epochs)
                optimiser.zero_grad()
                (network(made, levels) - wanted).square().mean().backward()
                nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimiser.step()

    @torch.no_grad()
    def predict(self, cells: Sequence[BlockCell]) -> tuple[np.ndarray, np.ndarray]:
        if self._network is None:
            raise ValueError("this surrogate has learned nothing yet; fit it first")
        if not cells:
            return np.zeros(0), np.zeros(0)
        mean = self._network(*tokens(cells)).double() * self._spread + self._centre
        return mean.numpy(), np.zeros(len(cells))


class LSTMSurrogate(NeuralSurrogate):
    """The paper's surrogate."""

    def __init__(self, how: Training | None = None, blocks: int = 5):
        super().__init__(LSTM, how or Training(), blocks)


class MLPSurrogate(NeuralSurrogate):
    """PNAS's other one, faster to train."""

    def __init__(self, how: Training | None = None, blocks: int = 5):
        super().__init__(MLP, how or Training(), blocks)


class Ensemble:
    """Several surrogates with seeds of their own, each of which leaves out its share of the cells (PNAS, section 4.2:
    five, four fifths each). Mean and standard deviation are those of their predictions."""

    def __init__(self, of: Callable[[], Surrogate], members: int = 5):
        if members < 2:
            raise ValueError(f"an ensemble has at least 2 members, not {members}")
        self.members = [of() for _ in range(members)]

    def fit(self, cells: Sequence[BlockCell], accuracies: Sequence[float], seed: int) -> None:
        accuracies, many = _checked(cells, accuracies), len(self.members)
        fold = np.random.Generator(np.random.Philox(seed)).permutation(len(cells)) % many
        for m, member in enumerate(self.members):
            kept = [i for i in range(len(cells)) if len(cells) < 2 * many or fold[i] != m]
            member.fit([cells[i] for i in kept], [accuracies[i] for i in kept], seed * many + m)

    def predict(self, cells: Sequence[BlockCell]) -> tuple[np.ndarray, np.ndarray]:
        means = np.stack([member.predict(cells)[0] for member in self.members])
        return means.mean(axis=0), means.std(axis=0)


def _checked(cells: Sequence[BlockCell], accuracies: Sequence[float]) -> list[float]:
    values = [float(a) for a in accuracies]
    if not cells or len(cells) != len(values) or not np.isfinite(values).all():
        raise ValueError(f"{len(cells)} cells and {len(values)} accuracies: one finite accuracy per cell is needed")
    return values


@dataclass(frozen=True)
class Prediction:
    """A cell with what the surrogate says of it; `score` is what it is chosen by."""

    cell: BlockCell
    mean: float
    std: float
    score: float


def predictions(
    surrogate: Surrogate, cells: Iterable[BlockCell], uncertainty_weight: float = 0.0, chunk: int = 2048
) -> Iterator[Prediction]:
    """Predict a stream in chunks, keeping one of them; score = mean + weight * std (an upper confidence bound)."""
    stream = iter(cells)
    while part := list(islice(stream, chunk)):
        for cell, mean, std in zip(part, *surrogate.predict(part), strict=True):
            yield Prediction(cell, float(mean), float(std), float(mean + uncertainty_weight * std))


def best(found: Iterable[Prediction], count: int) -> list[Prediction]:
    """The `count` highest scores of a stream, best first, keeping no more of it; ties go to the smaller key."""
    return heapq.nsmallest(count, found, key=lambda p: (-p.score, p.cell.key))


def ranks(values: Sequence[float]) -> np.ndarray:
    """Ranks from 0, float64 `[n]`; equal values share their mean rank."""
    _, inverse, counts = np.unique(np.asarray(values, dtype=np.float64), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts + 1) / 2)[inverse]


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's rank correlation, Pearson's of the ranks; nan where it does not exist."""
    x, y = (r - r.mean() if len(r) else r for r in (ranks(a), ranks(b)))
    norm = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum() / norm) if norm > 0 else float("nan")


def kendall(a: Sequence[float], b: Sequence[float]) -> float:
    """Kendall's tau-b, which takes ties into account; nan where it does not exist. Memory and time grow as n * n."""
    x, y = (np.sign(np.subtract.outer(v, v)) for v in (np.asarray(a, dtype=np.float64), np.asarray(b, np.float64)))
    norm = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum() / norm) if norm > 0 else float("nan")
