"""Adaptive Bayesian linear regression (Perrone et al. 2018, Scalable Hyperparameter Transfer Learning, NeurIPS 31,
section 3): several regressions on features that one network learns for all of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

Task = tuple[np.ndarray, np.ndarray]
"""Inputs `[n, features]` and what was measured, `[n]`."""


class SharedBases:
    """Bayesian linear regressions of several tasks on the outputs of a network that is common to them.

    Its weights, and each task's precisions of weights and of noise, have the largest marginal likelihood (L-BFGS).
    Each task is standardised. Deterministic by seed on one thread.

    Args:
        units: of the network's two layers (paper: three layers of 50); the last are the bases.
        steps: of L-BFGS at most.
    """

    def __init__(self, units: tuple[int, int] = (32, 16), steps: int = 25) -> None:
        self.units, self.steps = units, steps

    def fit(self, tasks: Sequence[Task], seed: int) -> None:
        """Learn anew. Raises `ValueError` without tasks or with an empty one."""
        if not tasks or any(not len(y) for _, y in tasks):
            raise ValueError("shared bases need tasks with measurements")
        inputs = np.concatenate([x for x, _ in tasks])
        self._middle, spread = inputs.mean(axis=0), inputs.std(axis=0)
        self._spread = np.where(spread > 1e-9, spread, 1.0)
        self._scales = [(float(y.mean()), float(y.std()) or 1.0) for _, y in tasks]
        self._x = [self._standard(x) for x, _ in tasks]
        standard = [(y - mean) / std for (_, y), (mean, std) in zip(tasks, self._scales, strict=True)]
        self._y = [torch.tensor(y, dtype=torch.float64, device="cpu") for y in standard]
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(seed)
            wide, narrow = self.units
            made = nn.Sequential(nn.Linear(inputs.shape[1], wide), nn.Tanh(), nn.Linear(wide, narrow), nn.Tanh())
            self._network = made.double()
            start = torch.tensor([0.0, 1.0], dtype=torch.float64, device="cpu").repeat(len(tasks), 1)
            self._precisions = nn.Parameter(start)  # logarithms of weights' and noise's
            parameters = [*self._network.parameters(), self._precisions]
            optimiser = torch.optim.LBFGS(parameters, max_iter=self.steps, line_search_fn="strong_wolfe")

            def loss() -> Tensor:
                optimiser.zero_grad()
                nothing = torch.zeros((), dtype=torch.float64, device="cpu")
                total = sum((-self._evidence(task) for task in range(len(tasks))), start=nothing)
                total = total + 0.5 * sum(w.square().sum() for w in parameters)
                total.backward()
                return total

            optimiser.step(loss)

    def drawn(self, task: int, x: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """One function of a task's posterior at inputs `[n, features]`, in the task's unit: `[n]`."""
        with torch.no_grad():
            mean, factor, _ = self._posterior(task)
            noise = torch.from_numpy(generator.standard_normal(len(mean)))
            weights = mean + torch.linalg.solve_triangular(factor.T, noise[:, None], upper=True)[:, 0]
            centre, scale = self._scales[task]
            return (self._bases(self._standard(x)) @ weights).numpy() * scale + centre

    def _standard(self, x: np.ndarray) -> Tensor:
        return torch.tensor((x - self._middle) / self._spread, dtype=torch.float64, device="cpu")

    def _bases(self, x: Tensor) -> Tensor:
        return torch.cat([self._network(x), torch.ones(len(x), 1, dtype=torch.float64, device="cpu")], dim=1)

    def _posterior(self, task: int) -> tuple[Tensor, Tensor, Tensor]:
        """Mean of a task's weights, the Cholesky factor of their precision, and the bases of what was measured."""
        own, noise = self._precisions[task].exp()
        bases = self._bases(self._x[task])
        eye = torch.eye(bases.shape[1], dtype=torch.float64, device="cpu")
        factor = torch.linalg.cholesky(own * eye + noise * bases.T @ bases)
        return noise * torch.cholesky_solve((bases.T @ self._y[task])[:, None], factor)[:, 0], factor, bases

    def _evidence(self, task: int) -> Tensor:
        """Log marginal likelihood of a task, without its constant."""
        (log_own, log_noise), (mean, factor, bases) = self._precisions[task], self._posterior(task)
        errors = log_noise.exp() * (self._y[task] - bases @ mean).square().sum() + log_own.exp() * mean.square().sum()
        sizes = bases.shape[1] * log_own + len(bases) * log_noise
        return 0.5 * (sizes - errors) - factor.diagonal().log().sum()
