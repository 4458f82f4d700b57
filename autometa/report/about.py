"""What a run cost, what alarmed, and how to repeat it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from autometa.report.charts import Bar, bars
from autometa.report.markup import Markup, Missing, details, el, figure, note, table
from autometa.report.recorded import Recorded
from autometa.report.words import PHASES, large, size
from autometa.runs.budget import format_duration


def alarms(run: Recorded) -> list[Markup]:
    """What went wrong while the run was watched, and what to do about it."""
    if run.health is None and run.status != "finished":
        return [el("p", "No alarm so far.")]
    if run.health is None:
        return [note("Nobody watched this run: its version had no health alarms.")]
    if not run.health:
        return [el("p", "No alarm went off.")]
    made = []
    for alarm in run.health:
        phase = str(alarm.get("phase", ""))
        where = f"{PHASES.get(phase, phase)}, step {alarm['step']:,}" if isinstance(alarm.get("step"), int) else phase
        made.append(
            el(
                "div",
                el("p", el("b", str(alarm.get("alarm", "alarm"))), f" ({where})"),
                el("p", str(alarm.get("found", ""))),
                el("p", "What to do: ", str(alarm.get("do", ""))),
                class_="alarm",
            )
        )
    return made


def cost(run: Recorded) -> list[Markup]:
    """Time, memory, sizes."""
    result = run.result or {}
    made = []
    seconds = run.view.seconds
    if seconds:
        total = sum(seconds.values())
        rows = [Bar(PHASES.get(name, name), value, format_duration(value)) for name, value in seconds.items()]
        caption = [el("b", f"{format_duration(total)} in all"), ", by what it was spent on."]
        made.append(figure(caption, bars("Time by phase", rows)))
    else:
        made.append(note("Times are told once a run is finished."))
    return [*made, *_sizes(run, result)]


def _sizes(run: Recorded, result: Mapping[str, Any]) -> list[Markup]:
    rows = [[name, *_numbers(size)] for name, size in run.view.sizes.items()]
    parts: list[Markup] = []
    if rows:
        about = "Sizes; MACs: multiplications with addition, for one image"
        parts.append(table(["network", "parameters", "MACs"], rows, (1, 2), about))
    memory = (run.observations or {}).get("memory") or {}
    told = [f"{name} {size(memory[key])}" for key, name in MEMORY.items() if memory.get(key)]
    if told:
        parts.append(el("p", f"Memory at most: {', '.join(told)}."))
    else:
        parts.append(Missing("how much memory it took"))
    many = result.get("candidates")
    seconds = [row.seconds for row in run.candidates if row.seconds is not None]
    if many and seconds:
        counts = f"{many['trained']:,} candidates trained, {many['failed']:,} failed"
        parts.append(el("p", f"{counts}; {format_duration(sum(seconds))} of work."))
    return parts


MEMORY = {"peak_bytes": "main memory", "gpu_peak_bytes": "GPU memory"}


def _numbers(found: Mapping[str, Any]) -> list[str]:
    return [f"{found['parameters']:,.0f}", large(found["macs"]) if found.get("macs") is not None else "-"]


ENVIRONMENT = {
    "started": "started",
    "seed": "seed",
    "autometa": "autometa",
    "git_commit": "commit",
    "python": "Python",
    "torch": "torch",
    "numpy": "NumPy",
    "platform": "system",
    "cpu": "processor",
    "torch_threads": "threads",
    "device": "device",
    "gpu": "GPU",
    "precision": "precision",
}
"""What is told of environment.json; the machine's name and folders are nobody else's business."""


def repeat(run: Recorded) -> list[Markup]:
    """Command, seed, versions, data, settings."""
    about, made = run.environment, []
    if run.again:
        made.append(el("pre", run.again))
    rows = [[title, str(about[name])] for name, title in ENVIRONMENT.items() if about.get(name) is not None]
    if run.data.get("data_hash"):
        rows.append(["data", f"{run.config.get('data', {}).get('name', '')}"])
        rows.append(["data hash", str(run.data["data_hash"])])
    recipe = run.data.get("recipe")
    if recipe:
        rows.append(["images", ", ".join(f"{name} {value}" for name, value in recipe.items())])
    for again in about.get("resumed", []):
        changed = ", ".join(again.get("changed", [])) or "nothing changed"
        rows.append(["resumed", f"{again.get('started', '')} by {again.get('command', '')} ({changed})"])
    made.append(
        table(["", ""], rows, about="What it ran on") if rows else note("This run did not record its environment.")
    )
    if run.config:
        settings = json.dumps(run.config, indent=2, ensure_ascii=False)
        made.append(details("All settings (config.json)", el("pre", settings)))
    return made
