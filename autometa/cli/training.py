"""`search`, `train` and `reproduce`: commands that make a run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from autometa import api
from autometa.algorithms.algorithm import Algorithm, search_named, searches, training
from autometa.algorithms.presets import PRESETS
from autometa.algorithms.table.spec import DEFAULT
from autometa.api.planning import Plan, plan_search, plan_train
from autometa.api.recipes import recipes
from autometa.api.running import Manner
from autometa.api.seeds import carry_out, estimate
from autometa.api.settings import as_yaml, field_types, settings_help
from autometa.cli import seeds, show
from autometa.cli.options import Parser, running, split_settings, whole
from autometa.cli.output import print_json, put
from autometa.cli.tournament import search_table
from autometa.nas.networks.conv_network import FOUR_LAYER
from autometa.runs.environment import process_age
from autometa.runs.files import say

DRY = "estimate time and memory from a few steps"


def search(words: list[str], typed: list[str]) -> int:
    """`autometa search [metanas|auto-meta]`."""
    algorithm = _asked(words)
    parser = _parser(algorithm)
    names = list(searches())
    about = f"how to search: {names[0]} (default) or {', '.join(names[1:])}; --help after one explains it"
    parser.add_argument("algorithm", nargs="?", metavar="|".join(names), help=about)
    presets = f"named settings: {', '.join(PRESETS[algorithm.name])} (default: quick; for your own images photos)"
    parser.add_argument("--init", metavar="RUN", help="start from what an earlier search had learned")
    if algorithm.workers:
        parser.add_argument(
            "--workers", type=whole, metavar="N", help="processes that train candidates (default: none)"
        )
        parser.add_argument(
            "--ray", metavar="ADDRESS", help="train candidates on a Ray cluster (auto: the one at hand)"
        )
        known = f"look candidates up in a table instead of training them: {DEFAULT}, or a packed file of it"
        parser.add_argument("--table", metavar="NAME", help=known)

    def plan(given: argparse.Namespace, settings: dict[str, str]) -> Plan:
        return plan_search(
            given.algorithm, settings=settings, init=given.init, time_budget=given.time_budget, **_plan_options(given)
        )

    return _make_run(algorithm, parser, presets, plan, words, typed)


def _asked(words: list[str]) -> Algorithm:
    """The search that the command line names; its settings are known before the words are parsed."""
    before, known = ["", *words], searches()
    named = [word for word, last in zip(words, before, strict=False) if word in known and not last.startswith("--")]
    return search_named(named[0] if named else None)


def train(words: list[str], typed: list[str]) -> int:
    """`autometa train NET|GENOTYPE`."""
    algorithm = training()
    parser = _parser(algorithm)
    parser.add_argument(
        "network",
        nargs="?",
        metavar="NET",
        help=f"{', '.join(FOUR_LAYER)}, a genotype file, cell:KEY, or the folder of a search",
    )
    presets = f"named settings: {', '.join(PRESETS[algorithm.name])} (default: those of the search that a genotype was "
    presets += "found by, else of a search of a few minutes on --data)"

    def plan(given: argparse.Namespace, settings: dict[str, str]) -> Plan:
        return plan_train(given.network, settings=settings, **_plan_options(given))

    return _make_run(algorithm, parser, presets, plan, words, typed)


def reproduce(words: list[str], typed: list[str]) -> int:
    """`autometa reproduce RECIPE`: exit code 1 where a check fails."""
    parser = Parser("reproduce", "Rerun a documented result and compare it with what it must show.")
    parser.add_argument("recipe", nargs="?", metavar="RECIPE", help=", ".join(recipes()))
    parser.add_argument("--list", action="store_true", help="list the recipes")
    parser.add_argument("--dry-run", action="store_true", help=DRY)
    running(parser)
    given = parser.parse_args(words)
    if given.list or given.recipe is None:
        print_json(recipes()) if given.json else put(show.recipe_list(recipes()))
        return 0
    manner = _manner(given, typed)
    if not given.quiet:
        asked = api.recipe(given.recipe)
        say(f"{asked['title']}: autometa {asked['word']} --preset {asked['preset']} ({asked['time']})")
    if given.dry_run:
        return _dry_run(api.plan_recipe(given.recipe, given.out, given.resume), manner, given.json)
    options = {"device": manner.device, "checkpoint_every": manner.checkpoint_every, "command": manner.command}
    found = api.reproduce(given.recipe, out=given.out, resume=given.resume, quiet=manner.quiet, **options)
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


def _make_run(
    algorithm: Algorithm, parser: Parser, presets: str, plan: Callable, words: list[str], typed: list[str]
) -> int:
    parser.add_argument("--preset", metavar="NAME", help=presets)
    parser.add_argument("--config", metavar="FILE", help="YAML file of settings, over the preset")
    parser.add_argument("--data", metavar="NAME", help="strokes, omniglot:background, or a folder of class folders")
    turns = (
        "4: each quarter turn of a class is a class of its own; 1: none (default: as the data set has it; without a "
    )
    turns += "preset 4 for few classes of your own)"
    parser.add_argument("--rotations", metavar="1|4", help=turns)
    parser.add_argument("--seed", metavar="N", help="of everything random")
    many = "so many runs, of this seed and the next ones, side by side where they fit: mean and interval over seeds"
    parser.add_argument("--seeds", type=whole, metavar="N", help=many)
    times = "be done after about 30m, 1h30m, ...: training ends early enough to evaluate"
    if algorithm.workers:
        times = "train candidates for so long that all is done after 30m, 1h30m, ... where that can be"
    parser.add_argument("--time-budget", metavar="TIME", help=times)
    parser.add_argument("--max-params", metavar="N", help="weights of the network that is handed out: 50k, 1.5M, ...")
    parser.add_argument("--max-macs", metavar="N", help="its multiply-accumulates for one image: 2M, ...")
    parser.add_argument("--dry-run", action="store_true", help=DRY)
    parser.add_argument("--print-config", action="store_true", help="print all settings as YAML and do nothing else")
    parser.add_argument("--help-settings", action="store_true", help="explain every setting")
    tracking = (
        "tell tensorboard (pip install 'autometa-nas[tensorboard]'), or package.module:Class, all metrics as well"
    )
    parser.add_argument("--track", action="append", default=[], metavar="NAME", help=tracking)
    running(parser)
    parser.settings = tuple(field_types(algorithm.config))
    rest, settings = split_settings(words, parser)
    given = parser.parse_args(rest)
    if getattr(given, "table", None) is not None:
        return search_table(given, settings, parser)
    if given.help_settings:
        base = plan(given, settings).config if given.preset or given.config else algorithm.config()
        put(settings_help(base).split("\n"))
        return 0
    made = plan(given, settings)
    if given.print_config:
        put([f"# autometa {algorithm.word} --config FILE", *as_yaml(made.config).removesuffix("\n").split("\n")])
        return 0
    manner = _manner(given, typed, given.time_budget)
    if given.dry_run:
        return _dry_run(made, manner, given.json)
    found = carry_out(made, manner)
    if "rank" in found:  # one of torchrun's processes: the first one tells
        return 0
    print_json(found) if given.json else put(seeds.lines(found) if "seeds" in found else show.result(found))
    return 0


def _dry_run(plan: Plan, manner: Manner, as_json: bool) -> int:
    for note in plan.notes:
        manner.notice(note)
    found = estimate(plan, manner)
    print_json(found) if as_json else put([*show.estimate(found), *seeds.estimated(found)])
    return 0


def _plan_options(given: argparse.Namespace) -> dict:
    limits = {"max_params": given.max_params, "max_macs": given.max_macs}
    return {"preset_name": given.preset, "config": given.config, "out": given.out, "resume": given.resume, **limits}


def _manner(given: argparse.Namespace, typed: list[str], time_budget: str | None = None) -> Manner:
    who = {"workers": getattr(given, "workers", None), "ray": getattr(given, "ray", None)}
    who["seeds"] = getattr(given, "seeds", None)
    who["trackers"] = tuple(getattr(given, "track", ()))
    who["before"] = process_age() if sys.argv[1:] == typed[1:] else 0.0  # other words: called from a program
    return Manner(given.quiet, given.device, time_budget, given.checkpoint_every, tuple(typed), **who)
