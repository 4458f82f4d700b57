"""An op whose kernels compute wrongly on a device, or do not compile there, is left to the reference: one notice, a
right result, and the table that `autometa doctor` shows."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch

from autometa.api import checkup
from autometa.cli import show
from autometa.ops import _triton, backend, self_check
from autometa.ops.cross_entropy import cross_entropy
from autometa.train import canary, loop
from tests.ops.triton_device import DEVICE, triton_ready
from tests.train.graphs import FakeGraphs

pytestmark = triton_ready
QUICK = {"cross_entropy": 2, "share": 1, "split_columns": 2, "linear_head": 2, "preprocess": 1, "mixed_op": 1}
"""Cases that are tried where kernels are interpreted; on a GPU all are."""


@pytest.fixture(autouse=True)
def apart(monkeypatch, tmp_path):
    """A cache of its own, nothing known, and Triton first in line."""
    monkeypatch.setenv("AUTOMETA_CACHE", str(tmp_path))
    for name in ("TRITON_CACHE_DIR", "AUTOMETA_BACKEND"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(backend, "_DISTRUSTED", {})
    monkeypatch.setattr(backend, "_ANNOUNCED", set())
    monkeypatch.setitem(backend.PREFERENCE, DEVICE.type, ("triton", "reference"))


@pytest.mark.parametrize("op", self_check.CASES)
def test_the_kernels_pass(op, monkeypatch):
    if DEVICE.type == "cpu":
        if op not in QUICK:
            pytest.skip("interpreted, it takes long")
        monkeypatch.setitem(self_check.CASES, op, self_check.CASES[op][: QUICK[op]])
    for mode in ("fp32",) if DEVICE.type == "cpu" else backend.PRECISIONS:
        assert self_check.check(op, DEVICE, mode) is None


@pytest.fixture
def miscompiled(monkeypatch):
    """Losses and gradients are 1% too large."""
    module = _triton.kernels("cross_entropy")
    for name in ("losses", "losses_backward"):
        kernel = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *args, kernel=kernel: (kernel(*args), args[-1].mul_(1.01)))
    monkeypatch.setattr(self_check, "CASES", {op: self_check.CASES[op] for op in ("cross_entropy", "split_columns")})


LOGITS, LABELS = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0)), torch.zeros(2, 3, dtype=torch.int64)


def loss() -> float:
    return float(cross_entropy(LOGITS.to(DEVICE), LABELS.to(DEVICE)).sum())


RIGHT = float(cross_entropy(LOGITS.double(), LABELS, backend="reference").sum())


def test_a_miscompiled_op_is_left_to_the_reference(miscompiled, recwarn):
    assert abs(loss() / RIGHT - 1.01) < 1e-5, "planted"
    told = []
    canary.checked_device(DEVICE, "fp32", told.append, quiet=True)
    assert len(told) == 1 and "cross_entropy: case 1 is 1.0e-02 from the reference" in told[0]
    assert "split_columns" not in told[0]
    assert abs(loss() / RIGHT - 1) < 1e-5 and not recwarn.list, "a right result, and no second notice"
    row = {choice.op: choice for choice in backend.explain(DEVICE)}
    assert row["cross_entropy"].backend == "reference" and "self-check" in row["cross_entropy"].reason
    assert row["split_columns"].backend == "triton"
    with pytest.raises(backend.BackendError, match="cannot run cross_entropy: its kernels do not pass the self-check"):
        cross_entropy(LOGITS.to(DEVICE), LABELS.to(DEVICE), backend="triton")
    with backend.precision("tf32"):
        assert backend.native("cross_entropy", DEVICE, torch.float32), "the mode that failed is left out alone"
    assert not backend.native("cross_entropy", DEVICE, torch.float32)


def test_what_was_found_is_kept_and_a_damaged_file_is_not_believed(miscompiled, monkeypatch, tmp_path):
    first = self_check.examined(DEVICE, ("fp32",))
    monkeypatch.setattr(self_check, "check", lambda *_: pytest.fail("it is known"))
    assert self_check.examined(DEVICE, ("fp32",)) == first == self_check.known(DEVICE)
    (path,) = (tmp_path / "triton" / "self-check").glob("*.json")
    assert json.loads(path.read_text())["about"]["torch"] == torch.__version__
    monkeypatch.setattr(self_check, "__version__", "another")
    assert self_check.known(DEVICE) == {}, "it holds for the versions it was found with"
    monkeypatch.undo()
    for damaged in ("[]", "{", '{"table": [1]}', '{"table": {"share": {"fp64": null}}}'):
        path.write_text(damaged)
        monkeypatch.setenv("AUTOMETA_CACHE", str(tmp_path))
        monkeypatch.delenv("TRITON_CACHE_DIR", raising=False)
        assert self_check.known(DEVICE) == {}


def test_an_op_that_does_not_compile_or_fit_fails_alone(monkeypatch):
    def broken(*_):
        raise RuntimeError("out of resource: shared memory, Required: 300000")

    monkeypatch.setattr(_triton.kernels("cross_entropy"), "losses", broken)
    found = self_check.check("cross_entropy", DEVICE, "fp32")
    assert found == "case 1 fails: RuntimeError: out of resource: shared memory, Required: 300000"
    assert self_check.check("split_columns", DEVICE, "fp32") is None


def test_doctor_shows_the_table(monkeypatch):
    monkeypatch.setattr(checkup, "_devices", lambda: ["cpu", "cuda"])
    monkeypatch.setattr(checkup, "triton_refuses", lambda *_: None)
    table = {"share": {"fp32": None, "bf16": "case 2 is 1.0e+00 from the reference"}}
    asked = []
    monkeypatch.setattr(checkup, "checked_device", lambda device, mode, *_, **__: asked.append((str(device), mode)))
    monkeypatch.setattr(self_check, "known", lambda device: table)
    monkeypatch.setattr(self_check, "about", lambda device: {"device": "a GPU"})
    found = checkup._self_check()
    assert found == {"about": {"device": "a GPU"}, "table": table} and ("cuda:0", "bf16") in asked
    assert show._self_check(table) == [["share", "fp32", "passed"], ["share", "bf16", table["share"]["bf16"]]]


class Small:
    """As much of a trainer as the comparison looks at: one slot whose gradient is that of a cross-entropy."""

    device = DEVICE

    def try_slots(self, slots, warm):
        theta = LOGITS[:1].to(DEVICE).clone().requires_grad_(True)
        (grad,) = torch.autograd.grad(cross_entropy(theta, LABELS[:1].to(DEVICE)).sum(), theta)
        return SimpleNamespace(second=(grad**2).flatten(1), phi=None, theta=None, group_of_slot=None)


@pytest.mark.parametrize("what", ["wrong", "raises", "right"])
def test_the_first_step_of_a_run_names_the_op(what, monkeypatch):
    module = _triton.kernels("cross_entropy")
    kernel = module.losses_backward

    def damaged(*args):
        if what == "raises":
            raise RuntimeError("out of resource: registers")
        kernel(*args), args[-1].mul_(1.5 if what == "wrong" else 1.0)

    monkeypatch.setattr(module, "losses_backward", damaged)
    monkeypatch.setattr(self_check, "CASES", {"share": [], "cross_entropy": []})
    told = []
    canary.checked_step(Small(), False, told.append)
    if what == "right":
        assert not told and not backend._DISTRUSTED
        return
    assert len(told) == 1 and told[0].startswith("kernels of cross_entropy compute wrongly in this run (")
    assert ("out of resource: registers" if what == "raises" else "a step is 5.0e-01") in told[0]
    assert set(backend._DISTRUSTED) == {("cross_entropy", "triton", "fp32")}
    canary.checked_step(Small(), False, told.append)
    assert len(told) == 1, "the reference gives what is right"


def test_a_loop_on_a_gpu_compares_once_before_it_captures(monkeypatch):
    from tests.train.test_loop import LONG, trainer

    class Graphs(FakeGraphs):
        pass

    asked = []
    monkeypatch.setattr(backend, "PREFERENCE", {"cpu": ("cpp", "reference")})
    monkeypatch.setattr(loop, "CudaGraphs", Graphs)
    monkeypatch.setattr(loop, "compile_step", lambda t, warm, *_, **__: asked.append(("compile", warm)))
    monkeypatch.setattr(loop, "checked_step", lambda t, warm, *_, **__: asked.append(("compare", warm)))
    from autometa.train.tasks import Source

    graphs = Graphs()
    made = loop.Loop(trainer(LONG, Source.open(LONG.data)), pytest.fail, graphs)
    made.launch(LONG.warmup - 1)
    assert graphs.captured == 1
    made.launch(LONG.warmup)
    assert asked == [("compile", True), ("compare", True), ("compile", False)]
