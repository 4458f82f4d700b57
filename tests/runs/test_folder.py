import dataclasses
import json
import os
import re
import signal
import sys
import time

import pytest
import torch

from autometa.errors import InputError
from autometa.report.listing import list_runs
from autometa.runs import RunFolder, checkpoint, environment

COMMAND = ["autometa", "search", "--out", "a b"]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tree(path):
    return {entry: entry.read_bytes() for entry in path.rglob("*") if entry.is_file()}


@dataclasses.dataclass(frozen=True)
class Config:
    ways: int = 5
    rates: tuple = (0.1, 0.2)


def test_create_writes_what_a_run_is(home):
    with RunFolder.create("out", "quick", {"task": Config()}, COMMAND, seed=3) as folder:
        assert folder.path == home / "out" and folder.locked
        folder.write_genotype("cell", {"nodes": [1]})
        assert folder.result is None
        folder.write_result({"accuracy": 90.5})
    assert not folder.locked
    again = RunFolder.open("out")
    assert again.config == {"task": {"ways": 5, "rates": [0.1, 0.2]}}
    assert again.result == {"accuracy": 90.5}
    assert json.loads((home / "out/genotypes/cell.json").read_text()) == {"nodes": [1]}
    about = again.environment
    assert about["command"] == "autometa search --out 'a b'"
    assert about["seed"] == 3 and about["name"] == "quick"
    assert about["torch"] == torch.__version__ and about["torch_threads"] == torch.get_num_threads()
    assert about["cpu"] and about["cpu_count"] >= about["cpu_usable"] >= 1
    assert about["python"] == ".".join(map(str, sys.version_info[:3]))


def test_default_place_and_latest(home):
    runs = [RunFolder.create(None, "meta nas/x", {}, COMMAND) for _ in range(3)]
    assert len({run.path for run in runs}) == 3
    for run in runs:
        assert run.path.parent == home / "runs"
        assert re.fullmatch(r"\d{8}-\d{6}-meta-nas-x(-\d)?", run.path.name)
    assert os.readlink(home / "runs/latest") == runs[-1].path.name
    assert RunFolder.open().path == runs[-1].path
    runs[0].close()
    RunFolder.resume(runs[0].path, COMMAND)
    assert RunFolder.open("latest").path == runs[0].path


def test_latest_is_the_younger_of_two_links(home):
    first = RunFolder.create(None, "a", {}, COMMAND)
    time.sleep(0.02)
    second = RunFolder.create("elsewhere", "b", {}, COMMAND)
    assert RunFolder.open().path == second.path != first.path


def test_latest_never_replaces_something_of_the_user(home):
    (home / "latest").mkdir()
    told = []
    folder = RunFolder.create("out", "a", {}, COMMAND, notice=told.append)
    assert (home / "latest").is_dir() and not (home / "latest").is_symlink()
    assert len(told) == 1 and "latest does not point to this run" in told[0]
    assert sorted(entry.name for entry in home.iterdir()) == ["latest", "out"] and folder.locked


