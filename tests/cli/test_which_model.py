"""adapt, predict, export and the estimator agree on which model is meant: the last finished run that fits."""

import os
import shutil
import warnings

import numpy as np
import pytest
from PIL import Image

import autometa
from autometa.data import Recipe
from autometa.data.kinds import kind_of, unlike
from autometa.models.find import choose_start
from autometa.runs import RunFolder
from tests.cli.driving import LENGTH, TEST, call, changed, class_folders
from tests.cli.test_photos import photos

TINY = [*changed(LENGTH, **{"meta.iterations": 1}), *TEST, "--inner.ways", "2", "--inner.shots", "2", "--inner.steps"]
TINY += ["1", "--inner.batch", "2", "--filters", "2", "--rotations", "4", "-q"]


@pytest.fixture(scope="module")
def made(tmp_path_factory, own_cache):
    """A finished run on drawings, one on colour photos."""
    root = tmp_path_factory.mktemp("made")
    for name, colour in (("drawings", False), ("colours", True)):
        images = photos(root / f"of {name}", classes=6, images=4, colour=colour)
        words = ["--data", images, "--data.image_size", "8", "--data.variant", "colour" if colour else "ink"]
        answer = call("train", "reptile-omniglot", *words, *TINY, "--out", root / name)
        assert answer.code == 0, answer.err
    (root / "latest").unlink()
    return root


@pytest.fixture
def runs(made, tmp_path):
    """`runs(NAMES)`: copies in ./runs, the last one finished last, and no link there, as on a disk without links."""

    def copied(*names):
        for age, name in enumerate(reversed(names)):
            run = shutil.copytree(made / name, tmp_path / "runs" / name)
            for file in run.glob("*.json"):
                os.utime(file, (2e9 - 60 * age, 2e9 - 60 * age))
        class_folders(tmp_path / "drawn")
        photos(tmp_path / "coloured", classes=2, images=1, colour=True)

    return copied


def test_the_last_finished_run_that_fits(runs):
    runs("drawings", "colours")
    for support, model in (("coloured", "runs/colours"), ("drawn", "runs/drawings")):
        found = call("adapt", "--support", support, "-q", "--json")
        assert found.code == 0 and (found.json["model"], found.json["warnings"]) == (model, []), found
        assert found.err == "" and found.json["saved"].endswith(f"{model}/adapted")
        asked = call("predict", f"{support}/{os.listdir(support)[0]}", "-q", "--json").json
        assert {row["classifier"] for row in asked} == {f"{model}/adapted"}, "what was taught last answers"
    assert "Model  runs/drawings\n" in call("adapt", "--support", "drawn", "-q").out
    taught = autometa.adapt("coloured", quiet=True)
    assert taught.extra["model"] == "runs/colours" and taught.recipe.channels == 3
    assert autometa.predict("drawn/bar", quiet=True).classifier.parts[-2:] == ("colours", "adapted")
    with pytest.warns(UserWarning, match="the pictures are grey, the model was trained on pictures in colour"):
        assert autometa.FewShotClassifier("latest").fit(["drawn/bar/0.png", "drawn/blob/0.png"], ["a", "b"])


def test_an_unfinished_run_is_passed_over(runs, tmp_path):
    runs("colours", "drawings")
    (tmp_path / "runs/drawings/result.json").unlink()
    with RunFolder.open("runs/drawings") as busy:
        busy.acquire()
        (tmp_path / "runs/latest").symlink_to("drawings")
        found = call("adapt", "--support", "coloured", "--json")
        assert found.json["model"] == "runs/colours" and "the last finished run here" in found.err
        found = call("adapt", "--support", "drawn", "--json")
        assert found.json["model"] == "characters, inside autometa" and "no finished run here fits" in found.err
        named = call("adapt", "--support", "drawn", "--run", "latest", "--json")
        assert named.json["model"] == "runs/drawings", "a run that is named is taken as it is"


def test_pictures_of_another_kind_are_told(runs):
    runs("drawings")
    for words in ([], ["--run", "runs/drawings"], ["-q"]):
        found = call("adapt", "--support", "coloured", *words, "--json")
        assert found.code == 0 and found.json["model"] == "runs/drawings", "nearer than the model of the package"
        (told,) = found.json["warnings"]
        assert "pictures are in colour" in told and "drawings" in told
        assert ("pictures are in colour" in found.err) is ("-q" not in words)
    assert "the pictures are in colour" in call("adapt", "--support", "coloured", "-q").out
    added = call("adapt", "--support", "coloured", "--add", "--json").json
    assert added["warnings"] == [told] and added["model"] == "runs/drawings"
    shutil.rmtree("runs")
    found = call("adapt", "--support", "coloured", "--json")
    assert found.json["model"].startswith("characters") and found.json["warnings"] == [told]


def test_the_estimator_tells_it_too(runs):
    runs("colours")
    coloured = [f"coloured/class{k}/0.png" for k in range(2)]
    with pytest.warns(UserWarning, match="the pictures are in colour, the model was trained on grey pictures"):
        taught = autometa.FewShotClassifier().fit(coloured, ["a", "b"])
    assert taught.classifier_.extra["model"] == "characters, inside autometa"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        autometa.FewShotClassifier("runs/colours").fit([np.array(Image.open(path)) for path in coloured], ["a", "b"])
        autometa.FewShotClassifier().fit(["drawn/bar/0.png", "drawn/blob/0.png"], ["a", "b"])


def test_kinds():
    light, dark = np.full((3, 3, 9, 9), 250, np.uint8), np.full((3, 3, 9, 9), 5, np.uint8)
    coloured = light.copy()
    coloured[:, 0] = 90
    assert (kind_of(light), kind_of(dark), kind_of(coloured)) == ("ink", "grey", "colour")
    drawings, colours = Recipe(), Recipe(3, 32, "box", "as-is")
    assert [unlike(kind, drawings) is None for kind in ("ink", "grey", "colour")] == [True, False, False]
    assert [unlike(kind, colours) is None for kind in ("ink", "grey", "colour")] == [False, False, True]
    assert unlike("grey", Recipe(1, 28, "box", "auto")) is None


def test_a_folder_that_is_no_run_or_damaged_is_passed_over(runs, tmp_path):
    runs("drawings", "colours")
    (tmp_path / "runs/colours/data.json").write_text("5")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/config.json").write_text("{}")
    assert choose_start(None, "ink").run.path.name == "drawings"
    assert RunFolder.open("latest").path.name == "colours", "without links, the run begun or resumed last"
