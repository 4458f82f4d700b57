"""A benchmark of an op whose tests are red says nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module", autouse=True)
def green_tests(request):
    """Run tests/**/test_<name>.py before the benchmarks of bench_<name>.py."""
    name = Path(request.fspath).stem.removeprefix("bench_")
    files = [str(path) for path in sorted((_ROOT / "tests").rglob(f"test_{name}.py"))]
    if not files:
        return
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *files]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.fail(f"the tests of {name} fail, so its speed means nothing:\n{done.stdout[-2000:]}")
