"""The command line: `autometa WORD ...`. Each word is loaded when it is asked for, so that `--help` answers at once.

Exit codes: 0, 1 defect (and a recipe that fails), 2 bad input, 3 diverged, 130 interrupted.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import importlib
import os
import sys
import warnings
from collections.abc import Sequence

from autometa import plugins
from autometa._version import __version__
from autometa.cli.output import OutputClosed, flush, open_streams, print_traceback, put
from autometa.errors import AutometaError, InputError
from autometa.printable import printable

WORDS = {
    "search": ("training", "find a small network and an initialisation that learns new classes quickly"),
    "train": ("training", "meta-train a fixed network: a four-layer net or a cell that a search found"),
    "eval": ("using", "evaluate a run again, with other tasks, shots or steps"),
    "adapt": ("using", "teach a run's network your own classes from 1 to 5 pictures each"),
    "predict": ("using", "classify pictures with what `adapt` learned"),
    "export": ("exporting", "write what was learned as a PyTorch or ONNX program that runs without autometa"),
    "data": ("data", "recognise, convert and check data sets and folders of your own photos"),
    "report": ("reporting", "a run on one page: cells, accuracy, curves, cost, how to repeat it"),
    "compare": ("comparing", "searches side by side: accuracy against parameters and full trainings"),
    "table": ("table", "accuracies of all small cells, each trained once and for all: ask, build, export"),
    "tournament": ("tournament", "every search strategy on a table of cells: regret, and how soon"),
    "runs": ("looking", "list the runs of a folder"),
    "list": (
        "looking",
        "what can be chosen by name: learners, strategies, relaxations, data sets, presets, ...",
    ),
    "doctor": ("looking", "what is installed, which code runs on this machine and why, which data are found"),
    "reproduce": ("training", "rerun a documented result and say pass or fail"),
}
FUNCTIONS = {"list": "names"}
"""Of commands that are called as something of Python's own."""
EXAMPLES = """examples:
  autometa search metanas --preset quick --out runs/first     search on drawn strokes, a few minutes, no download
  autometa search auto-meta --preset quick --out runs/cells   the same by progressive search over many small cells
  autometa adapt --support photos --run runs/first            photos/cat/1.png, photos/dog/1.png, ...
  autometa predict new.png --run runs/first"""
OUTSIDE = {
    getattr(errno, name)
    for name in "ENOSPC EDQUOT EFBIG EROFS EACCES EPERM EIO EMFILE ENFILE ELOOP ENAMETOOLONG ESTALE".split()
    if hasattr(errno, name)
}
"""What a disk or a system may refuse anywhere."""
REPORT = "this is a defect of autometa; please report it with the lines above and the output of: autometa doctor"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (without the program's name); returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    open_streams()
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: _say(f"note: {message}")
        try:
            code = _run(words)
            flush()
            return code
        except SystemExit as done:
            return done.code if isinstance(done.code, int) else 0
        except KeyboardInterrupt:
            return _complain("interrupted; nothing had been begun", 130)
        except OutputClosed:
            return 0
        except AutometaError as error:
            return _complain(str(error), error.exit_code)
        except Exception as error:
            return _complain_otherwise(error)


def _run(typed: list[str]) -> int:
    words, named = _without_plugins(typed)
    plugins.load(named)
    if not words or words[0] in ("-h", "--help", "help"):
        put(_help().split("\n"))
        return 0
    if words[0] in ("-V", "--version"):
        put([f"autometa {__version__}"])
        return 0
    name = words[0]
    if name not in WORDS:
        near = difflib.get_close_matches(name, WORDS, n=1)
        hint = f"did you mean {near[0]}?" if near else "autometa --help lists them"
        raise InputError(f"unknown command {name!r}; {hint}")
    module = importlib.import_module(f"autometa.cli.{WORDS[name][0]}")
    return getattr(module, FUNCTIONS.get(name, name))(words[1:], ["autometa", *typed]) or 0


def _without_plugins(words: list[str]) -> tuple[list[str], list[str]]:
    """The words without `--plugin NAME` and `--plugin=NAME`, and the names."""
    rest, named, waiting = [], [], list(words)
    while waiting:
        word = waiting.pop(0)
        if word == "--plugin" and (not waiting or waiting[0].startswith("--")):
            raise InputError("--plugin needs a Python file, or the name of a module")
        if word == "--plugin":
            named.append(waiting.pop(0))
        elif word.startswith("--plugin="):
            named.append(word.partition("=")[2])
        else:
            rest.append(word)
    return rest, named


def _help() -> str:
    lines = [f"  {name:<10} {about}" for name, (_, about) in WORDS.items()]
    return "\n".join(
        [
            "usage: autometa COMMAND [options]",
            "",
            "Few-shot image classification: finds a small network, together with an initialisation that learns new",
            "classes from one to five pictures.",
            "",
            "commands:",
            *lines,
            "",
            EXAMPLES,
            "",
            "--plugin FILE, with any command, loads primitives, data sets or meta-learners of your own.",
            "autometa COMMAND --help explains one command; autometa --version tells the version.",
        ]
    )


def _complain(sentence: str, code: int) -> int:
    if os.environ.get("AUTOMETA_DEBUG"):
        print_traceback()
    _say(f"autometa: {' '.join(sentence.split())}")
    return code


def _complain_otherwise(error: Exception) -> int:
    """Errors that are not of our own kind: some have a cause outside, the rest are defects."""
    if type(error).__name__ == "BackendError":
        return _complain(f"{error}; AUTOMETA_BACKEND forces it, unset it to let autometa choose", 2)
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return _complain("memory ran out; lower test.max_slots or meta.max_slots, results stay the same", 2)
    if isinstance(error, OSError) and error.errno in OUTSIDE:
        place = "" if error.filename is None else f" ({os.fsdecode(error.filename)})"
        return _complain(f"cannot go on: {error.strerror}{place}", 2)
    print_traceback()
    return _complain(REPORT, 1)


def _say(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # nobody may be there to read it
        print(printable(text), file=sys.stderr, flush=True)
