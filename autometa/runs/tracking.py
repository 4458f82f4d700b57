"""Who else is told what a run logs: the metrics files always, TensorBoard or anything with three methods on top."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from autometa.errors import InputError

TENSORBOARD = "tensorboard"


@runtime_checkable
class Tracker(Protocol):
    """Follows a run; what it raises ends its following, not the run.

    A run that was cut off and goes on begins again, and logs steps since its last checkpoint anew: what is known of a
    phase from its first new step on is to be forgotten.
    """

    def begin(self, run: Path, config: Mapping[str, Any]) -> None:
        """The run in folder `run` begins or goes on."""

    def log(self, phase: str, step: int, values: Mapping[str, Any]) -> None:
        """A line of metrics of one of the run's loops; values are numbers, None, or mappings and lists of such."""

    def end(self, result: Mapping[str, Any] | None) -> None:
        """The run is over, with its result, or stops before it has one."""


class Trackers:
    """Several trackers as one; one that raises is told once and switched off."""

    def __init__(self, trackers: Sequence[Tracker] = (), notice: Callable[[str], None] = lambda _: None) -> None:
        self._active, self._notice = list(trackers), notice

    def begin(self, run: Path, config: Mapping[str, Any]) -> None:
        self._each("begin", run, config)

    def log(self, phase: str, step: int, values: Mapping[str, Any]) -> None:
        self._each("log", phase, step, values)

    def end(self, result: Mapping[str, Any] | None) -> None:
        self._each("end", result)

    def _each(self, method: str, *values: Any) -> None:
        for tracker in list(self._active):
            try:
                getattr(tracker, method)(*values)
            except Exception as error:
                self._active.remove(tracker)
                why = f"{type(error).__name__}: {' '.join(str(error).split())}"
                self._notice(f"tracking by {type(tracker).__name__} is switched off, its {method} failed ({why})")


class TensorBoard:
    """Numbers of every phase in RUN/tensorboard/PHASE, for `tensorboard --logdir RUN/tensorboard`.

    Raises `InputError` where the extra is not installed.
    """

    def __init__(self) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise InputError("tracking by tensorboard needs: pip install 'autometa-nas[tensorboard]'") from error
        self._make, self._root = SummaryWriter, Path()
        self._writers: dict[str, Any] = {}

    def begin(self, run: Path, config: Mapping[str, Any]) -> None:
        self._root = run / TENSORBOARD

    def log(self, phase: str, step: int, values: Mapping[str, Any]) -> None:
        if phase not in self._writers:
            self._writers[phase] = self._make(str(self._root / (phase or "run")), purge_step=step)
        writer = self._writers[phase]
        for name, value in numbers(values):
            writer.add_scalar(name, value, step)
        writer.flush()  # a killed run goes on behind its checkpoint, and never logs again what lay before

    def end(self, result: Mapping[str, Any] | None) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers = {}


def numbers(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """The numbers of nested mappings by joined names, `entropy/normal`; lists and None are passed over."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from numbers(value, f"{prefix}{name}/")
        elif isinstance(value, (int, float)):
            yield f"{prefix}{name}", value


def trackers_of(asked: Sequence[Tracker | str]) -> list[Tracker]:
    """Trackers by name (`tensorboard`, or `package.module:Class`, made without arguments) and as they are.

    Raises `InputError` where a name leads nowhere, or to something without the three methods.
    """
    return [_named(one) if isinstance(one, str) else _checked(one, type(one).__name__) for one in asked]


def _named(name: str) -> Tracker:
    if name == TENSORBOARD:
        return TensorBoard()
    module, colon, attribute = name.partition(":")
    if not (module and colon and attribute):
        raise InputError(f"unknown tracker {name!r}; give tensorboard, or package.module:Class")
    here = os.getcwd()
    sys.path.insert(0, here)  # an installed command does not look for modules where it is called
    try:
        found = getattr(importlib.import_module(module), attribute)()
    except Exception as error:
        raise InputError(f"tracker {name} cannot be made ({type(error).__name__}: {error})") from error
    finally:
        if here in sys.path:
            sys.path.remove(here)
    return _checked(found, name)


def _checked(tracker: Any, name: str) -> Tracker:
    if not isinstance(tracker, Tracker):
        raise InputError(f"{name} is no tracker: it needs the methods begin, log and end")
    return tracker
