"""The parser of the commands: settings arrive typed, shared options are defined once."""

from pathlib import Path

import pytest

import autometa.cli
from autometa.api.running import RunOptions
from autometa.api.settings import field_types
from autometa.cli.options import RUNNING, SHARED, Parser
from autometa.errors import InputError
from autometa.train.run_config import ALGORITHMS

TYPES = {
    "inner.lr": float,
    "data.rotations": int | None,
    "choice.name": str,
    "choice.on": bool,
    "list": tuple[int, ...],
}


def parsed(*words: str) -> tuple[Parser, object]:
    parser = Parser("word", "about")
    parser.add_settings(TYPES, {"data.rotations": "shown"})
    return parser, parser.parse(words, "dry_run", *RUNNING)


def test_settings_are_typed_and_only_those_that_are_said():
    words = ["--inner.lr", "1e-3", "--rotations=4", "--choice", "a-name", "--choice.on", "true", "--list", "1,2"]
    expected = {"inner.lr": 1e-3, "data.rotations": 4, "choice.name": "a-name", "choice.on": True, "list": [1, 2]}
    parser, given = parsed(*words)
    assert parser.settings == expected and given.out is None
    assert [type(value) for value in parser.settings.values()] == [float, int, str, bool, list]
    assert parsed("--data.rotations", "null")[0].settings == {"data.rotations": None}
    assert "--rotations N" in parser.format_help() and "inner.lr" not in parser.format_help()


def test_a_setting_has_one_value_whatever_it_is_called():
    assert parsed("--choice", "a", "--choice.name", "a")[0].settings == {"choice.name": "a"}
    for words in (["--rotations", "4", "--data.rotations", "1"], ["--inner.lr", "1", "--inner.lr", "2"]):
        with pytest.raises(InputError, match="is given twice, as"):
            parsed(*words)


def test_options_are_typed():
    given = parsed("--checkpoint-every", "1m30s", "--resume")[1]
    assert (given.checkpoint_every, given.resume, given.device, given.json) == (90.0, True, "auto", False)
    options = RunOptions(time_budget="1h", checkpoint_every=5)
    assert (options.time_budget, options.checkpoint_every, RunOptions().time_budget) == (3600.0, 5.0, None)
    for wrong in ({"time_budget": "soon"}, {"checkpoint_every": 0}, {"workers": 0}, {"seeds": -1}, {"device": "tpu"}):
        with pytest.raises(InputError):
            RunOptions(**wrong)


def test_what_commands_share_is_defined_once():
    texts = [path.read_text(encoding="utf-8") for path in Path(autometa.cli.__file__).parent.glob("*.py")]
    for name in set(SHARED) - {"out", "workers"}:  # several commands have some of these names with other meanings
        assert not any(f'"--{name.replace("_", "-")}"' in text for text in texts), name


@pytest.mark.parametrize("kind", sorted(ALGORITHMS))
def test_all_that_can_be_chosen_has_its_settings(kind):
    config = ALGORITHMS[kind].config
    known = field_types(config)
    assert known.items() >= field_types(config()).items() and known["learner.name"] is str
    assert known["learner.outer"] is str  # of some learners, the default one has none
