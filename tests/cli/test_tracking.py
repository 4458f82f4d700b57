"""`--track` and `trackers=`: a run tells others what it logs, and goes on where they fail."""

import json

import pytest

import autometa
from autometa.errors import InputError, Interrupted
from autometa.runs import read_metrics
from autometa.train.loop import Loop
from tests.cli.driving import SEARCH, TRAIN, call

MODULE = """
import json
def write(*values):
    with open("told.jsonl", "a") as file:
        file.write(json.dumps(values) + "\\n")
class Lines:
    def begin(self, run, config):
        write("begin", run.name, config["seed"])
    def log(self, phase, step, values):
        write(phase, step, sorted(values))
    def end(self, result):
        write("end", result and result["kind"])
class Fails(Lines):
    def log(self, phase, step, values):
        raise OSError("the line is dead")
"""


@pytest.fixture(autouse=True)
def module(tmp_path):
    (tmp_path / "tracking_here.py").write_text(MODULE)


def test_a_class_hears_every_loop_and_the_result(tmp_path):
    answer = call("search", *SEARCH, "--compare", "untrained", "--out", "run", "--track", "tracking_here:Lines", "-q")
    assert answer.code == 0 and answer.err == "", answer.err
    told = [json.loads(line) for line in (tmp_path / "told.jsonl").read_text().splitlines()]
    assert told[0] == ["begin", "run", 0] and told[-1] == ["end", "search metanas"]
    phases = [phase for phase, *_ in told[1:-1]]
    assert set(phases) == {"search", "architecture", "test", "test-untrained", "confidence"}
    for phase in set(phases):
        steps = [line["step"] for line in read_metrics(f"run/metrics-{phase}.jsonl")]
        assert [line[1] for line in told[1:-1] if line[0] == phase] == steps
    assert {"accuracy", "loss", "update", "update_architecture"} < set(told[1][2])


def test_one_that_fails_is_told_and_the_run_ends_well(tmp_path):
    answer = call("train", "reptile-omniglot", *TRAIN, "--out", "run", "--track", "tracking_here:Fails")
    assert answer.code == 0 and answer.err.count("the line is dead") == 1, answer.err
    assert "Accuracy" in answer.out and len((tmp_path / "told.jsonl").read_text().splitlines()) == 1


def test_what_cannot_track_is_refused_before_anything_is_written(tmp_path):
    answer = call("search", *SEARCH, "--out", "run", "--track", "nonsense")
    assert answer.code == 2 and "give tensorboard, or package.module:Class" in answer.err
    assert not (tmp_path / "run").exists()
    with pytest.raises(InputError, match="int is no tracker"):
        autometa.search(out="run", trackers=[3])


def test_from_python_and_over_an_interruption(tmp_path, monkeypatch):
    class Steps:
        def __init__(self):
            self.steps, self.results = [], []

        def begin(self, run, config):
            self.steps.append("begin")

        def log(self, phase, step, values):
            if phase == "train":
                self.steps.append(step)

        def end(self, result):
            self.results.append(result)

    mine, launch = Steps(), Loop.launch
    settings = dict(zip([word[2:] for word in TRAIN[::2]], TRAIN[1::2], strict=True))
    settings |= {"data.name": settings.pop("data"), "meta.iterations": 30}

    def stopping(loop, i):
        if i == 12:
            raise KeyboardInterrupt
        return launch(loop, i)

    monkeypatch.setattr(Loop, "launch", stopping)
    options = {"out": "run", "quiet": True, "checkpoint_every": "0.0001s", "trackers": ["tracking_here:Lines", mine]}
    with pytest.raises(Interrupted, match="--resume run --track tracking_here:Lines"):
        autometa.train("reptile-omniglot", settings=settings, **options)
    monkeypatch.setattr(Loop, "launch", launch)
    autometa.train(resume="run", quiet=True, trackers=[mine])
    assert mine.steps == ["begin", 0, 10, "begin", 20, 29] and mine.results[0] is None
    assert mine.results[1]["kind"] == "train"
