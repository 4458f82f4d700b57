"""The CUDA module without a GPU: what was built, and what it says. Its kernels run on the host in tests/cpp."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from autometa._version import __version__
from autometa.ops import _cuda
from autometa.ops.backend import BackendError, dispatch, explain, registered

GPU, CPU = torch.device("cuda"), torch.device("cpu")
SOURCES = sorted((Path(__file__).resolve().parents[2] / "csrc").glob("*/*.cu"))
ENTRY_POINTS = {
    "adam",
    "augment_images",
    "batch_indices",
    "clip_grad",
    "clip_grad_scratch",
    "driver_version",
    "drop_masks",
    "finite_slots",
    "gather_images",
    "reptile",
    "runtime_version",
    "sample_tasks",
    "sgd",
}
OPS = {path.parent.name for path in SOURCES} - {"versions"}


@pytest.fixture(scope="module")
def module():
    """The CUDA module; where nvcc is at hand it must be there."""
    found = _cuda.cuda_module()
    if found is None and (shutil.which("nvcc") is None or os.environ.get("AUTOMETA_CUDA") == "0"):
        pytest.skip("nvcc is not here, so autometa._cuda was not built")
    assert found is not None, _cuda.cuda_error()
    return found


def cuobjdump(module, *options: str) -> str:
    """What the tool says of the module, or skips. Triton brings it along."""
    triton = importlib.util.find_spec("triton")
    beside = Path(triton.origin).parent / "backends" / "nvidia" / "bin" if triton else None
    tool = shutil.which("cuobjdump") or (beside and shutil.which("cuobjdump", path=str(beside)))
    if not tool:
        pytest.skip("cuobjdump is not here")
    return subprocess.run([tool, *options, module.__file__], capture_output=True, text=True, check=True).stdout


def test_it_has_these_entry_points_and_the_packages_version(module):
    assert {name for name in dir(module) if not name.startswith("_")} == ENTRY_POINTS | {"Arena", "architectures"}
    assert module.__version__ == __version__ and module.runtime_version() >= 12000
    assert OPS | {name for name in ENTRY_POINTS if name.endswith(("_scratch", "_version"))} == ENTRY_POINTS


def test_it_needs_neither_torch_nor_a_driver(module):
    text = Path(module.__file__).read_bytes()
    assert not any(name in text for name in (b"libtorch", b"libc10", b"libcudart.so"))


def test_it_has_code_for_each_architecture_and_ptx_of_the_newest(module):
    wanted = module.architectures.split()
    if not os.environ.get("AUTOMETA_CUDA_ARCHS") and module.runtime_version() >= 12080:
        assert wanted == ["80-real", "90-real", "100"]
    elves, ptx = cuobjdump(module, "-lelf"), cuobjdump(module, "-lptx")
    for name in wanted:
        number = re.match(r"\d+", name).group()
        assert len(re.findall(rf"\.sm_{number}\w?\.cubin", elves)) == len(SOURCES), name
    if not wanted[-1].endswith("-real"):
        assert len(re.findall(rf"\.sm_{re.match(r'[0-9]+', wanted[-1]).group()}\w?\.ptx", ptx)) == len(SOURCES)


def test_no_kernel_spills(module):
    usage = re.findall(r"Function (\S+?):?\s+REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)", _usage(module))
    assert len(usage) >= len(OPS) * len(module.architectures.split())
    for name, registers, stack, shared, local in usage:
        assert int(stack) == int(local) == 0, f"{name} keeps {stack} + {local} bytes in local memory"
        assert int(registers) <= 96 and int(shared) <= 48 * 1024, name


WIDE_STORES = ("RowUpdate", "ClipBody", "ReptileBody", "GatherBody")
WIDE_LOADS = ("RowUpdate", "SquaresBody", "ClipBody", "FiniteBody", "ReptileBody")


def test_memory_is_read_and_written_16_bytes_at_a_time(module):
    newest = f"sm_{re.match('[0-9]+', module.architectures.split()[-1]).group()}"
    code = cuobjdump(module, "-sass", "-arch", newest)
    functions = {found.split("\n", 1)[0]: found for found in code.split("Function : ")[1:]}
    assert len(functions) >= len(OPS)
    for name, text in functions.items():
        assert not re.search(r"\b(LDL|STL)\b", text), f"{name} uses local memory"
        # What one block writes before the barrier another reads after it, not from a cache that nothing invalidates.
        assert "kernel_in_turn" not in name or ".CONSTANT" not in text, name
        assert "STG.E.128" in text or not any(body in name for body in WIDE_STORES), name
        assert "LDG.E.128" in text or not any(body in name for body in WIDE_LOADS), name


def _usage(module) -> str:
    return re.sub(r":\n\s*", ": ", cuobjdump(module, "-res-usage"))


def test_every_op_is_registered_and_shares_its_schema():
    for op in OPS:
        assert {"reference", "cpp", "cuda"} <= set(registered()[op])
        overload = getattr(torch.ops.autometa, op).default
        assert torch._C._dispatch_has_kernel_for_dispatch_key(overload.name(), "CUDA"), op


def test_nothing_to_do_needs_no_device(module):
    groups = torch.ones(1, 2, dtype=torch.float64)
    places = (0, 0, 0, 0, 0, groups.data_ptr(), groups.data_ptr())
    tables = torch.zeros(12, dtype=torch.int64)

    def arena(slots, row, kinds):
        return module.Arena((tables.data_ptr(),) * 3, (slots, row, 1, 1, kinds))

    assert module.adam(places, False, arena(0, 16, 2), (0.0, 0.999, 1e-8), 0) is None
    assert module.gather_images((16, 0, 0, 16, 16, 0), (1, 1, 28, 28, 0), 0) is None
    assert module.finite_slots((0, 0), False, (0, 16), 0) is None
    assert module.clip_grad_scratch(arena(10, 4097, 3), False) == 60
    assert module.clip_grad_scratch(arena(2, 0, 3), True) == 6


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_a_launch_that_fails_says_so(module):
    with pytest.raises(RuntimeError, match="batch_indices: the CUDA launch failed, .*: .+ \\(cudaError"):
        module.batch_indices((16, 16), (1, 10, 5, 2, 0), True, 0, 0)


def test_sizes_that_do_not_fit_are_refused(module):
    with pytest.raises(ValueError, match="an image of more than 2\\^31 - 1 bytes"):
        module.gather_images((16,) * 6, (1, 1, 2**16, 2**16, 1), 0)
    with pytest.raises(ValueError, match="sample_tasks: too much for one launch"):
        module.sample_tasks((16,) * 7, (1, 1, 1, 2**31, 1, 1, 1, 0), 0, 0)


def test_tensors_elsewhere_are_refused():
    for op in OPS:
        with pytest.raises(BackendError, match=f"cannot run {op}: cuda works on CUDA tensors, these are on cpu"):
            dispatch(op, CPU, torch.float32, "cuda")
    assert "float32 and float64, not in torch.float16" in _cuda.cuda_refuses(GPU, torch.float16)
    assert "in torch.uint8 here, not in torch.float64" in _cuda.cuda_refuses_unless(torch.uint8)(GPU, torch.float64)


def test_without_the_module_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "autometa._cuda", None)
    assert "reinstall with nvcc on PATH, and with AUTOMETA_CUDA=1" in _cuda.cuda_refuses(GPU, torch.float32)
    assert _cuda.cuda_state() == {
        "loads": False,
        "architectures": None,
        "runtime": None,
        "refuses": _cuda.cuda_error(),
    }
    with pytest.raises(BackendError, match="does not load"), _cuda.launching(torch.zeros(1)):
        pass


def test_without_a_device_the_reference_is_chosen_and_the_reason_told(module, monkeypatch):
    monkeypatch.delenv("AUTOMETA_BACKEND", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    rows = {choice.op: choice for choice in explain(GPU)}
    assert rows["adam"].backend == "reference" and "not cuda: torch finds no CUDA device" in rows["adam"].reason
    assert _cuda.cuda_state()["refuses"] == "torch finds no CUDA device"


@pytest.mark.parametrize(
    ("capability", "architectures", "reason"),
    (
        ((8, 0), "80-real 90-real 100", None),
        ((8, 9), "80-real 90-real 100", None),
        ((12, 0), "80-real 90-real 100", None),
        ((9, 0), "90a-real", None),
        ((10, 3), "native", None),
        ((7, 5), "80-real 90-real 100", "capability 7.5, cuda needs 8.0 or later"),
        ((8, 0), "90", "built for 90, .* AUTOMETA_CUDA_ARCHS=80"),
        ((10, 0), "90-real", "AUTOMETA_CUDA_ARCHS=100"),
    ),
)
def test_devices_that_the_build_does_not_know(capability, architectures, reason):
    found = _cuda._too_old(capability, architectures)
    assert (found is None) if reason is None else re.search(reason, found)


def test_a_driver_older_than_the_runtime():
    assert _cuda._behind(13000, 13020) is None and _cuda._behind(14000, 13000) is None
    assert "built with CUDA 13.2, the driver knows 12.8; update the driver" in _cuda._behind(12080, 13020)
