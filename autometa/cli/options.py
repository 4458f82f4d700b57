"""Options that commands share, and the split of a command line into options and settings."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from typing import NoReturn

from autometa.cli.output import put
from autometa.errors import InputError

SHORT = {"data": "data.name", "rotations": "data.rotations"}


class Parser(argparse.ArgumentParser):
    """An argparse parser that raises `InputError` with one sentence."""

    def __init__(self, word: str, about: str, examples: str = ""):
        super().__init__(
            prog=f"autometa {word}",
            description=about,
            epilog=f"examples:\n{examples}" if examples else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.settings: tuple[str, ...] = ()

    def options(self) -> list[str]:
        """The long options."""
        return [name for action in self._actions for name in action.option_strings if name.startswith("--")]

    def _print_message(self, message: str, file: object = None) -> None:
        put(message.removesuffix("\n").split("\n"))

    def error(self, message: str) -> NoReturn:
        if message.startswith("unrecognized arguments: "):
            name = message.removeprefix("unrecognized arguments: ").split()[0]
            hint = self._nearest(name.partition("=")[0])
            message = f"unknown {'option' if name.startswith('-') else 'argument'} {name}"
            message = f"{message}{hint}"
        raise InputError(f"{message}; {self.prog} --help explains")

    def _nearest(self, name: str) -> str:
        near = [f"--{setting}" for setting in self.settings if setting.split(".")[-1] == name.lstrip("-")]
        near = near or difflib.get_close_matches(name, [*self.options(), *(f"--{s}" for s in self.settings)], n=1)
        return f"; did you mean {' or '.join(near)}?" if near else ""


def whole(text: str) -> int:
    """The type of options that are whole numbers."""
    from autometa.api.numbers import whole_number

    try:
        return whole_number(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"must be {error}, not {text[:60]}") from error


def common(parser: Parser) -> None:
    """--device, --json, -q."""
    devices = "where to compute: cpu, cuda, cuda:1 (default: a GPU where one works, else the CPU)"
    parser.add_argument("--device", default="auto", metavar="NAME", help=devices)
    parser.add_argument("--json", action="store_true", help="print the result as one JSON document, nothing else")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress and no notices")


def running(parser: Parser) -> None:
    """What commands share that make a run."""
    parser.add_argument("--out", metavar="DIR", help="folder of the run (default: runs/<date>-<name>)")
    parser.add_argument(
        "--resume",
        nargs="?",
        const=True,
        default=False,
        metavar="DIR",
        help="go on with a run that was stopped; without DIR the one in --out, or the last one",
    )
    parser.add_argument(
        "--checkpoint-every", default="60s", metavar="TIME", help="how much work a crash may cost (default: 60s)"
    )
    common(parser)


def split_settings(words: Sequence[str], parser: Parser) -> tuple[list[str], dict[str, str]]:
    """The words that are not settings, and the settings: `--inner.lr 1e-3`, `--seed=3`, `--data NAME`.

    Options of the parser come before settings of the same name, save --data, --rotations and --seed, which are
    settings. A word with a dot is taken for a setting, known or not.
    """
    groups = {name.partition(".")[0] for name in parser.settings}
    known = {*parser.settings, *groups, *SHORT}
    own = set(parser.options()) - {f"--{name}" for name in (*SHORT, "seed")}
    rest, found, waiting = [], {}, list(words)
    while waiting:
        word = waiting.pop(0)
        name, equals, value = word.partition("=")
        key = name[2:]
        if not name.startswith("--") or name in own or not (key in known or "." in key):
            rest.append(word)
            continue
        if not equals:
            if not waiting or waiting[0].startswith("--"):
                raise InputError(f"{name} needs a value")
            value = waiting.pop(0)
        key = SHORT.get(key, key)
        if found.setdefault(key, value) != value:
            raise InputError(f"{name} is given twice, as {found[key]} and {value}")
    return rest, found
