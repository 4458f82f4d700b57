"""Trackers: all lines, in order; a broken one is switched off; TensorBoard holds every step once after a resumption."""

import sys

import pytest

from autometa.errors import InputError
from autometa.runs import RunFolder, Session, read_metrics
from autometa.runs.tracking import TensorBoard, Trackers, numbers, trackers_of

from .loop import Trainer


class Noted:
    def __init__(self):
        self.calls = []

    def begin(self, run, config):
        self.calls.append(("begin", run.name, config))

    def log(self, phase, step, values):
        self.calls.append((phase, step, values))

    def end(self, result):
        self.calls.append(("end", result))


class Broken(Noted):
    def log(self, phase, step, values):
        super().log(phase, step, values)
        raise ValueError("no\nconnection")


class Stopped(Exception):
    pass


def run(path, trackers, total=10, stop=None, every=4):
    make = RunFolder.resume if path.exists() else lambda p, c: RunFolder.create(p, "t", {}, c)
    trainer = Trainer()
    with make(path, ["t"]) as folder:
        trackers.begin(folder.path, {"seed": 1})
        with Session(
            folder, trainer.capture, trainer.restore, phase="train", every_steps=every, trackers=trackers, quiet=True
        ) as session:
            for step in session.steps(total):
                if step == stop:
                    raise Stopped
                session.log(step, loss=trainer.step())
        trackers.end({"accuracy": 1})


def test_a_tracker_hears_all_that_the_metrics_hold(tmp_path):
    noted = Noted()
    run(tmp_path / "run", Trackers([noted]), total=3)
    lines = list(read_metrics(tmp_path / "run" / "metrics-train.jsonl"))
    assert noted.calls[0] == ("begin", "run", {"seed": 1}) and noted.calls[-1] == ("end", {"accuracy": 1})
    assert noted.calls[1:-1] == [("train", line["step"], {"loss": line["loss"]}) for line in lines]


def test_one_that_breaks_is_told_once_and_the_others_go_on(tmp_path):
    broken, noted, told = Broken(), Noted(), []
    run(tmp_path / "run", Trackers([broken, noted], told.append), total=5)
    assert len(broken.calls) == 2 and len(noted.calls) == 7
    assert told == ["tracking by Broken is switched off, its log failed (ValueError: no connection)"]
    assert len(list(read_metrics(tmp_path / "run" / "metrics-train.jsonl"))) == 5


def test_numbers_of_nested_values():
    values = {"loss": 0.5, "none": None, "ops": {"normal": [[1.0]]}, "entropy": {"normal": 0.5, "reduction": 1}}
    assert list(numbers(values)) == [("loss", 0.5), ("entropy/normal", 0.5), ("entropy/reduction", 1)]


def test_tensorboard_has_every_step_once_after_interruptions(tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for stop in (3, 7, None):
        try:
            run(tmp_path / "run", Trackers([TensorBoard()], pytest.fail), stop=stop)
        except Stopped:
            assert stop is not None
    found = events.EventAccumulator(str(tmp_path / "run" / "tensorboard" / "train"))
    found.Reload()
    seen = [(event.step, event.value) for event in found.Scalars("loss")]
    lines = [(line["step"], line["loss"]) for line in read_metrics(tmp_path / "run" / "metrics-train.jsonl")]
    assert [step for step, _ in seen] == list(range(10)) == [step for step, _ in lines]
    assert [value for _, value in seen] == pytest.approx([value for _, value in lines], rel=1e-6)


def test_a_missing_extra_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(InputError, match=r"pip install 'autometa-nas\[tensorboard\]'"):
        trackers_of(["tensorboard"])


def test_trackers_by_name(tmp_path, monkeypatch):
    (tmp_path / "my_tracking.py").write_text(
        "class Quiet:\n"
        "    def begin(self, run, config): pass\n"
        "    def log(self, phase, step, values): pass\n"
        "    def end(self, result): pass\n"
        "class Half:\n"
        "    def begin(self, run, config): pass\n"
    )
    monkeypatch.chdir(tmp_path)
    noted, before = Noted(), list(sys.path)
    found = trackers_of(["my_tracking:Quiet", noted])
    assert type(found[0]).__name__ == "Quiet" and found[1] is noted and sys.path == before
    for name, says in {
        "my_tracking:Half": "needs the methods begin, log and end",
        "my_tracking:Nobody": "cannot be made",
        "nowhere_at_all:X": "cannot be made",
        "wandb": "give tensorboard, or package.module:Class",
    }.items():
        with pytest.raises(InputError, match=says):
            trackers_of([name])