@pytest.mark.parametrize("names", ["photo.jpg", "checkpoints", "config.json", ".hidden", "config.json x"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_is_no_run_of_ours_is_not_touched(home, names, overwrite):
    place = home / "mine"
    place.mkdir()
    for name in names.split():
        (place / name).write_text("precious")
    before = tree(home)
    with pytest.raises(InputError, match=r"mine is not empty .* --out"):
        RunFolder.create(place, "a", {}, COMMAND, overwrite=overwrite)
    assert tree(home) == before


def test_a_run_is_not_overwritten_unless_asked(home):
    with RunFolder.create("a run", "a", {"x": 1}, COMMAND) as folder:
        folder.write_result({})
        checkpoint.save(folder.checkpoints, 1, {}, {})
        folder.metrics.write_text("{}\n")
        (folder.path / "notes.txt").write_text("mine")
    before = tree(home)
    with pytest.raises(InputError, match=r"--resume 'a run', or choose another folder with --out"):
        RunFolder.create("a run", "a", {"x": 2}, COMMAND)
    assert tree(home) == before
    with RunFolder.create("a run", "a", {"x": 2}, COMMAND, overwrite=True) as folder:
        assert folder.config == {"x": 2} and folder.result is None
        names = sorted(entry.name for entry in folder.path.iterdir() if not entry.name.startswith("."))
        assert names == ["checkpoints", "config.json", "environment.json", "genotypes", "notes.txt"]
        assert not any(folder.checkpoints.iterdir())


def test_a_file_or_a_bad_config_is_refused_before_anything_is_written(home):
    (home / "file").write_text("")
    with pytest.raises(InputError, match="file is a file"):
        RunFolder.create("file", "a", {}, COMMAND)
    with pytest.raises(TypeError, match="no JSON form"):
        RunFolder.create("out", "a", {"x": object()}, COMMAND)
    assert not (home / "out").exists()


@pytest.mark.parametrize("path", ["missing", "empty", "latest"])
def test_open_says_what_is_wrong(home, path):
    (home / "empty").mkdir()
    with pytest.raises(InputError, match="no run folder missing|empty is not a run folder|no last run here"):
        RunFolder.open(path)


def test_a_dangling_latest_is_explained(home):
    os.symlink("gone", "latest")
    with pytest.raises(InputError, match="latest points to gone, which is gone"):
        RunFolder.open("latest")


def test_the_lock_is_held_by_one(home):
    with RunFolder.create("out", "a", {}, COMMAND) as folder:
        with pytest.raises(InputError, match=rf"out is being written by process {os.getpid()} on "):
            RunFolder.resume("out", COMMAND)
        with pytest.raises(InputError, match="being written"):
            RunFolder.create("out", "a", {}, COMMAND, overwrite=True)
        assert RunFolder.open("out").config == {}
        assert [row.status for row in list_runs(home)] == ["running"]
        assert folder.locked
    RunFolder.resume("out", COMMAND).close()


def test_a_forked_worker_does_not_keep_the_lock(home):
    folder = RunFolder.create("out", "a", {}, COMMAND)
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    try:
        time.sleep(0.1)
        with pytest.raises(InputError, match="being written"):
            RunFolder.resume("out", COMMAND)
        folder.close()
        RunFolder.resume("out", COMMAND).close()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_forgotten_folder_gives_up_its_lock(home):
    RunFolder.create("out", "a", {}, COMMAND)
    with RunFolder.resume("out", COMMAND) as folder:
        assert folder.locked


def test_resume_records_itself_and_says_what_changed(home):
    with RunFolder.create("out", "a", {}, COMMAND) as folder:
        path = folder.path / "environment.json"
    path.write_text(path.read_text().replace(torch.__version__, "1.2.3"))
    told = []
    RunFolder.resume("out", ["autometa", "--resume", "out"], notice=told.append).close()
    change = f"torch 1.2.3 -> {torch.__version__}"
    assert told == [f"resumed in another environment, last bits may differ: {change}"]
    entry = RunFolder.open("out").environment["resumed"][0]
    assert entry["changed"] == [change] and entry["command"] == "autometa --resume out"


def test_leftovers_of_killed_processes_go_when_the_lock_is_taken(home):
    with RunFolder.create("out", "a", {}, COMMAND) as folder:
        (folder.path / ".config.json.0123abcd.tmp").write_text("half")
        (folder.checkpoints / ".step-00000001.0123abcd.tmp").mkdir()
    RunFolder.resume("out", COMMAND).close()
    assert not [path for path in folder.path.rglob("*.tmp")]


def test_genotype_names_stay_in_their_folder(home):
    with RunFolder.create("out", "a", {}, COMMAND) as folder:
        with pytest.raises(InputError, match="genotype name"):
            folder.write_genotype("../config", {})


def test_list_runs(home):
    assert list_runs("runs") == []
    done, stopped, going, broken = (RunFolder.create(f"runs/{name}", name, {}, COMMAND) for name in "dsgb")
    done.write_result({"accuracy": 97.5})
    checkpoint.save(stopped.checkpoints, 7, {}, {"session": {"total": 20}})
    checkpoint.save(stopped.checkpoints / "scale-up", 3, {}, {"session": {"total": 9}})
    (broken.path / "environment.json").write_text("{")
    (home / "runs/other").mkdir()
    for folder in (done, stopped, broken):
        folder.close()
    rows = {row.name: row for row in list_runs("runs")}
    assert {name: row.status for name, row in rows.items()} == {
        "d": "finished",
        "s": "interrupted",
        "g": "running",
        "b": "unreadable",
    }
    assert rows["d"].accuracy == 97.5 and rows["s"].accuracy is None and rows["d"].kind == "d"
    assert rows["s"].progress == (3, 9) and rows["g"].progress is None
    assert going.locked and rows["g"].path.resolve() == going.path


def test_git_commit_is_of_the_present_folder(home):
    assert environment.git_commit() is None
    assert environment.differences({"torch": "1", "seed": 1}, {"torch": "1", "seed": 2}) == []
