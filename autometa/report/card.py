"""The model card of a run (Mitchell et al. 2019): what was trained on which data, how well it does, what it is not for.

Made from the files of the run folder alone; what an older run did not record is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from autometa.algorithms.algorithm import algorithm_of
from autometa.data.splits import SAME
from autometa.errors import InputError
from autometa.report import seeds
from autometa.report.markdown import block, code, words
from autometa.report.repeat import command_to_repeat, iterations_of
from autometa.report.seeds import read_summary
from autometa.report.view import View
from autometa.report.words import plural
from autometa.runs.budget import format_duration
from autometa.runs.files import disk_errors, shown, write_text
from autometa.runs.folder import HEALTH, MODEL_CARD, OBSERVATIONS, RunFolder
from autometa.train import records
from autometa.train.records import read_result
from autometa.train.run_config import RunConfig, config_of
from autometa.train.shapes import told

BN_CAVEAT = """The rows answer different questions and must not be compared with each other. Figures normalised with
all queries of the task (transductive), which many papers report, let the queries help each other; a picture that comes
alone is served by support images alone, which is what `predict` does."""
USE = """Teach it about {ways} new classes of pictures like those above from one to five pictures each
(`autometa adapt`), then classify others (`autometa predict`). It is a result of research on few-shot learning and
architecture search: a starting point for such tasks, and something to compare other methods with."""
LIMITS = """* Measured for {ways} classes and {shots} of each, on pictures of one sort. With more classes or other
  pictures it does worse as a rule: measure that with `autometa eval`, or on pictures of your own held back.
* {runs}
* `predict` gives every picture one of the classes taught, also one of a class never shown, unless
  `--min-confidence` says otherwise. Probabilities are not calibrated.
* Nothing here measures errors by group of people, change over time or deliberate deception: not for decisions about
  people, nor where safety depends on it."""
PLACES = ("AUTOMETA_CACHE", "AUTOMETA_DATA")
"""Settings that say where something lies on one machine: nobody else's business."""


def write_card(run: RunFolder) -> Path:
    """Write RUN/MODEL_CARD.md. Raises `InputError` where the run is not finished."""
    text, path = model_card(run), run.path / MODEL_CARD
    run.acquire()
    with disk_errors(f"write {shown(path)}"):
        write_text(path, text)
    return path


def model_card(run: RunFolder) -> str:
    """The card as Markdown; it depends on the run folder alone. Of several seeds it is the card of the first one, which
    stands for all, with a part about all of them. Raises `InputError` where the run is not finished."""
    whole, run = run, RunFolder.open(run.path)
    result, config = read_result(run), config_of(run)
    if result is None:
        raise InputError(f"{shown(run.path)} is not finished; its card is written when it is")
    environment, view = run.environment, View(result)
    parts = [
        [f"# {words(environment.get('name', view.kind))}", "", algorithm_of(config).card, *_found(config, view)],
        ["## Data", "", *_data(run, config, view)],
        ["## Accuracy", "", *_accuracy(view), BN_CAVEAT],
        *([["## Over seeds", "", *_over_seeds(whole)]] if whole.seeds else []),
        ["## Size and cost", "", *_sizes(view), *_cost(run, view, environment)],
        ["## Intended use", "", USE.format(ways=view.protocol["ways"])],
        ["## Limits", "", *_limits(run, config, view, len(whole.seeds))],
        ["## How to repeat it", "", *_repeat(run, config, environment)],
    ]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _found(config: RunConfig, view: View) -> Iterator[str]:
    """The architecture in a few lines."""
    result = view.result
    yield ""
    if "genotype" in result:
        cells, tasks = result["genotype"], view.protocol["tasks"]
        for kind in ("normal", "reduction"):
            share = f"{words(cells[f'{kind}_found_in'])} of {tasks} test tasks"
            yield f"* commonest {kind} cell, in {share}: {code(cells[kind])}"
        yield f"* different pairs of cells over the test tasks: {words(cells['different_cells'])}"
    elif "cell" in result:
        cell, trained = result["cell"], result["candidates"]["trained"]
        yield f"* cell {code(cell['key'])}, the best of {words(trained)} trained candidates"
        yield f"* its {cell.get('unit', 'block')}s: {code(cell['blocks'])}"
        if "reduction" in cell:
            yield f"* those of its reduction cell: {code(cell['reduction'])}"
    else:
        learner = config.learner.name
        yield f"* network {code(Path(result['network']).name)}, meta-learner {code(learner)}"


