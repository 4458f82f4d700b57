"""Kernels compiled ahead: as few binaries as the step has, in processes of their own, kept and not compiled again."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from autometa.api import gpu_kernels
from autometa.errors import InputError
from autometa.ops import ahead
from tests.cli.driving import call

pytest.importorskip("triton")
pytestmark = pytest.mark.skipif(platform.system() != "Linux", reason="triton compiles on Linux only")
ROOT = Path(__file__).resolve().parents[2]

COUNT = """
import json, torch
from autometa.ops import ahead
from autometa.meta.inner_loop import slot_gradients
from autometa.ops.cross_entropy import cross_entropy
from benchmarks.networks import CASES
case = CASES["one-shot-28"]
network = case.make()
def step(slots):
    phi, images = network.initial(0)[None].expand(slots, -1).contiguous(), torch.zeros(slots, case.batch, 1, 28, 28)
    labels = torch.zeros(slots, case.batch, dtype=torch.int64)
    slot_gradients(lambda row, x, y, step: cross_entropy(network.logits(row, x), y), phi, images, labels, 0)
one, ten = (ahead.jobs_anywhere(lambda n=n: step(n)) for n in (1, 10))
from autometa.kernels.compiling import Target, job
from autometa.kernels.launch import observed
from autometa.ops import _triton, backend
from triton.runtime import driver
driver.set_active(Target(90))
keys = set()
def binary(kernel, grid, args, options):
    binder = kernel.device_caches[90][-1]
    extra = {"debug": False, "instrumentation_mode": "", "fpsan_homomorphic_casts": False}
    _, specialisation, _ = binder(*args, **options, **extra)
    keys.add((job(kernel, args, options), kernel.__name__, str(specialisation)))
with backend.forced("triton"), _triton.anywhere(), observed(binary):
    step(1), step(10)
print(json.dumps([len(one), len(set(one) | set(ten)), len({key[1:] for key in keys}), len({key[0] for key in keys})]))
"""

COMPILE = """
import json, torch
from autometa.ops import ahead, _triton
from autometa.ops.cross_entropy import cross_entropy
from autometa.ops.share import share
_triton._settle_cache()
def work():
    x = torch.zeros(3, 4, 5, requires_grad=True)
    cross_entropy(x, torch.zeros(3, 4, dtype=torch.int64)).sum().backward()
    one, two = share(torch.zeros(1, 2, 3, 4, 4, requires_grad=True), 2)
    (one + two).sum().backward()
jobs = ahead.jobs_anywhere(work)
done = []
due = ahead.missing(jobs, 90)
failed = ahead.compile_ahead([*due, due[0].replace("float32", "complex64")] if due else [], 90, lambda: done.append(1))
from autometa.kernels.compiling import Target, compiled
from triton.runtime import driver
driver.set_active(Target(90))
from autometa.kernels.launch import observed
from autometa.ops import backend
names, launched = [compiled(job).name for job in jobs], set()
own = lambda kernel, grid, args, options: launched.add(kernel.warmup(*args, grid=grid, **options).hash)
with backend.forced("triton"), _triton.anywhere(), observed(own):
    work()
same = launched == {compiled(job).hash for job in jobs}
print(json.dumps([len(jobs), len(due), len(done), list(failed.values()), names, len(ahead.missing(jobs, 90)), same]))
"""


def told(source: str, **settings: str):
    environment = {
        name: value for name, value in os.environ.items() if name not in ("TRITON_INTERPRET", "AUTOMETA_BACKEND")
    }
    paths = [*(path for path in sys.path if path), str(ROOT)]  # the package that is tested here, not a checkout's
    environment |= {"PYTHONPATH": os.pathsep.join(paths), **settings}
    environment.pop("TRITON_CACHE_DIR", None)
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-c", source]
        done = subprocess.run(words, env=environment, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_a_step_of_the_search_network_has_few_binaries(tmp_path):
    """For 1 and 10 slots together; as many as Triton itself tells apart, so that no launch compiles afterwards."""
    one, both, keys, jobs = told(COUNT, AUTOMETA_CACHE=str(tmp_path))
    assert one == both == keys == jobs <= 80


def test_kernels_are_compiled_once_in_other_processes(tmp_path):
    jobs, due, done, failed, names, left, same = told(COMPILE, AUTOMETA_CACHE=str(tmp_path))
    assert same, "what is launched is what was compiled"
    assert jobs == due == 3 and done == 4 and len(names) == 3 and left == 0
    assert len(failed) == 1 and "for compute capability 9.0: " in failed[0] and failed[0].startswith("kernel _")
    made = sorted((tmp_path / "triton").rglob("*.cubin"))
    assert len(made) == 3, "this process found what the others had compiled"


def test_doctor_asks_for_what_it_needs(monkeypatch):
    monkeypatch.setattr(gpu_kernels, "gpu_refuses", lambda number: "no CUDA GPU is usable here")
    for words, text in (
        (["--compile"], "no CUDA GPU is usable here; name a GPU's compute capability, such as --capability 9.0"),
        (["--compile", "--capability", "nine"], "a compute capability is a number such as 9.0"),
        (["--compile", "--capability", "7.5"], "need compute capability 8.0 or later"),
        (["--compile", "--preset", "nothing"], "unknown preset 'nothing'"),
    ):
        answer = call("doctor", *words)
        assert answer.code == 2 and text in answer.err, answer
    monkeypatch.setattr(ahead, "refuses", lambda: "kernels are interpreted")
    with pytest.raises(InputError, match="cannot be compiled here: kernels are interpreted"):
        gpu_kernels.compile_kernels(capability="9.0")


def test_what_a_preset_launches_is_compiled_and_told(monkeypatch):
    given = []

    def compiling(jobs, capability, notice, quiet):
        given.append((len(jobs), capability))
        return {jobs[0]: "kernel first_stage for compute capability 8.9: no"}

    monkeypatch.setattr(ahead, "refuses", lambda: None)
    monkeypatch.setattr(ahead, "jobs_anywhere", lambda work: ["a", "b"])
    monkeypatch.setattr(ahead, "missing", lambda jobs, capability: jobs)
    monkeypatch.setattr(gpu_kernels, "compile_jobs", compiling)
    answer = call("doctor", "--compile", "--capability", "8.9", "--preset", "quick")
    assert given == [(2, 89)] and answer.code == 1
    assert "1 of 2 GPU kernels of preset quick compiled for compute capability 8.9" in answer.out
    assert "FAILED  kernel first_stage" in answer.out
