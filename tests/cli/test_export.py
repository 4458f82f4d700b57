"""`autometa export`: programs that answer, in a process without this package, what `predict` answers."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

import autometa
from autometa.data import Recipe, load_class_folder
from autometa.errors import InputError
from autometa.models.classifier import Classifier
from autometa.models.compact import keep
from autometa.models.find import choose_start, find_classifier
from autometa.models.model import Model
from autometa.runs.folder import RunFolder
from tests.cli import driving
from tests.cli.driving import call

ELSEWHERE = """
import json, sys
sys.modules["autometa"] = None  # importing it fails
import numpy, onnxruntime, torch

given = {name: value for name, value in numpy.load("given.npz").items()}
found = {}
for name, inputs in (("classifier", ["images"]), ("adaptation", ["support", "labels", "queries"])):
    own = {key: given[key] for key in inputs}
    extra = {"autometa.json": ""}
    program = torch.export.load(f"{name}.pt2", extra_files=extra).module()
    found[f"{name}.pt2"] = program(**{key: torch.from_numpy(value) for key, value in own.items()}).numpy()
    session = onnxruntime.InferenceSession(f"{name}.onnx")
    (found[f"{name}.onnx"],) = session.run(None, own)
    assert json.loads(extra["autometa.json"]) == json.loads(session.get_modelmeta().custom_metadata_map["autometa"])
assert not [name for name in sys.modules if name.startswith("autometa.")]
numpy.savez("found.npz", **found)
"""


@pytest.fixture(scope="module")
def taught(trained, tmp_path_factory):
    """A run with a four-layer net, the five classes it was taught from one picture each, and pictures of each."""
    names = ("bar", "blob", "cross", "dot", "edge")
    support = driving.class_folders(tmp_path_factory.mktemp("support"), names, images=1)
    others = driving.class_folders(tmp_path_factory.mktemp("others"), names, images=3)
    answer = call("adapt", "--support", support, "--run", trained[0], "--out", support.parent / "taught", "-q")
    assert answer.code == 0, answer.err
    return trained[0], support, others, support.parent / "taught"


def test_programs_answer_elsewhere_what_predict_answers(taught, tmp_path):
    run, support, others, place = taught
    for suffix in ("pt2", "onnx"):
        told = call("export", "--run", place, "--out", f"classifier.{suffix}")
        assert told.code == 0, told.err
        assert "classifier of 5 classes: bar, blob, cross, dot, edge" in told.out and "[n, 5]" in told.out
        words = ("--run", run, "--what", "adaptation", "--ways", 5, "--shots", 1)
        told = call("export", *words, "--out", f"adaptation.{suffix}", "--json")
        assert told.code == 0, told.err
        assert told.json["bytes"] == os.path.getsize(f"adaptation.{suffix}")
        assert (told.json["ways"], told.json["shots"], told.json["format"]) == (
            5,
            1,
            {"pt2": "torch"}.get(suffix, suffix),
        )
    recipe = {name: value for name, value in told.json["image_recipe"].items() if name != "in_words"}
    images, _, names = load_class_folder(others, Recipe(**recipe))
    shown, labels, _ = load_class_folder(support, Recipe(**recipe))
    order = np.array([3, 0, 4, 1, 2])
    np.savez("given.npz", images=images, queries=images, support=shown[order], labels=labels[order])
    done = subprocess.run([sys.executable, "-c", ELSEWHERE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    predicted = autometa.predict(sorted(others.rglob("*.png")), run=place)
    wanted = np.array([[every[name] for name in names] for *_, every in predicted])
    assert np.ptp(wanted, axis=0).max() > 1e-3
    for name, found in np.load("found.npz").items():
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 if "classifier" in name else 1e-4, err_msg=name)


def test_the_same_word_in_python(taught, tmp_path):
    about = autometa.export(taught[3], out=tmp_path / "new folder" / "made", format="torch")
    assert about["classes"] == ["bar", "blob", "cross", "dot", "edge"]
    assert (tmp_path / "new folder" / "made").stat().st_size == about["bytes"]


@pytest.mark.parametrize(
    "words, says",
    [
        ((), "--out FILE"),
        (("--out", "made.bin"), "name the file .pt2"),
        (("--out", "made.onnx", "--format", "coreml"), "unknown format 'coreml'"),
        (("--out", "made.pt2", "--what", "search"), "classifier or adaptation"),
        (("--out", "made.pt2", "--ways", "3"), "--what adaptation"),
        (("--out", "made.pt2", "--images", "jpeg"), "uint8 or float"),
        (("--out", "made.pt2", "--what", "adaptation", "--ways", "1"), "at least 2 classes"),
        (("--out", "made.pt2", "--what", "adaptation", "--shots", "0"), "at least one image"),
        (("--out", "folder.onnx"), "is a folder"),
    ],
)
def test_bad_words_are_told_and_leave_nothing(taught, words, says, tmp_path):
    (tmp_path / "folder.onnx").mkdir()
    run = taught[0] if "adaptation" in words else taught[3]
    answer = call("export", "--run", run, *words)
    assert answer.code == 2 and says in answer.err and answer.err.count("\n") == 1
    assert os.listdir(tmp_path) == ["folder.onnx"]


def test_runs_that_cannot_be_exported_are_told(searched, tmp_path):
    answer = call("export", "--run", searched[0], "--what", "adaptation", "--out", "made.onnx")
    assert answer.code == 2 and "autometa train" in answer.err
    answer = call("export", "--run", searched[0], "--out", "made.onnx")
    assert answer.code == 2 and "autometa adapt --support" in answer.err


def test_without_onnx_the_extra_is_named(taught, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    answer = call("export", "--run", taught[3], "--out", "made.onnx")
    assert answer.code == 2 and "pip install 'autometa-nas[onnx]'" in answer.err
    assert not os.path.exists("made.onnx")


def test_whose_classifier_and_model(taught, searched, tmp_path):
    run, _, _, place = taught
    with pytest.raises(InputError):
        find_classifier(None)
    shutil.copytree(place, "adapted")
    wanted = Classifier.load(place)
    for found in (find_classifier(place)[0], find_classifier(None)[0]):
        assert torch.equal(found.phi, wanted.phi)
    os.symlink(run, "latest")
    assert torch.equal(find_classifier(None)[0].phi, wanted.phi), "the last run was taught nothing, ./adapted was"
    kept = keep(RunFolder.open(run), tmp_path / "kept")
    theta = Model.of(RunFolder.open(run)).learned.theta
    assert torch.equal(choose_start(run).model.learned.theta, theta) and torch.equal(
        choose_start(None).model.learned.theta, theta
    )
    assert choose_start(place).model.network.ways == 2, "the model before it was taught"
    torch.testing.assert_close(choose_start(kept).model.learned.theta, theta, rtol=1e-3, atol=1e-3)
