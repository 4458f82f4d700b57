"""FewShotClassifier: labels, adding classes, refusing to answer, saving."""

import subprocess
import sys

import numpy as np
import pytest
import torch

import autometa
from autometa.errors import InputError
from autometa.estimator import fitting
from autometa.models.classifier import Classifier, learn
from autometa.models.find import find_start
from autometa.train.frozen import frozen_statistics
from tests.estimator.drawings import saved, shots, strokes

NAMES = np.array(["ka", "ki", "ku", "ke", "ko"])


@pytest.mark.parametrize("labels", [NAMES, np.arange(10, 15), np.arange(5.0), NAMES.astype(object)])
def test_labels_come_back_as_they_were_given(labels, drawn):
    made = autometa.FewShotClassifier(steps=5).fit(drawn[0], labels[drawn[1]])
    assert made.classes_.tolist() == sorted(labels.tolist())
    found = made.predict(drawn[2])
    assert found.dtype.kind == np.array(labels.tolist()).dtype.kind and set(found.tolist()) <= set(labels.tolist())
    order = np.argsort(made.predict_proba(drawn[2]), axis=1)[:, -1]
    assert np.array_equal(made.classes_[order], found)


def test_probabilities_add_up_and_do_not_depend_on_the_other_images(taught, drawn):
    together = taught.predict_proba(drawn[2])
    np.testing.assert_allclose(together.sum(axis=1), 1.0, rtol=1e-12)
    alone = np.concatenate([taught.predict_proba(drawn[2][i : i + 1]) for i in range(4)])
    np.testing.assert_allclose(together[:4], alone, rtol=1e-4, atol=1e-5)


def test_a_seed_repeats_and_another_one_does_not(drawn):
    def rows(state):
        return (
            autometa.FewShotClassifier("omniglot-5way", steps=3, random_state=state)
            .fit(*drawn[:2])
            .predict_proba(drawn[2])
        )

    assert np.array_equal(rows(None), rows(None)) and np.array_equal(rows(4), rows(4))
    assert not np.array_equal(rows(4), rows(5))
    assert np.array_equal(rows(np.random.RandomState(1)), rows(np.random.RandomState(1)))


def test_partial_fit_is_one_fit_with_all_images(drawn):
    support, labels, queries, _ = drawn
    parts = autometa.FewShotClassifier(steps=5).fit(support[:2], NAMES[labels[:2]])
    parts.partial_fit(support[3:], NAMES[labels[3:]]).partial_fit(support[2:3], NAMES[labels[2:3]])
    whole = autometa.FewShotClassifier(steps=5).fit(support, NAMES[labels])
    assert parts.classes_.tolist() == sorted(NAMES)
    assert np.array_equal(parts.predict_proba(queries), whole.predict_proba(queries))


def test_a_class_more_leaves_the_earlier_ones_known(drawn):
    support, labels, queries, answers = drawn
    made = autometa.FewShotClassifier().fit(support[:4], labels[:4])
    earlier = answers < 4
    before = made.score(queries[earlier], answers[earlier])
    made.partial_fit(support[4:], labels[4:])
    assert before > 0.6 and made.score(queries, answers) > 0.5, "chance is 0.25 and 0.2"
    assert made.score(queries[earlier], answers[earlier]) > before - 0.2


def test_frozen_statistics_are_those_of_training_and_stay(drawn, monkeypatch, tmp_path):
    support, labels, queries, _ = drawn
    start = find_start().model
    random = torch.Generator().manual_seed(0)
    seen = torch.randint(0, 256, (64, 1, 28, 28), generator=random, dtype=torch.uint8)
    still = frozen_statistics(start.network, start.learned.theta, seen)
    monkeypatch.setattr(fitting, "frozen_of", lambda config, network, theta: still)
    made = autometa.FewShotClassifier(steps=3, statistics="frozen").fit(support[:4], labels[:4])
    assert all(torch.equal(a, b) for a, b in zip(made.classifier_.statistics, still, strict=True))
    plain = autometa.FewShotClassifier(steps=3).fit(support[:4], labels[:4])
    assert not np.allclose(made.predict_proba(queries), plain.predict_proba(queries), atol=1e-3)
    again = autometa.FewShotClassifier.load(made.save(tmp_path / "kept"))
    assert again.statistics == "frozen" and again.classifier_.frozen
    assert np.array_equal(again.predict_proba(queries), made.predict_proba(queries))
    monkeypatch.setattr(fitting, "frozen_of", None)  # what is known is not measured again
    more = again.partial_fit(support[4:], labels[4:])
    assert more.classifier_.frozen and torch.equal(more.classifier_.statistics[0], still[0])
    whole = learn(start, *taught_images(more), steps=3, frozen=still)
    assert torch.equal(more.classifier_.phi, whole.phi)


