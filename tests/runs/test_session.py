import os
import re
import signal
import sys
import threading
import time

import pytest
import torch

from autometa.errors import DiskError, DivergedError, InputError, Interrupted
from autometa.report.listing import list_runs
from autometa.runs import RunFolder, Session, checkpoint, load_latest, load_named, read_metrics

from .loop import Trainer


@pytest.fixture
def folder(tmp_path):
    with RunFolder.create(tmp_path / "run", "test", {}, ["test"]) as folder:
        yield folder


def train(folder, total, body=None, trainer=None, **options):
    """Run the loop; returns the trainer and its session."""
    trainer = trainer or Trainer()
    options = {"every_seconds": None, **options}
    with Session(folder, trainer.capture, trainer.restore, **options) as session:
        for step in session.steps(total):
            session.log(step, loss=trainer.step())
            if body:
                body(session, step)
    return trainer, session


def final(folder):
    found = load_latest(folder.checkpoints)
    return (found.path / "tensors.safetensors").read_bytes(), folder.metrics.read_bytes()


class Boom(Exception):
    pass


def fail_at(number):
    def body(session, step):
        if step == number:
            raise Boom

    return body


@pytest.mark.parametrize("every", [1, 2, 3, 5, None])
def test_resumed_equals_uninterrupted_whenever_checkpoints_were_made(tmp_path, every):
    outcomes = []
    for name, failures in [("whole", []), ("broken", [0, 4, 7, 8])]:
        with RunFolder.create(tmp_path / name, "t", {}, []) as folder:
            for failure in failures:
                with pytest.raises(Boom):
                    train(folder, 10, fail_at(failure), every_steps=every)
            train(folder, 10, every_steps=every)
            outcomes.append(final(folder))
    assert outcomes[0] == outcomes[1]
    assert len(outcomes[0][1].splitlines()) == 10


def test_checkpoints_do_not_change_the_run(tmp_path):
    outcomes = set()
    for every in (None, 1, 4):
        with RunFolder.create(tmp_path / str(every), "t", {}, []) as folder:
            train(folder, 9, every_steps=every)
            outcomes.add(final(folder))
    assert len(outcomes) == 1


def test_checkpoints_by_time_and_their_number(folder):
    seen = []

    def body(session, step):
        time.sleep(0.02)
        seen.append(len(checkpoint.entries(session.checkpoints)))

    train(folder, 8, body, every_seconds=0.03, keep=3)
    assert seen[0] == 0 and max(seen) == 3
    assert load_latest(folder.checkpoints).step == 8


def test_more_steps_go_on_and_a_finished_loop_does_nothing(folder):
    train(folder, 3)
    before = sorted(folder.checkpoints.iterdir())
    _, session = train(folder, 3)
    assert sorted(folder.checkpoints.iterdir()) == before and session.step == 3
    trainer, _ = train(folder, 5)
    assert trainer.seen == 5 and [row["step"] for row in read_metrics(folder.metrics)] == [0, 1, 2, 3, 4]


def test_time_budget_ends_like_finished_and_a_later_run_goes_on(folder):
    told = []
    _, session = train(folder, 10**6, lambda *_: time.sleep(0.01), time_budget=0.1, notice=told.append)
    assert session.stopped_early and 0 < session.step < 20
    assert load_latest(folder.checkpoints).step == session.step
    assert len(told) == 1 and "time budget" in told[0]
    _, second = train(folder, session.step + 2, time_budget=100)
    assert not second.stopped_early and second.step == session.step + 2
    assert second.elapsed > 0.05, "the first session's counts"


def test_a_spent_time_budget_stays_spent_unless_a_new_one_is_given(folder):
    _, session = train(folder, 10**6, lambda *_: time.sleep(0.01), time_budget=0.1)
    _, again = train(folder, 10**6)
    assert again.stopped_early and again.step == session.step
    _, longer = train(folder, session.step + 1, time_budget=100)
    assert longer.step == session.step + 1


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_first_signal_finishes_the_step_saves_and_says_how_to_go_on(folder, name, capfd):
    before = signal.getsignal(getattr(signal, name))
    finished = []

    def body(session, step):
        if step == 2:
            os.kill(os.getpid(), getattr(signal, name))
        finished.append(step)

    hint = r"saved after step 3 of 10; go on with: autometa --resume 'a b'"
    with pytest.raises(Interrupted, match=hint) as caught:
        train(folder, 10, body, resume_command=["autometa", "--resume", "a b"])
    assert caught.value.exit_code == 130
    assert finished == [0, 1, 2] and load_latest(folder.checkpoints).step == 3
    assert signal.getsignal(getattr(signal, name)) is before
    assert "once more to stop at once" in capfd.readouterr().err


def test_second_signal_stops_at_once(folder):
    def body(session, step):
        if step == 3:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            raise AssertionError("the second signal did not stop the step")

    with pytest.raises(Interrupted, match="stopped at once in step 3, saved up to step 2; go on with: --res"):
        train(folder, 10, body, every_steps=2)
    assert load_latest(folder.checkpoints).step == 2
    trainer, _ = train(folder, 4)
    assert trainer.seen == 4 and len(list(read_metrics(folder.metrics))) == 4


def test_a_signal_in_the_last_step_or_the_last_save_is_not_lost(folder):
    trainer = Trainer()

    def capture():
        os.kill(os.getpid(), signal.SIGINT)
        return trainer.capture()

    with pytest.raises(Interrupted, match="step 2 of 2"):
        with Session(folder, capture, trainer.restore, every_seconds=None) as session:
            for _ in session.steps(2):
                trainer.step()
    assert load_latest(folder.checkpoints).step == 2


