"""A benchmark of an op whose tests are red says nothing."""

import functools
import subprocess
import sys
from pathlib import Path

import pytest
import torch

_ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module", autouse=True)
def green_tests(request):
    """Run tests/**/test_<name>.py before the benchmarks of bench_<name>.py, and on a GPU those of the CUDA ops."""
    name = Path(request.fspath).stem.removeprefix("bench_")
    files = sorted((_ROOT / "tests").rglob(f"test_{name}.py"))
    if torch.cuda.is_available():
        files.append(_ROOT / "tests" / "ops" / "test_cuda_ops.py")
    for path in files:
        if red := failure(path):
            pytest.fail(f"{path.name} fails, so the speed of {name} means nothing:\n{red}")


@functools.cache
def failure(path: Path) -> str:
    """The end of what a red file of tests prints; nothing where it is green."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", str(path)]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stdout[-2000:] or "no word"
