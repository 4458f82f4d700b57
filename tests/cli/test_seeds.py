"""Several seeds are so many runs: the same bits, stopped and gone on with as a whole, told together."""

import json
import os
import shlex
import signal
import time
from collections import deque

import pytest
import torch

from autometa import api
from autometa.api import children, running, seeds
from autometa.api.running import RunOptions
from autometa.errors import DivergedError, InputError, Interrupted
from autometa.models.find import choose_start, find_start
from autometa.report.seeds import over_seeds, read_summary
from autometa.runs.files import write_json
from autometa.runs.folder import RunFolder
from tests.cli.driving import SEARCH, TRAIN, call, changed, class_folders, same_outcome, start

LONG = [*changed(TRAIN, **{"meta.iterations": 40, "test.tasks": 20}), "--checkpoint-every", "0.01"]
LONG += ["--test.max_slots", "1"]
NET = "reptile-omniglot"


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Seeds 4 and 5 of a tiny search, side by side, and what was printed."""
    run = tmp_path_factory.mktemp("both") / "run"
    torch.set_num_threads(2)
    try:
        answer = call("search", *SEARCH, "--seeds", 2, "--seed", 4, "--out", run)
    finally:
        torch.set_num_threads(1)
    assert answer.code == 0, answer.err
    return run, answer


def test_side_by_side_they_are_the_runs_that_each_would_be(both, tmp_path):
    run, answer = both
    assert "2 side by side with 1 thread each" in answer.err and "seed 5 is done" in answer.err
    assert call("search", *SEARCH, "--seed", 5, "--out", tmp_path / "alone", "-q").code == 0
    alone = RunFolder.open(tmp_path / "alone")
    assert same_outcome(run / "seed-5", alone.path)
    assert RunFolder(run / "seed-5").config == alone.config
    words = shlex.split(RunFolder(run / "seed-5").environment["command"])
    assert "--seeds" not in words and "--out" not in words and words[-2:] == ["--seed", "5"]


def test_one_by_one_they_are_too_and_python_returns_what_is_told(tmp_path):
    settings = {name[2:]: value for name, value in zip(TRAIN[::2], TRAIN[1::2], strict=True)}
    settings = {{"data": "data.name"}.get(name, name): value for name, value in settings.items()}
    found = api.train(NET, settings=settings, seeds=2, out=tmp_path / "run", quiet=True)
    api.train(NET, settings={**settings, "seed": 1}, out=tmp_path / "alone", quiet=True)
    assert same_outcome(tmp_path / "run/seed-1", tmp_path / "alone")
    results = [json.loads((tmp_path / f"run/seed-{n}/result.json").read_text()) for n in (0, 1)]
    for mode, score in found["scores"].items():
        assert score == over_seeds([result["scores"][mode]["mean"] for result in results])
    assert found["accuracy"] == found["scores"]["support_statistics"]["mean"]
    assert "2 seeds of train" in repr(found) and json.loads((tmp_path / "run/result.json").read_text())


def test_mean_and_student_s_interval():
    found = over_seeds([1.0, 2.0, 3.0])
    assert (found["mean"], found["sd"], found["seeds"]) == (2.0, 1.0, 3)
    assert found["ci95"] == pytest.approx(4.302652729911275 / 3**0.5)
    assert over_seeds([7.0]) == {"mean": 7.0, "ci95": None, "sd": None, "seeds": 1}


def _saved(run, seed):
    return any((run / f"seed-{seed}/checkpoints/train").glob("step-*"))


def _until(child, condition):
    deadline = time.monotonic() + 120
    while child.poll() is None and not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert child.poll() is None, child.communicate()


def test_killed_and_interrupted_they_end_and_go_on_together(tmp_path):
    """kill -9 while two run, then Ctrl-C told to the parent alone, then on to the end."""
    run, words = tmp_path / "run", ("train", NET, *LONG, "--seeds", 3, "--out", tmp_path / "run", "--resume")
    child = start(*words, threads=2)
    _until(child, lambda: _saved(run, 0) and _saved(run, 1))
    child.kill()
    child.communicate()
    assert not (run / "seed-2").exists() and "interrupted" in call("runs", "list", tmp_path).out
    deadline = time.monotonic() + 20
    while any(row.status == "running" for row in api.list_runs(run)):  # the children notice at once
        assert time.monotonic() < deadline
        time.sleep(0.05)
    before = {seed: len((run / f"seed-{seed}/metrics-train.jsonl").read_bytes()) for seed in (0, 1)}
    child = start(*words, threads=2)
    grown = lambda seed: (run / f"seed-{seed}/metrics-train.jsonl").stat().st_size > before[seed] + 200  # noqa: E731
    _until(child, lambda: grown(0) or grown(1) or (run / "seed-0/result.json").exists())
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=120)
    assert child.returncode == 130 and "Traceback" not in err, err
    assert err.count("finishing this step") == 1
    command = shlex.split(err.strip().splitlines()[-1].partition("go on with: ")[2])
    assert command[:3] == ["autometa", "train", "--resume"], err
    answer = call(*command[1:])
    assert answer.code == 0, answer.err
    assert call("train", NET, *LONG, "--seed", 1, "--out", tmp_path / "alone", "-q").code == 0
    assert same_outcome(run / "seed-1", tmp_path / "alone")
    again = call("train", "--resume", run, "--json")
    assert "finished already" in again.err and [row["seed"] for row in again.json["seeds"]] == [0, 1, 2]


def test_what_takes_a_run_takes_the_folder(both, tmp_path, monkeypatch):
    """The first seed hands out its network; report, eval and lists tell of all."""
    run, answer = both
    monkeypatch.chdir(run.parent)
    assert "mean over 2 seeds" in answer.out and "runs/x" not in answer.out
    rows = api.list_runs(run.parent)
    assert [(row.name, row.status, row.kind.endswith(", 2 seeds")) for row in rows] == [("run", "finished", True)]
    assert sorted(row.name for row in api.list_runs(run)) == ["seed-4", "seed-5"]
    assert find_start(run).path == find_start(run / "seed-4").path == choose_start(None).path
    assert RunFolder.open("latest", whole=True).path == run.resolve()
    page, other = (api.report(place).read_text() for place in (run, run / "seed-5"))
    assert "All 2 seeds" in page and "Accuracy by seed" in page and "All 2 seeds" not in other
    card = (run / "MODEL_CARD.md").read_text()
    assert "## Over seeds" in card and "One training run with one seed" not in card
    found = call("eval", "--run", run, "--tasks", 3, "--json").json
    assert [one["run"] for one in found["runs"]] == [str(run.resolve() / f"seed-{n}") for n in (4, 5)]
    assert found["scores"]["transductive"]["seeds"] == 2 and found["protocol"]["tasks"] == 3
    support = class_folders(tmp_path / "support", ("bar", "blob"))
    assert call("adapt", "--support", support, "--run", run).code == 0
    assert (run / "seed-4/adapted").is_dir()
    assert call("predict", support / "bar/0.png", "--run", run).code == 0
    assert call("export", "--run", run, "--out", tmp_path / "made.pt2").code == 0


def test_what_contradicts_is_refused(both, tmp_path):
    run, _ = both
    assert "holds 2 seeds, not 3" in call("search", "--resume", run, "--seeds", 3).err
    assert "has inner.lr" in call("search", "--resume", run, "--inner.lr", 1).err
    assert "holds one run, not 2" in call("search", "--resume", run / "seed-4", "--seeds", 2).err
    assert "--seeds must be at least 1" in call("search", *SEARCH, "--seeds", 0, "--out", tmp_path / "none").err
    assert not (tmp_path / "none").exists()
    (tmp_path / "run").mkdir()
    for name in ("config", "environment"):
        (tmp_path / f"run/{name}.json").write_bytes((run / f"{name}.json").read_bytes())
    write_json(tmp_path / "run/seeds.json", {"seeds": [4, 5]})
    assert "no seed of run has begun yet" in call("report", tmp_path / "run").err
    write_json(tmp_path / "run/seeds.json", {"seeds": "4"})
    assert call("search", "--resume", tmp_path / "run").code == 2


def test_a_dry_run_counts_the_turns(tmp_path, monkeypatch):
    monkeypatch.setattr(seeds, "estimate_plan", lambda plan, budget, device: {
        "seconds": {"all": 10.0}, "memory_bytes": 100, "gpu_memory_bytes": None, "budget": budget})  # fmt: skip
    monkeypatch.setattr(seeds, "free_memory", lambda: 350)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    plan = api.plan_train(NET, settings={"data.name": "strokes:6x6x6"})
    found = seeds.estimate(plan, RunOptions(seeds=5, time_budget=60))["seeds"]
    assert found == {"seeds": [0, 1, 2, 3, 4], "side_by_side": 3, "seconds": 20.0, "memory_bytes": 300}
    assert seeds.estimate(plan, RunOptions(seeds=5, time_budget=60))["budget"] == 30
    one_by_one = seeds.estimate(plan, RunOptions(seeds=5, workers=2))["seeds"]
    assert (one_by_one["side_by_side"], one_by_one["seconds"]) == (1, 50.0)
    assert "seeds" not in seeds.estimate(plan, RunOptions())


@pytest.fixture
def begun(tmp_path):
    """Three seeds of a training whose turn has not come."""
    plan = api.plan_train(NET, settings={"data.name": "strokes:6x6x6"}, out=tmp_path / "run")
    spec = {"seeds": [0, 1, 2], "budget": 17.0}
    with running.enter(plan, RunOptions(command=["autometa", "train", NET]), torch.device("cpu"), spec) as folder:
        options = RunOptions(quiet=True)
        yield lambda end=None, side=2: seeds._Work(plan, folder, options, deque([0, 1, 2]), side, 1, end)


def test_a_time_budget_is_shared_out(begun):
    work = begun(end=time.monotonic() + 100)
    shares = [work._next(others)[1].time_budget for others in (0, 1, 1)]
    assert shares == pytest.approx([50, 50, 100], abs=1), "two turns; the third has the time from then on to itself"
    assert begun()._next(0)[1].time_budget == 17.0, "after a resumption a seed not begun has the share it was given"


def test_what_ends_one_leaves_the_others_to_go_on(begun, monkeypatch):
    done = []

    def one(plan, options):
        done.append(plan.config.seed)
        if plan.config.seed == 0:
            raise DivergedError("too many slots")
        if plan.config.seed == 2 and len(done) > 3:
            raise Interrupted("stopped")

    monkeypatch.setattr(running, "carry_out", one)
    work = begun(side=1)
    with pytest.raises(DivergedError, match="seed 0: too many slots; the other seeds are done; go on with: autometa"):
        work.run()
    assert done == [0, 1, 2]
    work = begun(side=1)
    with pytest.raises(Interrupted, match="every seed saved"):
        work.run()


def work_of_a_child(what):
    if what == "fails":
        raise InputError("no such data")
    if what == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "breaks":
        raise RuntimeError("a defect")


def test_what_ends_a_child_is_known(capfd):
    with children.Children() as made:
        for what in ("works", "fails", "dies", "breaks"):
            made.start(what, "cpu", work_of_a_child, what)
        ended = {}
        while made.running:
            ended |= {child.name: child.error() for child in made.ended()}
    assert ended["works"] is None and isinstance(ended["fails"], InputError)
    assert "signal 9" in str(ended["dies"]) and "a defect" in str(ended["breaks"])
    assert "seed breaks: RuntimeError: a defect" in capfd.readouterr().err


def test_a_summary_of_seeds_that_are_not_all_finished(begun, tmp_path):
    with pytest.raises(InputError, match="no seed is finished"):
        read_summary(begun().folder)