def taught_images(made):
    """The fitted images and labels, and names."""
    lesson = made.classifier_.lesson
    return lesson.images, lesson.labels, made.classifier_.names


def test_other_statistics_are_refused(drawn):
    with pytest.raises(InputError, match="statistics must be support or frozen, not 'batch'"):
        autometa.FewShotClassifier(statistics="batch").fit(*drawn[:2])


def test_partial_fit_takes_classes_as_the_convention_has_it(drawn):
    support, labels, *_ = drawn
    made = autometa.FewShotClassifier(steps=2)
    with pytest.raises(InputError, match="label 4 is none of the classes"):
        made.partial_fit(support, labels, classes=[0, 1, 2, 3])
    assert made.partial_fit(support[:3], labels[:3], classes=range(5)).classes_.tolist() == [0, 1, 2]
    with pytest.raises(InputError, match="give all alike"):
        made.partial_fit(support[3:], NAMES[labels[3:]])


@pytest.mark.parametrize(("labels", "none"), [(NAMES, "none of these"), (np.arange(5), -1), (np.arange(5.0), -1)])
def test_none_of_these_where_confidence_is_low(labels, none, drawn):
    made = autometa.FewShotClassifier(steps=5).fit(drawn[0], labels[drawn[1]])
    sure = made.predict_proba(drawn[2]).max(axis=1)
    least = float(np.median(sure))
    always = made.predict(drawn[2])
    found = made.set_params(min_confidence=least).predict(drawn[2])
    assert np.array_equal(found == none, sure < least) and 0 < (found == none).sum() < len(found)
    assert np.array_equal(found[sure >= least], always[sure >= least])
    assert (made.set_params(min_confidence=1.0, none_label="?").predict(drawn[2]) == "?").all()
    assert always.dtype.kind == found.dtype.kind


def test_the_threshold_that_was_measured(taught, drawn):
    least = taught.classifier_.extra["confidence"]["min_confidence"]
    sure = taught.predict_proba(drawn[2]).max(axis=1)
    found = taught.set_params(min_confidence="calibrated").predict(drawn[2])
    assert np.array_equal(found == -1, sure < least)


def test_saved_and_loaded_it_goes_on(taught, drawn, tmp_path):
    taught.set_params(min_confidence=0.4, none_label="?", random_state=3).fit(drawn[0], NAMES[drawn[1]]).save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["classifier.safetensors"]
    again = autometa.FewShotClassifier.load(tmp_path)
    assert again.get_params() == {**taught.get_params(), "model": str(tmp_path)}
    assert again.classes_.tolist() == sorted(NAMES)
    assert np.array_equal(again.predict_proba(drawn[2]), taught.predict_proba(drawn[2]))
    more = drawn[2][:3], NAMES[drawn[3][:3]]
    assert np.array_equal(
        again.partial_fit(*more).predict_proba(drawn[2]), taught.partial_fit(*more).predict_proba(drawn[2])
    )
    refitted = autometa.FewShotClassifier.load(tmp_path).fit(drawn[0], drawn[1])
    fresh = autometa.FewShotClassifier(steps=5, random_state=3).fit(drawn[0], drawn[1])
    assert np.array_equal(refitted.predict_proba(drawn[2]), fresh.predict_proba(drawn[2])), (
        "from the start, not further"
    )


def test_rows_and_their_levels_are_saved_too(tmp_path):
    rows = np.random.default_rng(0).normal(size=(12, 7))
    made = autometa.FewShotClassifier(steps=2).fit(rows, np.arange(12) % 2)
    made.save(tmp_path)
    again = autometa.FewShotClassifier.load(tmp_path)
    assert again.n_features_in_ == 7 and again.classes_.dtype == np.int64
    assert np.array_equal(again.predict_proba(rows[:5]), made.predict_proba(rows[:5]))
    with pytest.raises(ValueError, match="7 features"):
        again.predict(rows[:, :3])


