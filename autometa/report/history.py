"""How it got there: curves of meta-training, the architecture over time, pruning, the cells that tasks settled on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations

from autometa.nas.spaces.cells import INPUT_STATES
from autometa.report.cell_drawing import draw_small
from autometa.report.charts import Axes, Bar, Mark, Point, Series, bars, lines, picked, smoothed, thinned
from autometa.report.markup import Markup, Missing, details, el, figure, join, note, table
from autometa.report.recorded import Recorded
from autometa.report.words import op_class, op_name, plural, share

KINDS = ("normal", "reduction")
SMALL, SMALL_HEIGHT, SMALL_POINTS = 162.0, 96.0, 60
DRAWN, LISTED = 4, 10
ITERATION = "meta-iteration"
BANDS = "; line: mean of neighbouring ones, band: their range."


def training(run: Recorded) -> list[Markup]:
    """Curves of the loop of meta-iterations."""
    rows = run.loop
    head = el("h3", run.algorithm.loop_title) if run.algorithm.loop_title else None
    if not rows:
        return [note("No meta-iteration was recorded.")]
    marks = _warmup(run)
    made = [
        _curve(
            "Loss on the support batches of a task",
            [Series("first step", points(rows, "loss_first"), "second"), Series("last step", points(rows, "loss"))],
            Axes(ITERATION, "cross-entropy", zero=True),
            marks,
        )
    ]
    trained = [Series("", points(rows, "accuracy", 100))]
    rival = run.metrics.get("four-layer", ())
    if rival:
        trained = [
            replace(trained[0], name="search"),
            Series("four-layer net", points(rival, "accuracy", 100), "third"),
        ]
    made.append(_curve("Accuracy on the batch of the last step", trained, Axes(ITERATION, "%", high=100), marks))
    updates = [_positive(Series("weights", points(rows, "update")))]
    updates.append(_positive(Series("architecture", points(rows, "update_architecture"), "second")))
    if any(one.points for one in updates):
        title = "Size of a meta-update relative to what it changes"
        made.append(_curve(title, updates, Axes(ITERATION, log_y=True), marks))
    sharp = [Series(kind, entropy(run, kind), style) for kind, style in zip(KINDS, ("first", "second"), strict=True)]
    if any(one.points for one in sharp):
        title = "Entropy of the operations' weights (1: undecided, 0: decided)"
        made.append(_curve(title, sharp, Axes(ITERATION, zero=True, high=1), marks))
    caption = [
        el("b", "Meta-training."),
        f" {plural(len(rows), 'recorded meta-iteration')}{BANDS if len(rows) >= 27 else '.'}",
    ]
    parts = [join([head]), figure(caption, *made), details("The curves as a table", _curve_table(rows))]
    if not any(one.points for one in updates):
        parts.append(Missing("the size of its meta-updates"))
    return parts


def points(rows: Sequence[Mapping], name: str, times: float = 1.0) -> list[Point]:
    """(step, value) wherever there is a number."""
    return [(row["step"], row[name] * times) for row in rows if isinstance(row.get(name), (int, float))]


def _positive(one: Series) -> Series:
    """What a logarithmic axis can hold: the architecture stands still in warm-up."""
    return replace(one, points=[(x, y) for x, y in one.points if y > 0])


def entropy(run: Recorded, kind: str) -> list[Point]:
    return [(row["step"], row["entropy"][kind]) for row in run.architecture if kind in row.get("entropy", {})]


def _warmup(run: Recorded) -> list[Mark]:
    warmup, last = run.config.get("warmup"), max((row["step"] for row in [*run.loop, *run.architecture]), default=0)
    return [Mark(warmup, "architecture moves")] if warmup and warmup < last else []


def _curve(title: str, series: Sequence[Series], axes: Axes, marks: Sequence[Mark]) -> Markup:
    """A chart under its title."""
    series = [thinned(smoothed(one)) for one in series if one.points]
    return el("div", el("p", title), lines(title, series, axes, marks))


def _curve_table(rows: Sequence[Mapping]) -> Markup:
    """About twenty of the lines."""
    names = [
        n for n in ("loss_first", "loss", "accuracy", "update", "update_architecture", "not_finite") if n in rows[-1]
    ]
    every = max(1, len(rows) // 20)
    kept = [row for k, row in enumerate(rows) if k % every == 0 or k == len(rows) - 1]
    body = [[f"{row['step']:,}", *(_cell(row.get(name)) for name in names)] for row in kept]
    return table([ITERATION, *names], body, range(len(names) + 1), f"Every {plural(every, 'recorded line')}")


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def architecture(run: Recorded) -> list[Markup]:
    """Op and input weights over meta-training."""
    rows = run.architecture
    if not rows:
        return [Missing("its architecture over time")]
    primitives = list(run.config["primitives"])
    marks = [replace(mark, words="") for mark in _warmup(run)]
    made = [el("h3", "Weights of operations and inputs over time"), _legend(primitives)]
    for kind in KINDS:
        if kind in rows[-1]["ops"]:
            made.append(_edges(rows, kind, primitives, marks))
            made += _pairs(rows, kind, marks)
    made.append(details("The last line as tables", *(_last(rows[-1], kind, primitives) for kind in KINDS)))
    return made


def edge_names(count: int) -> list[tuple[int, int]]:
    """(node as a state, input state) of the edges, node by node."""
    found: list[tuple[int, int]] = []
    node = INPUT_STATES
    while len(found) < count:
        found += [(node, state) for state in range(node)]
        node += 1
    return found


def _edges(rows: Sequence[Mapping], kind: str, primitives: Sequence[str], marks: Sequence[Mark]) -> Markup:
    """A small chart per edge, all with the same axes."""
    names = edge_names(len(rows[-1]["ops"][kind]))
    highest = max(value for row in rows for edge in row["ops"][kind] for value in edge)
    drawn = []
    for e, (node, state) in enumerate(names):
        last = rows[-1]["ops"][kind][e]
        winner = max(range(len(last)), key=last.__getitem__)
        series = []
        for p, name in enumerate(primitives):
            one = Series("", [(row["step"], row["ops"][kind][e][p]) for row in rows], op_class(name))
            series.append(replace(picked(one, SMALL_POINTS), weight="thick" if p == winner else "thin"))
        series.append(series.pop(winner))
        title = f"{kind} cell, node {node} from {state}"
        about = f"At the end {op_name(primitives[winner])} leads with {last[winner]:.2f}."
        axes = Axes(zero=True, high=highest, wanted_x=2, wanted_y=2)
        chart = lines(title, series, axes, marks, SMALL, SMALL_HEIGHT, about)
        words = [f"{state} → {node}", el("br"), el("b", op_name(primitives[winner])), f" {last[winner]:.2f}"]
        drawn.append(el("div", el("p", words), chart))
    caption = [
        el("b", f"{kind.capitalize()} cell: weight of each operation on each edge"),
        f" over the {ITERATION}s, at the highest temperature; named and thick: the one that leads at the end.",
    ]
    return figure(caption, *drawn, class_="many")


def _pairs(rows: Sequence[Mapping], kind: str, marks: Sequence[Mark]) -> list[Markup]:
    """A small chart per node that can choose between pairs of inputs."""
    nodes = rows[-1].get("pairs", {}).get(kind, [])
    if not any(len(node) > 1 for node in nodes):
        return []
    highest = max(value for row in rows for node in row["pairs"][kind] if len(node) > 1 for value in node)
    drawn = []
    for n, node in enumerate(nodes):
        if len(node) < 2:
            continue
        names = [f"{a}+{b}" for a, b in combinations(range(n + INPUT_STATES), 2)]
        order = sorted(range(len(node)), key=lambda k: -node[k])
        series = []
        for rank, k in enumerate(order):
            one = Series(names[k] if rank < 3 else "", [(row["step"], row["pairs"][kind][n][k]) for row in rows])
            style = "first" if rank == 0 else "third"
            one = replace(picked(one, SMALL_POINTS), class_=style, weight="thick" if rank == 0 else "thin")
            series.append(one)
        axes = Axes(zero=True, high=highest, wanted_x=2, wanted_y=2)
        title = f"{kind} cell, inputs of node {n + INPUT_STATES}"
        chart = lines(title, series[::-1], axes, marks, SMALL, SMALL_HEIGHT)
        words = [f"node {n + INPUT_STATES}", el("br"), "inputs ", el("b", names[order[0]]), f" {node[order[0]]:.2f}"]
        drawn.append(el("div", el("p", words), chart))
    caption = [el("b", f"{kind.capitalize()} cell: weight of each pair of inputs"), f" over the {ITERATION}s."]
    return [figure(caption, *drawn, class_="many")]


def _legend(primitives: Sequence[str]) -> Markup:
    items = [
        el("li", el("span", class_=f"swatch {op_class(name)}", aria_hidden="true"), el("b", op_name(name)))
        for name in primitives
    ]
    return el("ul", items, class_="legend")


def _last(row: Mapping, kind: str, primitives: Sequence[str]) -> Markup:
    shares = row["ops"].get(kind, [])
    names = edge_names(len(shares))
    body = [[f"{s} → {n}", *(f"{v:.3f}" for v in edge)] for (n, s), edge in zip(names, shares, strict=True)]
    head = [f"{kind} edge", *map(op_name, primitives)]
    return table(head, body, range(1, len(head)), f"{kind.capitalize()} cell at {ITERATION} {row['step']:,}")


def pruning(run: Recorded) -> list[Markup]:
    """Temperature, operations left and entropy over the steps of meta-testing."""
    seen = (run.observations or {}).get("pruning")
    if not seen:
        return [Missing("how its operations were pruned")]
    steps = seen["step"]

    def series(name: str) -> list[Series]:
        styles = zip(KINDS, ("first", "second"), strict=True)
        return [
            Series(kind, list(zip(steps, seen[name][kind], strict=True)), style)
            for kind, style in styles
            if kind in seen[name]
        ]

    threshold = run.config.get("prune_testing")
    heat = Series("", list(zip(steps, seen["temperature"], strict=True)), "third")
    charts = [
        ("Temperature", [heat], Axes("step", zero=True)),
        (f"Operations that weigh at least {threshold}, %", _percent(series("alive")), Axes("step", zero=True)),
        ("Entropy (1: undecided, 0: decided)", series("entropy"), Axes("step", zero=True)),
    ]
    drawn = [el("div", el("p", title), lines(title, own, axes)) for title, own, axes in charts if own]
    left = {one.name: one.points[-1][1] for one in charts[1][1]}
    caption = [
        el("b", "While a test task is learned"),
        ", means over the test tasks: the temperature falls, weights sharpen, then what weighs too little is removed. "
        f"At the end {', '.join(f'{value:.0f} % of the {kind} operations' for kind, value in left.items())} are left.",
    ]
    every = max(1, len(steps) // 12)
    rows = []
    for k in sorted({*range(0, len(steps), every), len(steps) - 1}):
        parts = [seen[name][kind][k] for name in ("alive", "entropy") for kind in KINDS if kind in seen[name]]
        rows.append([steps[k], f"{seen['temperature'][k]:.3f}", *(f"{value:.3f}" for value in parts)])
    head = ["step", "temperature"]
    head += [f"{what}, {kind}" for what in ("left", "entropy") for kind in KINDS if kind in seen["alive"]]
    listing = details("The same as a table", table(head, rows, range(len(head))))
    return [el("h3", "Pruning on a test task"), figure(caption, *drawn), listing]


def _percent(series: Sequence[Series]) -> list[Series]:
    return [replace(one, points=[(x, 100 * y) for x, y in one.points]) for one in series]


def task_cells(run: Recorded) -> list[Markup]:
    """The task-dependent cells: the commonest drawn, more of them listed, how often each operation was chosen."""
    if not run.tasks:
        return [note("No test task has settled on a cell yet.")]
    made = [el("h3", "The cells that test tasks settled on")]
    for kind in KINDS:
        counts = Counter(getattr(genotype, kind) for genotype in run.tasks)
        ranked = sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))
        drawn = []
        for rank, (cell, count) in enumerate(ranked[:DRAWN], 1):
            title = f"{kind} cell number {rank}"
            words = [el("b", f"{count} of {len(run.tasks)}"), f" ({share(count, len(run.tasks))})"]
            drawn.append(el("div", el("p", words), draw_small(cell, title)))
        many = f"{len(ranked)} different {kind} cells" if len(ranked) > 1 else f"one {kind} cell"
        caption = [
            el("b", many.capitalize() if len(ranked) == 1 else many),
            f" in {plural(len(run.tasks), 'test task')}",
        ]
        caption.append(f"; the commonest {len(drawn)}." if len(ranked) > 1 else ".")
        made.append(figure(caption, *drawn, class_="many"))
        if len(ranked) > 1:
            made.append(details(f"The commonest {kind} cells as a table", _cell_table(ranked, len(run.tasks))))
    made.append(_usage(run))
    return made


def _cell_table(ranked: Sequence[tuple], tasks: int) -> Markup:
    rows = [[str(cell), count, share(count, tasks)] for cell, count in ranked[:LISTED]]
    rest = sum(count for _, count in ranked[LISTED:])
    if rest:
        rows.append([f"{len(ranked) - LISTED} others", rest, share(rest, tasks)])
    return table(["cell", "tasks", ""], rows, (1, 2))


def _usage(run: Recorded) -> Markup:
    """How often tasks chose each operation."""
    drawn = []
    primitives = run.config.get("primitives", [])
    for kind in KINDS:
        nodes = [node for genotype in run.tasks for node in getattr(genotype, kind).nodes]
        counts = Counter(name for node in nodes for name, _ in node)
        total = sum(counts.values())
        names = list(dict.fromkeys([*primitives, *counts]))
        rows = [Bar(op_name(n), counts[n], share(counts[n], total), op_class(n)) for n in names]
        drawn.append(el("div", el("p", f"{kind.capitalize()} cell"), bars(f"Operations chosen in {kind} cells", rows)))
    return figure([el("b", "How often each operation was chosen"), ", over all test tasks."], *drawn)