def _data(run: RunFolder, config: RunConfig, view: View) -> list[str]:
    protocol = view.protocol
    recipe = records.read(run, records.DATA)["recipe"]
    colour = "colour" if recipe["channels"] == 3 else "grey"
    ink = "dark ink on light paper becomes 255 on 0" if recipe["polarity"] == "inverted" else "values as they are"
    square = {"stretch": "stretched to ", "ink": "ink in the middle, "}.get(recipe.get("fit"), "")
    seen = "which it was trained on, too" if SAME in protocol["split"] else "which training never saw"
    inner = getattr(config, f"{config.prefix}inner")
    drawn = [f"* trained on tasks of {told(inner)}, drawn for every meta-iteration"] if inner.drawn else []
    return [
        f"* set {code(config.data.name)}, split {code(protocol['split'])}; trained on its training classes, judged on "
        f"its {words(protocol['part'])} classes, {seen}",
        *drawn,
        f"* pictures: {colour}, {square}{recipe['size']}x{recipe['size']}, filter {words(recipe['filter'])}, {ink}",
        f"* sha256 over recipe, class names, sizes and pixels: {code(view.result['data_hash'])}",
        f"* protocol: {view.tasks}; seed {protocol['seed']}, tasks drawn with seed {protocol['test_seed']}",
    ]


def _accuracy(view: View) -> list[str]:
    lines = [f"Percent of queries, mean and 95% confidence interval {view.over_tasks}.", "", *_table(view.table), ""]
    return [*lines, *(f"* {words(one)}" for one in (*view.caveats, *view.sentences)), ""]


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as a Markdown table, the first one its head."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return [lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]


def _sizes(view: View) -> list[str]:
    rows = [[name, f"{size['parameters']:,.0f}", f"{size['macs']:,.0f}"] for name, size in view.sizes.items()]
    return _table([["", "weights", "multiply-accumulates for one image"], *rows])


def _cost(run: RunFolder, view: View, environment: Mapping[str, Any]) -> Iterator[str]:
    seconds = ", ".join(f"{words(name)} {format_duration(value)}" for name, value in view.part("seconds").items())
    machine = environment.get("gpu") if view.result.get("device") == "cuda" else environment.get("cpu")
    threads = environment.get("torch_threads")
    where = words(machine or "an unrecorded machine") + (f", {plural(threads, 'thread')}" if threads else "")
    yield ""
    yield f"Time: {seconds}, on {where}; precision {words(view.result.get('precision', 'fp32'))}."
    if environment.get("resumed"):
        yield f"The run was resumed {plural(len(environment['resumed']), 'time')}; seconds count all its parts."
    memory = records.read(run, OBSERVATIONS, {}).get("memory") or {}
    peaks = {"memory": memory.get("peak_bytes"), "GPU memory": memory.get("gpu_peak_bytes")}
    for name, value in peaks.items():
        if value:
            yield f"Peak of {name}: {value / 2**20:,.0f} MiB."


def _over_seeds(whole: RunFolder) -> list[str]:
    found = read_summary(whole)
    return [*_table(seeds.means(found)), "", *_table(seeds.rows(found)), "", *seeds.ABOUT]


def _limits(run: RunFolder, config: RunConfig, view: View, many: int) -> Iterator[str]:
    done, planned = iterations_of(run, config)
    if done < planned:
        yield f"* Training ended after {done} of {planned} meta-iterations."
    protocol = view.protocol
    runs = "One training run with one seed: intervals say how tasks and classes differ, not how runs would."
    if many:
        runs = f"This is one of {many} training runs, that of the first seed; how they differ stands above."
    yield LIMITS.format(runs=runs, ways=protocol["ways"], shots=plural(protocol["shots"], "support image"))
    for alarm in records.read(run, HEALTH, []):
        where = f"{words(alarm.get('phase', 'run'))} step {words(alarm.get('step'))}"
        yield f"* Alarm while training, {where}: {words(alarm.get('found'))}"


def _repeat(run: RunFolder, config: RunConfig, environment: Mapping[str, Any]) -> list[str]:
    commit = environment.get("git_commit")
    typed_in = f"; commit {words(commit)} in the folder it was typed in" if commit else ""
    versions = [
        f"{name} {words(environment[name])}" for name in ("autometa", "python", "torch", "numpy") if name in environment
    ]
    settings = [f"{name}={value}" for name, value in environment.get("settings", {}).items() if name not in PLACES]
    command = command_to_repeat(run)
    lines = [*block(command, "sh"), ""]
    if command != environment.get("command", command):
        lines += [f"* typed: {code(environment['command'])}; its time budget gave it the length above"]
    lines += [f"* {', '.join(versions)}{typed_in}"]
    lines += [f"* {words(environment.get('platform', 'platform not recorded'))}; seed {config.seed}"]
    lines += [f"* environment: {code(' '.join(settings))}"] if settings else []
    return [
        *lines,
        "* every setting: `config.json` beside this card; `autometa search --config` or `train --config` reads it",
    ]
