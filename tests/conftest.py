"""Where no GPU is, Triton kernels are interpreted (Triton decides when it is imported, so this comes first) and tests
that need one are skipped; what imports a package that is missing is not collected."""

from __future__ import annotations

import ast
import importlib.util
import os
import time
from functools import cache
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

# Processes that tests start take the package that is tested, not one that lies in the folder they start in.
_TESTED = importlib.util.find_spec("autometa")
if _TESTED is not None and _TESTED.origin:
    _PATHS = (str(Path(_TESTED.origin).parents[1]), *os.environ.get("PYTHONPATH", "").split(os.pathsep), str(ROOT))
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(path for path in _PATHS if path))
    os.environ["PYTHONSAFEPATH"] = "1"

OPTIONAL = ("hypothesis", "onnx", "onnxruntime")  # a machine with a GPU and no network may lack it
_MISSING = {name for name in OPTIONAL if importlib.util.find_spec(name) is None}


@cache
def _imports(path: Path) -> frozenset[str]:
    """First words of what a test file imports, through other modules of the tests too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{name}" for name in names)]
        for name in names:
            found.add(name.partition(".")[0])
            inside = ROOT / f"{name.replace('.', '/')}.py"
            if name.startswith("tests.") and inside.is_file() and inside != path:
                found |= _imports(inside)
    return frozenset(found)


def pytest_ignore_collect(collection_path: Path):
    """True for a test file that cannot be imported, None for all others."""
    return True if _MISSING and collection_path.suffix == ".py" and _imports(collection_path) & _MISSING else None


LONGEST = (
    "ops/test_triton_compiles.py",
    "reference/test_bits.py",
    "test_sanitizers.py",
    "cli/test_three_commands.py",
    "ops/test_fuzz.py",
    "search/test_ray.py",
    "test_types.py",
)
"""Begun first, such that at the end of a run by two workers neither waits for the other for long."""


def pytest_configure(config: pytest.Config) -> None:
    """pytest-xdist hands out files in the order that is made here, not by how many tests they have."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False
    if torch.cuda.is_available():
        config.pluginmanager.register(DeviceWatch())
    elif (ROOT / "tests" / "access_checker.py").exists() and not config.pluginmanager.hasplugin("access-checker"):
        from tests.access_checker import AccessChecker, interpreting

        if interpreting():
            config.pluginmanager.register(AccessChecker(every=False), "access-checker")


class DeviceWatch:
    """After one illegal access everything else that a process asks of the device fails too: after a failure the device
    is asked whether it still works, and the process is left where it does not. pytest-xdist starts another worker."""

    broken: str | None = None

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self):
        report = yield
        if report.failed and self.broken is None:
            try:
                torch.cuda.synchronize()
            except RuntimeError as error:
                self.broken = str(error).partition("\n")[0]
                report.sections.append(("device", f"it no longer works in this process: {self.broken}"))
        return report

    def pytest_runtest_logfinish(self):
        """The failure has been reported by now."""
        if self.broken is None:
            return
        if "PYTEST_XDIST_WORKER" in os.environ:
            time.sleep(1.0)  # what was reported is on its way
            os._exit(3)
        pytest.exit(f"the device no longer works in this process: {self.broken}", returncode=3)


def pytest_report_header() -> list[str]:
    return [f"not collected: tests that import {name}, which is missing" for name in _MISSING]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of tests/gpu is marked `gpu`, and where there is a GPU the tests of Triton kernels, which then run on it.

    What is so marked needs a GPU that works. The longest files come first.
    """
    first = {ROOT / "tests" / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: first.get(item.path, len(first)))
    for item in items:
        on_it = torch.cuda.is_available() and item.path.stem.endswith("_triton")
        if on_it or ROOT / "tests" / "gpu" in item.path.parents:
            item.add_marker("gpu")
    marked = [item for item in items if item.get_closest_marker("gpu")]
    reason = _no_gpu() if marked else None
    for item in marked:
        if reason:
            item.add_marker(pytest.mark.skip(reason=reason))


def _no_gpu() -> str | None:
    from autometa.api.running import gpu_refuses

    return gpu_refuses(0)
