"""What stands between ops and the Triton kernels: which devices are taken, where compiled kernels are kept, notices."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
import torch

from autometa.api import running
from autometa.cli import show
from autometa.ops import _triton, backend
from autometa.ops.mixed_op import mixed_op
from tests.gpu.test_sanitizer import within
from tests.ops.node_case import random_node
from tests.ops.triton_device import triton_ready

SOME = ("max_pool_3x3", "sep_conv_3x3", "conv_1x5_5x1")
GPU = torch.device("cuda", 0)


@pytest.fixture
def pretended(monkeypatch):
    """A GPU of compute capability 9.0 with the Triton that is here, as far as questions go."""
    monkeypatch.delenv("AUTOMETA_BACKEND", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "a pretended GPU")
    monkeypatch.setattr(_triton, "_missing", lambda: None)
    monkeypatch.setattr(backend, "_ANNOUNCED", set())


def test_amd_and_intel_are_refused_with_the_reason(pretended, monkeypatch):
    assert _triton.triton_refuses(GPU, torch.float32) is None
    monkeypatch.setattr(torch.version, "hip", "6.4")
    assert "an AMD GPU (ROCm 6.4); the kernels are for NVIDIA" in _triton.triton_refuses(GPU, torch.float32)
    assert "an AMD GPU (ROCm 6.4) cannot be used" in running.gpu_refuses(0)
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.xpu, "is_available", lambda: True)
    assert "an Intel GPU cannot be used" in running.gpu_refuses(0)
    monkeypatch.setattr(torch.xpu, "is_available", lambda: False)
    assert running.gpu_refuses(0) == "no CUDA GPU is usable here"


def test_the_reference_on_a_gpu_is_announced_once_for_a_reason(pretended, monkeypatch):
    monkeypatch.setattr(_triton, "_missing", lambda: "triton 3.2.0 is older than 3.3")
    with pytest.warns(RuntimeWarning, match=r"mixed_op.* by the slower reference \(triton 3.2.0 is older"):
        backend.dispatch("mixed_op", GPU, torch.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        backend.dispatch("preprocess", GPU, torch.float32)
        backend.dispatch("adam", GPU, torch.float64)
        backend.dispatch("mixed_op", GPU, torch.float32, second_order=True)
    if backend.registered()["adam"] and "does not load" in (_cuda := str(running.backend.explain(GPU))):
        with pytest.warns(RuntimeWarning, match="adam.*the CUDA module autometa._cuda does not load"):
            backend.dispatch("adam", GPU, torch.float32)
        assert _cuda.count("does not load") > 3, "one reason, several ops"


def folder(monkeypatch, **settings: str | Path | None):
    for name in ("TRITON_CACHE_DIR", "AUTOMETA_CACHE", "HOME"):
        value = settings.get(name)
        monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(name, str(value))
    return _triton.cache_folder()


def test_compiled_kernels_are_kept_below_the_cache(monkeypatch, tmp_path):
    assert folder(monkeypatch, AUTOMETA_CACHE=tmp_path / "a") == (tmp_path / "a" / "triton", None)
    assert folder(monkeypatch, HOME=tmp_path) == (tmp_path / ".cache" / "autometa" / "triton", None)
    assert folder(monkeypatch, TRITON_CACHE_DIR=tmp_path / "b", HOME=tmp_path) == (tmp_path / "b", None)
    assert not list(tmp_path.iterdir()), "looking makes nothing"


@pytest.mark.parametrize("what", ["a file", "no home"])
def test_where_nothing_can_be_kept_a_folder_of_the_process_serves_after_a_notice(what, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    if what == "no home":
        monkeypatch.setattr("pathlib.Path.expanduser", lambda self: self)
    given = {"AUTOMETA_CACHE": tmp_path / "file"} if what == "a file" else {}
    path, reason = folder(monkeypatch, **given)
    assert path is None and "set AUTOMETA_CACHE to one that can be written" in reason
    monkeypatch.setenv("TRITON_CACHE_DIR", "")
    with pytest.warns(RuntimeWarning, match="cannot be kept .* compiled again in every process"):
        _triton._settle_cache.__wrapped__()
    made = Path(os.environ["TRITON_CACHE_DIR"])
    assert made.is_dir()
    made.rmdir()


def test_doctor_looks_for_what_triton_needs():
    found = _triton.needs()
    assert found["headers"] is None or found["headers"].endswith("Python.h")
    told = show._triton({"refuses": None, "cache": "/there", "compiler": None, "headers": None})
    assert "a C compiler (gcc) is needed" in told and "Python.h is needed" in told and "/there" in told


@triton_ready
def test_memory_of_a_node_is_poisoned_where_bugs_are_looked_for(monkeypatch):
    """What a kernel read before anyone wrote it would be NaN then: nothing is."""
    monkeypatch.setenv("AUTOMETA_DEBUG", "1")
    node = random_node(SOME, slots=1, batch=1, channels=5, size=(3, 4), dtype=torch.float32)
    made = _triton.kernels("mixed_op").Node.empty(_Like(node.params), 3)
    assert bool(made.isnan().all())
    assert all(bool(x.isfinite().all()) for x in node.gradients(backend="triton"))
    assert mixed_op is not None


class _Like:
    def __init__(self, params: torch.Tensor) -> None:
        self.params = params


def test_no_grid_is_too_large():
    normalise = pytest.importorskip("autometa.kernels.normalise")
    for tiles in (1, 31, 256, 524_280, 524_281, 10**7):
        each, count = normalise.chunked(tiles)
        assert count <= 65_535 and each * count >= tiles and each * (count - 1) < tiles
    assert normalise.chunked(524_280) == (8, 65_535)


def test_the_extra_for_gpus_asks_for_a_torch_whose_triton_will_do():
    text = (Path(__file__).resolve().parents[2] / "setup.py").read_text(encoding="utf-8")
    assert "torch>=2.7" in text.partition("GPU = ")[2].partition("\n")[0]


def test_what_is_out_of_time_leaves_no_child():
    source = "import subprocess, sys; p = subprocess.Popen(['sleep', '60']); print(p.pid, flush=True); p.wait()"
    told = Path(f"/tmp/{os.getpid()}.child")
    try:
        status, _ = within(4, ["bash", "-c", f'{sys.executable} -c "{source}" >{told}'], dict(os.environ))
        assert status is None
        child = int(told.read_text())
        time.sleep(0.2)
        state = subprocess.run(["ps", "-o", "stat=", "-p", str(child)], capture_output=True, text=True).stdout.strip()
        assert state in ("", "Z"), state
    finally:
        told.unlink(missing_ok=True)
    assert within(20, ["bash", "-c", "echo done; exit 3"], dict(os.environ)) == (3, "done\n")


def test_a_kernel_that_does_not_fit_is_named_with_the_card(pretended):
    launch = pytest.importorskip("autometa.kernels.launch")

    class OutOfResources(Exception):
        pass

    class Kernel:
        fn = launch.channel_block

        def __init__(self, error: Exception) -> None:
            self.error = error

        def __getitem__(self, grid):
            def run(*args, **options):
                raise self.error

            return run

    with pytest.raises(launch.KernelError, match="launch.channel_block cannot run on a pretended GPU: shared memory"):
        launch.launch(Kernel(OutOfResources("shared memory, Required: 300000")), (1,))
    with pytest.raises(ValueError, match="another"):
        launch.launch(Kernel(ValueError("another")), (1,))
