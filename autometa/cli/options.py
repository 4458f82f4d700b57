"""Options that commands share, and the split of a command line into options and settings."""

from __future__ import annotations

import argparse
import difflib
import json
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from autometa.errors import InputError

SHORT = {"data": "data.name"}


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

    def error(self, message: str) -> NoReturn:
        options = [name for action in self._actions for name in action.option_strings if name.startswith("--")]
        if message.startswith("unrecognized arguments: "):
            name = message.removeprefix("unrecognized arguments: ").split()[0]
            near = difflib.get_close_matches(name.split("=")[0], options, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            message = f"unknown {'option' if name.startswith('-') else 'argument'} {name}{hint}"
        raise InputError(f"{message}; {self.prog} --help explains")


def common(parser: Parser) -> None:
    """--device, --json, -q."""
    parser.add_argument("--device", default="auto", metavar="cpu", help="where to compute; cpu is all there is so far")
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


def split_settings(words: Sequence[str], names: Iterable[str], own: Iterable[str]) -> tuple[list[str], dict[str, str]]:
    """The words that are not settings, and the settings: `--inner.lr 1e-3`, `--seed=3`, `--data NAME`.

    names: all settings; own: options of the command, which come before settings of the same name. A word with a dot
    is taken for a setting, known or not.
    """
    known, rest, found = {*names, *SHORT}, [], {}
    words, at = list(words), 0
    while at < len(words):
        name, equals, value = words[at].partition("=")
        key = name[2:]
        at += 1
        if not name.startswith("--") or name in own or not (key in known or "." in key):
            rest.append(words[at - 1])
            continue
        if not equals:
            if at == len(words) or words[at].startswith("--"):
                raise InputError(f"{name} needs a value")
            value = words[at]
            at += 1
        key = SHORT.get(key, key)
        if key in found and found[key] != value:
            raise InputError(f"{name} is given twice, as {found[key]} and {value}")
        found[key] = value
    return rest, found


def print_json(value: Any) -> None:
    """One strictly valid JSON document on stdout."""
    from autometa.runs.files import plain

    print(json.dumps(plain(value, strict=True), indent=2, ensure_ascii=False, allow_nan=False))
