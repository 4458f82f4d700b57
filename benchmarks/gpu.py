"""The GPU table: ceilings, meta-iterations beside their baselines, ops alone, cost per slot, a preset's progress.

    python -m benchmarks.gpu --out results --seconds 300
    python -m benchmarks.gpu --out results --parts training --train-seconds 600 --run runs/omniglot

Variants take turns (A B A B); times are the device's own, as 20 / 50 / 80 percent points. A part that fails is said to
have failed and the next one runs. Needs a CUDA GPU.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from autometa.api.running import gpu_refuses
from autometa.runs import environment
from benchmarks import gpu_table

PARTS = ("ceilings", "meta-iteration 28", "kernels", "slots", "candidates", "meta-iteration 84", "training", "compile")
SHARES = {
    "ceilings": 0.05,
    "meta-iteration 28": 0.2,
    "kernels": 0.2,
    "slots": 0.12,
    "candidates": 0.1,
    "meta-iteration 84": 0.2,
    "compile": 0.35,
}
"""Of the time budget, at most; what a part leaves is there for the next. Training has seconds of its own."""
SLOTS = (1, 2, 5, 10, 20, 50, 100, 200, 500)
KERNEL_MODES = {"node, 28x28": ("fp32", "tf32", "bf16")}
ROOT = Path(__file__).resolve().parents[1]


def ceilings_part(tops: dict, clock, options) -> dict:
    from benchmarks.gpu_measure import ceilings

    return ceilings(clock)


def iteration_part(size: str, tops: dict, clock, options) -> dict:
    """A meta-iteration in every mode, taking turns, then each baseline beside the fp32 one."""
    from benchmarks.gpu_cases import MODES, SIZES, MetaIteration, random_source
    from benchmarks.gpu_measure import GPU, points, release, taking_turns

    about = SIZES[size]
    source, made = random_source(about.image_shape, GPU), {}

    def make(mode: str) -> MetaIteration:
        run = MetaIteration(about, mode, source)
        made[mode] = {"peak_bytes": run.peak_bytes, "slots": run.slots_at_once, "told": "; ".join(run.told)}
        return run

    makers = {mode: lambda mode=mode: make(mode) for mode in MODES}
    times = taking_turns(makers, 20, clock.part(clock.left / 2), about.together)
    release()
    modes = {mode: {**points(times[mode]), **made[mode]} for mode in MODES}
    result = {"size": about.title, "target_ms": about.target_ms, "flops": about.flops, "modes": modes}
    if tops:
        result["floors"] = about.floors(tops)
    result["baselines"] = baselines(about, makers["fp32"], clock)
    return result


def baselines(about, ours: Callable[[], Callable], clock) -> dict:
    """The reference task by task, and with all tasks at once in a graph; a meta-iteration is so many inner steps."""
    from benchmarks.gpu_cases import reference_steps
    from benchmarks.gpu_measure import graphed, points, release, taking_turns

    tasks, steps, found = about.config.meta.batch, about.config.inner.steps, {}
    for name, least, capture in (("one task at a time, eager", 1, False), ("all tasks, eager in a graph", tasks, True)):
        slots = least
        while slots and name not in found:

            def rival(slots: int = slots, capture: bool = capture) -> Callable:
                step = reference_steps(about.case, slots)
                return graphed(step) if capture else step

            try:
                makers = {"ours": ours, name: rival}
                times = taking_turns(makers, 7, clock.part(clock.left / 2), about.together)[name]
                factor = steps * tasks / slots
                note = "" if slots in (1, tasks) else f" ({slots} slots at once, as many as fit)"
                found[name] = {**points([ms * factor for ms in times]), "slots": slots, "note": note}
            except torch.OutOfMemoryError:
                slots //= 2
            except RuntimeError as error:
                found[name] = {"failed": f"cannot be measured: {_first(error)}"}
            release()
        found.setdefault(name, {"failed": "not even one slot fits"})
    return found


def kernels_part(tops: dict, clock, options) -> dict:
    from benchmarks.gpu_kernels import KERNELS, measure

    found: dict[str, dict] = {}
    for name in KERNELS:
        for mode in KERNEL_MODES.get(name, ("fp32", "bf16")):
            if not clock.left:
                return found
            try:
                found.setdefault(name, {})[mode] = measure(name, mode, clock)
            except RuntimeError as error:
                found.setdefault(name, {})[mode] = {"failed": _first(error)}
    return found


def slots_part(tops: dict, clock, options) -> dict:
    """Milliseconds of an inner step of 1 to 500 slots, replayed."""
    from autometa.ops.backend import libraries, precision
    from benchmarks.gpu_measure import GPU, graphed, interleaved, points, release
    from benchmarks.networks import CASES, InnerStep

    found: dict[str, dict[str, float]] = {}
    for case in ("four-layer-28", "discrete-28"):
        for slots in SLOTS:
            if not clock.left:
                return found
            try:
                with precision("fp32"), libraries("fp32"):
                    call = graphed(InnerStep(CASES[case], slots, device=GPU))
                times = interleaved({"step": call}, 5, clock)["step"]
                found.setdefault(CASES[case].title, {})[str(slots)] = points(times)["p50_ms"]
            except torch.OutOfMemoryError:
                break
            finally:
                call = None
                release()
    return found


def candidates_part(tops: dict, clock, options) -> dict:
    from benchmarks.gpu_candidates import part

    return part(clock)


def training_part(tops: dict, clock, options) -> dict:
    from benchmarks.gpu_measure import GPU
    from benchmarks.gpu_training import train

    return train(options.preset, options.train_mode, options.train_seconds, options.run, GPU)


def compile_part(tops: dict, clock, options) -> dict:
    """torch.compile of the reference with all tasks at once, its compilation limited by the clock."""
    seconds = clock.left
    command = [sys.executable, "-m", "benchmarks.gpu", "--child", "28"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=max(seconds, 1.0))
    except subprocess.TimeoutExpired:
        return {"failed": f"torch.compile did not end within {seconds:.0f} s"}
    if done.returncode:
        return {"failed": f"torch.compile failed: {(done.stderr.strip().splitlines() or ['no word'])[-1]}"}
    return json.loads(done.stdout.splitlines()[-1])


def child(size: str) -> None:
    """In a process of its own: a meta-iteration's inner steps by torch.compile, as JSON."""
    from benchmarks.gpu_cases import SIZES, unpruned
    from benchmarks.gpu_measure import GPU, Clock, graphed, interleaved, points
    from benchmarks.networks import CASES, InnerStep

    about = SIZES[size]
    step = InnerStep(CASES[about.case], about.config.meta.batch, "reference", GPU)
    step.compile()
    with unpruned():
        step()
        times = interleaved({"compile": graphed(step)}, 7, Clock(30))["compile"]
    print(json.dumps(points([ms * about.config.inner.steps for ms in times])))


