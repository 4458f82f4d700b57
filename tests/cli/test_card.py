"""Every finished run has a model card; the same folder always gives the same one."""

from __future__ import annotations

import json

from autometa.report.card import model_card
from autometa.runs import RunFolder
from tests.cli.driving import call


def test_runs_write_their_cards(searched, trained):
    for run, _ in (searched, trained):
        result = json.loads((run / "result.json").read_text())
        card = (run / "MODEL_CARD.md").read_text()
        assert card == model_card(RunFolder.open(run))
        for mode in ("all queries of the task", "support images + one query", "support images alone"):
            assert sum(line.startswith(f"| {mode} |") for line in card.splitlines()) == 1
        for score in result["scores"].values():
            assert f"{score['mean']:.2f} ± {score['ci95']:.2f}" in card
        assert result["data_hash"] in card and f"{result['parameters']:,.0f}" in card
        environment = json.loads((run / "environment.json").read_text())
        assert environment["command"] in card and f"torch {environment['torch']}" in card
    assert "untrained, pruned" in (searched[0] / "MODEL_CARD.md").read_text()


def test_a_run_killed_before_its_card_gets_it_when_it_is_resumed(trained):
    run, _ = trained
    before = (run / "MODEL_CARD.md").read_text()
    (run / "MODEL_CARD.md").unlink()
    answer = call("train", "--resume", run)
    assert answer.code == 0 and "finished already" in answer.err, answer.err
    assert (run / "MODEL_CARD.md").read_text() == before
    assert not [entry for entry in run.iterdir() if entry.suffix == ".tmp"]
