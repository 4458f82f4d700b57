"""`autometa search auto-meta`: from a tiny search on strokes to pictures of one's own."""

import json
import random
import shutil
import signal
import time

import pytest

from autometa.runs import read_metrics
from autometa.runs.files import read_json
from autometa.runs.ledger import LEDGER, Ledger
from tests.cli import driving
from tests.cli.driving import call, changed, same_outcome, start

SPACE = ["--blocks", "2", "--beam", "3", "--batch", "11", "--surrogate.epochs", "5", "--surrogate.members", "2"]
MACRO = ["--macro.filters", "2", "--macro.repeats", "0", "--final.filters", "3", "--final.repeats", "0"]
INNER = [word.replace("--inner", "--final_inner") for word in driving.INNER]
VALIDATION = [word.replace("--test", "--validation") for word in driving.TEST]
LENGTH = ["--meta.iterations", "1", "--meta.batch", "2", "--final_meta.iterations", "6", "--final_meta.batch", "2"]
TINY = [*SPACE, *MACRO, *driving.DATA, *driving.INNER, *INNER, *VALIDATION, *driving.TEST, *LENGTH]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """A finished tiny search, and what it printed."""
    run = tmp_path_factory.mktemp("found") / "run"
    answer = call("search", "auto-meta", "--preset", "quick", *TINY, "--out", run)
    assert answer.code == 0, answer.err
    return run, answer


def test_a_search_says_what_it_found(found):
    run, answer = found
    result = read_json(run / "result.json")
    assert "block 2 =" in answer.out and f"key {result['cell']['key']}" in answer.out
    assert "best of 58 cells trained" in answer.out and "Spearman" in answer.out
    for row in ("all queries of the task", "support images + one query", "support images alone"):
        assert sum(row in line and line.count("±") == 1 for line in answer.out.splitlines()) == 1
    assert "up to 58 cells of up to 2 blocks" in answer.err
    assert result["kind"] == "search auto-meta" and result["protocol"]["part"] == "test"
    assert result["iterations"] == {"done": 6, "planned": 6} if "iterations" in result else True
    assert [level["candidates"] for level in result["levels"]] == [55, 3]
    assert result["levels"][0]["before"] is None and result["levels"][1]["before"]["cells"] == 3
    assert result["candidates"] == {"trained": 58, "failed": 0}
    kept = read_json(run / "search.json")
    assert kept["winner"] == result["cell"] and len(kept["levels"][1]["cells"]) == 3
    card = (run / "MODEL_CARD.md").read_text()
    assert f"`{result['cell']['key']}`, the best of 58 trained candidates" in card


def test_killed_at_random_moments_it_ends_alike(found, tmp_path):
    run, chance = tmp_path / "run", random.Random()
    for words in (["auto-meta", "--preset", "quick", *TINY], []):
        child = start("search", *words, "--out", run, "--resume", "--checkpoint-every", "0.01")
        deadline = time.monotonic() + 60
        while child.poll() is None and not (run / "ledger.sqlite").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(chance.random())
        child.send_signal(signal.SIGKILL)
        child.communicate()
    answer = call("search", "--resume", run)
    assert answer.code == 0, answer.err
    assert same_outcome(run, found[0])
    assert read_json(run / "search.json") == read_json(found[0] / "search.json")


def test_two_workers_find_the_same(found, tmp_path):
    answer = call("search", "auto-meta", *TINY, "--out", tmp_path / "run", "--workers", "2", "-q")
    assert answer.code == 0, answer.err
    assert read_json(tmp_path / "run" / "search.json") == read_json(found[0] / "search.json")


def test_rivals_on_the_command_line(found, tmp_path):
    run = tmp_path / "random"
    answer = call("search", "auto-meta", *TINY, "--strategy", "random", "--out", run)
    assert answer.code == 0, answer.err
    assert "by the strategy random" in answer.out and "up to 58 cells of up to 2 blocks, then" in answer.err
    result = read_json(run / "result.json")
    assert result["strategy"] == "random" and result["candidates"]["trained"] == 58
    told = call("compare", found[0], run)
    assert told.code == 0 and "random" in told.out


