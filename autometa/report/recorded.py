"""What a run folder holds, read once: finished or not, of this version or an older one."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from autometa.algorithms.algorithm import Algorithm, Chosen, algorithm_tagged
from autometa.brief import brief
from autometa.errors import InputError
from autometa.nas.spaces.genotype import CellGenotype, Genotype
from autometa.report.listing import describe_run
from autometa.report.repeat import command_to_repeat
from autometa.report.view import View
from autometa.runs.files import shown
from autometa.runs.folder import CONFIG, ENVIRONMENT, EVAL_PHASE, HEALTH, OBSERVATIONS, RESULT, RunFolder
from autometa.runs.ledger import LEDGER, Candidate
from autometa.runs.metrics import read_metrics
from autometa.train import records
from autometa.train.records import DATA, FOUND

ARCHITECTURE = "architecture"


@brief
@dataclass(frozen=True)
class Recorded:
    """A run. What was not recorded, or cannot be read, is None or empty, and said in `problems`.

    status: finished, interrupted, running or unreadable. metrics: lines by phase. tasks: genotype of each test task.
    levels: of an Auto-Meta search. health: None where nobody watched. again: the command that repeats it.
    """

    path: str
    name: str
    algorithm: Algorithm
    status: str
    progress: tuple[int, int] | None
    config: Mapping[str, Any]
    environment: Mapping[str, Any]
    data: Mapping[str, Any]
    result: Mapping[str, Any] | None
    metrics: Mapping[str, Sequence[Mapping[str, Any]]]
    genotypes: Mapping[str, Genotype]
    tasks: Sequence[Genotype]
    found: Mapping[str, Any] | None
    candidates: Sequence[Candidate]
    observations: Mapping[str, Any] | None
    health: Sequence[Mapping[str, Any]] | None
    problems: Sequence[str] = field(default=())
    again: str = ""

    @property
    def architecture(self) -> Sequence[Mapping[str, Any]]:
        """Op and pair shares over meta-training, step by step."""
        return self.metrics.get(ARCHITECTURE, ())

    @property
    def loop(self) -> Sequence[Mapping[str, Any]]:
        """Metrics of the meta-iterations."""
        return self.metrics.get(self.algorithm.config.phase, ())

    @cached_property
    def winner(self) -> Mapping[str, Any] | None:
        """The best cell of a search over candidates."""
        return (self.found or {}).get("winner") or (self.result or {}).get("cell")

    @property
    def chosen(self) -> Chosen:
        return Chosen(self.config, self.genotypes, self.winner)

    @cached_property
    def cells(self) -> dict[str, CellGenotype]:
        """The cells that were found or trained, by kind; `cell` where one serves as both."""
        return self.algorithm.cells(self.chosen)

    @property
    def view(self) -> View:
        """Its result; an empty one where it is not finished."""
        return View(self.result or {})


def read(run: str | os.PathLike | RunFolder) -> Recorded:
    """Read a run folder. Raises `InputError` where there is none."""
    folder = RunFolder.open(run)
    row, problems = describe_run(folder.path), []

    def kept(read: Callable[[], Any], otherwise: Any, what: str) -> Any:
        try:
            return read()
        except (InputError, ValueError) as error:
            problems.append(f"{what} cannot be read: {error}")
            return otherwise

    def document(name: str, otherwise: Any) -> Any:
        return kept(lambda: records.read(folder, name, otherwise), otherwise, name)

    config = kept(lambda: folder.config, {}, CONFIG)
    there = (folder.path / ENVIRONMENT).exists()
    environment = kept(lambda: folder.environment, {}, ENVIRONMENT) if there else {}
    return Recorded(
        path=shown(folder.path),
        name=folder.path.name,
        algorithm=algorithm_tagged(config.get("algorithm")),
        status=row.status,
        progress=row.progress,
        config=config,
        environment=environment,
        data=document(DATA, {}),
        result=kept(lambda: records.read_result(folder), None, RESULT),
        metrics=_metrics(folder, kept),
        genotypes=_genotypes(folder, kept),
        tasks=kept(lambda: records.read_tasks(folder), (), "genotypes/tasks.json"),
        found=document(FOUND, None),
        candidates=kept(lambda: _candidates(folder), (), LEDGER),
        observations=document(OBSERVATIONS, None),
        health=document(HEALTH, None),
        problems=problems,
        again=_again(folder, environment),
    )


def _again(folder: RunFolder, environment: Mapping[str, Any]) -> str:
    typed = str(environment.get("command") or "")
    try:
        return command_to_repeat(folder) if typed else ""
    except (InputError, ValueError, TypeError, KeyError, AttributeError):  # what is wrong with its files is told above
        return typed


def _metrics(folder: RunFolder, kept: Callable) -> dict[str, list[dict]]:
    found = {}
    for path in sorted(folder.path.glob("metrics-*.jsonl")):
        phase = path.stem.removeprefix("metrics-")
        if not phase.startswith(EVAL_PHASE):
            read = records.read_series if phase == ARCHITECTURE else lambda path: list(read_metrics(path))
            found[phase] = kept(lambda path=path, read=read: read(path), [], path.name)
    return found


def _genotypes(folder: RunFolder, kept: Callable) -> dict[str, Genotype]:
    found = {}
    for path in sorted(folder.genotypes.glob("*.json")):
        name = path.stem
        if name != records.TASKS:
            genotype = kept(lambda path=path: Genotype.load(path), None, f"genotypes/{name}.json")
            if genotype is not None:
                found[name] = genotype
    return found


def _candidates(folder: RunFolder) -> list[Candidate]:
    return records.read_candidates(folder) if (folder.path / LEDGER).is_file() else []
