"""Help, settings, dry run, doctor, recipes."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import autometa
from autometa.algorithms.presets import AUTO_META, METANAS, TRAIN
from autometa.api import recipes, settings
from autometa.api.recipes import recipes as all_recipes
from autometa.api.recipes import verdicts
from autometa.cli import WORDS
from autometa.errors import InputError
from tests.cli.driving import SEARCH, call
from tests.cli.driving import TRAIN as TINY_TRAIN


def test_import_is_light():
    source = str(Path(autometa.__file__).parents[1])
    code = f"import sys; sys.path.insert(0, {source!r}); import autometa, autometa.cli; print(sorted(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "autometa.cli" in found and "'torch'" not in found and "'numpy'" not in found


def test_the_words_in_python_exist():
    for name in autometa.__all__:
        assert getattr(autometa, name)
    with pytest.raises(AttributeError, match="serch"):
        _ = autometa.serch


def test_version_and_help():
    assert call("--version").out == f"autometa {autometa.__version__}\n"
    overview = call("--help")
    assert overview.code == 0 and all(f"\n  {word} " in overview.out for word in WORDS)
    assert call().out == overview.out
    for word in WORDS:
        answer = call(word, "--help")
        assert answer.code == 0 and answer.out.startswith(f"usage: autometa {word}")
    assert "autometa search metanas --preset quick" in call("search", "--help").out
    explained = call("search", "--help-settings").out
    assert all(f"--{name}" in explained for name in settings.field_types(METANAS["quick"]))


@pytest.mark.parametrize("word, names", [("search", METANAS), ("train", TRAIN)])
def test_print_config_can_be_fed_back(word, names, tmp_path):
    for name in names:
        if names[name].__dict__.get("network") == "most_frequent.json":
            continue
        printed = call(word, "--preset", name, "--print-config")
        assert printed.code == 0, printed.err
        (tmp_path / "c.yaml").write_text(printed.out)
        assert call(word, "--config", "c.yaml", "--print-config").out == printed.out
        assert settings.settle(type(names[name])(), tmp_path / "c.yaml") == names[name]


def test_preset_below_file_below_single_settings(tmp_path):
    (tmp_path / "c.yaml").write_text("inner:\n  lr: 1e-4\n  steps: 3\nseed: 5\nmeta: {max_slots: 2}\n")
    words = ("--seed=6", "--config", "c.yaml", "--data", "strokes:6x6x6", "--compare", "untrained,four-layer")
    made = call("search", "--preset", "quick", *words, "--print-config")
    (tmp_path / "d.yaml").write_text(made.out)
    found = settings.settle(METANAS["quick"], tmp_path / "d.yaml")
    quick = METANAS["quick"]
    assert found == replace(
        quick,
        inner=replace(quick.inner, lr=1e-4, steps=3),
        meta=replace(quick.meta, max_slots=2),
        data=replace(quick.data, name="strokes:6x6x6"),
        compare=("untrained", "four-layer"),
        seed=6,
    )


def test_settings_in_python_are_typed():
    quick = METANAS["quick"]
    assert settings.settle(quick, None, {"reductions": (0, 1), "meta.max_slots": None}).reductions == (0, 1)
    with pytest.raises(InputError, match="seed must be a whole number, not 1.5"):
        settings.settle(quick, None, {"seed": 1.5})


@pytest.mark.parametrize("words", [("search", *SEARCH), ("train", "reptile-omniglot", *TINY_TRAIN)])
def test_dry_run_estimates_and_begins_nothing(words, tmp_path):
    answer = call(*words, "--dry-run")
    assert answer.code == 0, answer.err
    assert "meta-iterations x" in answer.out and "memory" in answer.out and "parameters" in answer.out
    found = call(*words, "--dry-run", "--json").json
    parts = [value for name, value in found["seconds"].items() if name != "all"]
    assert found["seconds"]["all"] == pytest.approx(sum(parts)) and all(part > 0 for part in parts)
    assert found["memory_bytes"] > 10**7 and found["network"]["parameters"] > 0
    assert list(tmp_path.iterdir()) == []


def test_doctor():
    answer = call("doctor")
    assert answer.code == 0 and "compiled core" in answer.out
    found = call("doctor", "--json").json
    kernels = found["cuda_kernels"]
    assert kernels["loads"] == bool(kernels["architectures"]) and (kernels["refuses"] or "can run") in answer.out
    rows = {row["op"]: row for row in found["backends"]["cpu"]}
    assert {"adam", "mixed_op", "gather_images"} <= set(rows) and all(row["reason"] for row in rows.values())
    assert all(f"\n  {op} " in answer.out for op in rows)
    assert found["versions"]["autometa"] == autometa.__version__ and found["data"]["omniglot"].keys()


KINDS = {"search": METANAS, "search auto-meta": AUTO_META, "train": TRAIN}


def test_every_recipe_names_a_preset_and_known_checks():
    result = {"iterations": {"done": 1}, "protocol": {"tasks": 1, "queries": 15}}
    for name, recipe in all_recipes().items():
        assert recipe["preset"] in KINDS[recipe["word"]], name
        assert len(verdicts(recipe, result)) == len(recipe["checks"]) + len(recipe["recorded"]) > 1


SCORE = {"mean": 50.0, "ci95": 2.0}
CHECKS = [
    ({"is": "at least", "path": "a.mean", "value": 50.0}, True),
    ({"is": "at least", "path": "a.mean", "value": 50.1}, False),
    ({"is": "at most", "path": "a.mean", "value": 50.0}, True),
    ({"is": "at most", "path": "a.mean", "value": 49.9}, False),
    ({"is": "equal", "path": "n", "value": 7}, True),
    ({"is": "equal", "path": "n", "value": 8}, False),
    ({"is": "within", "path": "a.mean", "value": 50.5, "of": 0.5}, True),
    ({"is": "within", "path": "a.mean", "value": 50.6, "of": 0.5}, False),
    ({"is": "apart above", "path": "a", "than": "b.low"}, True),
    ({"is": "apart above", "path": "a", "than": "b.near"}, False),
    ({"is": "apart above", "path": "a", "than": "b.missing"}, False),
    ({"is": "at least", "path": "a.missing", "value": 1}, False),
]


@pytest.mark.parametrize("check, passes", CHECKS)
def test_a_check_can_pass_and_fail(check, passes):
    result = {"a": SCORE, "b": {"low": {"mean": 46.0, "ci95": 1.5}, "near": {"mean": 46.0, "ci95": 2.5}}, "n": 7}
    (verdict,) = verdicts({"checks": [check], "recorded": {}}, result)
    assert verdict.passed is passes


def test_recorded_figures_must_meet():
    recipe = {"checks": [], "recorded": {"a": {"mean": 53.0, "ci95": 1.0}, "c": {"mean": 54.0, "ci95": 1.0}}}
    assert [v.passed for v in verdicts(recipe, {"a": SCORE, "c": SCORE})] == [True, False]


def test_reproduce_says_pass_or_fail(monkeypatch, tmp_path):
    at = {word[2:]: value for word, value in zip(TINY_TRAIN[::2], TINY_TRAIN[1::2], strict=True)}
    at["data.name"] = at.pop("data")
    monkeypatch.setitem(TRAIN, "tiny", settings.settle(TRAIN["reptile-omniglot"], None, at))
    about = {"title": "tiny", "time": "a second", "word": "train", "preset": "tiny", "recorded": {}}
    check = {"is": "at least", "path": "scores.transductive.mean"}
    made = {
        "good": {**about, "checks": [{**check, "value": 0}]},
        "bad": {**about, "checks": [{**check, "value": 0}, {**check, "value": 101}]},
    }
    monkeypatch.setattr(recipes, "recipes", lambda: made)
    dry = call("reproduce", "good", "--out", "one", "--dry-run", "--json")
    assert dry.code == 0 and dry.json["iterations"] == 3 and not (tmp_path / "one").exists(), dry.err
    good = call("reproduce", "good", "--out", "one")
    assert good.code == 0 and good.out.endswith("PASS  recipe good\n"), good
    (tmp_path / "one/result.json").unlink()
    with monkeypatch.context() as patch:
        patch.setattr("autometa.algorithms.jobs.protocol", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        stopped = call("reproduce", "good", "--resume", "one")
    assert stopped.code == 130 and stopped.err.endswith("go on with: autometa reproduce good --resume one\n"), stopped
    assert call("reproduce", "good", "--resume", "one").code == 0
    bad = call("reproduce", "bad", "--resume", "one", "--json")
    assert bad.code == 1 and [check["passed"] for check in bad.json["checks"]] == [True, False]
    assert json.loads((tmp_path / "one/result.json").read_text())["scores"] == bad.json["result"]["scores"]