RUN: dict[str, Callable[[dict, Any, Any], dict]] = {
    "ceilings": ceilings_part,
    "meta-iteration 28": lambda *given: iteration_part("28", *given),
    "meta-iteration 84": lambda *given: iteration_part("84", *given),
    "kernels": kernels_part,
    "slots": slots_part,
    "candidates": candidates_part,
    "training": training_part,
    "compile": compile_part,
}


def _first(error: BaseException) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__


def describe() -> dict:
    import triton

    at = torch.cuda.get_device_properties(0)
    return {
        "name": at.name,
        "memory_gib": at.total_memory / 2**30,
        "multiprocessors": at.multi_processor_count,
        "capability": list(torch.cuda.get_device_capability(0)),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "triton": triton.__version__,
        "python": platform.python_version(),
        "autometa": environment.package_version(),
        "commit": environment.git_commit(),
    }


def share(name: str, parts: list[str]) -> float:
    """Of the time budget, what a part may take beside the others that were asked for."""
    return SHARES[name] / min(1.0, sum(SHARES.get(part, 0.0) for part in parts))


def measured(parts: list[str], options) -> dict:
    """All parts within the time budget; written to --out after each, so that a run cut short leaves what it has."""
    from benchmarks.gpu_measure import Clock, release

    result = {"device": describe(), "seconds": options.seconds, "parts": {}}
    clock = Clock(options.seconds)
    for name in parts:
        limit = clock.part(options.seconds * share(name, parts)) if name in SHARES else clock
        if name != "training" and not limit.left:
            result["parts"][name] = {"failed": "no time was left"}
            continue
        tops = result["parts"].get("ceilings", {})
        try:
            found = RUN[name]({} if "failed" in tops else tops, limit, options)
        except Exception as error:  # a part that fails is reported, and the next one runs
            traceback.print_exc()
            found = {"failed": _first(error)}
        release()
        if name == "compile" and "meta-iteration 28" in result["parts"]:
            result["parts"]["meta-iteration 28"].setdefault("baselines", {})["torch.compile"] = found
        else:
            result["parts"][name] = found
        (options.out / "gpu.json").write_text(json.dumps(result, indent=1))
        print(f"{name}: done, {clock.left:.0f} s left", file=sys.stderr, flush=True)
    return result


def _options(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("results"), metavar="DIR", help="where gpu.json goes")
    parser.add_argument("--seconds", type=float, default=300.0, help="time budget of all parts but training")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"some of: {', '.join(PARTS)}")
    parser.add_argument("--preset", default="omniglot", help="what training trains")
    parser.add_argument("--train-seconds", type=float, default=60.0, help="how long it does (default: 60)")
    parser.add_argument("--train-mode", default="fp32", choices=("fp32", "tf32", "bf16"))
    parser.add_argument(
        "--run", type=Path, metavar="DIR", help="a run folder for training, gone on with if it is there"
    )
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    unknown = [name for name in options.parts.split(",") if name not in PARTS]
    if unknown:
        parser.error(f"unknown part {unknown[0]!r}; choose from {', '.join(PARTS)}")
    return options


def main(words: list[str] | None = None) -> int:
    """Exit status 0, 1 where a part failed, 2 without a GPU."""
    options = _options(words)
    reason = gpu_refuses(0)
    if reason:
        print(f"{reason}; these benchmarks need one", file=sys.stderr)
        return 2
    if options.child:
        child(options.child)
        return 0
    options.out.mkdir(parents=True, exist_ok=True)
    result = measured(options.parts.split(","), options)
    print("\n".join(gpu_table.lines(result)))
    return int(any("failed" in part for part in result["parts"].values()))


if __name__ == "__main__":
    sys.exit(main())