def test_signals_outside_the_loop_and_ignored_ones_are_left_alone(folder):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Session(folder, dict, dict) as session:
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
            steps = session.steps(3)
            next(steps)
            assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGHUP, before)


def test_works_outside_the_main_thread(folder):
    found = []
    thread = threading.Thread(target=lambda: found.append(train(folder, 3)[0].seen))
    thread.start()
    thread.join()
    assert found == [3]


def test_divergence_stops_after_the_step_with_a_checkpoint(folder):
    trainer = Trainer()

    def body(session, step):
        session.check_finite(torch.tensor([step < 2, True, True, True]), ["a", "b", "c", "d"])
        assert trainer.seen == step + 1

    with pytest.raises(DivergedError, match=r"a \(41 times\).*the state is saved in .*checkpoints") as caught:
        train(folder, 200, body, trainer=trainer)
    assert caught.value.exit_code == 3
    assert load_latest(folder.checkpoints).step == 43 == trainer.seen


def test_the_watch_is_part_of_the_checkpoint(folder):
    def lose(session, step):
        session.check_finite([False, True, True])

    train(folder, 20, lose)
    with pytest.raises(DivergedError, match=r"slot 0 \(31 times\)"):
        train(folder, 200, lose)
    assert load_latest(folder.checkpoints).step == 31


def test_a_damaged_newest_checkpoint_costs_only_its_steps(folder):
    train(folder, 10, every_steps=2)
    expected = final(folder)
    newest = load_latest(folder.checkpoints).path
    os.truncate(newest / "tensors.safetensors", 30)
    told = []
    train(folder, 10, every_steps=2, notice=told.append)
    assert final(folder) == expected
    assert len(told) == 1 and "damaged" in told[0]
    assert load_latest(folder.checkpoints, told.append).step == 10 and len(told) == 1


def test_all_checkpoints_damaged_is_not_a_fresh_start(folder):
    train(folder, 2)
    os.truncate(load_latest(folder.checkpoints).path / "state.json", 5)
    metrics = folder.metrics.read_bytes()
    with pytest.raises(InputError, match="no checkpoint in .* is readable"):
        train(folder, 4, notice=lambda text: None)
    assert folder.metrics.read_bytes() == metrics


def test_a_full_disk_stops_the_run_and_keeps_the_last_checkpoint(folder, monkeypatch):
    def body(session, step):
        if step == 4:
            monkeypatch.setattr(os, "fsync", fail)

    def fail(fd):
        raise OSError(28, "No space left on device")

    with pytest.raises(DiskError, match="No space left on device"):
        train(folder, 10, body, every_steps=2)
    monkeypatch.undo()
    assert [entry.step for entry in checkpoint.entries(folder.checkpoints)] == [4, 2]
    assert sorted(os.listdir(folder.checkpoints)) == ["step-00000002", "step-00000004"]
    train(folder, 10, every_steps=2)
    assert len(list(read_metrics(folder.metrics))) == 10


def test_named_checkpoints_wait_for_the_end_of_the_step(folder):
    train(folder, 5, lambda session, step: session.save("warm") if step == 1 else None)
    found = load_named(folder.checkpoints, "warm")
    assert found.step == 2 and found.state["caller"] == {"seen": 2}


def test_phases_have_checkpoints_and_metrics_of_their_own(folder):
    train(folder, 3)
    train(folder, 4, phase="scale-up")
    again, _ = train(folder, 3)
    assert again.seen == 3 and len(list(read_metrics(folder.metrics))) == 3
    assert len(list(read_metrics(folder.path / "metrics-scale-up.jsonl"))) == 4
    assert load_latest(folder.checkpoints / "scale-up").step == 4
    with pytest.raises(InputError, match="phase"):
        Session(folder, dict, dict, phase="../x")


def test_threads_are_those_of_the_first_session(folder):
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        train(folder, 1)
        torch.set_num_threads(2)
        told, seen = [], []
        train(folder, 2, lambda *_: seen.append(torch.get_num_threads()), notice=told.append)
        assert seen == [1] and torch.get_num_threads() == 2 and "1 threads" in told[0]
    finally:
        torch.set_num_threads(threads)


def test_the_lock_is_taken_for_the_session_and_given_back(tmp_path):
    RunFolder.create(tmp_path / "run", "t", {}, []).close()
    reader = RunFolder.open(tmp_path / "run")
    seen = []
    train(reader, 1, lambda *_: seen.extend(row.status for row in list_runs(tmp_path)))
    assert seen == ["running"]
    assert not reader.locked
    with RunFolder.resume(reader.path, []):
        with pytest.raises(InputError, match="being written"):
            train(reader, 2)


def test_progress_bar_on_a_terminal_only(folder, monkeypatch, capsys):
    train(folder, 2)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    train(folder, 4, phase="quiet", quiet=True)
    assert capsys.readouterr().err == ""

    def body(session, step):
        time.sleep(0.15)
        session.log(step, loss=0.25, accuracy=71.0)

    train(folder, 3, body, phase="search")
    shown = capsys.readouterr().err
    assert re.search(r"search: .*3/3 .*accuracy=71", shown) and "loss=0.25" in shown


def test_one_loop_per_session(folder):
    with Session(folder, lambda: ({}, {}), lambda *_: None) as session:
        assert list(session.steps(2)) == [0, 1]
        with pytest.raises(RuntimeError, match="one loop"):
            list(session.steps(2))
