"""Nothing surprising later: own copies, changed data, cut-short searches, numbers that ran away."""

import shutil
import signal

import pytest
import torch

from autometa.models.classifier import Classifier
from autometa.runs import RunFolder, load_latest
from tests.cli.driving import (
    INNER,
    LENGTH,
    SEARCH,
    TEST,
    TRAIN,
    call,
    changed,
    class_folders,
    start,
    wait_for_checkpoint,
)


@pytest.fixture
def copied(searched, tmp_path):
    """A search of one's own, to be changed."""
    return shutil.copytree(searched[0], tmp_path / "found", symlinks=True)


ENDLESS = {"meta.iterations": 10**6}


def test_a_trained_cell_does_not_need_its_search_any_more(copied, tmp_path):
    assert call("train", copied, "--meta.iterations", 1, "--out", "cell", "-q").code == 0
    support = class_folders(tmp_path / "photos", ("bar", "blob"))
    assert call("adapt", "--support", support, "--run", "cell", "--out", "taught").code == 0
    before = call("predict", support / "bar", "--run", "taught").out
    shutil.rmtree(copied)
    assert call("predict", support / "bar", "--run", "taught").out == before
    shutil.rmtree(tmp_path / "taught")
    assert call("adapt", "--support", support, "--run", "cell", "--out", "taught").code == 0
    assert call("predict", support / "bar", "--run", "taught").out == before
    assert call("eval", "--run", "cell", "--tasks", 1).code == 0
    shutil.rmtree(tmp_path / "cell")
    assert call("predict", support / "bar", "--run", "taught").out == before


def test_a_damaged_classifier_is_told(trained, tmp_path):
    support = class_folders(tmp_path / "photos", ("bar", "blob"))
    assert call("adapt", "--support", support, "--run", trained[0], "--out", "taught").code == 0
    kept = tmp_path / "taught/classifier.safetensors"
    assert [path.name for path in (tmp_path / "taught").iterdir()] == [kept.name]
    kept.write_bytes(kept.read_bytes()[:100])
    answer = call("predict", support / "bar", "--run", "taught")
    assert answer.code == 2 and "adapt again" in answer.err


def test_a_trained_cell_has_the_reductions_of_its_search(tmp_path):
    assert call("search", *changed(SEARCH, cells=2), "--out", "found", "-q").code == 0
    answer = call("train", "found", "--meta.iterations", 1, "--out", "cell", "-q", "--print-config")
    assert "reductions:\n- 0\n" in answer.out


def folders(root, names):
    return class_folders(root, names, images=4)


def test_a_run_is_not_resumed_on_other_images(tmp_path):
    names = [f"class {k}" for k in range(30)]
    folders(tmp_path / "mine", names)
    words = ["--data", tmp_path / "mine", "--data.image_size", 8, *INNER, *changed(LENGTH, **ENDLESS), *TEST]
    words += ["--filters", 2, "--checkpoint-every", "0.01"]
    run = tmp_path / "run"
    child = start("train", "reptile-omniglot", *words, "--out", run)
    wait_for_checkpoint(child, run, "train")
    child.send_signal(signal.SIGINT)
    child.communicate()
    shutil.rmtree(tmp_path / "mine" / names[0])
    answer = call("train", "--resume", run)
    assert answer.code == 2 and "not those" in answer.err
    support = class_folders(tmp_path / "photos", ("bar", "blob"))
    told = call("adapt", "--support", support, "--run", run)
    assert told.code == 0 and "of 1000000 iterations so far" in told.err
    told = call("eval", "--run", run, "--tasks", 1)
    assert told.code == 0 and "training classes may be among them" in told.err
    assert call("runs", "list", tmp_path, "--json").json[0]["progress"][1] == 10**6, "an evaluation is not progress"
    assert not list((run / "checkpoints").glob("eval-*")) and not list(run.glob("metrics-eval-*"))


def test_a_resumed_run_takes_the_threads_it_began_with(tmp_path):
    words = ["train", "reptile-omniglot", *TRAIN, "--out", "run"]
    torch.set_num_threads(2)
    assert call(*words, "-q").code == 0
    torch.set_num_threads(1)
    run = RunFolder.open("run")
    (tmp_path / "run/result.json").unlink()
    shutil.rmtree(run.checkpoints / "test")
    answer = call("train", "--resume", "run")
    assert answer.code == 0 and "going on with 2 threads" in answer.err
    assert load_latest(run.checkpoints / "test").state["session"]["torch_threads"] == 2
    assert torch.get_num_threads() == 1


def test_a_search_cut_short_in_its_warm_up_says_that_it_chose_nothing():
    words = [*changed(SEARCH, warmup=10**6, **ENDLESS), "--compare", "four-layer"]
    answer = call("search", *words, "--time-budget", "0.2s", "--out", "short", "-q")
    assert answer.code == 0 and "has not chosen any cell" in answer.out
    checkpoints = RunFolder.open("short").checkpoints
    done = [load_latest(checkpoints / phase).step for phase in ("search", "four-layer")]
    assert 0 < done[0] == done[1] < 10**6, "the rival sees as many images as the search did"


def test_numbers_that_ran_away_are_told(tmp_path):
    answer = call("train", "reptile-omniglot", *TRAIN, "--inner.lr", "1e25", "--out", "run", "-q")
    assert answer.code == 0 and "2 tasks left the finite numbers" in answer.out
    assert " 0.00" in next(line for line in answer.out.splitlines() if "support images alone" in line)
    support = class_folders(tmp_path / "photos", ("bar", "blob"))
    answer = call("adapt", "--support", support, "--run", "run")
    assert answer.code == 3 and "left the finite numbers" in answer.err
    with pytest.raises(ValueError, match="no classifier"):
        Classifier.load(tmp_path / "run/adapted")


def test_validation_classes_that_were_trained_on_are_told(trained):
    run, _ = trained
    told = call("eval", "--run", run, "--part", "val", "--tasks", 1)
    split = RunFolder.open(run).config["data"]["name"]
    assert told.code == 0 and split.startswith("strokes")
    assert "training classes of this run" not in told.err, "the drawn alphabets keep val out of train"


def test_own_photos_need_no_variant(tmp_path):
    folders(tmp_path / "mine", [f"class {k}" for k in range(30)])
    answer = call("train", "reptile-omniglot", "--data", tmp_path / "mine", "--print-config")
    assert answer.code == 0 and "variant: ink" in answer.out
    answer = call("train", "reptile-omniglot", "--data", tmp_path / "mine", "--data.variant", "grey", "--print-config")
    assert "variant: grey" in answer.out
    assert "variant: reptile" in call("train", "reptile-omniglot", "--print-config").out
    answer = call("search", "--preset", "miniimagenet", "--data", tmp_path / "mine", "--print-config")
    assert "variant: colour" in answer.out, "a preset's own choice stays"


def test_a_dry_run_knows_the_time_budget():
    found = call("search", *changed(SEARCH, **ENDLESS), "--dry-run", "--time-budget", "10s", "--json").json
    assert found["seconds"]["search"] <= 10 and found["iterations"] < 10**6
