"""The models inside the package: small, remade by its recipe, and as good as its README says."""

import io
import json
import re
import zipfile

import numpy as np
import pytest
from PIL import Image

import autometa
from autometa.algorithms.presets import preset
from autometa.algorithms.train import ReptileConfig
from autometa.api.recipes import recipe
from autometa.data import DataError
from autometa.data.formats.recognise import recognise
from autometa.data.meters import find_meters
from autometa.data.omniglot import characters, find_part
from autometa.models.find import PACKAGED, find_start, shipped
from autometa.train.config import from_json
from tests.estimator.drawings import photographed, shots, strokes

TASKS = 60
LEAST = {"characters": 0.95, "omniglot-5way": 0.88}
"""Of 5-way 1-shot tasks of evaluation characters, as files, by model; 60 tasks gave 0.98 and 0.92 when this was
written."""


@pytest.mark.parametrize("name", PACKAGED)
def test_models_are_small_and_complete(name):
    sizes = {path.name: path.stat().st_size for path in shipped(name).iterdir()}
    more = {"FONTS.md"} if name == "characters" else set()
    assert set(sizes) == {"README.md", "config.json", "confidence.json", "data.json", "model.safetensors"} | more
    assert sum(sizes.values()) < 520_000


METERS = ("camera-46", "lcd-first")
"""Meters that the model of meters was trained on, from two folds: it must at least read these."""
LEAST_OF_METERS = 0.8
"""From three pictures of each digit, as they stand first; 0.88 and more when this was written."""


def test_the_models_of_the_package_are_small_together():
    sizes = [sum(path.stat().st_size for path in shipped(name).iterdir()) for name in PACKAGED]
    assert len(sizes) == 3 and sum(sizes) < 1_500_000
    assert {path.name for path in shipped().parent.iterdir()} == set(PACKAGED)


@pytest.mark.parametrize("name", PACKAGED)
def test_the_recipe_of_a_model_makes_one_of_its_config(name):
    asked = recipe(name)
    kept = from_json(ReptileConfig, json.loads((shipped(name) / "config.json").read_text()))
    assert kept == preset("train", asked["preset"])
    recipes = {"characters": ("auto", "ink"), "meters": ("as-is", "stretch"), "omniglot-5way": ("auto", "crop")}
    model = find_start(name).model
    assert (model.recipe.polarity, model.recipe.fit) == recipes[name] and model.network.layout.count() <= 120_000


@pytest.mark.parametrize("name", PACKAGED)
def test_the_readme_of_a_model_tells_the_measured_figures(name):
    text = (shipped(name) / "README.md").read_text(encoding="utf-8")
    for score in recipe(name)["recorded"].values():
        assert f"{score['mean']:.2f} ± {score['ci95']:.2f}" in text
    measured = json.loads((shipped(name) / "confidence.json").read_text())
    assert f"`{measured['min_confidence']:g}`" in text
    for count in ("1-shot",) if name == "omniglot-5way" else ("1-shot", "5-shot"):
        found = measured[count]
        wanted = [found["accuracy"], *(found["refused"][sort] for sort in ("right", "wrong", "unknown"))]
        wanted += [found["calibration_error"]] if "calibration_error" in found else []
        row = re.search(rf"\| {count}" + r" \| ([\d.]+)" * len(wanted) + r" \|", text)
        assert [float(number) for number in row.groups()] == pytest.approx(wanted, abs=0.05)


@pytest.mark.parametrize("meter", METERS)
def test_meters_are_read_by_the_way_of_a_user(meter, tmp_path, monkeypatch):
    try:
        found = recognise(find_meters())
    except DataError as missing:
        pytest.skip(str(missing))
    monkeypatch.chdir(tmp_path)
    asked, answers = [], []
    for c in (c for c in found.classes if c.group == meter):
        digit = c.name.rpartition("/")[2]
        for number, image in enumerate(c.images):
            place = tmp_path / ("taught" if number < 3 else "asked") / digit / image.path.name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(image.path)
            if number >= 3:
                asked.append(place)
                answers.append(digit)
    taught = autometa.adapt("taught", quiet=True)
    assert taught.extra["model"] == "meters, inside autometa", "the pictures are tall"
    said = [name for _, name, *_ in taught.predict_files(asked)]
    assert np.mean([one == other for one, other in zip(said, answers, strict=True)]) >= LEAST_OF_METERS


@pytest.fixture(scope="module")
def evaluation():
    """Draws a task of Omniglot's evaluation characters: support, labels, queries, answers, all Pillow images."""
    try:
        source = find_part("evaluation")
    except DataError as missing:
        pytest.skip(str(missing))
    if source.is_dir():
        pytest.skip(f"{source} is extracted, this test reads the zip")
    found = characters(source, "evaluation")

    def task(seed, ways=5, queries=5):
        rng = np.random.default_rng(seed)
        support, asked = [], []
        with zipfile.ZipFile(source) as archive:
            for number in rng.choice(len(found), ways, replace=False):
                chosen = rng.permutation(found[number].files)[: 1 + queries]
                images = [Image.open(io.BytesIO(archive.read(file))) for file in chosen]
                support.append(images[0])
                asked += images[1:]
        return support, np.arange(ways), asked, np.repeat(np.arange(ways), queries)

    return task


@pytest.mark.parametrize("name", LEAST)
def test_unseen_omniglot_characters_by_the_way_of_a_user(evaluation, name):
    made, right = autometa.FewShotClassifier(name), []
    for seed in range(TASKS):
        support, labels, queries, answers = evaluation(seed)
        right.append(made.fit(support, labels).score(queries, answers))
    assert np.mean(right) >= LEAST[name]


def test_photographs_of_them_are_answered_nearly_as_well(evaluation):
    made, clear, seen = autometa.FewShotClassifier(), [], []
    for seed in range(10):
        support, labels, queries, answers = evaluation(seed)
        made.fit(support, labels)
        clear.append(made.score(queries, answers))
        photos = [photographed(np.asarray(image.convert("L"))) for image in queries]
        seen.append(made.score([255 - p if k % 2 else p for k, p in enumerate(photos)], answers))
    assert np.mean(seen) > np.mean(clear) - 0.1


def test_characters_of_the_built_in_strokes():
    made, right = autometa.FewShotClassifier(), []
    for seed in range(8):
        support, labels, queries, answers = shots(*strokes(seed=seed))
        right.append(made.fit(support, labels).score(queries, answers))
    assert np.mean(right) >= 0.8, "0.895 when this was written; chance is 0.2"
