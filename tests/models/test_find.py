"""One way to a model: by folder, name, word or file; without any the last finished run that fits, or the package's."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from autometa.errors import InputError
from autometa.models import classifier, compact, find
from autometa.models.classifier import learn
from autometa.models.find import SHIPPED, choose_start, find_classifier, find_start
from autometa.runs.folder import RunFolder
from autometa.runs.places import place_of
from tests.models.small import trained

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 1, 8, 8), dtype=np.uint8)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run that has taught a classifier, and a kept model."""
    root = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOMETA_CACHE", str(root / "cache"))
        patch.chdir(root)
        run = RunFolder.open(trained(root / "runs/first"))
        start = find_start(run)
        learn(start.model, IMAGES, np.array([0, 0, 1, 1]), ["a", "b"]).save(start.place)
        compact.keep(run, root / "kept")
    return root


@pytest.fixture
def here(made, tmp_path, monkeypatch):
    """A copy of it, which is the present folder."""
    shutil.copytree(made, tmp_path / "here", symlinks=True)
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.mark.parametrize("run", ["runs/first", "first", Path("runs/first"), "latest"])
def test_a_run_by_folder_name_or_word(here, run):
    start = find_start(run)
    assert start.path == (here / "runs/first").resolve() and start.place == start.path / "adapted"
    assert RunFolder.open(run).path == start.path == find_start(RunFolder.open(run)).path
    known, place = find_classifier(run)
    assert known.names == ("a", "b") and place == start.place


@pytest.mark.parametrize("run", ["kept", f"kept/{compact.TENSORS}"])
def test_a_kept_model_by_folder_or_file(here, run):
    start = find_start(run)
    assert start.run is None and start.name == "kept" and start.place == Path("adapted")
    with pytest.raises(InputError):
        find_classifier(run)


@pytest.mark.parametrize("run", ["runs/first/adapted", f"runs/first/adapted/{classifier.FILE}"])
def test_what_was_taught_by_folder_or_file(here, run):
    start, (known, place) = find_start(run), find_classifier(run)
    assert start.place == place == Path("runs/first/adapted") and known.names == ("a", "b")
    assert torch.equal(start.model.learned.theta, find_start("first").model.learned.theta), "where it began"


def test_the_model_of_the_package_by_name_and_without_one(here):
    for start in (find_start(), find_start(SHIPPED)):
        assert start.path == find.shipped() and start.name == f"{SHIPPED}, inside autometa"
    (here / SHIPPED).mkdir()
    with pytest.raises(InputError, match="not a run folder"):
        find_start(SHIPPED)


def test_the_model_of_meters_by_name_and_by_tall_pictures(here):
    start = find_start("meters")
    assert start.path == find.shipped("meters") and start.name == "meters, inside autometa"
    assert start.model.recipe.fit == "stretch" and start.place == Path("adapted")
    told: list[str] = []
    assert choose_start(None, "ink", told.append, tall=True).path == (here / "runs/first").resolve()
    shutil.rmtree(here / "runs")
    for kind in ("ink", "grey", "colour"):
        assert choose_start(None, kind, told.append, tall=True).path == start.path
        assert "tall, as digits of meters are: beginning with the meters model" in told[-1]
    assert choose_start(None, "grey", told.append).path == find.shipped() and "tall" not in told[-1]


def test_names_are_of_runs_alone_and_what_is_there_comes_first(here):
    assert place_of("first") == Path("runs/first") and place_of("a/first") == Path("a/first")
    assert place_of("second") == Path("second") and place_of("first", root="kept") == Path("first")
    shutil.copytree("kept", "first")
    assert place_of("first") == Path("first") and find_start("first").run is None
    with pytest.raises(InputError, match="there is no run folder nothing"):
        find_start("nothing")


def test_without_a_name_the_last_finished_run_that_fits_or_the_package_s(here):
    told: list[str] = []
    assert choose_start(None, "ink", told.append).path == (here / "runs/first").resolve()
    assert told == ["beginning with runs/first, the last finished run here; --run names another one"]
    (here / "runs/first/result.json").unlink()
    assert choose_start(None, "ink", told.append).path == find.shipped() and "no finished run here fits" in told[-1]
    assert find_classifier(None, told.append)[1].name == "adapted" and "left here last" in told[-1]
    shutil.rmtree(here / "runs")
    assert choose_start(None, None, told.append).path == find.shipped() and told[-1].startswith("no run here")
    with pytest.raises(InputError, match="no classes have been taught here yet"):
        find_classifier(None)


def test_a_run_that_was_never_taught_says_what_to_do(here):
    shutil.rmtree(here / "runs/first/adapted")
    with pytest.raises(InputError, match="autometa adapt --support FOLDER --run runs/first"):
        find_classifier("first")
