"""The parser of every command: options that commands share, defined once, and settings of a run as typed options."""

from __future__ import annotations

import re
from argparse import Action, ArgumentTypeError, RawDescriptionHelpFormatter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn, get_args

from jsonargparse import SUPPRESS, ArgumentParser, Namespace

from autometa.api.numbers import read, whole_number
from autometa.api.settings import nearest, value_of
from autometa.cli.output import put
from autometa.errors import InputError
from autometa.runs.budget import parse_duration


def typed(reader: Callable[[str], Any], before: str = "") -> Callable[[str], Any]:
    """The type of options that `reader` reads; before: what stands before its complaint."""

    def value(text: str) -> Any:
        try:
            return reader(text)
        except ValueError as error:
            raise ArgumentTypeError(f"{before}{error}{f', not {text[:60]}' * bool(before)}") from error

    return value


whole, seconds = typed(whole_number, "must be "), typed(parse_duration)
names = typed(partial(read, hint=tuple[str, ...]), "must be ")
"""Types of options."""
SHARED: dict[str, dict[str, Any]] = {
    "out": {"metavar": "DIR", "help": "folder of the run (default: runs/<date>-<name>)"},
    "resume": {
        **{"nargs": "?", "const": True, "default": False, "metavar": "DIR"},
        "help": "go on with a run that was stopped; without DIR the one in --out, or the last one",
    },
    "checkpoint_every": {
        **{"type": seconds, "default": 60.0, "metavar": "TIME"},
        "help": "how much work a crash may cost (default: 60s)",
    },
    "dry_run": {"action": "store_true", "help": "estimate time and memory from a few steps"},
    "workers": {"type": whole, "metavar": "N", "help": "processes that train candidates (default: none)"},
    "plot": {"metavar": "FILE", "help": "draw to a .png, .svg or .pdf file (needs matplotlib)"},
    "device": {
        **{"default": "auto", "metavar": "NAME"},
        "help": "where to compute: cpu, cuda, cuda:1 (default: a GPU where one works, else the CPU)",
    },
    "json": {"action": "store_true", "help": "print the result as one JSON document, nothing else"},
    "quiet": {"action": "store_true", "help": "no progress and no notices"},
}
"""Options by name that several commands have."""
COMPUTING = ("device", "json", "quiet")
PLACES = ("DIR", "FILE", "FOLDER", "PATH", "ROOT", "RUN")
"""Metavariables of what names a folder or a file."""
RUNNING = ("out", "resume", "checkpoint_every", *COMPUTING)
"""Of commands that compute, and of those that make a run."""


class Parser(ArgumentParser):
    """A parser of one command that raises `InputError` with one sentence.

    settings: those that `parse` has found, typed, by dotted name.
    """

    def __init__(self, word: str, about: str, examples: str = "") -> None:
        super().__init__(
            prog=f"autometa {word}",
            description=about,
            epilog=f"examples:\n{examples}" if examples else None,
            formatter_class=RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self._negative_number_matcher = re.compile(r"-\.?[0-9]")
        self.settings: dict[str, Any] = {}

    def parse(self, words: Sequence[str], *shared: str) -> Namespace:
        """What the words say; shared: options of `SHARED` that the command has beside its own."""
        for name in shared:
            self.add_argument(*["-q"] * (name == "quiet"), f"--{name.replace('_', '-')}", **SHARED[name])
        given = self.parse_args(words)
        for action in self._actions:
            if action.option_strings and action.metavar in PLACES and getattr(given, action.dest, None) == "":
                self.error(f"{action.option_strings[-1]} is empty; name a folder or a file")
        return given

    def add_settings(self, types: Mapping[str, Any], about: Mapping[str, str]) -> None:
        """An option for each of these settings; about: help of those that --help tells, which have a short form.

        `--data` is `--data.name`, as of all that is chosen by name. Options that are there already come first.
        """
        for name, hint in types.items():
            group, _, leaf = name.rpartition(".")
            short = group if leaf == "name" else leaf if name in about else name
            flags = {f"--{name}": SUPPRESS, f"--{short}": SUPPRESS}
            flags[f"--{short.replace('_', '-') if name in about else short}"] = about.get(name, SUPPRESS)
            for flag, told in flags.items():
                if flag not in self._option_string_actions:
                    kind = "NAME" if str in (hint, *get_args(hint)) else "N"
                    of = {"setting": name, "hint": hint, "default": SUPPRESS}
                    self.add_argument(flag, action=_Setting, dest=flag, metavar=kind, help=told, **of)

    def _print_message(self, message: str, file: object = None) -> None:
        put(message.removesuffix("\n").split("\n"))

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        page, message = "--help", re.sub(r"argument (\S+): expected one argument", r"\1 needs a value", message)
        required = re.match(r"the following arguments are required: (.+)", message)
        if required:
            shown = {action.dest: action.metavar for action in self._actions if not action.option_strings}
            named = (str(shown.get(name) or name) for name in required[1].split(", "))
            message = f"the following arguments are required: {', '.join(named)}"
        unknown = re.match(r"(?i)unrecognized arguments: ([^\s=]+)", message)
        if unknown:
            name = unknown[1]
            known = [flag[2:] for flag in self._option_string_actions if flag.startswith("--")]
            hint = nearest(name.lstrip("-"), known, "--")
            message = f"unknown {'option' if name.startswith('-') else 'argument'} {name}{hint}"
            page = f"--help{'-settings' * ('help-settings' in known and '.' in name)}"
        raise InputError(f"{message}; {self.prog} {page} explains") from ex


class _Setting(Action):
    """An option that is a setting of type `hint`: once, into the parser's `settings`."""

    def __init__(self, setting: str, hint: Any, **options: Any) -> None:
        super().__init__(**options)
        self.setting, self.hint = setting, hint

    def __call__(self, parser: Parser, namespace: Namespace, value: Any, option: str | None = None) -> None:
        value = value_of(value, self.hint, self.setting if "." in self.setting else str(option))
        known = parser.settings.setdefault(self.setting, value)
        if known != value:
            raise InputError(f"{option} is given twice, as {known} and {value}")
