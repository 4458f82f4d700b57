"""`autometa search auto-meta --space NAME`: other spaces than that of blocks, from a search to a taught classifier."""

import signal
import time
from pathlib import Path

import pytest

from autometa.runs.files import read_json
from autometa.runs.ledger import LEDGER, Ledger
from tests.cli import driving
from tests.cli.driving import call, changed, same_outcome, start
from tests.cli.test_auto_meta import TINY
from tests.registries import restored

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "new_space.py"
EDGES = [*changed(TINY, blocks=3), "--space", "edges"]
EVOLUTION = [*EDGES, "--strategy", "evolution", "--strategy.population", "8", "--strategy.sample", "3"]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """A finished tiny search of edges by evolution, and what it printed."""
    run = tmp_path_factory.mktemp("edges") / "run"
    answer = call("search", "auto-meta", "--preset", "quick", *EVOLUTION, "--out", run)
    assert answer.code == 0, answer.err
    return run, answer


def test_edges_are_searched_as_blocks_are(found):
    run, answer = found
    result = read_json(run / "result.json")
    assert "up to 55 cells of up to 3 nodes" in answer.err and "each node adds up two operations" in answer.out
    assert "reduction cell" in answer.out and f"key {result['cell']['key']}" in answer.out
    with Ledger.open(run / LEDGER, create=False) as ledger:
        rows = ledger.outcomes()
    assert len({row.key for row in rows}) == 55 and {row.key.count("|") for row in rows} == {2}
    best = next(row for row in rows if row.key == result["cell"]["key"])
    assert result["parameters"] > best.parameters, "the final network has more filters"
    genotype = read_json(run / "genotypes" / "best.json")
    assert [len(genotype[kind]["nodes"]) for kind in ("normal", "reduction")] == [2, 1]


def test_a_killed_search_goes_on_to_the_same_end(found, tmp_path):
    run = tmp_path / "run"
    child = start("search", "auto-meta", "--preset", "quick", *EVOLUTION, "--out", run, "--checkpoint-every", "0.01")
    deadline = time.monotonic() + 300
    while child.poll() is None and not any((run / "checkpoints" / "search").glob("step-*")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    answer = call("search", "--resume", run)
    assert answer.code == 0, answer.err
    assert same_outcome(run, found[0])


def test_the_winner_is_taught_drawn_exported_and_trained_again(found, tmp_path):
    run, _ = found
    support = driving.class_folders(tmp_path / "photos")
    assert call("adapt", "--support", support, "--run", run, "--out", tmp_path / "taught").code == 0
    told = call("predict", support / "bar" / "0.png", "--run", tmp_path / "taught", "--json")
    assert told.code == 0 and set(told.json[0]["probabilities"]) == {"bar", "blob", "cross"}
    assert call("export", "--run", tmp_path / "taught", "--out", tmp_path / "cell.pt2").code == 0
    assert call("report", run).code == 0
    page, card = (run / "report.html").read_text(), (run / "MODEL_CARD.md").read_text()
    assert "Reduction cell" in page and "all nodes of a cell are its output" in page
    assert "its nodes:" in card and "those of its reduction cell:" in card
    result = read_json(run / "result.json")
    again = call("train", run, "--meta.iterations", "1", "--out", tmp_path / "again", "--json", "-q")
    assert again.json["network"] == f"edges:{result['cell']['key']}"
    assert again.json["parameters"] == result["parameters"]
    words = [*driving.DATA, *driving.INNER, *driving.TEST, "--meta.iterations", "1", "--filters", "2", "-q"]
    assert call("train", "edges:0c1m|0i1s", *words, "--out", tmp_path / "other").code == 0


def test_the_progression_adds_a_node_to_either_cell_in_turn(tmp_path):
    answer = call("search", "auto-meta", *changed(EDGES, blocks=2), "--out", tmp_path / "run", "-q")
    assert answer.code == 0, answer.err
    levels = read_json(tmp_path / "run" / "search.json")["levels"]
    assert [(level["unit"], level["candidates"]) for level in levels] == [("node", 49), ("node", 3)]
    assert levels[1]["before"]["cells"] == 3


def test_a_space_of_ones_own(tmp_path):
    run = tmp_path / "run"
    with restored():
        words = ["--plugin", EXAMPLE, "--space", "layers", "--strategy", "local"]
        answer = call("search", "auto-meta", *changed(TINY, batch=6), *words, "--out", run)
        assert answer.code == 0, answer.err
        result = read_json(run / "result.json")
        assert f"Key {result['cell']['key']}" in answer.out and result["cell"]["unit"] == "layer"
        assert not (run / "genotypes" / "best.json").exists()
        assert call("report", run).code == 0 and "block 2" in (run / "report.html").read_text()
        assert call("train", run, "--meta.iterations", "1", "--out", tmp_path / "again", "-q").code == 0
    lost = call("eval", "--run", run)
    assert lost.code == 2 and "unknown search space 'layers'" in lost.err and "--plugin" in lost.err


def test_what_cannot_be_is_refused_in_a_sentence(found, tmp_path):
    for words, sentence in (
        (["search", "auto-meta", *TINY, "--space", "edge"], "unknown search space 'edge'; did you mean edges?"),
        (
            ["search", "auto-meta", *TINY, "--init", found[0], "--space", "blocks"],
            "has space edges, the new run blocks",
        ),
        (["train", "edges:0c0m"], "node 0 must read like 0c1m"),
    ):
        answer = call(*words, "--out", tmp_path / "run")
        assert answer.code == 2 and sentence in answer.err and answer.err.count("\n") == 1, answer
