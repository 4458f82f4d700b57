"""Every command of README.md and docs/*.md does what the page says, on a folder of drawn pictures.

Searches and trainings are estimated, by `--dry-run` on tiny settings; what wants a data set, a GPU, a cluster or other
processes is parsed by the command line's own parser. What pages build on (runs/quick, ...) was made before.
"""

from __future__ import annotations

import os
import re
import shutil
from itertools import pairwise

import pytest
import torch

from autometa.algorithms.tournament.holding import Rules, hold
from autometa.api import tables
from autometa.cli import table
from autometa.cli.output import put
from tests.algorithms.made_table import made_table
from tests.cli import driving
from tests.cli.driving import call, changed, class_folders
from tests.cli.test_auto_meta import TINY
from tests.cli.test_photos import photos
from tests.docs.commands import ROOT, commands
from tests.registries import restored

COMMANDS = commands()
SEARCH = changed(driving.SEARCH, data="strokes:6x6x8")
TRAIN = changed(driving.TRAIN, data="strokes:6x6x8")
CELLS = changed(TINY, blocks=1, data="strokes:6x6x8")
RUNS = {"quick": ["search", *SEARCH], "reptile": ["train", "reptile-omniglot", *TRAIN]}
RUNS["cells"] = ["search", "auto-meta", *CELLS]
RUNS["three"] = ["search", *SEARCH, "--seeds", "2"]
RUNGS = ["--meta.iterations", "9"]  # as few as three rungs by three
COPIES = {"search": "quick", "progressive": "cells", "random": "cells"}
PLACEHOLDERS = {"RUN": "runs/quick", "KEY": "published", "F": "4", "RATE": "1e-3", "P": "omniglot", "b": "5"}
PLACEHOLDERS |= {"cell:KEY": "cell:published", "strokes": "strokes:6x6x8", "DIR": "runs/quick"}
ELSEWHERE = ("--ray", "--device", "torchrun")
MENTIONED = ("autometa compare --plot",)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the pictures and the runs that the pages speak of."""
    here, before, threads = tmp_path_factory.mktemp("pages"), dict(os.environ), torch.get_num_threads()
    folder = os.getcwd()
    os.environ["AUTOMETA_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    os.environ.pop("AUTOMETA_DATA", None)
    torch.set_num_threads(1)
    os.chdir(here)
    photos(here / "my_photos")
    for name in ("new_classes", "my_classes", "photos"):
        class_folders(here / name, images=1)
    for meter in ("first", "second"):
        class_folders(here / "meters" / meter, images=7)
    class_folders(here / "more_classes", ("ring", "star"), images=1)
    for name in ("photo", "photo1", "photo2"):
        shutil.copy(here / "my_classes/bar/0.png", here / f"{name}.jpg" if name == "photo" else here / f"{name}.png")
    (here / "my_file.py").write_text("")
    (here / "mine.yaml").write_text("seed: 1\n")
    for name, words in RUNS.items():
        answer = call(*words, "--out", f"runs/{name}", "-q")
        assert answer.code == 0, answer.err
    shutil.copy("runs/quick/genotypes/most_frequent.json", "cell.json")
    for name, made in COPIES.items():
        shutil.copytree(f"runs/{made}", f"runs/{name}", symlinks=True)
    yield here
    os.chdir(folder)
    torch.set_num_threads(threads)
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.parametrize("command", COMMANDS, ids=[f"{one.page}: {' '.join(one.words)}" for one in COMMANDS])
def test_a_command_of_the_pages(command, place, monkeypatch):
    words = [word for word in command.words if not re.match("[A-Z_]+=", word)]
    if "autometa" not in words or " ".join(words) in MENTIONED:
        known(words)
        return
    words = [PLACEHOLDERS.get(word, word) for word in words if word != "..."]
    words = [word.replace("examples/", f"{ROOT}/examples/") for word in words]
    if any(word.endswith(".onnx") for word in words):
        pytest.importorskip("onnx", reason="pip install '.[onnx]'")
    elsewhere = bool(set(ELSEWHERE) & set(words))
    if {"tournament", "--table"} & set(words):  # more cells than the package may hold
        monkeypatch.setattr(tables, "table", lambda *_, **__: made_table(cells=400))
        monkeypatch.setattr(tables, "hold", lambda made, rules, _: hold(made, Rules(2, 2, rules.whole, ("random",))))
    if "--plot" in words:
        pytest.importorskip("matplotlib", reason="pip install '.[plot]'")
    if "table" in words:  # takes hours, or a table that may not be there
        parsed = {what: lambda given: put([str(given)]) for what in table._COMMANDS}
        monkeypatch.setattr(table, "_COMMANDS", parsed)
    with restored():
        answer = call(*asked(words[words.index("autometa") + 1 :], elsewhere))
    assert answer.code == 0 and answer.out, answer.err
    if command.to:
        (place / command.to).write_text(answer.out)


def asked(words: list[str], elsewhere: bool) -> list[str]:
    """The words as they are run here.  elsewhere: they want a GPU, a cluster or other processes."""
    if "--out" in words and words[0] != "export":
        at = words.index("--out")
        words = [*words[:at], *words[at + 2 :]]
    if words[0] not in ("search", "train") or {"--print-config", "--help-settings", "--table"} & set(words):
        return words
    if "--resume" in words and not elsewhere:
        return words
    pairs = dict(pairwise(words))
    images = pairs.get("--data", pairs.get("--config", "omniglot"))
    started = words[1].startswith("runs/") and "--preset" not in words  # its settings are small already
    if elsewhere or not (started or pairs.get("--preset") == "quick" or not images.startswith("omniglot")):
        return [*words, "--print-config"]
    tiny = CELLS if "auto-meta" in words else SEARCH if words[0] == "search" else TRAIN
    if {"halving", "hyperband"} & set(words):
        words = [*words, *RUNGS]
    for option, value in [] if started else list(pairwise(tiny))[::2]:
        words += [option, value] if option not in words else []
    return [*words, *(["--dry-run"] if "--dry-run" not in words else [])]


def known(words: list[str]) -> None:
    """What is run elsewhere names what is there."""
    line = " ".join(words)
    extras = (ROOT / "setup.py").read_text(encoding="utf-8").partition("extras_require")[2]
    for extra in re.findall(r"\[(\w+)\]", line) if words[:2] == ["pip", "install"] else ():
        assert f'"{extra}": ' in extras, line
    if words[:2] == ["python", "-m"] and words[2].partition(".")[0] in ("benchmarks", "tests"):
        module = ROOT / words[2].replace(".", "/")
        assert module.with_suffix(".py").is_file() or (module / "__main__.py").is_file(), line
    for word in words:
        if word.startswith((".ci/", "tests/", "benchmarks/")):
            assert (ROOT / word).exists(), line


def test_the_pages_are_read():
    lines = [" ".join(one.words) for one in COMMANDS]
    assert len(lines) > 70 and len({one.page for one in COMMANDS}) >= 9
    for line in ("autometa search --data my_photos/", "autometa report runs/quick"):
        assert line in lines
    assert next(one.to for one in COMMANDS if "--print-config" in one.words) == "mine.yaml"
