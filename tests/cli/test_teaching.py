"""adapt and predict before any search, more classes for a classifier, and "none of these"."""

import shutil

import pytest

import autometa
from autometa.models.classifier import Classifier
from tests.cli import driving
from tests.cli.driving import call
from tests.estimator.drawings import saved, shots, strokes


@pytest.fixture
def characters(tmp_path):
    """`some/NAME` with a drawing of each of four characters, `other/e` with a fifth, `new/NAME` to ask about."""
    support, labels, queries, answers = shots(*strokes())
    for k, name in enumerate("abcde"):
        saved(support[labels == k], tmp_path / ("other" if name == "e" else "some") / name)
        saved(queries[answers == k], tmp_path / "new" / name)
    return tmp_path


def answers(words, names):
    """The answers by class of the images asked about."""
    return {name: [row["class"] for row in call("predict", f"new/{name}", *words, "--json").json] for name in names}


def test_before_any_search_the_model_of_the_package_learns(characters):
    taught = call("adapt", "--support", "some")
    assert taught.code == 0 and "characters model inside autometa" in taught.err
    assert "Learned 4 classes" in taught.out and "Next   autometa predict IMAGE... --run adapted\n" in taught.out
    found = answers([], "abcd")
    right = sum(answer == name for name, given in found.items() for answer in given)
    assert right >= 12, "of 20; chance is 5"
    told = call("predict", "new/a", "-q")
    assert told.code == 0 and told.err == "" and "then" in told.out
    assert "answering by adapted/" in call("predict", "new/a").err


def test_a_class_is_added_and_the_earlier_ones_stay(characters):
    assert call("adapt", "--support", "some", "-q").code == 0
    before = answers(["-q"], "abcd")
    added = call("adapt", "--support", "other", "--add", "--json", "-q")
    assert added.code == 0, added.err
    came = {"model": "characters, inside autometa", "warnings": []}
    assert added.json == {"classes": list("abcde"), "images": dict.fromkeys("abcde", 1), "saved": "adapted", **came}
    after = answers(["-q"], "abcde")
    assert after["e"].count("e") >= 3
    kept = [new == old for name in before for new, old in zip(after[name], before[name], strict=True)]
    assert sum(kept) >= 12, "of 20"
    shutil.move("other/e", "some/e")
    assert call("adapt", "--support", "some", "--out", "whole", "-q").code == 0
    assert answers(["--run", "whole"], "abcde") == after, "as if all had been taught at once"
    more = call("adapt", "--support", "new", "--add", "--run", "whole", "--out", "more", "--json").json
    assert more == {"classes": list("abcde"), "images": dict.fromkeys("abcde", 6), "saved": "more", **came}
    assert Classifier.load("whole").lesson.labels.bincount().tolist() == [1] * 5


def test_a_picture_counts_once_however_often_it_is_given(characters):
    assert call("adapt", "--support", "some", "-q").code == 0
    shutil.copytree("some/a", "other/a")
    shutil.copy("other/e/000.png", "other/e/copy.png")
    shutil.copy("some/b/000.png", "other/e/b.png")
    told = call("adapt", "--support", "other", "--add", "--json")
    assert told.json["images"] == {**dict.fromkeys("abcd", 1), "e": 2}, "as another class it is another picture"
    assert "not counted again: 1 of a, 1 of e" in told.err
    whole = Classifier.load("adapted")
    again = call("adapt", "--support", "other", "--add", "--json")
    assert again.json == told.json and "3 of e" in again.err
    assert Classifier.load("adapted").phi.equal(whole.phi)


def test_none_of_these(characters):
    assert call("adapt", "--support", "some", "-q").code == 0
    asked = call("predict", "new/e", "new/a", "--min-confidence", "0.6", "--json").json
    assert {row["class"] == "none of these" for row in asked} == {row["probability"] < 0.6 for row in asked}
    assert all((row["class"] == "none of these") == (row["probability"] < 0.6) for row in asked)
    assert all(set(row["probabilities"]) == set("abcd") for row in asked)
    told = call("predict", "new/e", "--min-confidence", "1")
    assert told.out.count("none of these") == 5 and told.out.count("at best") == 5
    measured = call("predict", "new/e", "--min-confidence", "calibrated", "--json")
    assert measured.code == 0 and len(measured.json) == 5
    for wrong in ("-0.1", "often"):
        answer = call("predict", "new/e", f"--min-confidence={wrong}", "-q")
        assert answer.code == 2 and "between 0 and 1, or be calibrated" in answer.err


def test_the_last_run_comes_before_the_model_of_the_package(characters):
    support = driving.class_folders(characters / "photos", ("bar", "blob"))
    assert call("adapt", "--support", "some", "-q").code == 0
    assert call("train", "reptile-omniglot", *driving.TRAIN, "-q").code == 0
    own = call("predict", "new/a")
    assert own.code == 0 and "adapted/" in own.err, "the run was not taught yet"
    taught = call("adapt", "--support", support)
    assert taught.code == 0 and "inside autometa" not in taught.err and "latest" not in taught.out
    assert set(call("predict", "new/a", "--json").json[0]["probabilities"]) == {"bar", "blob"}
    assert call("predict", "new/a", "--run", "latest", "-q").code == 0
    assert set(call("predict", "new/a", "--run", "adapted", "--json").json[0]["probabilities"]) == set("abcd")


def test_nothing_taught_is_told(characters):
    for words in (("predict", "new/a"), ("adapt", "--support", "other", "--add")):
        answer = call(*words)
        assert answer.code == 2 and "first: autometa adapt" in answer.err and answer.err.count("\n") == 1
    answer = call("adapt", "--support", "other", "-q")
    assert answer.code == 2 and "one class" in answer.err and not (characters / "adapted").exists()


def test_the_words_in_python_are_the_estimator(characters):
    made = autometa.adapt("some", quiet=True)
    rows = autometa.predict("new/a", quiet=True)
    other = autometa.FewShotClassifier().fit(sorted((characters / "some").rglob("*.png")), list("abcd"))
    assert list(other.classes_) == list(made.names)
    assert other.predict(sorted((characters / "new/a").glob("*.png"))).tolist() == [name for _, name, *_ in rows]
    loaded = autometa.FewShotClassifier.load("adapted")
    assert loaded.predict_proba([path for path, *_ in rows]).max(axis=1) == pytest.approx([p for *_, p, _ in rows])
