"""--device and --precision: what they mean, what they refuse, what a run remembers of them."""

import json

import pytest
import torch

from autometa.algorithms.algorithm import search_named
from autometa.algorithms.presets import AUTO_META, METANAS
from autometa.api import running
from autometa.api.planning import Plan
from autometa.errors import InputError
from autometa.ops import backend
from tests.cli.driving import SEARCH, call


@pytest.fixture
def two_gpus(monkeypatch):
    """A machine with two GPUs, as far as names go."""
    reasons = {0: None, 1: None}
    refuses = lambda number: reasons.get(number, f"there is no GPU {number}, the last one is 1")  # noqa: E731
    monkeypatch.setattr(running, "gpu_refuses", refuses)
    return reasons


@pytest.mark.parametrize("name, place", [("auto", "cuda:0"), ("cuda", "cuda:0"), ("cuda:1", "cuda:1"), ("cpu", "cpu")])
def test_names_of_devices(name, place, two_gpus):
    assert running.device_of(name) == torch.device(place)


def test_auto_is_the_cpu_where_no_gpu_works(two_gpus):
    two_gpus[0] = "GPU 0 does not work (driver too old)"
    assert running.device_of("auto") == torch.device("cpu")
    with pytest.raises(InputError, match="driver too old.*leave --device out"):
        running.device_of("cuda")


@pytest.mark.parametrize("name", ["cuda:", "cuda:one", "cuda:-1", "cuda:0:1", "gpu", "", "CPU"])
def test_other_names_are_refused(name, two_gpus):
    with pytest.raises(InputError, match="unknown device"):
        running.device_of(name)
    with pytest.raises(InputError, match="there is no GPU 7"):
        running.device_of("cuda:7")


@pytest.mark.parametrize(
    "began, asked, place",
    [("cuda:1", "auto", "cuda:1"), ("cuda:1", "cpu", "cpu"), ("cuda:9", "auto", "cuda:0"), ("cpu", "auto", "cpu")],
)
def test_a_resumed_run_goes_on_where_it_began(began, asked, place, two_gpus, monkeypatch, tmp_path):
    folder = running.RunFolder.create(tmp_path / "run", "t", {}, [], device="cpu")
    folder.close()
    about = json.loads((tmp_path / "run/environment.json").read_text())
    (tmp_path / "run/environment.json").write_text(json.dumps({**about, "device": began}))
    plan = Plan(search_named(None), METANAS["quick"], resume=tmp_path / "run")
    assert running._device_for(plan, running.RunOptions(device=asked)) == torch.device(place)
    assert running._device_for(Plan(search_named(None), METANAS["quick"]), running.RunOptions()) == torch.device(
        "cuda:0"
    )


def test_a_search_over_cells_takes_a_device_too(two_gpus):
    plan = Plan(search_named(None), AUTO_META["quick"])
    for asked, place in (("auto", "cuda:0"), ("cuda:1", "cuda:1"), ("cpu", "cpu")):
        assert running._device_for(plan, running.RunOptions(device=asked)) == torch.device(place)


def test_precision_is_a_setting_that_the_cpu_does_without(tmp_path):
    answer = call("search", *SEARCH, "--precision", "tf32", "--out", "run", "--device", "cpu")
    assert answer.code == 0 and "precision tf32 is for GPUs" in answer.err and "Precision" not in answer.out
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert result["precision"] == "fp32" and result["device"] == "cpu"
    about = json.loads((tmp_path / "run/environment.json").read_text())
    assert about["precision"] == "tf32" and about["device"] == "cpu"
    wrong = call("search", *SEARCH, "--precision", "fp8")
    assert wrong.code == 2 and "precision must be fp32 or tf32 or bf16, not fp8" in wrong.err


def test_results_of_less_precision_say_so(searched):
    from autometa.cli import show

    found = json.loads((searched[0] / "result.json").read_text())
    found = {**found, "run": "run", "iterations": {"done": 3, "planned": 3}}
    assert not any("Precision" in line for line in show.result(found))
    (line,) = [line for line in show.result({**found, "precision": "bf16"}) if "Precision" in line]
    assert "bf16" in line and "less exact" in line


def test_the_environment_does_not_change_a_run_and_is_told(monkeypatch):
    monkeypatch.setenv("AUTOMETA_PRECISION", "bf16")
    answer = call("search", *SEARCH, "--dry-run")
    assert answer.code == 0
    assert "AUTOMETA_PRECISION=bf16 is not for runs" in call("search", *SEARCH, "--out", "run").err


def test_libraries_are_as_they_were_afterwards():
    cudnn = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32
    for mode, rounded in (("fp32", False), ("tf32", True), ("bf16", True)):
        with backend.libraries(mode):
            assert cudnn.deterministic and cudnn.allow_tf32 is torch.backends.cuda.matmul.allow_tf32 is rounded
    assert (cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32) == before
