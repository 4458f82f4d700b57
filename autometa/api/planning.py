"""What a `search` or `train` is asked to do, settled and checked before any work or writing starts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from autometa.algorithms.algorithm import Algorithm, algorithm_of, search_named, searches, training
from autometa.algorithms.earlier import Earlier
from autometa.algorithms.presets import TRAIN, preset
from autometa.api.networks import train_base, with_genotype, without_placeholder
from autometa.api.photos import PHOTOS, SECONDS, fitted, look, own_photos, told, with_length
from autometa.api.settings import read_yaml, settle
from autometa.api.size_budget import limits_of
from autometa.api.suiting import resumed, said_in, to_images
from autometa.brief import brief
from autometa.data import dataset_names
from autometa.data.folders import VARIANTS
from autometa.errors import InputError
from autometa.nas.networks.network import Network
from autometa.runs.budget import parse_duration
from autometa.runs.files import shown
from autometa.runs.folder import CONFIG, RunFolder
from autometa.train.config import DataConfig, differences
from autometa.train.run_config import RunConfig, config_of, settled_config
from autometa.train.tasks import Source


@brief
@dataclass(frozen=True)
class Plan:
    """A run to begin in `out` (a folder of its own where None), or to go on with in `resume`.

    earlier: the run that it starts from; seconds: its time budget where the person names none; notes: what was chosen
    for the person, to be told; length_asked: whether the number of meta-iterations is the person's own.
    """

    algorithm: Algorithm
    config: RunConfig
    preset: str | None = None
    out: Path | None = None
    resume: Path | None = None
    earlier: Earlier | None = None
    seconds: float | None = None
    notes: tuple[str, ...] = ()
    length_asked: bool = False

    @property
    def stretched(self) -> bool:
        """Whether its number of meta-iterations is what fits into the time budget."""
        return self.preset == PHOTOS and not self.length_asked

    @property
    def name(self) -> str:
        """For the run's folder and for lists of runs."""
        label = self.preset or self.algorithm.label(self.config)
        return f"{self.algorithm.word}-{label}" if label else self.algorithm.word

    def prepare(self, device: torch.device | str = "cpu") -> tuple[Source, Network]:
        """Open the data for computing on `device`, build the network, look at tasks of each sort.

        Raises `InputError` for all that would stop the run later: missing data, too few classes or images, a
        network that does not fit.
        """
        source = Source.open(self.config.data, device)
        try:
            network = self.config.build(source.image_shape)
        except InputError:
            raise
        except ValueError as error:
            raise InputError(str(error)) from error
        self.config.check_size(network)
        if self.earlier is not None:
            self.earlier.check(self.config, source, network)
        for name in self.config.tests:
            test = getattr(self.config, name)
            source.training(self.config.inner, test.part, self.config.seed)
            source.testing(self.config.inner.ways, test)
        return source, network


def plan_search(
    algorithm: str | None = None,
    *,
    preset_name: str | None = None,
    config: str | os.PathLike | None = None,
    settings: Mapping[str, Any] | None = None,
    out: str | os.PathLike | None = None,
    resume: bool | str | os.PathLike = False,
    init: str | os.PathLike | None = None,
    max_params: str | int | None = None,
    max_macs: str | int | None = None,
    time_budget: str | float | None = None,
) -> Plan:
    """algorithm: one of `search`; where it is None, that of the run to go on with, or the first.

    Where neither preset nor config file is given: `photos` for a person's own images, the settings of the earlier run
    where there is one, else `quick`. Raises `InputError`.
    """
    settings = {**(settings or {}), **limits_of(max_params, max_macs)}
    if algorithm is None and config is not None:
        algorithm = read_yaml(config).get("algorithm")
    chosen = search_named(algorithm)
    run = _to_resume(tuple(searches().values()) if algorithm is None else (chosen,), out, resume)
    if run is not None:
        chosen = algorithm_of(config_of(run))
        begun = {} if init is None else {"init": str(Path(init).resolve())}
        base = preset(chosen.name, preset_name) if preset_name not in (None, PHOTOS) else None
        return _go_on(run, base, config, {**settings, **begun})
    earlier = None if init is None else chosen.earlier.open(init, chosen)
    alike = earlier is not None and earlier.alike
    if preset_name in (None, PHOTOS) and config is None and not alike:
        path = own_photos(
            settings if preset_name is None else {"data.name": preset(chosen.name, PHOTOS).data.name, **settings}
        )
        if path is not None:
            plan = _for_photos(chosen, path, settings, earlier, time_budget)
            return replace(plan, out=_path(out))
    label = preset_name or ("quick" if config is None and earlier is None else None)
    base = preset(chosen.name, label) if label else chosen.config() if earlier is None or config else earlier.own
    said = said_in(config, settings)
    made, notes = (_settled(base, config, settings), ()) if alike else to_images(base, config, settings, _settled)
    plan = _begun(chosen, made, set(said), label, earlier)
    return replace(plan, out=_path(out), notes=(*notes, *plan.notes))


