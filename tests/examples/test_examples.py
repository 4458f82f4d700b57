"""The scripts in examples/ run as they stand, and what they print is not chance."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest
import torch

from tests.registries import restored

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SHOWN = {
    "search_quick": (r"support_statistics +([\d.]+)", 45),
    "own_images": (r"(\d+) of 45 pictures", 18),
    "new_primitive": (r"strip_conv_7 stands on \d+ of 8 edges; accuracy (\d+)%", 40),
    "new_dataset": (r"one picture each: (\d+) ±", 30),
    "sklearn_pipeline": (r"FewShotClassifier +([\d.]+)% right", 80),
    "new_meta_learner": (r"untrained ([\d.]+)%, after 200 meta-iterations ([\d.]+)%", 55),
    "new_predictor": (r"cells of two blocks: ([\d.]+)", 0.6),
    "new_relaxation": (r"convolutions cost: ([\d.]+) times fewer", 1.5),
    "new_multi_fidelity": (r"the best, \S+, has (\d) convolutions of 6", 4),
    "new_space": (r"24 nets trained; the best, \S+: (\d+)%", 50),
    "new_strategy": (r"the best, \S+, has (\d) convolutions of 6", 6),
    "reptile_by_hand": (r"([\d.]+) untrained, ([\d.]+) after", 0),
}


@pytest.fixture(autouse=True)
def alone(tmp_path_factory, monkeypatch):
    """A cache and a folder of their own, one thread, registries as before."""
    monkeypatch.setenv("AUTOMETA_CACHE", str(tmp_path_factory.getbasetemp() / "examples-cache"))
    monkeypatch.chdir(tmp_path_factory.mktemp("here"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with restored():
        yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", SHOWN)
def test_an_example_shows_what_it_says(name, capsys, monkeypatch):
    if name == "sklearn_pipeline":
        pytest.importorskip("sklearn", reason="pip install '.[sklearn]'")
    path = EXAMPLES / f"{name}.py"
    monkeypatch.setattr(sys, "argv", [str(path)])
    runpy.run_path(str(path), run_name="__main__")
    pattern, least = SHOWN[name]
    told = capsys.readouterr().out
    found = re.search(pattern, told)
    assert found and float(found.groups()[-1]) >= least, told
    assert name != "new_meta_learner" or float(found[2]) > float(found[1]) + 10, told
    assert name != "reptile_by_hand" or float(found[2]) < float(found[1]) / 4, told
    assert not list(Path.cwd().iterdir()), "an example leaves nothing behind"


def test_every_example_is_run():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(SHOWN)
