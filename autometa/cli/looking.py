"""`runs`, `list` and `doctor`: commands that only look."""

from __future__ import annotations

from autometa import api
from autometa.api.listing import KINDS
from autometa.cli import show
from autometa.cli.options import Parser
from autometa.cli.output import print_json, put
from autometa.errors import InputError
from autometa.runs.places import meant


def runs(words: list[str], typed: list[str]) -> int:
    """`autometa runs list [ROOT]`."""
    parser = Parser("runs", "List the runs of a folder: status, progress and accuracy.", "  autometa runs list runs")
    parser.add_argument("what", nargs="?", choices=["list"], default="list", metavar="list")
    parser.add_argument("root", nargs="?", default="runs", metavar="ROOT", help="folder of the runs (default: runs)")
    given = parser.parse(words, "json")
    root = meant(given.root)
    if not root.is_dir() and given.root != "runs":
        raise InputError(f"there is no folder {given.root}; name the folder that holds the runs")
    rows = api.list_runs(root)
    print_json(rows) if given.json else put(show.run_list(rows, given.root))
    return 0


def names(words: list[str], typed: list[str]) -> int:
    """`autometa list [KIND]`."""
    examples = "  autometa list learners\n  autometa list strategies --plugin mine.py"
    parser = Parser("list", "What can be chosen by name, with a line about each.", examples)
    kinds = ", ".join(KINDS)
    parser.add_argument("kind", nargs="?", metavar="KIND", help=f"one of {kinds} (default: all of them)")
    given = parser.parse(words, "json")
    found = api.choices(given.kind)
    print_json(found) if given.json else put(show.choices(found))
    return 0


def doctor(words: list[str], typed: list[str]) -> int:
    """`autometa doctor`."""
    parser = Parser("doctor", "What is installed, which code runs on this machine and why, which data are found.")
    parser.add_argument("--compile", action="store_true", help="compile the GPU kernels of a preset ahead of its runs")
    parser.add_argument("--preset", default="omniglot", help="whose kernels (default: omniglot)")
    parser.add_argument("--capability", metavar="N.N", help="for a GPU that is not here, such as 9.0")
    given = parser.parse(words, "json", "quiet")
    if given.compile:
        made = api.compile_kernels(given.preset, given.capability, given.quiet or given.json)
        print_json(made) if given.json else put(show.compiled(made))
        return int(bool(made["failed"]))
    found = api.doctor()
    print_json(found) if given.json else put(show.checkup(found))
    return 0
