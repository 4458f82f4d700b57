"""Whole runs on a GPU: they learn what they learn on a CPU, and new classes can be taught and recognised there."""

import json

import pytest

import autometa
from tests.gpu.conftest import GPU
from tests.models.test_classifier import draw

QUICK_INTERVAL = 2.5  # percent: the recipe's interval, and the rounding of another device's arithmetic


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """The recipe `quick` on the GPU: what it found."""
    return autometa.reproduce("quick", out=tmp_path_factory.mktemp("runs") / "quick", device="cuda", quiet=True)


def test_quick_passes_its_recipe(quick):
    failed = [check for check in quick["checks"] if not check["passed"]]
    assert quick["passed"], failed
    assert quick["result"]["device"] == "cuda" and quick["result"]["precision"] == "fp32"


def test_the_run_says_where_it_was_computed(quick):
    from pathlib import Path

    about = json.loads((Path(quick["result"]["run"]) / "environment.json").read_text())
    assert about["device"] == str(GPU) and about["gpu"] and about["precision"] == "fp32"


def test_evaluation_agrees_with_the_cpu(quick):
    found = {
        device: autometa.evaluate(quick["result"]["run"], device=device, quiet=True)["scores"]
        for device in ("cuda", "cpu")
    }
    for mode, score in found["cpu"].items():
        assert abs(found["cuda"][mode]["mean"] - score["mean"]) < QUICK_INTERVAL, mode


def test_new_classes_are_taught_and_recognised(quick, tmp_path):
    support = draw(tmp_path / "support", ["a", "b", "c"])
    taught = autometa.adapt(support, run=quick["result"]["run"], out=tmp_path / "out", device="cuda", quiet=True)
    photos = sorted(support.rglob("*.png"))
    there, here = (autometa.predict(photos, run=tmp_path / "out", device=device) for device in ("cuda", "cpu"))
    assert taught.names == ("a", "b", "c")
    for a, b in zip(there, here, strict=True):
        assert a[:2] == b[:2] and a[2] == pytest.approx(b[2], abs=1e-3)
