"""Compiling the Triton kernels of a step before it runs, in processes beside each other.

What was compiled is kept where Triton keeps it (`_triton.cache_folder`) and marked there, so that a second run starts
no process.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from autometa.ops import backend
from autometa.ops._triton import _missing, anywhere, interpreted, kernels

MOST = 16  # processes


def jobs_of(work: Callable[[], object]) -> list[str]:
    """A line for each binary that `work` needs: its launches are written down and not run."""
    return kernels("compiling").jobs_of(work)


def jobs_anywhere(work: Callable[[], object]) -> list[str]:
    """The same of work on CPU tensors, on a machine without a GPU."""
    with backend.forced("triton"), anywhere():
        return jobs_of(work)


def refuses() -> str | None:
    """Why nothing can be compiled in this process, or None."""
    if interpreted():
        return "kernels are interpreted (TRITON_INTERPRET=1)"
    return _missing()


def missing(jobs: Sequence[str], capability: int) -> list[str]:
    """Those that are not in the cache for devices of this compute capability (90 for 9.0)."""
    return [job for job in jobs if not _mark(job, capability).exists()]


def _mark(job: str, capability: int) -> Path:
    what = f"{capability} {kernels('compiling').version_of(job)}"
    return Path(os.environ["TRITON_CACHE_DIR"], "autometa", hashlib.sha256(what.encode()).hexdigest()[:40])


def processes(jobs: int) -> int:
    """How many compile so many jobs."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(usable, jobs, MOST))


def compile_ahead(jobs: Sequence[str], capability: int, advance: Callable[[], object] = lambda: None) -> dict[str, str]:
    """Compile them; `advance` is called as each is done. Returns what failed: job -> why, with the kernel's name."""
    waiting, failed, lock = list(reversed(jobs)), {}, threading.Lock()

    def serve() -> None:
        child = _child(capability)
        try:
            while True:
                with lock:
                    if not waiting:
                        return
                    job = waiting.pop()
                answer = _asked(child, job)
                with lock:
                    advance()
                    if answer is not None:
                        failed[job] = f"kernel {kernels('compiling').name_of(job)} for {_named(capability)}: {answer}"
                        continue
                mark = _mark(job, capability)
                mark.parent.mkdir(parents=True, exist_ok=True)
                mark.touch()
        finally:
            child.stdin.close()
            child.stdout.close()
            child.wait()

    threads = [threading.Thread(target=serve, daemon=True) for _ in range(processes(len(jobs)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failed


def _named(capability: int) -> str:
    return "compute capability {}.{}".format(*divmod(capability, 10))


def _child(capability: int) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    environment.pop("TRITON_INTERPRET", None)
    return subprocess.Popen(
        [sys.executable, "-m", "autometa.kernels.compiling", str(capability)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def _asked(child: subprocess.Popen, job: str) -> str | None:
    """What a process answers; one that died has said why not."""
    try:
        child.stdin.write(f"{job}\n")
        child.stdin.flush()
        line = child.stdout.readline()
    except OSError as error:
        return f"the compiling process ended ({error})"
    return json.loads(line) if line else "the compiling process ended"