def test_the_commands_read_what_it_saves(taught, drawn, tmp_path):
    taught.save(tmp_path / "kept")
    files = saved(drawn[2][:3], tmp_path / "new")
    rows = autometa.predict(files, run=tmp_path / "kept")
    assert [name for _, name, *_ in rows] == [str(value) for value in taught.predict(files)]
    assert Classifier.load(tmp_path / "kept").names == ("0", "1", "2", "3", "4")


MISTAKES = {
    "steps must be": {"steps": 0},
    "random_state must be": {"random_state": "soon"},
    "device 'abacus' cannot be used": {"device": "abacus"},
    "no run folder": {"model": "nowhere"},
}


@pytest.mark.parametrize("sentence", MISTAKES)
def test_a_parameter_that_cannot_be_is_told_when_fitting(sentence, drawn):
    with pytest.raises(InputError, match=sentence):
        autometa.FewShotClassifier(**MISTAKES[sentence]).fit(*drawn[:2])


def test_bad_calls_are_told(taught, drawn, tmp_path):
    with pytest.raises(ValueError, match="call fit"):
        autometa.FewShotClassifier().predict(drawn[0])
    with pytest.raises(InputError, match="one class"):
        autometa.FewShotClassifier().fit(drawn[0][:1], [0])
    with pytest.raises(InputError, match="between 0 and 1"):
        taught.set_params(min_confidence=3).predict(drawn[0])
    with pytest.raises(InputError, match="one of the classes"):
        taught.set_params(min_confidence=0.5, none_label=2).predict(drawn[0])
    with pytest.raises(InputError, match="can be saved"):
        taught.set_params(random_state=np.random.RandomState(0)).save(tmp_path)
    with pytest.raises(InputError, match="confidences of this model were not measured"):
        taught.classifier_.extra.pop("confidence")
        taught.set_params(min_confidence="calibrated", none_label=None).predict(drawn[0])


def test_true_and_false_need_a_label_for_none(drawn):
    support, labels, queries, _ = drawn
    made = autometa.FewShotClassifier(steps=2, min_confidence=0.5).fit(support[:2], labels[:2] == 1)
    with pytest.raises(InputError, match="give none_label"):
        made.predict(queries)
    assert set(made.set_params(none_label="neither").predict(queries).tolist()) <= {True, False, "neither"}


WITHOUT = """
import sys
import numpy as np, autometa.cli.using
assert "sklearn" not in sys.modules, "adapt and predict need not wait for it"
sys.modules["sklearn"] = None
images = np.random.default_rng(0).integers(0, 256, (4, 9, 9), dtype=np.uint8)
made = autometa.FewShotClassifier(steps=1).set_params(min_confidence=0.1).fit(images, list("abab"))
assert made.get_params()["steps"] == 1 and 0 <= made.score(images, list("abab")) <= 1
assert made.fit(images.reshape(4, 81), [0, 1, 0, 1]).n_features_in_ == 81
for wrong, said in ((images[:, 0, 0], "rows must be"), (np.ones((2, 5)), "have 5 features"), ([[np.nan] * 81], "NaN")):
    try:
        made.predict(wrong)
    except ValueError as error:
        assert said in str(error), error
    else:
        raise AssertionError(said)
print(made)
"""


def test_it_works_without_scikit_learn():
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("FewShotClassifier(model=None, steps=1, min_confidence=0.1")


def test_five_shots_beat_one():
    images, labels = strokes(characters=5, drawings=10, seed=5)
    right = []
    for count in (1, 5):
        support, names, _, _ = shots(images, labels, count)
        _, _, queries, answers = shots(images, labels, 5)
        right.append(autometa.FewShotClassifier().fit(support, names).score(queries, answers))
    assert right[1] > right[0] > 0.4


def test_a_gpu_answers_alike(taught, drawn):
    if not torch.cuda.is_available():
        pytest.skip("no GPU is usable here")
    on_gpu = autometa.FewShotClassifier(steps=5, device="cuda").fit(*drawn[:2])
    np.testing.assert_allclose(on_gpu.predict_proba(drawn[2]), taught.predict_proba(drawn[2]), atol=0.05)
