"""The short table at the end of a run of `benchmarks.gpu`, from what its parts found; parts may be missing.

python -m benchmarks.gpu_table results/gpu.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autometa.runs.budget import format_duration

AIMS = {
    "one task at a time, eager": (15.0, 40.0),
    "all tasks, eager in a graph": (3.0, 5.0),
    "torch.compile": (3.0, 5.0),
}
CANDIDATES = (10.0, 20.0)  # times the speed of one cell at a time
SLOT_LIMIT = 1.1  # cost per slot from ten slots on, over the least seen


def lines(result: Mapping[str, Any]) -> list[str]:
    """The whole table, a row per figure that there is."""
    device, parts = result["device"], result["parts"]
    rows = [f"{device['name']}, torch {device['torch']}, triton {device['triton']}, commit {device['commit']}"]
    for name, part in parts.items():
        if "failed" in part:
            rows.append(f"{name}: {part['failed']}")
    if "ceilings" in _good(parts):
        rows.append("ceilings: " + ", ".join(f"{name} {value:.0f}" for name, value in parts["ceilings"].items()))
    for name, part in _good(parts).items():
        if name.startswith("meta-iteration"):
            rows += iteration(part)
        elif name == "kernels":
            rows += [row for kernel, modes in part.items() for row in kernels(kernel, modes, parts.get("ceilings"))]
        elif name == "slots":
            rows += [row for case, found in part.items() for row in slots(case, found)]
        elif name == "candidates":
            rows += candidates(part)
        elif name == "training":
            rows.append(training(part))
    return rows


def _good(parts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: part for name, part in parts.items() if "failed" not in part}


def iteration(part: Mapping[str, Any]) -> list[str]:
    """A size's modes with their floors and targets, and how many times as fast as each baseline they are."""
    rows, times = [], part["modes"]
    lowest = ", ".join(f"{name} {value:.1f}" for name, value in part.get("floors", {}).items())
    target, aim = part["target_ms"]
    rows.append(f"meta-iteration {part['size']}: target {target:.0f} ms, aim {aim:.0f} ms; floors in ms: {lowest}")
    for mode, found in times.items():
        peak = f"{found['peak_bytes'] / 2**30:.1f} GiB, {found['slots']} slots at once"
        how = f"; not one graph: {found['told']}" if found.get("told") else ""
        verdict = (
            "aim met" if found["p50_ms"] <= aim else "target met" if found["p50_ms"] <= target else "target missed"
        )
        rows.append(f"  {mode}: {_spread(found)} ms, {verdict}, {peak}{how}")
    for name, found in part.get("baselines", {}).items():
        if "failed" in found:
            rows.append(f"  {name}: {found['failed']}")
            continue
        rows.append(f"  {name}: {_spread(found)} ms{found.get('note', '')}; {ratios(name, found, times)}")
    return rows


def ratios(baseline: str, found: Mapping[str, float], modes: Mapping[str, Mapping[str, float]]) -> str:
    """How many times as fast the modes are, and what was aimed at."""
    least, aim = AIMS[baseline]
    told = [f"{mode} {found['p50_ms'] / own['p50_ms']:.1f} times as fast" for mode, own in modes.items()]
    return f"{', '.join(told)} (wanted {least:.0f}, aim {aim:.0f})"


def kernels(name: str, modes: Mapping[str, Mapping[str, float]], tops: Mapping[str, float] | None) -> list[str]:
    """Rates of an op's two passes, and the larger of their shares of the ceilings."""
    rows = []
    for mode, found in modes.items():
        if "failed" in found:
            rows.append(f"  {name}, {mode}: {found['failed']}")
            continue
        parts = []
        for pass_ in ("forward", "backward"):
            rate, moved = found[f"{pass_}_tflops_per_s"], found[f"{pass_}_gb_per_s"]
            text = f"{pass_} {found[f'{pass_}_ms']:.3f} ms, {rate:.1f} TFLOP/s, {moved:.0f} GB/s"
            if tops and "failed" not in tops:
                share = max(rate / tops[f"{mode} TFLOP/s"], moved / tops["copy GB/s"])
                text += f" ({share:.0%} of a ceiling)"
            parts.append(text)
        rows.append(f"  {name}, {mode}: {'; '.join(parts)}")
    return rows


def slots(case: str, found: Mapping[str, float]) -> list[str]:
    """Cost per slot by their number, and whether it is as good as constant from ten on."""
    each = {int(n): ms / int(n) for n, ms in found.items()}
    best = min(each.values())
    told = ", ".join(f"{n}: {ms * 1e3:.0f}" for n, ms in sorted(each.items()))
    many = [ms for n, ms in each.items() if n >= 10]
    worst = max(many) / best if many else float("nan")
    verdict = "met" if worst <= SLOT_LIMIT else "missed"
    return [f"us per slot and inner step, {case}: {told}; at most {worst:.2f} of the least from 10 on ({verdict})"]


def candidates(part: Mapping[str, Any]) -> list[str]:
    """Inner steps of many cells in one batch, and how many times as fast that is as one cell at a time."""
    head = f"candidates, F = {part['filters']}, N = {part['repeats']}, {part['level']}-block cells"
    if "failed" in part:
        return [f"{head}: {part['failed']}"]
    least, aim = CANDIDATES
    verdict = "aim met" if part["ratio"] >= aim else "target met" if part["ratio"] >= least else "target missed"
    rate = 1e3 * part["cells"] / part["p50_ms"]
    speed = f"{rate:.0f} cells' steps per second, {part['tflops_per_s']:.2f} TFLOP/s"
    times = f"one cell alone {part['alone_ms']:.2f} ms: {part['ratio']:.1f} times as fast"
    return [
        f"{head}: {part['cells']} x {part['tasks']} tasks {_spread(part)} ms a step",
        f"  {speed}; {times} (wanted {least:.0f}, aim {aim:.0f}; {verdict})",
    ]


def training(part: Mapping[str, Any]) -> str:
    """How far a preset got."""
    told = ", ".join(f"{mode} {score['mean']:.1f} ± {score['ci95']:.1f}" for mode, score in part["accuracy"].items())
    warm = " (still in warm-up: no cell is chosen yet)" if part["iterations"] <= part["warmup"] else ""
    done = f"{part['iterations']} of {part['planned']} meta-iterations in {format_duration(part['seconds'])}"
    left, whole = (format_duration(part[name]) for name in ("remaining_seconds", "whole_seconds"))
    each = f"{1e3 * part['seconds_per_iteration']:.1f} ms each"
    head = f"{part['preset']} on {part['data']}, {part['mode']}"
    return f"{head}: {done}, {each}{warm}; accuracy so far {told}; remaining {left}, all of it {whole}"


def _spread(found: Mapping[str, float]) -> str:
    return f"{found['p20_ms']:.2f} / {found['p50_ms']:.2f} / {found['p80_ms']:.2f}"


if __name__ == "__main__":
    print("\n".join(lines(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))))
