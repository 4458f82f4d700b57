"""Tests that need a GPU are skipped without one; what imports a package that is missing is not collected."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

OPTIONAL = ("hypothesis",)  # a machine with a GPU and no network may lack it; no GPU test needs it
_MISSING = [name for name in OPTIONAL if importlib.util.find_spec(name) is None]


def pytest_ignore_collect(collection_path: Path):
    """True for a test file that cannot be imported, None for all others."""
    if collection_path.suffix == ".py" and _MISSING:
        lines = collection_path.read_text(encoding="utf-8").splitlines()
        if any(line.startswith((f"import {name}", f"from {name}")) for line in lines for name in _MISSING):
            return True
    return None


def pytest_report_header() -> list[str]:
    return [f"not collected: tests that import {name}, which is missing" for name in _MISSING]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of tests/gpu is marked `gpu`; what is so marked needs a GPU that works."""
    for item in items:
        if "gpu" in item.path.parent.parts[-2:]:
            item.add_marker("gpu")
    marked = [item for item in items if item.get_closest_marker("gpu")]
    reason = _no_gpu() if marked else None
    for item in marked:
        if reason:
            item.add_marker(pytest.mark.skip(reason=reason))


def _no_gpu() -> str | None:
    from autometa.api.running import gpu_refuses

    return gpu_refuses(0)
