"""The whole tree passes the linter, and is formatted, with the settings of pyproject.toml."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("check", (["check"], ["format", "--check"]), ids=("lint", "format"))
def test_ruff_finds_nothing(check):
    ruff = shutil.which("ruff", path=f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin")
    if ruff is None:
        pytest.skip("ruff is not installed; it comes with the extra `test`")
    done = subprocess.run([ruff, *check, "--no-cache", str(ROOT)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_source_files_stay_small():
    long = {
        str(path.relative_to(ROOT)): lines
        for folder in ("autometa", "csrc", "kernels", "benchmarks", "tests")
        for path in (ROOT / folder).rglob("*.*")
        if path.suffix in {".py", ".c", ".cpp", ".h", ".cu"}
        and (lines := len(path.read_text(encoding="utf-8").splitlines())) > 400
    }
    assert not long, f"over 400 lines: {long}"
