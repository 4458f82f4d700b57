"""A kept model: half precision, a checksum over all of it, recipes of its own, and what does not fit is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from autometa.errors import InputError
from autometa.models import compact
from autometa.models.compact import about, build, confidence_of, config_from, keep, load_kept
from autometa.models.model import Model
from autometa.runs.folder import CONFIDENCE, RunFolder
from autometa.runs.forms import FormError
from tests.models.small import CONFIG, trained


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOMETA_CACHE", str(root / "cache"))
        yield RunFolder.open(trained(root / "run"))


def test_only_rounding_is_lost(run, tmp_path):
    model, kept = Model.of(run), load_kept(keep(run, tmp_path / "kept"))
    assert (kept.model.config, kept.model.recipe, kept.model.data_hash) == (CONFIG, model.recipe, model.data_hash)
    assert kept.model.network == model.network and kept.confidence == {}
    assert torch.equal(kept.model.learned.theta, model.learned.theta.half().float())
    assert torch.equal(kept.model.learned.second, model.learned.second.sqrt().half().float().square())
    assert torch.equal(kept.model.learned.steps, model.learned.steps)
    assert model.learned.theta.abs().max() > 0 and model.learned.second.max() > 0
    again = keep(run, tmp_path / "again")
    assert (again / compact.TENSORS).read_bytes() == (tmp_path / "kept" / compact.TENSORS).read_bytes()


def test_pictures_may_be_read_otherwise_than_in_training(run, tmp_path):
    other = load_kept(keep(run, tmp_path / "kept", polarity="auto")).model.recipe
    assert other == replace(Model.of(run).recipe, polarity="auto") != Model.of(run).recipe


def test_weights_beyond_half_precision_are_refused(run, tmp_path, monkeypatch):
    model = Model.of(run)
    model.learned.theta[0] = 1e5
    monkeypatch.setattr(Model, "of", lambda folder: model)
    with pytest.raises(InputError, match="too large for float16"):
        keep(run, tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_what_was_measured_of_confidences_is_read_with_it(run, tmp_path):
    place = keep(run, tmp_path / "kept")
    (place / CONFIDENCE).write_text(json.dumps({"unmeasured": "too few classes"}))
    assert load_kept(place).confidence == confidence_of(place) == {"unmeasured": "too few classes"}
    (place / CONFIDENCE).write_text("[]")
    with pytest.raises(InputError):
        load_kept(place)


def test_a_network_is_told_by_config_and_genotype():
    told = json.loads(json.dumps(about(CONFIG, None)))
    assert config_from(told) == (CONFIG, None)
    with pytest.raises(FormError):
        config_from({**told, "genotype": []})
    with pytest.raises(InputError):
        config_from({**told, "config": {**told["config"], "filters": "many"}})


def test_a_network_is_built_for_images_as_the_recipe_makes_them(run):
    recipe = Model.of(run).recipe
    assert build(CONFIG, replace(recipe, size=16), None).image_shape == (1, 16, 16)


def test_another_version_and_a_changed_file_are_refused(run, tmp_path, monkeypatch):
    place = keep(run, tmp_path / "kept")
    data = json.loads((place / "data.json").read_text())
    (place / "data.json").write_text(json.dumps({**data, "data_hash": "another"}))
    with pytest.raises(InputError, match="does not match its checksum; fetch or make the model again"):
        load_kept(place)
    monkeypatch.setattr(compact, "VERSION", 3)
    keep(run, place)
    monkeypatch.undo()
    with pytest.raises(InputError, match="written by another version"):
        load_kept(place)
