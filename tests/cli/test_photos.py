"""A person's own photos: a search whose settings come from the images, within a budget, from an earlier run."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from autometa.api.photos import SECONDS
from autometa.api.running import iterations
from autometa.models.model import learned_of
from autometa.runs import RunFolder, load_latest
from autometa.runs.files import read_json
from autometa.train.run_config import config_of
from tests.cli.driving import call, same_outcome

SMALL = [
    "--channels",
    "3",
    "--cells",
    "2",
    "--reductions",
    "1",
    "--nodes",
    "1",
    "--inner.steps",
    "1",
    "--meta.batch",
    "2",
]
SHORT = [
    "--meta.iterations",
    "4",
    "--warmup",
    "1",
    "--test.tasks",
    "3",
    "--test.steps",
    "2",
    "--test_weight_steps",
    "1",
]
QUICK = [*SMALL, *SHORT]


def photos(root, classes=6, images=4, size=16, colour=False, light=True):
    """Class folders of pictures with a pattern each; dark on light, light on dark, or coloured."""
    for c in range(classes):
        draw = np.random.default_rng(c)
        pattern = draw.random((size, size, 3)) < 0.3
        pattern = pattern if colour else pattern[..., :1].repeat(3, axis=2)
        for n in range(images):
            pixels = np.where(np.roll(pattern, n, axis=0), 10, 240 if light else 60).astype(np.uint8)
            pixels = pixels if light else 255 - np.where(pixels == 10, 10, 240).astype(np.uint8)
            (root / f"class{c}").mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels if colour else pixels[..., 0]).save(root / f"class{c}" / f"{n}.png")
    return root


def settled(*words):
    answer = call("search", *words, "--print-config")
    assert answer.code == 0, answer.err
    import yaml

    return yaml.safe_load(answer.out)


@pytest.fixture
def mine(tmp_path):
    return photos(tmp_path / "my_photos")


def test_settings_come_from_the_images(tmp_path, mine):
    found = settled("--data", mine)
    data = {"image_size": 14, "variant": "ink", "rotations": 4, "name": str(mine)}
    assert {name: found["data"][name] for name in data} == data
    assert (found["inner"]["ways"], found["inner"]["shots"], found["test"]["queries"]) == (5, 4, 3)
    grey = settled("--data", photos(tmp_path / "night", size=40, light=False))
    assert (grey["data"]["variant"], grey["data"]["image_size"]) == ("grey", 28)
    many = settled("--data", photos(tmp_path / "many", classes=36, images=12, size=40, colour=True))
    assert (many["data"]["variant"], many["data"]["image_size"], many["data"]["rotations"]) == ("colour", 32, 1)
    assert (many["inner"]["ways"], many["inner"]["shots"], many["test"]["queries"]) == (5, 10, 5)


def test_what_is_said_comes_first(mine):
    found = settled("--data", mine, "--rotations", "1", "--inner.shots", "2", "--data.image_size", "10", "--seed", "3")
    assert (found["data"]["rotations"], found["inner"]["ways"]) == (1, 3), "three classes train and three are kept back"
    assert (found["inner"]["shots"], found["data"]["image_size"], found["seed"]) == (2, 10, 3)
    assert settled("--data", mine, "--preset", "photos") == settled("--data", mine)


def test_turns_that_cannot_be(mine):
    for turns, sentence in (
        ("2", "data.rotations must be 1, 4 or null, not 2"),
        ("some", "must be a whole number or null"),
    ):
        answer = call("search", "--data", mine, "--rotations", turns)
        assert answer.code == 2 and sentence in answer.err and answer.err.count("\n") == 1
    answer = call("search", "--data", mine, "--preset", "quick", "--inner.ways", "5", "--rotations", "1")
    assert answer.code == 2 and "--rotations 4" in answer.err


def test_the_length_follows_from_the_images_and_the_time_asked_for(tmp_path, mine):
    short, usual, long = (
        settled("--data", photos(tmp_path / "p", size=40), *words)
        for words in (["--time-budget", "100s"], [], ["--time-budget", "10m"])
    )
    lengths = [found["meta"]["iterations"] for found in (short, usual, long)]
    assert lengths[0] < lengths[1] < lengths[2] and abs(lengths[1] / lengths[0] - SECONDS / 100) < 0.2
    assert all(f["warmup"] == int(0.4 * f["meta"]["iterations"]) for f in (short, usual, long))


def test_three_commands(mine, tmp_path):
    told = call("search", "--data", f"{mine.name}/", *QUICK)
    assert told.code == 0, told.err
    assert "6 classes with 4 images each, taken as dark on light, 14 x 14 pixels" in told.err
    assert "each turn a class of its own" in told.err and "4 classes to search on, 2 kept back" in told.err
    assert "at most" not in told.err, "as long as was asked for"
    assert "class class0 has only 4 images" in told.err
    support = photos(tmp_path / "new_classes", classes=5, images=1)
    assert call("adapt", "--support", "new_classes/").code == 0
    found = call("predict", "new_classes/class1/0.png", "--json")
    assert found.code == 0 and set(found.json[0]["probabilities"]) == {path.name for path in support.iterdir()}


def test_colour_photos(tmp_path):
    photos(tmp_path / "colour", classes=5, images=2, size=30, colour=True)
    answer = call("search", "--data", "colour", *QUICK, "--out", "run", "--json", "-q")
    assert answer.code == 0, answer.err
    assert read_json(tmp_path / "run/data.json")["image_shape"] == [3, 28, 28]


@pytest.mark.parametrize(
    "classes, images, sentence",
    [(4, 4, "holds 4 classes, a search needs at least 5"), (6, 1, "has 1 image, a search needs at least 2")],
)
def test_too_little_is_refused_with_how_much_is_needed(tmp_path, classes, images, sentence):
    photos(tmp_path / "few", classes, images)
    answer = call("search", "--data", "few")
    assert (answer.code, answer.err.count("\n"), answer.out) == (2, 1, "") and sentence in answer.err
    assert not (tmp_path / "runs").exists()


def test_the_schedule_ends_where_the_time_does_instead_of_being_cut_off(mine):
    answer = call("search", "--data", mine, *SMALL, *SHORT[4:], "--time-budget", "3s", "--out", "run")
    assert answer.code == 0, answer.err
    done = RunFolder.open("run")
    config = config_of(done)
    assert f"about {config.meta.first_planned} meta-iterations" in answer.err
    assert iterations(done) == {"done": config.meta.iterations, "planned": config.meta.iterations}
    assert config.warmup <= config.meta.iterations


def test_auto_meta_takes_them_too(mine):
    found = call("search", "auto-meta", "--data", mine, "--print-config").out
    assert "rotations: 4" in found and "image_size: 14" in found and "ways: 5" in found


def test_networks_within_a_budget(mine, tmp_path):
    words = ["--data", mine, *SHORT, "--nodes", "2", "--inner.steps", "1", "--max-params", "2k", "--max-macs", "0.07M"]
    answer = call("search", *words, "--out", "run")
    assert answer.code == 0, answer.err
    assert "to make room within 2,000 weights and 70,000 MACs:" in answer.err
    assert "keeps to 2,000 parameters and 70,000 MACs" in answer.out
    run = RunFolder.open("run")
    tasks = load_latest(run.checkpoints / "test").tensors
    assert int(tasks["parameters"].max()) <= 2000 and int(tasks["macs"].max()) <= 70_000
    assert run.result["search_network"]["parameters"] > 2000, "the search itself is not limited"
    config = config_of(run)
    assert (config.max_params, config.max_macs) == (2000, 70_000) and config.channels < 12
    photos(tmp_path / "new", classes=3, images=1)
    assert call("adapt", "--support", "new").code == 0


def test_a_budget_too_small_or_senseless_is_refused(mine, tmp_path):
    fixed = ["--data", mine, "--channels", "8", "--cells", "2", "--reductions", "1"]
    for words, sentence in (
        (["search", *fixed, "--max-params", "500"], "smallest network that this search can be pruned to has"),
        (["search", "--data", mine, "--max-params", "20"], "smallest network"),
        (["search", "--data", mine, "--max-params", "lots"], "--max-params must be a number such as 50000, 50k or 2M"),
        (["search", "--data", mine, "--max-macs", "0"], "--max-macs must be a number"),
        (["search", "auto-meta", "--preset", "quick", "--max-macs", "9k"], "smallest cell of the space"),
        (["train", "maml-omniglot", "--data", "strokes:6x6x6", "--max-params", "50k"], "has 112,"),
    ):
        answer = call(*words)
        assert (answer.code, answer.err.count("\n"), answer.out) == (2, 1, ""), answer
        assert sentence in answer.err
    assert not (tmp_path / "runs").exists()


@pytest.fixture(scope="module")
def earlier(tmp_path_factory, own_cache):
    """A finished search on own photos."""
    root = tmp_path_factory.mktemp("earlier")
    answer = call("search", "--data", photos(root / "photos"), *QUICK, "--out", root / "run", "-q")
    assert answer.code == 0, answer.err
    return root / "run"


def test_a_search_begins_where_another_ended(mine, earlier, tmp_path):
    copy = tmp_path / "earlier"
    shutil.copytree(earlier, copy)
    words = ["--data", mine, *QUICK, "--data.image_size", "12", "--inner.ways", "3"]
    answer = call("search", *words, "--init", copy, "--meta.iterations", "0", "--warmup", "0", "--out", "still")
    assert answer.code == 2 and "given twice" in answer.err
    words = [*words[:2], *SMALL, *SHORT[4:], "--data.image_size", "12", "--inner.ways", "3", "--inner.batch", "6"]
    zero = ["--meta.iterations", "0", "--warmup", "0"]
    answer = call("search", *words, *zero, "--init", copy, "--out", "still")
    assert answer.code == 0 and "had learned after 4 meta-iterations" in answer.err, answer.err
    folders = RunFolder.open(copy), RunFolder.open("still")
    networks = config_of(folders[0]).build((1, 14, 14)), config_of(folders[1]).build((1, 12, 12))
    before, after = (learned_of(folder, network) for folder, network in zip(folders, networks, strict=True))
    old, new = networks[0].layout.unpack(before.theta), networks[1].layout.unpack(after.theta)
    for name, value in old.items():
        assert new[name].equal(value[:3] if name.startswith("head") else value), name
    assert after.steps.equal(before.steps) and float(after.second.sum()) > 0, "Adam goes on too"

    long = ["--meta.iterations", "3", "--warmup", "1"]
    assert call("search", *words, *long, "--init", copy, "--out", "whole", "-q").code == 0
    assert call("search", *words, *long, "--init", copy, "--out", "parts", "-q").code == 0
    shutil.rmtree(copy)
    parts = tmp_path / "parts"
    (parts / "result.json").unlink()
    for phase in ("search", "test"):
        shutil.rmtree(parts / "checkpoints" / phase)
    assert call("search", "--resume", parts, "-q").code == 0, "the run it began from is gone"
    assert same_outcome(tmp_path / "whole", parts)
    about = json.loads(next((parts / "init").glob("step-*/state.json")).read_text())
    assert about["state"]["run"] == str(copy) and about["state"]["iterations"] == 4


def test_an_earlier_run_lends_its_shape_and_settings(mine, earlier):
    found = settled("--data", mine, "--init", earlier)
    assert (found["channels"], found["cells"], found["nodes"], found["init"]) == (3, 2, 1, str(earlier))
    again = settled("--init", earlier, "--meta.iterations", "9")
    assert again["meta"]["iterations"] == 9 and again["data"] == settled("--resume", earlier)["data"]


def test_what_does_not_fit_an_earlier_run_is_named(mine, earlier, tmp_path):
    colour = photos(tmp_path / "colour", classes=5, images=2, colour=True)
    for words, sentence in (
        (["--data", mine, "--init", earlier, "--channels", "5"], "has channels 3, the new run 5"),
        (["--preset", "quick", "--init", earlier], "has channels 3, the new run 8"),
        (["--data", colour, "--data.variant", "colour", "--init", earlier], "channels of 1, the new run 3"),
        (["--init", tmp_path / "nowhere"], "no run folder"),
        (["auto-meta", "--init", earlier], "holds a metanas search, not an auto-meta search"),
    ):
        answer = call("search", *words)
        assert (answer.code, answer.err.count("\n"), answer.out) == (2, 1, "") and sentence in answer.err, answer
    assert not (tmp_path / "runs").exists()