def _for_photos(
    algorithm: Algorithm,
    path: Path,
    settings: Mapping[str, Any],
    earlier: Earlier | None,
    time_budget: str | float | None,
) -> Plan:
    """A search on a person's own images, everything that is not said chosen from them."""
    seconds = SECONDS if time_budget is None else parse_duration(time_budget)
    base, seen = preset(algorithm.name, PHOTOS), look(path)
    given = set(settings)
    if earlier is not None:
        base = earlier.shaped(base)
        given |= set(earlier.shape)
        if earlier.config.data.variant in VARIANTS:
            seen = replace(seen, variant=earlier.config.data.variant)
    made = _settled(fitted(base, seen, settings), None, settings)
    plan = _begun(algorithm, made, given, PHOTOS, earlier)
    asked = bool({f"{base.prefix}meta.iterations", "warmup"} & given)
    if not asked:
        plan = replace(plan, config=with_length(plan.config, 3 if plan.config.data.variant == "colour" else 1, seconds))
    notes = (*told(plan.config, seen), *plan.notes)
    return replace(plan, notes=notes, seconds=None if time_budget or asked else seconds, length_asked=asked)


def _begun(
    algorithm: Algorithm, config: RunConfig, given: set[str], label: str | None, earlier: Earlier | None
) -> Plan:
    """A new search with room for its network, from an earlier run where there is one."""
    notes: list[str] = []
    if earlier is not None:
        given = given | set(earlier.shape)
        config = replace(config, init=str(earlier.folder.path))
        notes.append(earlier.told())
    shape = (3 if config.data.variant == "colour" else 1, config.data.image_size, config.data.image_size)
    config, changed = config.with_room(shape, given)
    notes += [changed] if changed else []
    return Plan(algorithm, config, label, earlier=earlier, notes=tuple(notes))


def plan_train(
    network: str | os.PathLike | None = None,
    *,
    preset_name: str | None = None,
    config: str | os.PathLike | None = None,
    settings: Mapping[str, Any] | None = None,
    out: str | os.PathLike | None = None,
    resume: bool | str | os.PathLike = False,
    max_params: str | int | None = None,
    max_macs: str | int | None = None,
) -> Plan:
    """network: a four-layer net, a genotype file, or the folder of a search. Raises `InputError`."""
    settings = {**(settings or {}), **limits_of(max_params, max_macs)}
    run = _to_resume((training(),), out, resume)
    network = None if network is None else os.fspath(network)
    if run is not None:
        base = train_base(network, preset_name, config, settings)[0] if network or preset_name else None
        return _go_on(run, base, config, settings)
    label = preset_name or (network if network in TRAIN else None)
    base, notes = train_base(network, preset_name, config, settings)
    made, more = to_images(base, config, settings, _settled)
    return Plan(training(), with_genotype(made), label, _path(out), notes=(*notes, *more))


def _to_resume(
    asked: tuple[Algorithm, ...], out: str | os.PathLike | None, resume: bool | str | os.PathLike
) -> RunFolder | None:
    """The run to go on with, None where a new one begins: `--out DIR --resume` begins where DIR holds no run yet."""
    if resume is False:
        return None
    if resume is True and out is not None and not (Path(out) / CONFIG).is_file():
        return None
    if resume is not True and out is not None and Path(out).resolve() != Path(resume).resolve():
        raise InputError("--out and --resume name different folders; leave --out away to go on with a run")
    folder = RunFolder.open(resume if resume is not True else out if out is not None else "latest", whole=True)
    found = algorithm_of(config_of(folder))
    if found not in asked:
        place = shown(folder.path)
        raise InputError(f"{place} holds a {found.word} run; go on with: autometa {found.word} --resume {place}")
    return folder


def _go_on(folder: RunFolder, base, config, settings) -> Plan:
    """The plan of a run's own folder; what the command line says beside it must agree."""
    own = config_of(folder)
    base = without_placeholder(base, own)
    if base is not None and own_photos(said_in(config, settings)) is not None:
        base = resumed(base, own)
    base = base or own
    base = replace(base, data=replace(base.data, reading=own.data.reading))
    asked = _settled(base, config, settings)
    contrary = differences(own, asked)
    if contrary:
        name, (has, said) = next(iter(contrary.items()))
        more = f" (and {len(contrary) - 1} more differ)" if len(contrary) > 1 else ""
        raise InputError(
            f"the run in {shown(folder.path)} has {name} {_text(has)}, the command line says {_text(said)}{more}; "
            "resume with --resume alone, or begin a new run with --out"
        )
    return Plan(algorithm_of(own), settled_config(folder), None, None, folder.path)


def _settled(base, config, settings):
    made = _absolute(settle(base, config, settings))
    chosen = config is not None or "data.variant" in (settings or ())
    if chosen or made.data.variant in VARIANTS or made.data.name.partition(":")[0] == "omniglot":
        return made
    return replace(made, data=replace(made.data, variant=DataConfig.variant))


OF_FONTS = ("fonts", "characters")
"""Data sets whose detail may be a folder."""


def _absolute(config):
    """Folders of data by their full path, so that the run can be used from anywhere."""
    data: DataConfig = config.data
    name, path = data.name, Path(os.path.expanduser(data.name))
    if name.partition(":")[0] not in {known.partition(":")[0] for known in dataset_names()} and path.is_dir():
        name = str(path.resolve())
    kind, _, fonts = name.partition(":")
    if kind in OF_FONTS and os.sep in fonts:
        name = f"{kind}:{Path(os.path.expanduser(fonts)).resolve()}{os.sep}"
    root = None if data.root is None else str(Path(os.path.expanduser(data.root)).resolve())
    return replace(config, data=replace(data, name=name, root=root))


def _path(out: str | os.PathLike | None) -> Path | None:
    return None if out is None else Path(out)


def _text(value: Any) -> str:
    return "none" if value is None else str(value)
