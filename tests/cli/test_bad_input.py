"""Every mistake of a person: exit code 2, one line on stderr, nothing on stdout, nothing written."""

import os
from pathlib import Path

import pytest

from tests.cli.driving import DATA, SEARCH, call, class_folders

MISTAKES = {
    "serch": "did you mean search",
    "search auto": "unknown search 'auto'",
    "search --preset nope": "choose from quick",
    "search --prest quick": "did you mean --preset",
    "search --lr 1": "did you mean --inner.lr",
    "search --inner.lr abc": "inner.lr must be a number, not abc",
    "search --inner.foo 1": "unknown option --inner.foo; did you mean",
    "search --iner.lr 1": "did you mean --inner.lr",
    "search --inner 3": "it is a group, set one of --inner.ways, --inner.shots",
    "search --far.off 3": "search --help-settings explains",
    "search --meta.iterations 1.5": "meta.iterations must be a whole number",
    "search --reductions a": "reductions must be a list of whole numbers",
    "search --seed": "--seed needs a value",
    "search --seed 1 --seed 2": "given twice",
    "search --seed -1": "seed",
    "search --warmup 500": "warmup",
    "search --device cuda:x:y": "--device",
    "search --device tpu": "unknown device",
    "search --time-budget soon": "not a duration",
    "search --checkpoint-every never": "not a duration",
    "search --data nope": "no data set and no folder",
    "search --preset miniimagenet": "name your copy with --data PATH",
    "search --data omniglot:background": "Omniglot is needed",
    "search --data strokes:1x": "strokes:",
    "search --inner.ways 500": "lower the ways",
    "search --test.shots 100": "lower them or add images",
    "search --config nope.yaml": "cannot be read",
    "search --config list.yaml": "must hold settings",
    "search --config broken.yaml": "not valid YAML (line 2)",
    "search --config typo.yaml": "typo.yaml: unknown setting inner.learning_rate",
    "search --config wrong.yaml": "wrong.yaml: seed must be a whole number",
    "search --resume nowhere": "no run folder nowhere",
    "search --resume": "no last run here",
    "search --out taken": "is not empty",
    "search --out list.yaml": "is a file",
    "train": "say what to train",
    "train nope": "unknown network 'nope'",
    "train list.yaml": "genotype file",
    "train list.yaml --preset reptile-omniglot": "genotype file",
    "train photos": "no config.json",
    "train --preset metanas-scaled-omniglot": "a genotype file or the folder of a search",
    "train reptile-omniglot --preset quick": "unknown preset",
    "eval --run nowhere": "no run folder nowhere",
    "adapt": "--support DIR",
    "adapt --support nope --run photos": "no folder nope",
    "adapt --support photos --run photos": "no config.json",
    "predict --run photos": "no images were given",
    "predict nope.png": "no image nope.png",
    "predict list.yaml --run photos": "no config.json",
    "runs lst": "invalid choice",
    "runs list nowhere": "no folder nowhere",
    "doctor now": "unknown argument now",
    "reproduce nope": "choose from quick",
}


def written() -> list[str]:
    return sorted(str(path) for path in Path().rglob("*"))


@pytest.mark.parametrize("line", MISTAKES)
def test_one_clear_sentence(line, tmp_path):
    class_folders(tmp_path / "photos")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/letter.txt").write_text("mine")
    (tmp_path / "list.yaml").write_text("- 1\n")
    (tmp_path / "broken.yaml").write_text("inner: [1\n")
    (tmp_path / "typo.yaml").write_text("inner:\n  learning_rate: 1\n")
    (tmp_path / "wrong.yaml").write_text("seed: soon\n")
    before = written()
    answer = call(*line.split())
    assert answer.code == 2, answer
    assert MISTAKES[line] in answer.err or line == "search --device cuda:x:y"
    assert answer.out == ""
    assert answer.err.startswith("autometa: ") and answer.err.count("\n") == 1 and len(answer.err) < 400
    assert written() == before


def test_a_run_that_is_not_meant(searched, trained, tmp_path):
    support = class_folders(tmp_path / "photos")
    (tmp_path / "photos/bar/0.png").write_text("no image")
    run = searched[0]
    for words, sentence in (
        (("search", *SEARCH, "--out", run), "already holds a run"),
        (("search", "--resume", run, "--inner.lr", 1), "has inner.lr 0.005, the command line says 1.0"),
        (("search", "--resume", run, "--preset", "quick"), "more differ"),
        (("search", "--resume", run, "--out", tmp_path / "other"), "different folders"),
        (("train", "--resume", run), f"autometa search --resume {run}"),
        (("train", trained[0]), "holds no genotype"),
        (("eval", "--run", run, "--tasks", "many"), "test.tasks must be a whole number"),
        (("eval", "--run", run, "--shots", "90"), "lower them or add images"),
        (("eval", "--run", run, "--ways", "1"), "ways must be at least 2"),
        (("adapt", "--support", "nope", "--run", run), "no folder nope"),
        (("adapt", "--support", support, "--run", run), "cannot be read as an image"),
        (("predict", support / "blob/0.png", "--run", run), "not been taught any classes"),
    ):
        answer = call(*words)
        assert answer.code == 2 and sentence in answer.err, answer
        assert answer.err.count("\n") == 1 and answer.out == ""


def test_a_cuda_device_that_is_not_there_is_one_sentence(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    answer = call("search", *DATA, "--device", "cuda")
    assert (answer.code, answer.err.count("\n")) == (2, 1) and "no CUDA GPU" in answer.err


def test_a_backend_that_cannot_run_is_one_sentence(monkeypatch):
    monkeypatch.setenv("AUTOMETA_BACKEND", "abacus")
    answer = call("search", *SEARCH)
    assert answer.code == 2 and "abacus" in answer.err and "AUTOMETA_BACKEND" in answer.err


def test_a_defect_asks_to_be_reported(monkeypatch):
    def broken(*_):
        raise RuntimeError("a wheel came off")

    monkeypatch.setattr("autometa.cli.training.carry_out", broken)
    answer = call("search", *SEARCH)
    assert answer.code == 1
    assert "Traceback" in answer.err and "a wheel came off" in answer.err and "please report" in answer.err


def test_debugging_shows_where_a_mistake_was_noticed(monkeypatch):
    monkeypatch.setitem(os.environ, "AUTOMETA_DEBUG", "1")
    answer = call("search", "--preset", "nope")
    assert answer.code == 2 and "Traceback" in answer.err


def test_divergence_has_an_exit_code_of_its_own():
    answer = call("search", *SEARCH, "--meta.iterations", 14, "--inner.lr", "1e38", "-q")
    assert answer.code in (2, 3), answer
