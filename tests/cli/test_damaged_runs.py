"""Damaged run folders: whoever reads one says in a sentence what is wrong, or gives what it gave before."""

import json
import random
import re
import shutil
import signal
from pathlib import Path

import pytest

from autometa.errors import InputError
from autometa.models.classifier import Classifier
from autometa.models.compact import keep, load_kept
from autometa.models.find import find_classifier, find_start
from autometa.models.model import Model
from autometa.report.compare import compare
from autometa.report.listing import list_runs
from autometa.runs.folder import RunFolder
from tests.cli import damaging
from tests.cli.driving import SEARCH, TRAIN, call, changed, class_folders
from tests.cli.test_auto_meta import TINY

CASES, SECONDS = 520, 20
AUTO_META = [*changed(TINY, blocks=1), "--max_params", "122"]
"""Eight cells are so small."""
WORDS = {
    "metanas": ["search", "metanas", "--preset", "quick", *SEARCH],
    "auto-meta": ["search", "auto-meta", "--preset", "quick", *AUTO_META],
    "train": ["train", "reptile-omniglot", *TRAIN],
}
SETTLED = ("config.json", "data.json", "network.json")
"""Files whose values, where they are others, are another run's: what follows from them follows from them."""
OLDER = "trying the one before it"


@pytest.fixture(scope="module")
def pristine(tmp_path_factory, own_cache):
    """A finished run of every sort, adapted to pictures, and a kept model."""
    root = tmp_path_factory.mktemp("pristine")
    photos = class_folders(root / "photos", ("bar", "blob"), images=1)
    for name, words in WORDS.items():
        answer = call(*words, "--out", root / "runs" / name, "-q")
        assert answer.code == 0, answer.err
        assert call("adapt", "--support", photos, "--run", root / "runs" / name, "-q").code == 0
    keep(RunFolder.open(root / "runs/train"), root / "runs/kept")
    shutil.copytree(root / "runs/train", root / "healthy")
    return root


def learned(model):
    """What a model holds, to compare by."""
    return [str(model.config), model.recipe.label, *(str(t.tolist()) for t in model.learned.values())]


def listed(run):
    """A row for every run, whatever is in it."""
    assert {row.name for row in list_runs(run.parent)} == ({run.name} if (run / "config.json").is_file() else set())


def compared(run):
    """The healthy run beside it is shown as ever."""
    found = compare(["healthy", run])
    assert found.runs[0].run == "healthy" and found.runs[0].final is not None
    assert len(found.runs) + len(found.unreadable) == 2


def reported(run):
    answer = call("report", run, "--out", "report.html")
    assert answer.code in (0, 2), answer.err
    page = Path("report.html").read_text() if answer.code == 0 else ""
    assert "A part cannot be shown" not in page, page


def taught(run):
    return [str(find_classifier(run)[0].phi.tolist())]


def kept_of(run):
    return learned(load_kept(run).model)


def model(run):
    return learned(Model.of(RunFolder.open(run)))


def program(run):
    return learned(find_start(run).model)


def said(*words):
    """The lines of a command that may refuse; without times and what the run's folder is called."""

    def ask(run):
        answer = call(*(run if word is None else word for word in words))
        if answer.code:
            last = answer.err.splitlines()[-1]
            assert answer.code == 2 and last.startswith("autometa: ") and "Traceback" not in answer.err, answer.err
            raise InputError(last)
        return [OLDER] if OLDER in answer.err else re.sub(r'"(seconds|file)": [^}]*?[},]', "", answer.out).splitlines()

    return ask


ADAPT = said("adapt", "--support", "photos", "--run", None, "--out", "taught", "--json")
EVAL = said("eval", "--run", None, "--json")
PREDICT = said("predict", "photos/bar", "--run", None, "--json")


def resumed(run):
    """A run without its result goes on, or says why not."""
    (run / "result.json").unlink(missing_ok=True)
    word = "train" if run.name == "train" else "search"
    said(word, "--resume", None, "-q")(run)


READERS = {
    "runs": [(listed, 6), (compared, 6), (reported, 2), (model, 8), (program, 3), (ADAPT, 2), (EVAL, 1), (resumed, 1)],
    "adapted": [(taught, 4), (PREDICT, 2), (program, 2)],
    "kept": [(kept_of, 4), (program, 2)],
}


class TooLong(BaseException):
    """Not to be caught by whoever is tried."""


def stop(*_):
    raise TooLong


