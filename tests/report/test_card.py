"""The card says what the files of a run say, and leaves out what they do not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autometa.algorithms.train import ReptileConfig
from autometa.errors import InputError
from autometa.report.card import model_card, write_card
from autometa.runs.files import write_json
from autometa.runs.folder import RunFolder
from autometa.train.config import MetaConfig

SCORE = {"mean": 91.25, "ci95": 0.5, "tasks": 100}
RESULT = {
    "kind": "train",
    "network": "reptile-omniglot",
    "protocol": {
        "split": "alphabets",
        "part": "test",
        "ways": 5,
        "shots": 1,
        "queries": 3,
        "tasks": 100,
        "seed": 4,
        "test_seed": 1,
    },
    "scores": {
        "transductive": {**SCORE, "mean": 95.5},
        "support_plus_one": SCORE,
        "support_statistics": {"mean": 90.0, "ci95": None, "tasks": 100},
    },
    "parameters": 1234567,
    "macs": 7654321,
    "data_hash": "abc123",
    "seconds": {"train": 61.0, "test": 2.0},
}
RECIPE = {"channels": 3, "size": 84, "filter": "box", "polarity": "as-is"}


@pytest.fixture
def run(tmp_path):
    config = replace(ReptileConfig(), meta=MetaConfig(iterations=50), seed=4)
    command = ["autometa", "train", "reptile omniglot"]
    folder = RunFolder.create(tmp_path / "run", "train-mine", config, command, seed=4, notice=lambda text: None)
    with folder:
        write_json(folder.path / "data.json", {"recipe": RECIPE, "image_shape": [3, 84, 84], "data_hash": "abc123"})
        yield folder


def test_a_card_of_what_was_recorded(run):
    run.write_result(RESULT)
    lines = model_card(run).splitlines()
    assert lines[0] == "# train-mine"
    assert "| support images + one query | 91.25 ± 0.50 |" in lines
    assert "| support images alone | 90.00 |" in lines
    assert "| this network | 1,234,567 | 7,654,321 |" in lines
    assert any("colour, 84x84" in line and "values as they are" in line for line in lines)
    assert any("1 support image and 3 query images per class; seed 4" in line for line in lines)
    assert "autometa train 'reptile omniglot'" in lines
    text = "\n".join(lines)
    assert "Peak of" not in text and "Alarm" not in text and "resumed" not in text and "finite" not in text
    assert max(map(len, lines)) < 200


def test_what_went_wrong_is_told(run):
    run.write_result({**RESULT, "finite_tasks": 97})
    alarm = {"alarm": "updates", "step": 7, "phase": "train", "found": "updates grew 12-fold", "do": "lower --inner.lr"}
    write_json(run.path / "health.json", [alarm])
    write_json(run.path / "observations.json", {"version": 1, "memory": {"peak_bytes": 2**30, "gpu_peak_bytes": None}})
    (run.checkpoints / "train" / "step-00000020").mkdir(parents=True)
    text = model_card(run)
    assert "* Alarm while training, train step 7: updates grew 12-fold" in text
    assert "3 tasks left the finite numbers" in text
    assert "Peak of memory: 1,024 MiB." in text and "GPU" not in text


def test_places_of_one_machine_are_left_out(run, monkeypatch):
    environment = {**run.environment, "settings": {"AUTOMETA_DATA": "/home/me/secret", "AUTOMETA_ISA": "avx2"}}
    write_json(run.path / "environment.json", environment)
    run.write_result(RESULT)
    text = model_card(run)
    assert "secret" not in text and "`AUTOMETA_ISA=avx2`" in text


def test_an_unfinished_run_has_none(run):
    with pytest.raises(InputError, match="not finished"):
        write_card(run)
    assert not (run.path / "MODEL_CARD.md").exists()


def test_a_folder_may_be_used_again_with_a_card_in_it(run, tmp_path):
    run.write_result(RESULT)
    assert write_card(run).read_text() == model_card(run)
    run.close()
    again = RunFolder.create(run.path, "other", {"network": "x"}, ["x"], overwrite=True, notice=lambda text: None)
    again.close()
    assert not (run.path / "MODEL_CARD.md").exists()
