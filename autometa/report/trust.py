"""How far a result is to be trusted, in sentences: other classes, what needs no learning, unknown classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autometa.report.words import score

FEW = 20
"""Test classes from which on an interval over them is not called one of few."""
YARDSTICKS = {"pixels": "pixels", "gradients": "gradients (histogram)", "colours": "colours (histogram)"}


def _part(result: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """What an older run, or a stranger's, need not have."""
    found = result.get(name)
    return found if isinstance(found, Mapping) else {}


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def over_tasks(result: Mapping[str, Any]) -> str:
    """What an interval beside an accuracy is over: tasks, and of how many classes where that is known."""
    classes = _part(result, "new_classes").get("classes")
    return "over tasks" if classes is None else f"over tasks of the same {_count(classes, 'class', 'classes')}"


def bounds(result: Mapping[str, Any]) -> str | None:
    """The interval over classes in short: `38 to 92`."""
    found = _part(result, "new_classes")
    return None if found.get("low") is None else f"{found['low']:.0f} to {found['high']:.0f}"


def other_classes(result: Mapping[str, Any]) -> str | None:
    """What to expect on other classes than those tested; None where that was not measured."""
    found, within = _part(result, "new_classes"), bounds(result)
    if within is None:
        return None
    many = found["classes"]
    tested = f"{'only ' if many < FEW else ''}{_count(many, 'class was', 'classes were')} tested"
    if found.get("mean") is None:
        return f"On other classes: unknown, since {tested}, which shows nothing about others"
    turns = "; quarter turns of a class are no classes of their own here" if found.get("turned") else ""
    little = ", which says little" if many < FEW / 2 else ""
    return f"On other classes: about {found['mean']:.1f} %, 95% interval {within}: {tested}{little}{turns}"


def without_learning(result: Mapping[str, Any]) -> str | None:
    """Chance, and class means of simple features, on the same tasks."""
    found = _part(result, "baselines")
    if not found:
        return None
    means = ", ".join(f"{title} {score(found[name])}" for name, title in YARDSTICKS.items() if name in found)
    return (
        f"Without learning: chance {found['chance']:.1f} %; nearest class mean of {means} %, on "
        f"{found['tasks']} of these tasks"
    )


def verdict(result: Mapping[str, Any]) -> str | None:
    """Where the network does not beat one of these."""
    return _part(result, "baselines").get("verdict")


def unknown_classes(result: Mapping[str, Any]) -> str | None:
    """What `predict --min-confidence calibrated` refuses."""
    return refusing(_part(result, "confidence"))


def refusing(found: Mapping[str, Any]) -> str | None:
    """The same, from what confidence.json holds."""
    if "unmeasured" in found:
        return f"Unknown classes: not measured, {found['unmeasured']}"
    rows = {name: found[name]["refused"] for name in ("1-shot", "5-shot") if name in found}
    if not rows or "min_confidence" not in found:
        return None
    parts = [
        f"{row['unknown']:.0f} % of pictures of unknown classes and {row['right']:.0f} % of right answers "
        f"({name.removesuffix('-shot')} picture{'' if name[0] == '1' else 's'} of each class)"
        for name, row in rows.items()
    ]
    least = f"below {found['min_confidence']:g} (--min-confidence calibrated)"
    return f"Unknown classes: predict refuses, {least}, {', '.join(parts)}"


def sentences(result: Mapping[str, Any]) -> list[str]:
    """All that is known, in order."""
    told = (other_classes(result), without_learning(result), verdict(result), unknown_classes(result))
    return [one for one in told if one is not None]
