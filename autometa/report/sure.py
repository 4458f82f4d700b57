"""How sure: accuracy with intervals, rivals, the classes most often confused, examples of tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autometa.report.charts import Axes, Interval, Mark, intervals
from autometa.report.markup import Markup, Missing, aside, breakable, el, figure, note, picture, table
from autometa.report.recorded import Recorded
from autometa.report.view import OWN_BEFORE
from autometa.report.words import MODES, large, plural, share

MOST_CONFUSED = 10
NUMBERS = ("no", "one", "two", "three", "four")


def tested(run: Recorded) -> bool:
    return run.result is not None and "scores" in run.result


def accuracy(run: Recorded) -> list[Markup]:
    """Chart and table of the BN modes."""
    if not tested(run):
        return [note("Not tested yet: accuracy on unseen classes is measured at the end of a run.")]
    view, by_name = run.view, run.view.networks
    rows: list[Interval] = []
    for mode in reversed(view.modes):
        rows.append(Interval(f"normalised with {MODES[mode]}"))
        for k, (name, scores) in enumerate(by_name.items()):
            found = scores.get(mode) or {}
            if found.get("mean") is not None:
                style = "first" if k == 0 else "second" if name == OWN_BEFORE else "third"
                rows.append(Interval(name, found["mean"], found.get("ci95"), style))
    means = [row.mean for row in rows if row.mean is not None]
    if not means:
        return [note("No test task stayed finite: there is no accuracy to show.")]
    chance = 100 / view.protocol["ways"]
    mark = Mark(chance, f"chance {chance:.0f} %") if min(means) < chance + 25 else None
    caption = [
        el("b", "Accuracy in %, mean and 95% confidence interval"),
        f" {view.over_tasks}: {view.tasks} ({view.classes}; seed {view.protocol['seed']}, tasks of seed "
        f"{view.protocol['test_seed']}).",
    ]
    if mark is None:
        caption.append(f" Chance is {chance:.0f} %.")
    drawn = intervals(
        f"Accuracy in the {NUMBERS[len(view.modes)]} modes of batch normalisation",
        rows,
        Axes(x="accuracy, %"),
        mark,
        372.0,
    )
    head, *body = view.table
    numbers = table(head, body, range(1, len(head)), "The same in numbers")
    return [figure(caption, drawn), numbers, *_notes(run)]


def _notes(run: Recorded) -> list[Markup]:
    """Other classes, yardsticks without learning, unknown classes, a network that beats none of them in bold; then what
    the numbers are to be read with."""
    view = run.view
    told = [
        "“Support images alone” is what predict uses: no answer depends on the other pictures. “All queries of the "
        "task” looks at the queries together, as many papers do, and often reads higher.",
        *view.caveats,
    ]
    four = view.rivals.get("four-layer")
    if four:
        told.append(
            f"The four-layer net has {four['filters']} filters, {large(four['parameters'])} parameters, and was "
            "trained by Reptile on as many images."
        )
    sure = [el("p", el("b", one) if one == view.verdict else one) for one in view.sentences]
    return [*sure, *(aside(words) for words in told)]


def confusion(run: Recorded) -> list[Markup]:
    """The pairs of classes taken for one another most."""
    if not tested(run):
        return []
    seen = (run.observations or {}).get("confusion")
    if seen is None:
        return [Missing("which classes were confused")]
    pairs = seen["pairs"][:MOST_CONFUSED]
    if not pairs and seen.get("classes") == 0:
        few = f"No class was asked about {seen['least']} times, too few queries to tell which classes are confused."
        return [el("h3", "Confused classes"), el("p", few)]
    if not pairs:
        return [el("h3", "Confused classes"), el("p", "No class was ever taken for another one.")]
    worst = pairs[0]
    words = [
        "The worst pair: ",
        el("b", worst["true"]),
        " was taken for ",
        el("b", worst["predicted"]),
        f" in {worst['count']} of {worst['of']} queries in tasks that had both ({share(worst['count'], worst['of'])}).",
    ]
    rows = []
    for pair in pairs:
        part = pair["count"] / pair["of"] if pair["of"] else 0.0
        rows.append(
            [
                breakable(pair["true"]),
                breakable(pair["predicted"]),
                _bar(part),
                share(pair["count"], pair["of"]),
                pair["count"],
                pair["of"],
            ]
        )
    head = ["class", "taken for", "", "rate", "times", "of"]
    about = (
        f"{plural(len(pairs), 'pair')} most often confused, worst rate first (normalised with the support images alone)"
    )
    return [el("h3", "Confused classes"), el("p", words), table(head, rows, (3, 4, 5), about)]


def _bar(part: float) -> Markup:
    """A bar inside a table, read out by the number beside it."""
    rect = el("rect", x=0.0, y=2.0, width=max(64.0 * min(part, 1.0), 0.8), height=9.0, class_="bar second")
    return el("svg", rect, viewBox="0 0 64 13", style="--w:64px", class_="meter", aria_hidden="true")


def examples(run: Recorded) -> list[Markup]:
    """Tasks as the network saw them."""
    if not tested(run):
        return []
    tasks = (run.observations or {}).get("examples")
    if not tasks:
        return [Missing("examples of its test tasks")]
    words = (
        "Test tasks as the network saw them: the support images that it learned from, then queries with its answers, "
        "their probabilities and, where they are wrong, what is right; wrong ones first."
    )
    made = [el("h3", "Examples"), el("p", words)]
    for number, task in enumerate(tasks, 1):
        made.append(_episode(number, task))
    return made


def _episode(number: int, task: Mapping[str, Any]) -> Markup:
    names = task["classes"]
    support = [
        el(
            "li",
            [picture(uri, f"support image of {name}") for uri in images],
            el("br"),
            el("b", _letter(k)),
            " ",
            breakable(name),
        )
        for k, (name, images) in enumerate(zip(names, task["support"], strict=True))
    ]
    queries = [_query(query, names) for query in task["queries"]]
    title = f"Task {task['task']}" if "task" in task else f"Task {number}"
    return el(
        "div",
        el("p", el("b", title), " learned from"),
        el("ul", support, class_="support"),
        el("p", "and answered"),
        el("ul", queries, class_="queries"),
        class_="episode",
    )


def _letter(k: int) -> str:
    """A, B, ... Z, 27, 28, ..."""
    return chr(ord("A") + k) if k < 26 else str(k + 1)


def _query(query: Mapping[str, Any], names: Sequence[str]) -> Markup:
    right = query["true"] == query["predicted"]
    said, true = _letter(query["predicted"]), _letter(query["true"])
    name = names[query["true"]]
    return el(
        "li",
        picture(query["image"], f"query image of {name}"),
        el("br"),
        el("b", f"{'✓' if right else '✗'} {said}"),
        f" {100 * query['probability']:.0f} %",
        None if right else [el("br"), f"is {true}"],
        class_="right" if right else "wrong",
    )
