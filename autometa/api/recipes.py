"""Recipes: a preset's run with what its result must show, as data in recipes.json.

A check is one of `at least`, `at most`, `equal`, `within` (value, of) and `apart above` (than: the intervals of two
scores do not touch). `recorded` holds scores once measured, by path, as {"mean", "ci95"}: a rerun's interval must
meet theirs.
"""

from __future__ import annotations

import json
import operator
from dataclasses import dataclass
from importlib import resources
from typing import Any

from autometa.errors import InputError

PLAIN = {"at least": operator.ge, "at most": operator.le, "equal": operator.eq}


@dataclass(frozen=True)
class Verdict:
    """One line of `autometa reproduce`."""

    passed: bool
    what: str
    found: str
    wanted: str


def recipes() -> dict[str, dict[str, Any]]:
    """All recipes by name."""
    return json.loads(resources.files("autometa.api").joinpath("recipes.json").read_text(encoding="utf-8"))


def recipe(name: str) -> dict[str, Any]:
    """Raises `InputError` naming those that exist."""
    known = recipes()
    if name not in known:
        raise InputError(f"unknown recipe {name!r}; choose from {', '.join(known)}")
    return known[name]


def verdicts(asked: dict[str, Any], result: dict[str, Any]) -> list[Verdict]:
    """Compare a run's result with what its recipe asks."""
    made = [_verdict(check, result) for check in asked["checks"]]
    for path, score in asked["recorded"].items():
        made.append(_verdict({"is": "as recorded", "path": path, **score}, result))
    return made


def _verdict(check: dict[str, Any], result: dict[str, Any]) -> Verdict:
    what, found = check["path"], _at(result, check["path"])
    wanted = check["is"] if "value" not in check else f"{check['is']} {check['value']:g}"
    if found is None:
        return Verdict(False, what, "missing", wanted)
    kind, value = check["is"], check.get("value")
    if kind in PLAIN:
        return Verdict(PLAIN[kind](found, value), what, _number(found), wanted)
    if kind == "within":
        return Verdict(abs(found - value) <= check["of"], what, _number(found), f"{value:g} ± {check['of']:g}")
    if kind == "apart above":
        other = _at(result, check["than"])
        if other is None:
            return Verdict(False, what, _score(found), f"above {check['than']}, which is missing")
        apart = found["mean"] - found["ci95"] > other["mean"] + other["ci95"]
        return Verdict(apart, what, _score(found), f"above {_score(other)} of {check['than'].split('.')[1]}")
    if kind == "as recorded":
        meets = abs(found["mean"] - check["mean"]) <= found["ci95"] + check["ci95"]
        return Verdict(meets, what, _score(found), f"as recorded, {_score(check)}")
    raise ValueError(f"a recipe asks for the unknown check {kind!r}")


def _at(value: Any, path: str) -> Any:
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.2f}"


def _score(score: dict[str, float]) -> str:
    return f"{score['mean']:.2f} ± {score['ci95']:.2f}"