def test_halving_pauses_and_goes_on_with_other_workers_after_a_kill(found, tmp_path):
    words = ["--strategy", "halving", "--strategy.rungs", "2", "--strategy.eta", "2"]
    halving = [*TINY[: -len(LENGTH)], "--meta.iterations", "4", *LENGTH[2:], *words]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    answer = call("search", "auto-meta", *halving, "--out", whole)
    assert answer.code == 0, answer.err
    assert "meta-iterations" in answer.out and "by the strategy halving" in answer.out
    rounds = read_json(whole / "search.json")["levels"]
    assert [level.get("iterations") for level in rounds] == [2, None] and not (whole / "ledger.trials").exists()
    child = start("search", "auto-meta", *halving, "--out", cut, "--workers", "2")
    deadline = time.monotonic() + 300
    while child.poll() is None and not list(cut.glob("ledger.trials/trial-*")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    answer = call("search", "--resume", cut)
    assert answer.code == 0, answer.err
    assert read_json(cut / "search.json") == read_json(whole / "search.json")
    told = call("compare", found[0], whole)
    assert told.code == 0 and "halving" in told.out and "full trainings" in told.out
    assert call("report", whole).code == 0 and "meta-iterations" in (whole / "report.html").read_text()


def test_adapt_and_predict(found, tmp_path):
    support = driving.class_folders(tmp_path / "photos")
    taught = call("adapt", "--support", support, "--run", found[0], "--out", tmp_path / "taught")
    assert taught.code == 0, taught.err
    told = call("predict", support / "bar" / "0.png", "--run", "taught", "--json")
    assert told.code == 0 and set(told.json[0]["probabilities"]) == {"bar", "blob", "cross"}


def test_the_winner_is_observed(found):
    seen = read_json(found[0] / "observations.json")
    assert {"confusion", "examples", "memory", "counts"} < seen.keys() and "pruning" not in seen
    assert isinstance(read_json(found[0] / "health.json"), list)
    assert all("update" in line for line in read_metrics(found[0] / "metrics-final.jsonl"))


def test_eval_again(found):
    answer = call("eval", "--run", found[0], "--tasks", "3", "--shots", "2", "--json")
    assert answer.code == 0, answer.err
    assert answer.json["kind"] == "eval of search auto-meta" and answer.json["protocol"]["tasks"] == 3


def test_train_the_winner_and_any_cell(found, tmp_path):
    key = read_json(found[0] / "result.json")["cell"]["key"]
    again = call("train", found[0], "--meta.iterations", "2", "--out", tmp_path / "again", "--json")
    assert again.code == 0, again.err
    assert again.json["network"] == f"cell:{key}"
    assert again.json["parameters"] == read_json(found[0] / "result.json")["parameters"]
    words = [*driving.DATA, *driving.INNER, *driving.TEST, "--meta.iterations", "1", "--filters", "2"]
    other = call("train", "cell:published", *words, "--repeats", "0", "--out", tmp_path / "other", "--json")
    assert other.code == 0, other.err
    assert call("train", "--resume", tmp_path / "other").code == 0


def test_settings_have_their_own_options():
    told = call("search", "auto-meta", "--preset", "omniglot", "--surrogate.kind", "mlp", "--print-config")
    assert told.code == 0 and "kind: mlp" in told.out and told.out.startswith("# autometa search auto-meta --config")
    assert "K, cells trained at each level" in " ".join(call("search", "auto-meta", "--help-settings").out.split())
    assert "--workers" in call("search", "auto-meta", "--help").out
    assert "--workers" not in call("search", "metanas", "--help").out


@pytest.mark.parametrize("budget", [[], ["--time-budget", "0.2s"]])
def test_dry_run(budget):
    told = call("search", "auto-meta", *TINY, "--dry-run", "--json", *budget)
    assert told.code == 0, told.err
    seconds = json.loads(told.out)["seconds"]
    assert set(seconds) == {"search", "final", "evaluation", "yardstick: class means", "confidences", "all"}
    assert all(s > 0 for s in seconds.values())


WRONG = [
    (("--preset", "paper"), "unknown preset 'paper'; choose from quick, omniglot-small, omniglot, miniimagenet-small"),
    (("--surrogate.kind", "forest"), "surrogate.kind must be lstm or mlp or ridge or gp or trees or curve, not forest"),
    (("--beam", "many"), "beam must be a whole number, not many"),
    (("--beams", "3"), "did you mean --beam"),
    (("--validation.part", "test"), "test classes stay unseen"),
    (("--inner.ways", "40"), "40"),
    (("--workers", "0"), "--workers must be at least 1"),
    (("--channels", "4"), "unknown option --channels"),
]


@pytest.mark.parametrize(("words", "message"), WRONG)
def test_wrong_input(words, message):
    tiny = changed(TINY, **{words[0][2:]: words[1]}) if words[0] in TINY else [*TINY, *words]
    answer = call("search", "auto-meta", *tiny)
    assert answer.code == 2 and message in answer.err and answer.out == ""


def test_searches_are_not_mixed_up(found, searched):
    answer = call("search", "metanas", "--resume", found[0])
    assert answer.code == 2 and "autometa search auto-meta --resume" in answer.err
    answer = call("search", "auto-meta", "--resume", searched[0])
    assert answer.code == 2 and "autometa search --resume" in answer.err
    assert call("search", "genetic").code == 2


def test_wrong_cells():
    answer = call("train", "cell:0x1y")
    assert answer.code == 2 and "block 0 must read like 0c1m" in answer.err


def test_cells_above_a_budget_are_never_trained(tmp_path):
    words = ["search", "auto-meta", "--preset", "quick", *TINY]
    answer = call(*words, "--max-params", "400", "--out", "small", "--json", "-q")
    assert answer.code == 0, answer.err
    assert answer.json["parameters"] <= 400 and answer.json["limits"] == {"max_params": 400}
    with Ledger.open(tmp_path / "small" / LEDGER, create=False) as ledger:
        rows = ledger.outcomes()
    assert 0 < len(rows) < 58 and max(row.parameters for row in rows) <= 400
    assert {row.level for row in rows} == {1, 2}


def test_candidates_that_an_earlier_run_has_scored_are_not_trained_again(found, tmp_path):
    run, _ = found
    copy = tmp_path / "earlier"
    shutil.copytree(run, copy)
    again = call("search", "auto-meta", "--init", copy, "--out", "again", "-q", "--json")
    assert again.code == 0, again.err
    before = read_json(run / "result.json")
    assert again.json["candidates"] == {"trained": 0, "known": 58, "failed": 0}
    assert (again.json["cell"], again.json["scores"]) == (before["cell"], before["scores"])
    more = call(
        "search", "auto-meta", "--init", copy, "--beam", "5", "--out", "more", "-q", "--final_meta.iterations", 1
    )
    assert more.code == 0 and "58 more known from an earlier run" in more.out, more
    shutil.rmtree(copy)
    (tmp_path / "again/result.json").unlink()
    resumed = call("search", "--resume", "again", "-q", "--json")
    assert resumed.code == 0 and resumed.json["scores"] == before["scores"]


def test_scores_that_mean_something_else_are_refused(found):
    run, _ = found
    for words, sentence in (
        (["--meta.iterations", "2"], "has meta.iterations 1, the new run 2"),
        (["--seed", "5"], "has seed 0, the new run 5"),
        (["--data.seed", "5"], "has data.seed 0, the new run 5"),
        (["--macro.filters", "3"], "has filters 2, the new run 3"),
    ):
        answer = call("search", "auto-meta", "--init", run, *words)
        assert answer.code == 2 and sentence in answer.err and answer.err.count("\n") == 1, answer
