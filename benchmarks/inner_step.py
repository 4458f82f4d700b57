"""One inner step beside its baselines and the machine's ceilings, as a table.

    python -m benchmarks.inner_step --threads 1,2 --rounds 20 --json inner_step.json

`auto` is what the package does; `eager` its reference backend (channels-last PyTorch), `compile` torch.compile of
that.  All, and the ceilings, take turns within a round.  Peak memory and the time-boxed first compilation come from a
process per variant.  Says nothing about a network whose gradients disagree with the reference.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import torch

import autometa
from autometa.ops import backend
from benchmarks.measure import ceilings, interleaved, percentiles
from benchmarks.memory import peak_growth
from benchmarks.networks import CASES, OPS, InnerStep, forced
from tests.tolerances import relative_error, tolerance

VARIANTS = ("auto", "eager", "compile")
ROOT = Path(__file__).resolve().parents[1]


def build(name: str, variant: str, slots: int) -> InnerStep:
    """A step of the network as the variant computes it."""
    step = InnerStep(CASES[name], slots, None if variant == "auto" else "reference")
    if variant == "compile":
        step.compile()
    return step


def in_a_process(name: str, variant: str, slots: int, threads: int, limit: float) -> dict | None:
    """Peak memory of a variant, which leaves its compiled code in torch's cache; None past `limit` seconds."""
    command = [sys.executable, "-m", "benchmarks.inner_step", "--child", variant, "--networks", name]
    command += ["--slots", str(slots), "--threads", str(threads)]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return None
    if done.returncode:
        print(f"{name}, {variant}: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return None
    return json.loads(done.stdout.splitlines()[-1])


def disagreement(name: str, slots: int) -> str | None:
    """What is wrong with auto's gradients, None where nothing is."""
    found, expected = (build(name, variant, slots).gradient() for variant in ("auto", "eager"))
    error, bound = relative_error(found, expected), 2 * tolerance(torch.float32, CASES[name].depth)
    return None if error <= bound else f"gradients of auto are off by {error:.1e}, more than {bound:.1e}"


def measure(name: str, slots: int, threads: int, rounds: int, compile_limit: float) -> dict:
    """Percentiles in ms, GFLOP/s, multiples of the floor and peak MiB of every variant of a network."""
    torch.set_num_threads(threads)
    wrong = disagreement(name, slots)
    if wrong:
        return {"network": name, "threads": threads, "wrong": wrong}
    limits = {"auto": 3600.0, "eager": 3600.0, "compile": compile_limit}
    memory = {v: in_a_process(name, v, slots, threads, limits[v]) for v in VARIANTS if limits[v] > 0}
    steps = {v: build(name, v, slots) for v, found in memory.items() if found is not None}
    tops = ceilings()
    times = interleaved({**steps, **{top: call for top, (call, _) in tops.items()}}, rounds)
    reached = {top: work / percentiles(times[top])["p50_us"] / 1e3 for top, (_, work) in tops.items()}
    flops = next(iter(steps.values())).flops
    floor_us = flops / reached["gemm GFLOP/s"] / 1e3
    rows = {}
    for variant in steps:
        points = percentiles(times[variant])
        peak = memory[variant]["peak"]
        rows[variant] = {
            **{point.replace("_us", "_ms"): value / 1e3 for point, value in points.items()},
            "gflops_per_s": flops / points["p50_us"] / 1e3,
            "times_floor": points["p50_us"] / floor_us,
            "peak_mib": None if peak is None else peak / 2**20,
        }
    return {
        "network": name,
        "slots": slots,
        "threads": threads,
        "gflop": flops / 1e9,
        "floor_ms": floor_us / 1e3,
        "ceilings": reached,
        "variants": rows,
    }


def lines(result: dict) -> list[str]:
    """The rows of a network's table."""
    head = f"{CASES[result['network']].title}, threads {result['threads']}"
    if "wrong" in result:
        return [f"| {head} | {result['wrong']} | | | | | |"]
    found = []
    for variant, row in result["variants"].items():
        peak = "" if row["peak_mib"] is None else f"{row['peak_mib']:.0f}"
        times = " | ".join(f"{row[point]:.2f}" for point in ("p20_ms", "p50_ms", "p80_ms"))
        found.append(
            f"| {head} | {variant} | {times} | {row['gflops_per_s']:.0f} | {row['times_floor']:.2f} | {peak} |"
        )
    return found


def verdict(result: dict) -> str | None:
    """The ratios that the targets speak of."""
    rows = dict(result.get("variants", {}))
    own = rows.pop("auto", None)
    if own is None or not rows:
        return None
    best = min(rows, key=lambda variant: rows[variant]["p50_ms"])
    text = f"{CASES[result['network']].title}, threads {result['threads']}: "
    text += f"{rows[best]['p50_ms'] / own['p50_ms']:.2f} times the speed of {best}, "
    text += f"{own['times_floor']:.2f} times the FLOP floor of {result['floor_ms']:.1f} ms"
    if own["peak_mib"] and rows.get("eager", {}).get("peak_mib"):
        text += f", {own['peak_mib'] / rows['eager']['peak_mib']:.2f} of eager's peak memory"
    tops = ", ".join(f"{name} {value:.0f}" for name, value in result["ceilings"].items())
    return f"{text} ({tops})"


def machine() -> dict:
    """What the figures depend on."""
    with forced(None):
        choices = {c.op: c.backend for c in backend.explain(torch.device("cpu")) if c.op in OPS}
    module = backend.compiled()
    model = [line for line in _cpuinfo() if line.startswith("model name")]
    return {
        "autometa": autometa.__version__,
        "torch": torch.__version__,
        "cpu": model[0].split(":")[1].strip() if model else platform.processor(),
        "cores": os.cpu_count(),
        "instruction set": module.isa() if module else None,
        "commit": _commit(),
        "auto": choices,
    }


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def _commit() -> str | None:
    try:
        command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.inner_step", description=__doc__.split("\n")[0])
    parser.add_argument("--networks", default=",".join(CASES), help=f"of {', '.join(CASES)}")
    parser.add_argument("--threads", default="1", help="one or more counts, as in 1,2")
    parser.add_argument("--slots", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--compile-limit", type=float, default=900.0, help="seconds; 0 leaves torch.compile out")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", choices=VARIANTS, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    unknown = set(chosen.networks.split(",")) - set(CASES)
    if unknown:
        parser.error(f"unknown networks {', '.join(sorted(unknown))}; choose from {', '.join(CASES)}")
    return chosen


def main() -> None:
    chosen = options()
    threads = [int(count) for count in chosen.threads.split(",")]
    if chosen.child:
        torch.set_num_threads(threads[0])
        print(json.dumps({"peak": peak_growth(build(chosen.networks, chosen.child, chosen.slots))}))
        return
    about = machine()
    print(", ".join(f"{key} {value}" for key, value in about.items() if key != "auto"))
    print("auto runs " + ", ".join(f"{op} on {name}" for op, name in about["auto"].items()) + "\n")
    results = []
    for name in chosen.networks.split(","):
        for count in threads:
            results.append(measure(name, chosen.slots, count, chosen.rounds, chosen.compile_limit))
            print(verdict(results[-1]) or results[-1].get("wrong"), flush=True)
    print("\n| network | variant | ms, 20 % | 50 % | 80 % | GFLOP/s | times the floor | peak MiB |")
    print("|---|---|---|---|---|---|---|---|")
    print("\n".join(line for result in results for line in lines(result)))
    if chosen.json:
        chosen.json.write_text(json.dumps({"machine": about, "results": results}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
