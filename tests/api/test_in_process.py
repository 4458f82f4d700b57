"""The words of the command line as functions: what they return, what they refuse, and that they agree."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

import autometa
from autometa import api
from autometa.errors import InputError
from tests.models.small import CONFIG, trained

SETTINGS = {
    "data.name": "strokes:6x6x8",
    "data.image_size": 8,
    "filters": 2,
    "inner.ways": 2,
    "inner.shots": 2,
    "inner.batch": 2,
    "inner.steps": 1,
    "meta.iterations": 1,
    "meta.batch": 2,
    "test.tasks": 2,
    "test.queries": 2,
    "test.batch": 2,
    "test.steps": 1,
}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOMETA_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def pictures(here):
    """Two classes of three pictures."""
    for c, name in enumerate(("cat", "dog")):
        (here / "pets" / name).mkdir(parents=True)
        for n in range(3):
            pixels = np.random.default_rng([c, n]).integers(0, 256, (12, 12), dtype=np.uint8)
            Image.fromarray(pixels).save(here / "pets" / name / f"{n}.png")
    return here / "pets"


def test_train_evaluate_list_and_open(here):
    result = autometa.train("reptile-omniglot", settings=SETTINGS, out="runs/first", quiet=True)
    assert result["iterations"] == {"done": 1, "planned": 1} and result["kind"] == "train"
    assert dict(result).items() >= json.loads((here / "runs/first/result.json").read_text()).items()
    told = repr(result)
    assert "on 2 new tasks of 2 classes, 1 support image and 2 query images per class" in told
    assert "1 of 1 meta-iterations" in told and f"{result['parameters']:,.0f} parameters" in told
    (row,) = autometa.list_runs()
    assert (row.name, row.status, row.accuracy) == ("first", "finished", result["accuracy"])
    for run in ("first", "runs/first", "latest"):
        assert api.open_run(run).path == (here / "runs/first").resolve()
    assert api.open_run(api.open_run("first")).path.name == "first"
    again = autometa.evaluate("first", settings={"tasks": 3, "shots": 2}, ways=3, quiet=True)
    assert (again["protocol"]["tasks"], again["protocol"]["ways"], again["protocol"]["shots"]) == (3, 3, 2)
    assert (
        json.loads((here / "runs/first/evaluations").glob("*.json").__next__().read_text())["scores"]
        == (again["scores"])
    )
    with pytest.raises(InputError, match="ways must be at least 2"):
        autometa.evaluate("first", ways=1)


def test_adapt_and_predict_agree_on_the_model(here, pictures):
    trained(here / "runs/first", CONFIG)
    taught = autometa.adapt(pictures, run="first", quiet=True)
    assert taught.names == ("cat", "dog") and taught.extra["model"] == "runs/first"
    found = autometa.predict([pictures / "cat/0.png", pictures / "dog"], run="first", quiet=True)
    assert len(found) == 4 and found.classifier == (here / "runs/first/adapted").resolve()
    assert all(abs(sum(one.probabilities.values()) - 1) < 1e-5 for one in found)
    assert [one.name for one in autometa.predict(pictures, run="first", min_confidence=1.0, quiet=True)] == (
        ["none of these"] * 6
    )
    heard: list[str] = []
    (here / "broken.png").write_bytes(b"no picture")
    alone = autometa.predict([here / "broken.png", pictures / "cat/1.png"], quiet=True, unread=heard.append)
    assert len(alone) == 1 and len(heard) == 1 and "broken.png" in heard[0]


def test_an_estimate_writes_no_run(here):
    found = autometa.estimate("train", "reptile-omniglot", settings={**SETTINGS, "meta.iterations": 7})
    assert found["iterations"] == 7 and not (here / "runs").exists()
    parts = {name: value for name, value in found["seconds"].items() if name != "all"}
    assert found["seconds"]["all"] == pytest.approx(sum(parts.values())) and min(parts.values()) > 0
    assert found["seconds"]["train"] == pytest.approx(7 * found["seconds_per_iteration"])
    with pytest.raises(InputError, match="only search and train can be estimated"):
        autometa.estimate("eval")


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: autometa.search("alphabet"), "unknown search 'alphabet'; choose from"),
        (lambda: autometa.train("no-such-net"), "unknown network 'no-such-net'"),
        (lambda: autometa.train(), "say what to train"),
        (lambda: autometa.evaluate("nothing"), "there is no run folder nothing"),
        (lambda: autometa.adapt(3), "support is the path of a folder"),
        (lambda: autometa.predict([]), "no images were given"),
        (lambda: autometa.search(preset="slow"), "slow"),
        (lambda: autometa.train("reptile-omniglot", settings={"inner.lr": "fast"}), "inner.lr"),
    ],
)
def test_what_cannot_be_is_refused_before_work(here, call, says):
    with pytest.raises(InputError, match=says):
        call()
    assert not (here / "runs").exists()
