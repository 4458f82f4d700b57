"""`search`, `train` and `reproduce`: commands that make a run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from jsonargparse import Namespace

from autometa import api
from autometa.algorithms.algorithm import Algorithm, search_named, searches, training
from autometa.algorithms.presets import PRESETS
from autometa.algorithms.table.spec import DEFAULT
from autometa.api.planning import Plan, plan_search, plan_train
from autometa.api.recipes import recipes
from autometa.api.running import RunOptions
from autometa.api.seeds import carry_out, estimate
from autometa.api.settings import as_yaml, field_types, settings_help
from autometa.api.size_budget import count
from autometa.cli import seeds, show
from autometa.cli.options import RUNNING, Parser, seconds, whole
from autometa.cli.output import print_json, put
from autometa.cli.tournament import search_table
from autometa.nas.networks.conv_network import FOUR_LAYER
from autometa.runs.environment import process_age
from autometa.runs.files import say


def search(words: list[str], typed: list[str]) -> int:
    """`autometa search [metanas|auto-meta]`."""
    algorithm = _asked(words)
    parser = _parser(algorithm)
    names = list(searches())
    about = f"how to search: {names[0]} (default) or {', '.join(names[1:])}; --help after one explains it"
    parser.add_argument("algorithm", nargs="?", metavar="|".join(names), help=about)
    parser.add_argument("--init", metavar="RUN", help="start from what an earlier search had learned")
    if algorithm.workers:
        ray = "train candidates on a Ray cluster (auto: the one at hand)"
        parser.add_argument("--ray", metavar="ADDRESS", help=ray)
        known = f"look candidates up in a table instead of training them: {DEFAULT}, or a packed file of it"
        parser.add_argument("--table", metavar="NAME", help=known)

    def plan(given: Namespace, **asked: Any) -> Plan:
        return plan_search(given.algorithm, init=given.init, time_budget=given.time_budget, **asked)

    return _make_run(algorithm, parser, "default: quick; for your own images photos", plan, words, typed)


def _asked(words: list[str]) -> Algorithm:
    """The search that the command line names; its settings are known before the words are parsed."""
    before, known = ["", *words], searches()
    named = [word for word, last in zip(words, before, strict=False) if word in known and not last.startswith("--")]
    return search_named(named[0] if named else None)


def train(words: list[str], typed: list[str]) -> int:
    """`autometa train NET|GENOTYPE`."""
    algorithm = training()
    parser = _parser(algorithm)
    nets = f"{', '.join(FOUR_LAYER)}, a genotype file, cell:KEY, or the folder of a search"
    parser.add_argument("network", nargs="?", metavar="NET", help=nets)
    default = "default: those of the search that a genotype was found by, else of a search of a few minutes on --data"

    def plan(given: Namespace, **asked: Any) -> Plan:
        return plan_train(given.network, **asked)

    return _make_run(algorithm, parser, default, plan, words, typed)


def reproduce(words: list[str], typed: list[str]) -> int:
    """`autometa reproduce RECIPE`: exit code 1 where a check fails."""
    parser = Parser("reproduce", "Rerun a documented result and compare it with what it must show.")
    parser.add_argument("recipe", nargs="?", metavar="RECIPE", help=", ".join(recipes()))
    parser.add_argument("--list", action="store_true", help="list the recipes")
    given = parser.parse(words, "dry_run", *RUNNING)
    if given.list or given.recipe is None:
        print_json(recipes()) if given.json else put(show.recipe_list(recipes()))
        return 0
    options = _run_options(given, typed)
    if not given.quiet:
        asked = api.recipe(given.recipe)
        say(f"{asked['title']}: autometa {asked['word']} --preset {asked['preset']} ({asked['time']})")
    if given.dry_run:
        return _dry_run(api.plan_recipe(given.recipe, given.out, given.resume), options, given.json)
    how = {name: getattr(options, name) for name in ("quiet", "device", "checkpoint_every", "command")}
    found = api.reproduce(given.recipe, out=given.out, resume=given.resume, **how)
    if given.json:
        print_json(found)
    else:
        put([*show.result(found["result"]), "", *show.verdicts(found)])
    return 0 if found["passed"] else 1


def _parser(algorithm: Algorithm) -> Parser:
    groups = sorted({name.partition(".")[0] for name in field_types(algorithm.config) if "." in name})
    about = f"{algorithm.about}\nEvery setting of the run is an option of its own: --seed 3, --meta.iterations 100, "
    about += f"--inner.lr 1e-3 (groups: {', '.join(groups)})."
    return Parser(algorithm.word, about, algorithm.examples)


SETTINGS = {
    "data.name": "strokes, omniglot:background, or a folder of class folders",
    "data.rotations": "4: each quarter turn of a class is a class of its own; 1: none (default: as the data set has "
    "it; without a preset 4 for few classes of your own)",
    "seed": "of everything random",
    "max_params": "weights of the network that is handed out: 50k, 1.5M, ...",
    "max_macs": "its multiply-accumulates for one image: 2M, ...",
}
"""What --help tells of settings."""
TIMES = "be done after about 30m, 1h30m, ...: training ends early enough to evaluate"
CANDIDATES = "train candidates for so long that all is done after 30m, 1h30m, ... where that can be"
SEEDS = "so many runs, of this seed and the next ones, side by side where they fit: mean and interval over seeds"
TRACK = "tell tensorboard (pip install 'autometa-nas[tensorboard]'), or package.module:Class, all metrics as well"


def _make_run(
    algorithm: Algorithm, parser: Parser, default: str, plan: Callable, words: list[str], typed: list[str]
) -> int:
    presets = f"named settings: {', '.join(PRESETS[algorithm.name])} ({default})"
    parser.add_argument("--preset", metavar="NAME", help=presets)
    parser.add_argument("--config", metavar="FILE", help="YAML file of settings, over the preset")
    parser.add_argument("--seeds", type=whole, metavar="N", help=SEEDS)
    times = CANDIDATES if algorithm.workers else TIMES
    parser.add_argument("--time-budget", type=seconds, metavar="TIME", help=times)
    parser.add_argument("--print-config", action="store_true", help="print all settings as YAML and do nothing else")
    parser.add_argument("--help-settings", action="store_true", help="explain every setting")
    parser.add_argument("--track", action="append", default=[], metavar="NAME", help=TRACK)
    parser.add_settings({**field_types(algorithm.config), "max_params": count, "max_macs": count}, SETTINGS)
    given = parser.parse(words, *["workers"] * algorithm.workers, "dry_run", *RUNNING)
    if given.get("table") is not None:
        return search_table(given, parser)
    asked = {"preset_name": given.preset, "settings": parser.settings}
    asked |= {name: given[name] for name in ("config", "out", "resume")}
    if given.help_settings:
        base = plan(given, **asked).config if given.preset or given.config else algorithm.config()
        put(settings_help(base).split("\n"))
        return 0
    made = plan(given, **asked)
    if given.print_config:
        put([f"# autometa {algorithm.word} --config FILE", *as_yaml(made.config).removesuffix("\n").split("\n")])
        return 0
    options = _run_options(given, typed)
    if given.dry_run:
        return _dry_run(made, options, given.json)
    found = carry_out(made, options)
    if "rank" in found:  # one of torchrun's processes: the first one tells
        return 0
    print_json(found) if given.json else put(seeds.lines(found) if "seeds" in found else show.result(found))
    return 0


def _dry_run(plan: Plan, options: RunOptions, as_json: bool) -> int:
    for note in plan.notes:
        options.notice(note)
    found = estimate(plan, options)
    print_json(found) if as_json else put([*show.estimate(found), *seeds.estimated(found)])
    return 0


def _run_options(given: Namespace, typed: list[str]) -> RunOptions:
    who = {name: given.get(name) for name in ("time_budget", "workers", "ray", "seeds")}
    who["before"] = process_age() if sys.argv[1:] == typed[1:] else 0.0  # other words: called from a program
    who |= {"command": tuple(typed), "trackers": tuple(given.get("track", ()))}
    return RunOptions(given.quiet, given.device, checkpoint_every=given.checkpoint_every, **who)
