"""`--plugin`: files that register primitives, data sets and meta-learners, and what is said where they are missing."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.cli import driving
from tests.cli.driving import call, start, wait_for_checkpoint
from tests.registries import forget, restored

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PRIMITIVES = ["--primitives", "skip_connect,strip_conv_7"]


@pytest.fixture(autouse=True)
def registries():
    with restored():
        yield


def plugin(tmp_path, text: str) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(text)
    return path


def test_a_search_with_a_primitive_of_ones_own(tmp_path):
    words = ["search", "metanas", "--preset", "quick", *driving.SEARCH, *PRIMITIVES, "--out", "run"]
    refused = call(*words)
    assert refused.code == 2 and "strip_conv_7" in refused.err and "--plugin" in refused.err
    answer = call(*words, "--plugin", EXAMPLES / "new_primitive.py")
    assert answer.code == 0, answer.err
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert result["genotype"]["normal"] and result["parameters"] > 0
    assert json.loads((tmp_path / "run/config.json").read_text())["primitives"] == ["skip_connect", "strip_conv_7"]
    assert "--plugin" in (tmp_path / "run/MODEL_CARD.md").read_text()
    support = driving.class_folders(tmp_path / "photos", ("bar", "blob"))
    assert call("adapt", "--support", support, "--run", "run").code == 0
    forget()
    missing = call("adapt", "--support", support, "--run", "run")
    assert missing.code == 2 and "strip_conv_7" in missing.err and "--plugin" in missing.err
    doctor = call("doctor", f"--plugin={EXAMPLES / 'new_primitive.py'}")
    assert doctor.code == 0 and "strip_conv_7: run through the reference" in doctor.out


def test_interrupted_it_says_how_to_go_on_with_the_plugin(tmp_path):
    words = driving.changed(driving.TRAIN, **{"meta.iterations": 100000, "inner.shots": 1})
    path = EXAMPLES / "new_meta_learner.py"
    train = ["train", "reptile-omniglot", *words, "--learner", "momentum", "--plugin", path]
    child = start(*train, "--out", "run", "--checkpoint-every", "0.05")
    wait_for_checkpoint(child, tmp_path / "run", "train")
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=120)
    assert child.returncode == 130, said
    assert f"autometa train --resume run --plugin {path}" in said
    refused = call("train", "--resume", "run")
    assert refused.code == 2 and "unknown meta-learner 'momentum'" in refused.err


BROKEN = {
    "import nowhere_at_all\n": "No module named 'nowhere_at_all'",
    "x = 1\ny = x / 0\n": r"ZeroDivisionError: division by zero (line 2)",
    "def f(:\n": "SyntaxError",
    "from autometa.data import register\nregister('strokes', print)\n": "strokes exists already",
    "from autometa.meta.learner import LEARNERS\nLEARNERS.register('reptile', print)\n": "reptile exists already",
}


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_plugin_is_named(tmp_path, text):
    path = plugin(tmp_path, text)
    answer = call("doctor", "--plugin", path)
    assert answer.code == 2 and answer.err.count("\n") == 1 and answer.out == ""
    assert f"plugin {path}" in answer.err and BROKEN[text] in answer.err


@pytest.mark.parametrize(
    "words", [["--plugin"], ["--plugin", "--json"], ["--plugin", "absent.py"], ["--plugin", "absent"]]
)
def test_a_plugin_that_is_not_there(words):
    answer = call("doctor", *words)
    assert answer.code == 2 and "Python file" in answer.err and answer.err.count("\n") == 1


def test_a_data_set_of_ones_own_reaches_worker_processes(tmp_path):
    path = plugin(
        tmp_path,
        "from autometa.data import open_dataset, register\n"
        "register('mine', lambda detail, size, seed, **_: open_dataset(f'strokes:{detail}', size=size, seed=seed))\n",
    )
    small = ["--blocks", "1", "--batch", "28", "--macro.filters", "2", "--macro.repeats", "0", "--final.filters", "2"]
    groups = {"inner": driving.INNER, "final_inner": driving.INNER, "validation": driving.TEST, "test": driving.TEST}
    for group, words in groups.items():
        small += [word.replace("--inner", f"--{group}").replace("--test", f"--{group}") for word in words]
    small += ["--meta.iterations", "1", "--meta.batch", "1", "--final_meta.iterations", "1", "--final_meta.batch", "1"]
    data = ["--data", "mine:6x6x6", "--data.image_size", "8"]
    words = [
        "search",
        "auto-meta",
        "--preset",
        "quick",
        *small,
        *data,
        "--plugin",
        path,
        "--workers",
        "2",
        "--out",
        "run",
    ]
    child = start(*words)
    _, said = child.communicate(timeout=300)
    assert child.returncode == 0, said
    environment = json.loads((tmp_path / "run/environment.json").read_text())
    assert environment["settings"]["AUTOMETA_PLUGINS"] == str(path)
    assert os.environ.get("AUTOMETA_PLUGINS") is None
