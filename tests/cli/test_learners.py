"""Learners on the command line: training, both searches, adapting to more classes."""

import pytest

from autometa.runs.files import read_json
from tests.cli import driving
from tests.cli.driving import call, changed
from tests.cli.test_auto_meta import TINY
from tests.estimator.drawings import saved, shots, strokes

ANY_WAYS = ("protonet", "protonet-tuned", "matching", "proto-maml", "unicorn")
NAMES = (*ANY_WAYS, "maml-plus-plus")
COMMANDS = {
    "train": ["train", "reptile-omniglot", *driving.TRAIN],
    "metanas": ["search", "metanas", "--preset", "quick", *driving.SEARCH],
    "auto-meta": ["search", "auto-meta", "--preset", "quick", *changed(TINY, blocks=1, batch=28)],
}


@pytest.fixture
def characters(tmp_path):
    """`some/NAME` with a drawing of each of five characters, `new/NAME` to ask about."""
    support, labels, queries, answers = shots(*strokes())
    for k, name in enumerate("abcde"):
        saved(support[labels == k], tmp_path / "some" / name)
        saved(queries[answers == k], tmp_path / "new" / name)
    return tmp_path


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("command", COMMANDS)
def test_it_trains_and_is_taught_more_classes_than_it_trained_with(characters, command, name):
    if command == "auto-meta" and name in ("proto-maml", "unicorn", "maml-plus-plus"):
        pytest.skip("the same code as train's there, and minutes of searches")
    rates = ["--learner", name, "--meta.step_size", "1e-3", "--inner.queries", "2"]
    rates += ["--final_inner.queries", "2"] if command == "auto-meta" else []
    run = call(*COMMANDS[command], *rates, "--out", "run", "-q")
    assert run.code == 0, run.err
    assert read_json("run/config.json")["learner"]["name"] == name
    taught = call("adapt", "--support", "some", "--run", "run")
    assert taught.code == 0, taught.err
    assert "Learned 5 classes" in taught.out
    assert ("for a network trained on" in taught.err) == (name not in ANY_WAYS)
    rows = call("predict", "new/a", "new/b", "--json", "-q").json
    assert len(rows) == 10 and all(set(row["probabilities"]) == set("abcde") for row in rows)
    again = call("eval", "--run", "run", "--json", "-q")
    assert again.code == 0, again.err
