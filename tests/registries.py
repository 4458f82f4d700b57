"""What plugins register, forgotten again."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

from autometa.data.catalogue import LOADERS
from autometa.meta.learner import LEARNERS
from autometa.nas.predictors.predictor import PREDICTORS
from autometa.nas.relax.relaxation import RELAXATIONS
from autometa.nas.spaces.space import SPACES
from autometa.nas.strategies.strategy import STRATEGIES
from autometa.ops.primitives import BUILT_IN, BY_CODE, PRIMITIVES
from autometa.plugins import SETTING
from autometa.train.run_config import ALGORITHMS


@contextlib.contextmanager
def restored() -> Iterator[None]:
    """Within it anything may be registered and loaded; afterwards nothing is, and AUTOMETA_PLUGINS is as before."""
    setting = os.environ.get(SETTING)
    try:
        yield
    finally:
        forget()
        if setting is not None:
            os.environ[SETTING] = setting


def forget() -> None:
    """Primitives, data sets and registries are those of the package alone, as in a process without plugins."""
    for primitive in BY_CODE[BUILT_IN:]:
        del PRIMITIVES[primitive.name]
    del BY_CODE[BUILT_IN:]
    for registry in (LOADERS, LEARNERS, STRATEGIES, SPACES, PREDICTORS, RELAXATIONS, ALGORITHMS):
        registry.forget()
    for name in [name for name in sys.modules if name.startswith("autometa_plugin_")]:
        del sys.modules[name]
    os.environ.pop(SETTING, None)
