"""scikit-learn's own checks of an estimator, and what people do with one: search, cross-validate, clone, pickle."""

import pickle

import numpy as np
import pytest

sklearn = pytest.importorskip("sklearn", minversion="1.6")

from sklearn.base import BaseEstimator, ClassifierMixin, clone  # noqa: E402
from sklearn.datasets import load_digits  # noqa: E402
from sklearn.model_selection import GridSearchCV, cross_val_score  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler  # noqa: E402
from sklearn.utils.estimator_checks import parametrize_with_checks  # noqa: E402

import autometa  # noqa: E402

QUICK = autometa.FewShotClassifier(steps=20)


@parametrize_with_checks([QUICK], expected_failed_checks=lambda estimator: {})
def test_the_checks_of_scikit_learn(estimator, check):
    check(estimator)


def test_it_is_an_estimator_and_a_classifier_of_scikit_learn():
    assert isinstance(QUICK, BaseEstimator) and isinstance(QUICK, ClassifierMixin)
    assert sklearn.utils.get_tags(QUICK).estimator_type == "classifier"


def test_digits_by_rows_through_a_pipeline_and_a_search():
    rows, labels = load_digits(n_class=5, return_X_y=True)
    rows, labels = rows[:200], labels[:200]
    line = make_pipeline(MinMaxScaler(), autometa.FewShotClassifier("omniglot-5way", steps=20))
    assert cross_val_score(line, rows, labels, cv=2).min() > 0.8, "chance is 0.2"
    search = GridSearchCV(autometa.FewShotClassifier("omniglot-5way"), {"steps": [1, 20]}, cv=2).fit(
        rows[:60], labels[:60]
    )
    assert search.best_params_ == {"steps": 20}


def test_images_of_three_axes_through_a_pipeline(drawn):
    support, labels, queries, answers = drawn
    line = make_pipeline(
        FunctionTransformer(lambda images: images / 255), autometa.FewShotClassifier("omniglot-5way", steps=20)
    )
    assert line.fit(support, labels).score(queries, answers) > 0.6


def test_clone_forgets_what_was_taught_and_keeps_the_parameters(taught):
    other = clone(taught.set_params(min_confidence=0.5))
    assert other.get_params() == taught.get_params() and not hasattr(other, "classes_")


def test_pickle_and_joblib_keep_what_was_taught(taught, drawn, tmp_path):
    joblib = pytest.importorskip("joblib")
    joblib.dump(taught, tmp_path / "taught.joblib")
    wanted = taught.predict_proba(drawn[2])
    for copy in (pickle.loads(pickle.dumps(taught)), joblib.load(tmp_path / "taught.joblib")):
        assert np.array_equal(copy.predict_proba(drawn[2]), wanted)
        assert np.array_equal(copy.partial_fit(drawn[2][:1], drawn[3][:1]).classes_, taught.classes_)


def test_processes_of_joblib_answer_as_this_one_does(taught, drawn):
    joblib = pytest.importorskip("joblib")
    (found,) = joblib.Parallel(n_jobs=2)([joblib.delayed(taught.predict_proba)(drawn[2][:2])])
    np.testing.assert_allclose(found, taught.predict_proba(drawn[2][:2]), rtol=1e-6)
