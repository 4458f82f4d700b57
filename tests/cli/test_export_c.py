"""`autometa export --to c`: a folder that builds, and answers as its self-test says."""

import os
import shutil
import subprocess

import pytest

from tests.cli.driving import call

FROZEN = ("--statistics", "frozen")


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler is here")
@pytest.mark.parametrize(
    "learn, weights, whose",
    [("prototypes", "int8", ()), ("head", "float32", ()), ("all", "float32", ()), ("all", "float32", FROZEN)],
)
def test_a_folder_of_c_with_its_own_accuracy(trained, learn, weights, whose, tmp_path):
    words = ("--run", trained[0], "--learn", learn, "--weights", weights, *whose, "--out", "device", "--json")
    told = call("export", "--to", "c", *words)
    assert told.code == 0, told.err
    assert told.json["statistics"] == ("batch" if (learn, whose) == ("all", ()) else "frozen")
    assert sorted(os.listdir("device")) == told.json["files"]
    assert told.json["bytes"] == sum(path.stat().st_size for path in (tmp_path / "device").iterdir())
    page = (tmp_path / "device" / "README.md").read_text()
    assert f"{told.json['accuracy']:.1f} +- " in page and f"{told.json['macs']:,}" in page
    assert (
        f"AUTOMETA_MIN_PROBABILITY {told.json['min_confidence']:.2f}f" in (tmp_path / "device/autometa.h").read_text()
    )
    sources = [str(path) for path in (tmp_path / "device").glob("*.c")]
    subprocess.run(["cc", "-std=c99", *sources, "-lm", "-o", "made"], check=True)
    done = subprocess.run(["./made"], capture_output=True, text=True)
    assert done.returncode == 0 and "as expected" in done.stdout


def test_a_search_network_as_its_architecture_stands(searched):
    told = call("export", "--to", "c", "--run", searched[0], "--out", "device")
    assert told.code == 0 and "learns by head" in told.out and "self-test: cd device" in told.out, told.err
    assert "learning by head, as the network was meta-learned" in told.err


@pytest.mark.parametrize(
    "words, says",
    [
        (("--learn", "body"), "a device learns by prototypes or head or all, not 'body'"),
        (("--learn", "all", "--weights", "int8"), "take --learn head, or --weights float32"),
        (("--weights", "int4"), "not 'int4'"),
        (("--shots", "3"), "C takes weights, learn and statistics"),
        (("--statistics", "support"), "statistics of batch or frozen, not 'support'"),
        (("--learn", "head", "--statistics", "batch"), "learning by head looks at one picture at a time"),
        (("--out", "file"), "file is a file"),
    ],
)
def test_what_there_is_not_is_told_and_leaves_nothing(trained, words, says, tmp_path):
    (tmp_path / "file").write_text("")
    answer = call("export", "--to", "c", "--run", trained[0], "--out", "device", *words)
    assert answer.code == 2 and says in answer.err and answer.err.count("\n") == 1
    assert os.listdir(tmp_path) == ["file"]


def test_without_the_training_images_it_says_why(tmp_path):
    answer = call("export", "--to", "c", "--run", "omniglot-5way", "--learn", "head", "--out", "device")
    assert answer.code == 2 and "frozen statistics are of training pictures" in answer.err
    assert not os.listdir(tmp_path)
    answer = call("export", "--to", "c", "--run", "omniglot-5way", *FROZEN, "--out", "device")
    assert answer.code == 2 and "--statistics batch" in answer.err
    told = call("export", "--to", "c", "--model", "omniglot-5way", "--out", "device")
    assert told.code == 0 and "learns by all, accuracy not measured" in told.out


def test_other_formats_do_not_learn_on_the_device(trained):
    answer = call("export", "--run", trained[0], "--learn", "head", "--out", "made.pt2")
    assert answer.code == 2 and "--to c" in answer.err
