"""What a run ran on: versions, machine, threads, commit, command line."""

from __future__ import annotations

import datetime
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy
import torch

from autometa.runs.forms import many, maybe, record, table, text, whole

# What decides the bits of a run beside its seed and configuration.
DECISIVE = ("autometa", "torch", "numpy", "cpu", "torch_threads", "device", "gpu", "settings")

_RESUMED = record(optional={"started": text, "command": text, "changed": many(text)})
FORM = record(
    optional={
        **dict.fromkeys(("name", "started", "command", "folder", "autometa", "python", "torch", "numpy"), text),
        **dict.fromkeys(("platform", "host", "cpu", "device", "precision"), text),
        **dict.fromkeys(("git_commit", "gpu"), maybe(text)),
        "seed": maybe(whole()),
        "cpu_count": maybe(whole(1)),
        "cpu_usable": maybe(whole(1)),
        "torch_threads": whole(1, 4096),
        "settings": table(text),
        "resumed": many(_RESUMED),
    }
)
"""What environment.json holds."""


def process_age() -> float:
    """Seconds since this process began, 0 where the system does not tell."""
    try:
        with open("/proc/self/stat", encoding="ascii", errors="replace") as file:
            ticks = int(file.read().rpartition(")")[2].split()[19])
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, IndexError, AttributeError):
        return 0.0


def describe(
    command: Sequence[str], seed: int | None = None, device: str = "cpu", precision: str = "fp32"
) -> dict[str, Any]:
    """The present environment, ready for environment.json; where the run computes, and in which precision on a GPU."""
    return {
        "started": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": shlex.join(command),
        "seed": seed,
        "folder": _folder(),
        "git_commit": git_commit(),
        "autometa": package_version(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "platform": platform.platform(),
        "host": platform.node(),
        "cpu": cpu_model(),
        "cpu_count": os.cpu_count(),
        "cpu_usable": usable_cpus(),
        "torch_threads": torch.get_num_threads(),
        "device": device,
        "precision": precision,
        "gpu": torch.cuda.get_device_name(device) if device.startswith("cuda") else _any_gpu(),
        "settings": {key: value for key, value in sorted(os.environ.items()) if key.startswith("AUTOMETA_")},
    }


def differences(recorded: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What decides the bits of a run and is no longer as it was recorded, as "torch 2.6.0 -> 2.7.1"."""
    return [f"{key} {recorded[key]} -> {now[key]}" for key in DECISIVE if key in recorded and recorded[key] != now[key]]


def _folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # removed
        return None


def _any_gpu() -> str | None:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def peak_memory() -> int:
    """The most memory this process has held so far, in bytes; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def package_version() -> str:
    """The version of this package, "unknown" in a tree without one."""
    try:
        from autometa._version import __version__
    except ImportError:
        return "unknown"
    return __version__


def cpu_model() -> str:
    """The processor's name."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def usable_cpus() -> int | None:
    """Processors this process may use; fewer than the machine has in a container or a batch job."""
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        return os.cpu_count()


def git_commit() -> str | None:
    """The commit checked out in the present folder, None outside a checkout."""
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() if found.returncode == 0 else None
