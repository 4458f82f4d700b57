"""Tree-structured Parzen estimator (Bergstra et al. 2011, Algorithms for Hyper-Parameter Optimization, NeurIPS 24,
section 4), as Optuna has it (Akiba et al. 2019, arXiv 1907.10902)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from autometa.errors import InputError
from autometa.nas.spaces.draws import Draws
from autometa.nas.strategies.learning import Learning
from autometa.nas.strategies.strategy import SearchSpec, Trial

if TYPE_CHECKING:
    from optuna import Study


def optuna() -> Any:
    """Optuna, quiet. Raises `InputError` where it is not installed."""
    try:
        import optuna as found
    except ImportError as error:
        raise InputError("--strategy tpe needs Optuna: pip install 'autometa-nas[optuna]'") from error
    found.logging.set_verbosity(found.logging.WARNING)
    return found


@dataclass(frozen=True)
class TPE(Learning):
    """Tree-structured Parzen estimator: choices that good architectures make more often than the others.

    What is under way counts as bad (constant liar),
    so that a batch spreads. Needs Optuna.

    Args:
        draws: architectures drawn from the density of the good ones for each proposal, of which the one with the best
            ratio is taken (paper, section 4.2: 100; Optuna: 24).
        joint: whether the densities are of all choices together (Falkner et al. 2018, arXiv 1807.01774,
            section 3.2), which costs a third of the time, or of each choice alone (the paper).
    """

    draws: int = 24
    joint: bool = True
    tries: ClassVar[int] = 1

    def check(self, spec: SearchSpec) -> None:
        optuna()
        if self.draws < 1:
            raise InputError(f"tpe needs draws of 1 or more, not {self.draws}")

    def begin(self, spec: SearchSpec) -> list[dict[str, Any]]:
        """Finished trials; a study is made of them for each batch, since what it is asked stays in it."""
        return []

    def learn(self, policy: list[Any], trials: Sequence[Trial], done: int, spec: SearchSpec) -> None:
        create, options = optuna().trial.create_trial, self._options(spec)
        for trial in trials:
            if trial.scored:
                chosen = dict(zip(options, spec.space.choices(spec.space.parse(trial.key)), strict=True))
                policy.append(create(params=chosen, distributions=options, value=trial.accuracy))

    def _options(self, spec: SearchSpec) -> dict[str, Any]:
        categories = optuna().distributions.CategoricalDistribution
        return {str(i): categories(range(many)) for i, many in enumerate(spec.space.decisions(spec.space.levels))}

    def sample(self, policy: list[Any], draws: Mapping[int, Draws], spec: SearchSpec) -> list[list[int]]:
        study = self._study(policy, next(iter(draws.values())).below(2**31))
        options = self._options(spec)
        return [[study.ask(options).params[name] for name in options] for _ in draws]

    def _study(self, known: Sequence[Any], seed: int) -> Study:
        library = optuna()
        sampler = library.samplers.TPESampler(
            n_startup_trials=0, n_ei_candidates=self.draws, multivariate=self.joint, constant_liar=True, seed=seed
        )
        study = library.create_study(direction="maximize", sampler=sampler)
        study.add_trials(known)
        return study
