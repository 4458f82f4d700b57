"""A number is decimal, finite and within 64 bits, wherever a setting is one; what is not is refused with its name."""

import numpy as np
import pytest

from autometa.algorithms.presets import AUTO_META, METANAS
from autometa.api.settings import as_yaml, own_types, settle
from autometa.api.size_budget import count, limits_of
from autometa.errors import InputError
from autometa.train.config import is_named
from autometa.train.run_config import ALGORITHMS
from tests.cli.driving import call

QUICK = METANAS["quick"]
NO_NUMBER = (
    "1_0",
    "0x10",
    "true",
    "yes",
    "1:30",
    "nan",
    ".nan",
    "inf",
    "-.inf",
    "1e999",
    "-1e999",
    "１",
    "[1]",
    "'1_0'",
)
NOT_WHOLE = [*NO_NUMBER, "010", "1e3", "1.0", "9223372036854775808", "9" * 5000, "2020-01-01", "{}"]
REFUSED = [*(("inner.lr", text) for text in NO_NUMBER), *(("seed", text) for text in NOT_WHOLE)]
REFUSED += [("reductions", f"[0, {text}]") for text in ("1_0", "true", "1.5", "nan", "0x1")]


@pytest.mark.parametrize("name, text", REFUSED)
def test_what_is_no_number_is_refused(name, text, tmp_path):
    path = tmp_path / "c.yaml"
    group, _, leaf = name.rpartition(".")
    path.write_text(f"{group}:\n  {leaf}: {text}\n" if group else f"{leaf}: {text}\n")
    for file, settings in ((path, None), (None, {name: text.strip("'")})):
        with pytest.raises(InputError, match=rf"^({path}: )?{name} must be a .*, not "):
            settle(QUICK, file, settings)


@pytest.mark.parametrize("value", [True, float("nan"), float("inf"), 2**63, np.float32("inf"), object(), {1}, b"1"])
def test_values_of_python_that_are_no_numbers(value):
    for name in ("seed", "inner.lr") if value != 2**63 else ("seed",):
        with pytest.raises(InputError, match=f"{name} must be "):
            settle(QUICK, None, {name: value})


def test_numbers_stay_what_they_are(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("inner: {lr: 1e-4, weight_decay: .5, steps: +3}\nseed: 9223372036854775807\nreductions: [0, 1]\n")
    found = settle(QUICK, path, {"meta.step_size": "1.", "meta.batch": np.int64(4), "meta.max_slots": None})
    assert (found.inner.lr, found.inner.weight_decay, found.inner.steps) == (1e-4, 0.5, 3)
    assert (found.seed, found.reductions, found.meta.step_size, found.meta.batch) == (2**63 - 1, (0, 1), 1.0, 4)
    path.write_text(as_yaml(found))
    assert settle(QUICK, path) == found


@pytest.mark.parametrize(
    "text", ["a: &a\n  a: *a\n", "a: &a [1, 2]\nb: [*a, *a]\n" * 1, "[" * 3000, "? [1]\n: 2\n", "1: 2"]
)
def test_a_file_of_another_form(text, tmp_path):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(InputError, match=r"c\.yaml"):
        settle(QUICK, tmp_path / "c.yaml")


def test_a_file_that_refers_to_itself_again_and_again_ends(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x]"] + [
        f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 8)}]" for k in range(1, 30)
    ]
    (tmp_path / "c.yaml").write_text("\n".join(lines))
    with pytest.raises(InputError, match="must hold settings"):
        settle(QUICK, tmp_path / "c.yaml")


def test_options_that_are_numbers():
    for words in (["eval", "--ways", "1_0"], ["export", "--out", "x.onnx", "--shots", "１"]):
        answer = call(*words)
        assert answer.code == 2 and "must be a whole number, not" in answer.err, answer
    for wrong in (0, -5, True, 2**63, "9" * 400, "nan", "1e999"):
        with pytest.raises(InputError, match="--max-params must be a number such as"):
            limits_of(wrong, None)
    assert (count(50000), count("1.5m"), count("50_000")) == (50000, 1500000, 50000)
    assert limits_of("2k", None) == {"max_params": 2000}


@pytest.mark.parametrize("kind", sorted(ALGORITHMS))
def test_everything_that_can_be_chosen_is_settled_and_read_back(kind, tmp_path):
    base = ALGORITHMS[kind].config()
    for name, hint in own_types(base).items():
        for chosen in hint.registry if is_named(hint) else ():
            made = settle(base, None, {name: chosen})
            (tmp_path / "c.yaml").write_text(as_yaml(made))
            assert getattr(made, name).name == chosen and settle(base, tmp_path / "c.yaml") == made


def test_true_and_false_are_written_as_such():
    tree = {"strategy": "tpe", "strategy.joint": "false"}
    assert settle(AUTO_META["quick"], None, tree).strategy.joint is False
    for value in ("no", "1", 1, None):
        with pytest.raises(InputError, match="strategy.joint must be true or false, not"):
            settle(AUTO_META["quick"], None, {**tree, "strategy.joint": value})
