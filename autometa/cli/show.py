"""Results as lines for a person: what was found, how accurate, how large, where it is, what to type next."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from autometa.api.listing import Choice
from autometa.printable import printable
from autometa.report.levels import level_table
from autometa.report.view import View
from autometa.report.words import large, score, size
from autometa.runs.budget import format_duration
from autometa.runs.files import shown


def columns(rows: Sequence[Sequence[str]], indent: str = "  ", right: Sequence[int] = ()) -> list[str]:
    """Rows as aligned columns, two spaces apart; `right` are the columns aligned to the right."""
    if not rows:
        return []
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[c]) for row in rows) for c in range(len(rows[0]))]
    lines = []
    for row in rows:
        padded = zip(row, widths, strict=True)
        cells = [cell.rjust(w) if c in right else cell.ljust(w) for c, (cell, w) in enumerate(padded)]
        lines.append(f"{indent}{'  '.join(cells)}".rstrip())
    return lines


def result(found: Mapping[str, Any]) -> list[str]:
    """A finished search or training run."""
    run = shlex.quote(shown(found["run"]))
    done, planned = found["iterations"]["done"], found["iterations"]["planned"]
    lines = []
    if done < planned:
        lines += [f"Training ended after {done} of {planned} meta-iterations.", ""]
    if 0 < planned and done <= found.get("warmup", -1):
        why = f"it ended within its warm-up of {found['warmup']} meta-iterations"
        lines += [f"The search has not chosen any cell: {why}, in which the architecture stands still.", ""]
    if "genotype" in found:
        lines += [*_cells(found), ""]
    if "cell" in found:
        lines += [*_cell(found), "", *_levels(found), ""]
    lines += _measured(found)
    kept = "result.json, config.json, checkpoints/, genotypes/" if "genotype" in found else "result.json, checkpoints/"
    kept = f"{kept}, search.json, ledger.sqlite" if "cell" in found else kept
    lines += [f"Files  {run}  ({kept})"]
    lines += [f"Report autometa report {run}  (writes one page with drawings and curves)"]
    lines += [f"Next   autometa adapt --support FOLDER --run {run}"]
    return [*lines, "       FOLDER: one sub-folder of 1 to 5 pictures per class, named as the class"]


def evaluation(found: Mapping[str, Any]) -> list[str]:
    """A run evaluated again."""
    return [*_measured(found), f"Files  {shown(found['file'])}"]


def _cells(found: Mapping[str, Any]) -> list[str]:
    genotype, tasks = found["genotype"], found["protocol"]["tasks"]
    lines = ["Found: the cells that most test tasks settled on; each node adds up the outputs of two operations."]
    rows = []
    for kind in ("normal", "reduction"):
        for number, node in enumerate(genotype[kind].split("; ")):
            first = f"{kind} cell" if number == 0 else ""
            share = f"in {genotype[f'{kind}_found_in']} of {tasks} tasks" if number == 0 else ""
            rows.append([first, f"node {number + 2} =", node, share])
    legend = "  (0) and (1) are the outputs of the two cells before, (2), (3), ... the nodes of the cell itself."
    return [*lines, *columns(rows), legend]


def _cell(found: Mapping[str, Any]) -> list[str]:
    """What Auto-Meta found."""
    cell, validation, many = found["cell"], found["validation"], found["candidates"]
    lost = f", {many['failed']} failed" if many["failed"] else ""
    lost += f", {many['known']} more known from an earlier run" if "known" in many else ""
    how = f" by the strategy {found['strategy']}"
    unit, kinds = cell.get("unit", "block"), {"cell": cell["blocks"]}
    if "reduction" in cell:
        kinds = {"normal cell": cell["blocks"], "reduction cell": cell["reduction"]}
    adds = f"; each {unit} adds up two operations" if cell["output"] else ""
    lines = [f"Found: the best of {many['trained']} cells trained{how}{lost}{adds}."]
    rows = [
        [kind if n == 0 else "", f"{unit} {n + 2} =", text]
        for kind, texts in kinds.items()
        for n, text in enumerate(texts.split("; "))
    ]
    puts_out = f"Puts out {', '.join(map(str, cell['output']))}. (0) and (1) are the two cells before; key"
    validated = {"mean": cell["validation_accuracy"], "ci95": cell["validation_interval"]}
    return [
        *lines,
        *columns(rows),
        f"  {puts_out if cell['output'] else 'Key'} {cell['key']}",
        f"  As a candidate {score(validated)} % on {validation['tasks']} tasks of validation classes",
    ]


def _levels(found: Mapping[str, Any]) -> list[str]:
    unit = found["levels"][0].get("unit", "round") if found["levels"] else "round"
    rows = level_table(found["levels"], unit)
    title = "Rounds" if unit == "round" else "Levels"
    title += " (validation accuracy in %; rank correlations of predicted and measured accuracy: Spearman / Kendall)"
    return [title, *columns(rows, right=range(1, len(rows[0]) - 3))]


def _measured(found: Mapping[str, Any]) -> list[str]:
    """Accuracies, sizes, times."""
    view = View(found)
    sizes = [
        [name, f"{size['parameters']:,.0f} parameters", f"{large(size['macs'])} MACs"]
        for name, size in view.sizes.items()
    ]
    kept = [
        f"{limit:,} {'parameters' if name == 'max_params' else 'MACs'}" for name, limit in view.part("limits").items()
    ]
    what = "every task's pruned network keeps to" if "search_network" in found else "at most"
    times = ", ".join(f"{name} {format_duration(value)}" for name, value in view.part("seconds").items())
    return [
        f"Accuracy in % on {view.tasks}; mean and 95% confidence interval",
        f"  {view.over_tasks}",
        f"  {view.classes}; seed {view.protocol['seed']}, tasks of seed {view.protocol['test_seed']}",
        *columns(view.table, right=range(1, len(view.table[0]))),
        *(f"  {one}" for one in (*view.caveats, *view.sentences)),
        "",
        "Size   (MACs: multiplications with addition, for one image)",
        *columns(sizes, right=(1, 2)),
        *([f"  {what} {' and '.join(kept)}"] if kept else []),
        "",
        f"Time   {times}",
    ]


def estimate(found: Mapping[str, Any]) -> list[str]:
    """A dry run."""
    seconds, threads = found["seconds"], found["threads"]
    detail = {
        found.get(
            "loop", found["kind"]
        ): f"{found['iterations']} meta-iterations x {found['seconds_per_iteration']:.3g} s",
        "evaluation": f"{found['tasks']} tasks x {found['seconds_per_task']:.3g} s",
    }
    rows = [[name, format_duration(value), detail.get(name, "")] for name, value in seconds.items() if name != "all"]
    using = f"{threads} thread{'s' * (threads > 1)}"
    rows.append(["in all", format_duration(seconds["all"]), f"on this machine, as busy as it is now, with {using}"])
    rows.append(["memory", size(found["memory_bytes"]), "at most, by the steps that were tried"])
    if found["gpu_memory_bytes"] is not None:
        rows.append(["GPU memory", size(found["gpu_memory_bytes"]), "at most, by the steps that were tried"])
    network = found["network"]
    macs = f"{large(network['macs'])} multiplications per image"
    rows.append(["network", f"{network['parameters']:,} parameters", macs])
    return ["Estimate from a few real steps; no run was begun.", *columns(rows)]


def adapted(counts: Mapping[str, int], model: str, warnings: Sequence[str], place: str, run: str) -> list[str]:
    """What `adapt` learned, and with which model."""
    rows = [[name, f"{count} image{'s' * (count > 1)}"] for name, count in counts.items()]
    lines = [f"Learned {len(counts)} classes:", *columns(rows), f"Model  {model}"]
    lines += [*(f"       {text}" for text in warnings), f"Files  {shown(place)}"]
    return [*lines, f"Next   autometa predict IMAGE... --run {shlex.quote(shown(run))}"]


def predictions(found: Sequence[tuple]) -> list[str]:
    """One line per image: the class, its probability, the runner-up."""
    rows = []
    for path, name, probability, every in found:
        others = sorted(((p, n) for n, p in every.items() if n != name), reverse=True)
        word = "then" if name in every else "at best"
        then = f"{word} {others[0][1]} {others[0][0]:.1%}" if others else ""
        rows.append([str(path), name, f"{probability:.1%}", then])
    return columns(rows, indent="", right=(2,))


def run_list(rows: Sequence, root: str) -> list[str]:
    """`runs list`."""
    if not rows:
        return [f"no runs in {root}; begin one with: autometa search metanas --preset quick"]
    table = [["run", "status", "what", "started", "progress", "accuracy"]]
    for row in rows:
        progress = f"{row.progress[0]}/{row.progress[1]}" if row.progress and row.status != "finished" else ""
        accuracy = "" if row.accuracy is None else f"{row.accuracy:.2f} %"
        started = row.started[:16].replace("T", " ")
        table.append([shown(row.path), row.status, row.kind, started, progress, accuracy])
    unreadable = [f"{shown(row.path)} is unreadable: {row.reason}" for row in rows if row.status == "unreadable"]
    return [*columns(table, indent="", right=(5,)), *([""] if unreadable else []), *unreadable]


def recipe_list(recipes: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """`reproduce --list`."""
    rows = [[name, recipe["title"], recipe["time"]] for name, recipe in recipes.items()]
    return [
        *columns(rows, indent=""),
        "",
        "to run one: autometa reproduce NAME; to go on: autometa reproduce NAME --resume DIR",
    ]


def verdicts(found: Mapping[str, Any]) -> list[str]:
    """PASS or FAIL per check of a recipe."""
    word = {True: "PASS", False: "FAIL"}
    rows = [[word[v["passed"]], v["what"], v["found"], f"wanted: {v['wanted']}"] for v in found["checks"]]
    return [*columns(rows, indent=""), f"{word[found['passed']]}  recipe {found['recipe']}"]


def _self_check(table: Mapping[str, Mapping[str, str | None]]) -> list[list[str]]:
    """A row per op and precision."""
    return [[op, mode, reason or "passed"] for op, row in table.items() for mode, reason in row.items()]


def compiled(found: Mapping[str, Any]) -> list[str]:
    """`doctor --compile`."""
    done = f"{found['compiled']} of {found['kernels']} GPU kernels of preset {found['preset']} compiled"
    return [f"{done} for compute capability {found['capability']} in {found['seconds']} s, the others were there"] + [
        f"FAILED  {reason}" for reason in found["failed"]
    ]


def _triton(needs: Mapping[str, Any]) -> str:
    """What Triton kernels need on this machine, and what is missing of it."""
    missing = [] if needs["compiler"] else ["a C compiler (gcc) is needed and not found"]
    missing += [] if needs["headers"] else ["Python.h is needed and not found (install python3-dev)"]
    return "; ".join([needs["refuses"] or "can be imported", *missing, f"compiled kernels: {needs['cache']}"])


def checkup(found: Mapping[str, Any]) -> list[str]:
    """`doctor`."""
    cpu, compiled, data = found["cpu"], found["compiled"], found["data"]
    versions = [[name, version] for name, version in found["versions"].items()]
    if compiled["loads"]:
        core = f"loads; instruction set {compiled['instruction_set'] or compiled['reason']}"
    else:
        core = compiled["reason"]
    kernels = found["cuda_kernels"]
    built = f"built for {kernels['architectures']}, CUDA {kernels['runtime']}; " if kernels["loads"] else ""
    machine = [
        ["system", found["platform"]],
        ["processor", f"{cpu['model']}, {cpu['usable_processors']} usable, {cpu['torch_threads']} threads in use"],
        ["free memory", size(cpu["memory_free_bytes"])],
        ["GPU", found["gpu"] or "none that torch can use"],
        ["compiled core", core],
        ["CUDA kernels", built + (kernels["refuses"] or "can run")],
        ["Triton", _triton(found["triton"])],
    ]
    lines = ["Versions", *columns(versions), "", "Machine", *columns(machine)]
    for device, rows in found["backends"].items():
        lines += ["", f"What computes on {device}"]
        forced_badly = isinstance(rows, str)
        lines += [f"  {rows}"] if forced_badly else columns([[r["op"], r["backend"], r["reason"]] for r in rows])
    if found["self_check"]:
        lines += ["", "Self-check of the GPU's kernels", *columns(_self_check(found["self_check"]["table"]))]
    own = found["plugins"]
    if any(own.values()):
        through = "run through the reference, the nodes' other operations where they would without them"
        rows = [["loaded", ", ".join(own["loaded"]) or "by Python code"]]
        rows += [["primitives", f"{', '.join(own['primitives'])}: {through}"]] if own["primitives"] else []
        rows += [["data sets", ", ".join(own["data_sets"])]] if own["data_sets"] else []
        rows += [["meta-learners", ", ".join(own["learners"])]] if own["learners"] else []
        lines += ["", "Plugins", *columns(rows)]
    where = [["cache", f"{data['cache']} ({size(data['cache_free_bytes'])} free on that disk)"]]
    where += [["converted", name] for name in data["converted"]]
    where += [[f"Omniglot {part}", text] for part, text in data["omniglot"].items()]
    where.append(["strokes", data["strokes"]])
    settings = [[name, value or "not set"] for name, value in found["settings"].items()]
    return [*lines, "", "Data", *columns(where), "", "Environment", *columns(settings)]


def choices(found: Sequence[Choice]) -> list[str]:
    """Names by kind, with a line about each."""
    lines: list[str] = []
    for kind in dict.fromkeys(choice.kind for choice in found):
        rows = [["", choice.name, choice.about] for choice in found if choice.kind == kind]
        lines += [*([""] if lines else []), kind.capitalize(), *columns(rows)]
    return lines
