"""Size, colour and polarity of a person's own images are the same for search, train, data info and data prepare."""

import shlex
from collections import Counter
from pathlib import Path

import pytest
import yaml

from autometa.data import ImageStore
from autometa.runs import RunFolder
from autometa.train.run_config import config_of
from autometa.train.tasks import Source
from tests.cli.driving import TRAIN, call, changed
from tests.cli.test_photos import QUICK, photos, settled

KINDS = {
    "colour": ({"size": 40, "colour": True}, ("colour", 32)),
    "ink": ({"size": 22}, ("ink", 20)),
    "night": ({"size": 40, "light": False}, ("grey", 28)),
}


def of_data(found):
    return found["data"]["variant"], found["data"]["image_size"]


def trained(*words):
    answer = call("train", "reptile-omniglot", *words, "--print-config")
    assert answer.code == 0, answer.err
    return yaml.safe_load(answer.out)


@pytest.mark.parametrize("kind", KINDS)
def test_one_place_decides(tmp_path, kind):
    how, wanted = KINDS[kind]
    mine = photos(tmp_path / "my_photos", classes=12, images=3, **how)
    found = settled("--data", mine)
    assert of_data(found) == wanted
    next_words = call("data", "info", mine).out.rpartition("autometa search metanas ")[2]
    assert settled(*shlex.split(next_words)) == found, "the command that data info names is the search without it"
    made = call("data", "prepare", mine, "--json").json
    store = ImageStore.open(made["store"])
    polarity = "inverted" if wanted[0] == "ink" else "as-is"
    assert (store.channels, store.size, store.recipe.polarity) == (3 if kind == "colour" else 1, wanted[1], polarity)
    assert of_data(settled(*shlex.split(made["option"]))) == wanted
    if kind == "colour":
        assert of_data(settled("--data", mine, "--preset", "quick")) == wanted
        assert of_data(settled("auto-meta", "--data", mine, "--preset", "quick")) == wanted
        assert of_data(trained("--data", mine)) == wanted
        (tmp_path / "mine.yaml").write_text(f"data: {{name: {mine}}}\n")
        assert of_data(settled("--config", tmp_path / "mine.yaml")) == wanted


def test_a_preset_that_serves_stays_what_it_is(tmp_path):
    mine = photos(tmp_path / "drawings", classes=40, images=16, size=14)
    found = settled("--data", mine, "--preset", "quick")
    plain = settled("--preset", "quick")
    assert found == plain | {"data": plain["data"] | {"name": str(mine)}}
    assert of_data(trained("--data", mine)) == ("ink", 28)
    few = photos(tmp_path / "few", classes=12, images=4, size=40)
    found = settled("--data", few, "--preset", "quick")
    assert of_data(found) == ("ink", 14) and (found["data"]["rotations"], found["inner"]["shots"]) == (4, 4)
    said = settled("--data", few, "--preset", "quick", "--data.variant", "grey", "--data.image_size", "18")
    assert of_data(said) == ("grey", 18)


def test_the_commands_of_the_readme_run(tmp_path):
    mine = photos(tmp_path / "my_photos", classes=12, images=4, size=24, colour=True)
    (mine / "class0/9.png").write_bytes(b"no picture")
    assert call("data", "info", "my_photos/").code == 0
    made = call("data", "prepare", "my_photos/", "--skip-bad")
    assert made.code == 0 and "9.png" in made.out
    (mine / "class0/9.png").unlink()
    words = ["metanas", "--preset", "quick", "--data", "my_photos/", *QUICK]
    answer = call("search", *words, "--out", "run")
    assert answer.code == 0 and "taken as in colour, 20 x 20 pixels" in answer.err, answer.err
    config = config_of(RunFolder.open("run"))
    assert (config.data.variant, config.data.image_size, config.inner.ways) == ("colour", 20, 5)
    (Path("run") / "result.json").unlink()
    assert call("search", *words, "--out", "run", "--resume", "-q").code == 0, "what was suited is known again"
    contrary = call("search", *words, "--out", "run", "--resume", "--data.image_size", "14")
    assert contrary.code == 2 and "data.image_size 20, the command line says 14" in contrary.err


def test_tasks_within_a_group(tmp_path):
    """Folders of class folders are groups: a meter, an alphabet. Turned they all have enough classes for two ways."""
    for group, classes in (("one", 4), ("two", 3), ("three", 1)):
        photos(tmp_path / "mine" / group, classes=classes, images=5, size=14)
    words = ["train", "reptile-omniglot", "--data", tmp_path / "mine", *TRAIN[2:], "--data.tasks", "within-group"]
    answer = call(*words, "--rotations", "4", "--out", "run", "--json")
    assert answer.code == 0 and "in no task" not in answer.err, answer.err
    config = config_of(RunFolder.open("run"))
    assert config.data.tasks == "within-group"
    source = Source.open(config.data)
    for episodes in (source.training(config.inner, "test", 0), source.testing(2, config.test)):
        classes = episodes.classes[episodes.tasks(range(100)).chosen.numpy() % len(episodes.classes)]
        assert all(source.store.groups[a] == source.store.groups[b] for a, b in classes)
    most = 4 * max(Counter(source.store.groups[c] for c in source.split.train).values())
    answer = call(*changed(words, **{"inner.ways": most + 1}), "--rotations", "4", "--out", "none")
    assert (
        answer.code == 2
        and f"{most + 1} ways need as many classes in a group" in answer.err
        and answer.err.count("\n") == 1
    )
    answer = call(*words[:-1], "alphabet", "--out", "none")
    assert answer.code == 2 and "data.tasks must be any or within-group, not alphabet" in answer.err
    assert not (tmp_path / "none").exists()