def test_no_mutation_of_a_run_folder_ends_in_a_traceback_or_another_answer(pristine, monkeypatch):
    monkeypatch.chdir(pristine)
    before, told = {}, 0
    held = signal.signal(signal.SIGALRM, stop)
    try:
        for case in range(CASES):
            rng = random.Random(case)
            name = rng.choice([*WORDS, "kept"])
            run = Path("work") / name
            shutil.rmtree("work", ignore_errors=True)
            shutil.copytree(pristine / "runs" / name, run)
            path, damage = rng.choice(damaging.mutations(run))
            kind = "kept" if name == "kept" else "adapted" if path.parent.name == "adapted" else "runs"
            readers, weights = zip(*READERS[kind], strict=True)
            reader = rng.choices(readers, weights)[0]
            if (name, reader) not in before:
                before[name, reader] = reader(run)
            what = f"case {case}: {path} ({damage(path, rng)})"
            signal.alarm(SECONDS)
            try:
                found = reader(run)
            except InputError as error:
                told += 1
                assert "\n" not in str(error) and len(str(error)) < 1000, what
                continue
            except (TooLong, Exception) as error:
                raise AssertionError(f"{what}: {reader}") from error
            finally:
                signal.alarm(0)
            explained = path.name in SETTLED and "removed" not in what
            older = reader in (model, program) and path.parent.parent.name == "checkpoints"
            assert explained or older or found in (before[name, reader], [OLDER]), what
    finally:
        signal.signal(signal.SIGALRM, held)
    assert told > CASES / 5


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("config.json", "5", "config.json is not as autometa writes it: it must be an object, not 5"),
        ("environment.json", "[" * 100_000, "environment.json is not as autometa writes it: it is nested deeper"),
        ("result.json", '{"accuracy": "much"}', "accuracy must be a number, not the text 'much'"),
    ],
)
def test_one_damaged_run_does_not_hide_the_others(pristine, tmp_path, name, text, says):
    for run in ("train", "metanas"):
        shutil.copytree(pristine / "runs" / run, tmp_path / "runs" / run)
    (tmp_path / "runs/train" / name).write_text(text)
    for answer in (call("runs", "list", "runs"), call("compare", "runs/metanas", "runs/train")):
        assert answer.code == 0 and "metanas" in answer.out
        assert "train is unreadable: " in answer.out and says in answer.out
    rows = call("runs", "list", "runs", "--json").json
    assert [row["status"] for row in rows if row["name"] == "train"] == ["unreadable"]


@pytest.mark.parametrize(
    ("run", "name", "value", "says"),
    [
        ("train", "filters", 0, "filters must be at least 2, not 0"),
        ("train", "filters", 2.5, "filters must be a whole number"),
        ("metanas", "nodes", 0, "nodes must be at least 1, not 0"),
        ("metanas", "cells", 10_000_000, "cells must be at most 1,000, not 10,000,000"),
        ("metanas", "channels", None, "channels must be a whole number"),
        ("train", "inner", [], "inner must be a group of settings, not a list"),
    ],
)
def test_adapt_checks_the_config_of_a_run(pristine, tmp_path, run, name, value, says):
    shutil.copytree(pristine / "runs" / run, "run")
    config = json.loads(Path("run/config.json").read_text())
    Path("run/config.json").write_text(json.dumps({**config, name: value}))
    answer = call("adapt", "--support", pristine / "photos", "--run", "run", "-q")
    assert answer.code == 2 and answer.err.startswith(f"autometa: run/config.json: {says}"), answer.err
    assert answer.err.count("\n") == 1


def test_a_tensor_missing_under_a_right_checksum(pristine, tmp_path):
    shutil.copytree(pristine / "runs/train", "run")
    (folder,) = Path("run/checkpoints/train").iterdir()
    damaging.rewrite(folder, lambda tensors: tensors.pop("second"))
    answer = call("adapt", "--support", pristine / "photos", "--run", "run", "-q")
    assert answer.code == 2 and "the tensor second is missing" in answer.err and answer.err.count("\n") == 1


def test_text_for_a_number_in_the_ledger(pristine, tmp_path):
    for name in ("auto-meta", "train"):
        shutil.copytree(pristine / "runs" / name, name)
    damaging.sql(Path("auto-meta/ledger.sqlite"), "UPDATE trials SET accuracy = 'high' WHERE rowid = 1")
    answer = call("compare", "auto-meta", "train")
    assert answer.code == 0 and "train" in answer.out
    assert "auto-meta is unreadable: the ledger auto-meta/ledger.sqlite is damaged (a value in row 1" in answer.out
    Path("auto-meta/result.json").unlink()
    answer = call("search", "auto-meta", "--resume", "auto-meta", "-q")
    assert answer.code == 2 and "is damaged (a value in row 1 of its table trials is of the wrong kind)" in answer.err


def test_a_saved_classifier_that_is_whole_is_read(pristine):
    assert Classifier.load(pristine / "runs/train/adapted").names == ("bar", "blob")
