"""Who runs an op and why; threads and processes of the compiled core."""

import os
import signal
import subprocess
import sys
import threading
import warnings

import pytest
import torch

from autometa.ops import backend
from autometa.ops.adam import adam_
from autometa.ops.finite_slots import finite_slots
from tests.ops.arenas import arena, native, threads

CPU = torch.device("cpu")


@native
def test_auto_takes_cpp_on_the_cpu(monkeypatch):
    monkeypatch.delenv("AUTOMETA_BACKEND", raising=False)
    auto = backend.dispatch("adam", CPU, torch.float32)
    assert auto is backend.dispatch("adam", CPU, torch.float32, "cpp")
    assert auto is not backend.dispatch("adam", CPU, torch.float32, "reference")


def test_the_environment_forces_a_backend(monkeypatch):
    monkeypatch.setenv("AUTOMETA_BACKEND", "reference")
    forced = backend.dispatch("adam", CPU, torch.float32)
    assert forced is backend.dispatch("adam", CPU, torch.float32, "reference")
    rows = {choice.op: choice for choice in backend.explain(CPU)}
    assert rows["adam"].backend == "reference" and "AUTOMETA_BACKEND" in rows["adam"].reason


def test_a_forced_backend_that_cannot_run_says_why():
    with pytest.raises(backend.BackendError, match="cannot run adam: it is provided by"):
        backend.dispatch("adam", CPU, torch.float32, "triton")
    with pytest.raises(backend.BackendError, match="cannot run adam: cuda works on CUDA tensors, these are on cpu"):
        backend.dispatch("adam", CPU, torch.float32, "cuda")
    with pytest.raises(backend.BackendError, match="not in torch.float16"):
        backend.dispatch("adam", CPU, torch.float16, "cpp")
    with pytest.raises(backend.BackendError, match="a second derivative was asked for"):
        backend.dispatch("adam", CPU, torch.float32, "cpp", second_order=True)
    with pytest.raises(backend.BackendError, match="unknown backend 'fortran'"):
        backend.requested("fortran")


def test_without_the_compiled_module_the_reference_runs_and_says_so_once(monkeypatch):
    monkeypatch.delenv("AUTOMETA_BACKEND", raising=False)
    monkeypatch.setattr(backend, "_FALLBACK_ANNOUNCED", False)
    monkeypatch.setitem(__import__("sys").modules, "autometa._C", None)
    with pytest.warns(RuntimeWarning, match="does not load .*; using the slower reference"):
        found = finite_slots(torch.tensor([[1.0], [float("nan")]]))
    assert found.tolist() == [True, False]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert finite_slots(torch.ones(1, 3)).tolist() == [True]
    with pytest.raises(backend.BackendError, match="autometa._C does not load"):
        finite_slots(torch.ones(1, 3), backend="cpp")
    rows = {choice.op: choice for choice in backend.explain(CPU)}
    assert rows["adam"].backend == "reference" and "does not load" in rows["adam"].reason


@native
def test_every_arena_and_episode_op_has_both_backends():
    found = backend.registered()
    for op in ("adam", "finite_slots"):
        assert {"reference", "cpp"} <= set(found[op])


def test_two_implementations_of_one_name_need_a_known_backend():
    with pytest.raises(ValueError, match="unknown backend 'opencl'"):
        backend.implements("adam", "opencl")


@native
def test_instruction_sets_can_be_named():
    module = backend.compiled()
    assert module.isa() in module.isa_names() and "portable" in module.isa_names()
    with pytest.raises(ValueError, match="no instruction set named 'mmx'"):
        module.set_isa("mmx")


@native
@pytest.mark.parametrize(("name", "loads"), (("portable", True), ("mmx", False)))
def test_the_environment_chooses_an_instruction_set(name, loads, tmp_path):
    source = (
        "from autometa.ops import backend as b; module = b.compiled(); "
        "print(module and module.isa(), b.compiled_error())"
    )
    found = subprocess.run(
        [sys.executable, "-c", source],
        cwd=tmp_path,
        env={**os.environ, "AUTOMETA_ISA": name, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.startswith("portable None" if loads else "None"), found.stdout
    assert loads or "no instruction set named 'mmx'" in found.stdout


class Problem:
    """An arena large enough for several threads, and its expected state after one Adam step."""

    def __init__(self):
        self.shape = arena(60000, [[0, 50000, 60000]], [0] * 8, [0])
        self.before = self.shape.random(0, torch.float32)
        self.grad = self.shape.random(1, torch.float32)
        self.expected = self.before.clone()
        self.step(self.expected, *self.fresh())

    def fresh(self):
        """Second moments and step counts before the first step."""
        return torch.zeros(self.before.shape), torch.zeros(8, 2, dtype=torch.int64)

    def step(self, phi, second, steps):
        lr, decay = torch.full((1, 2), 0.01, dtype=torch.float64), torch.zeros(1, 2, dtype=torch.float64)
        adam_(phi, self.grad, second, steps, lr, decay, self.shape.rows, backend="cpp")


@native
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_forked_child_still_works():
    problem = Problem()
    assert not torch.equal(problem.before, problem.expected)
    with threads(2):
        problem.step(problem.before.clone(), *problem.fresh())
        phi, state = problem.before.clone().share_memory_(), problem.fresh()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of fork beside threads
            child = os.fork()
        if child == 0:
            signal.alarm(60)
            try:
                problem.step(phi, *state)  # allocates next to nothing: torch's own threads do not survive
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        assert status == 0, "the child died or hung"
        assert torch.equal(phi, problem.expected)
        again = problem.before.clone()
        problem.step(again, *problem.fresh())
        assert torch.equal(again, problem.expected)


@native
def test_callers_in_several_threads_do_not_disturb_each_other():
    problem = Problem()
    arenas = [problem.before.clone() for _ in range(4)]
    with threads(2):
        callers = [threading.Thread(target=problem.step, args=(phi, *problem.fresh())) for phi in arenas]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join(60)
    assert all(torch.equal(phi, problem.expected) for phi in arenas)
