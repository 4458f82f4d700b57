"""What is installed is whole; the wheel (AUTOMETA_WHEEL, which `.ci/run` builds) installs where no compiler is."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

import autometa
from autometa._version import __version__

ROOT = Path(__file__).resolve().parents[1]
INSTALLED = Path(autometa.__file__).parent
TOOLS = ("cc", "c++", "gcc", "g++", "clang", "clang++", "cmake", "ninja", "nvcc", "ld")


def shipped() -> dict[str, Path]:
    """Everything of the checkout that belongs into the package, by its place in there."""
    found = {}
    for folder, prefix in ((ROOT / "autometa", ""), (ROOT / "kernels", "kernels/")):
        for path in folder.rglob("*"):
            if path.is_file() and path.suffix not in (".so", ".pyd", ".pyc"):
                found[f"{prefix}{path.relative_to(folder).as_posix()}"] = path
    return found


def test_every_file_of_the_package_is_installed():
    files = shipped()
    assert {"py.typed", "api/recipes.json", "data/omniglot_vinyals.json", "kernels/mixed_op.py"} <= set(files)
    missing = [name for name in files if not (INSTALLED / name).is_file()]
    assert not missing, "a new file that is no .py belongs into package_data of setup.py"


@pytest.fixture(scope="module")
def wheel() -> Path:
    given = os.environ.get("AUTOMETA_WHEEL")
    if not given:
        pytest.skip("AUTOMETA_WHEEL names no wheel; .ci/run builds one")
    return Path(given)


def test_the_wheel_is_whole_and_says_for_whom_it_is(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        about = archive.read(f"autometa_nas-{__version__}.dist-info/WHEEL").decode()
    python = {name for name in names if name.startswith("autometa/") and not name.endswith(".so")}
    assert python == {f"autometa/{name}" for name in shipped()}
    assert f"autometa/_C{sysconfig.get_config_var('EXT_SUFFIX')}" in names
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/", "csrc/", "examples/"))]
    version = f"cp{sys.version_info.major}{sys.version_info.minor}"
    assert f"Tag: {version}-{version}-linux_{platform.machine()}" in about.splitlines()
    assert "Root-Is-Purelib: false" in about


def test_it_installs_and_runs_where_no_compiler_is(wheel, tmp_path):
    home = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", home], check=True)
    (place,) = (home / "lib").glob("python*/site-packages")
    (place / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")  # torch and its kin
    path = str(home / "bin")
    assert not [tool for tool in TOOLS if shutil.which(tool, path=path)]
    environment = {"PATH": path, "HOME": str(tmp_path), "AUTOMETA_CACHE": str(tmp_path / "cache")}

    def run(*words: str) -> str:
        done = subprocess.run(words, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run(f"{path}/pip", "install", "--quiet", "--no-index", "--no-deps", "--force-reinstall", str(wheel))
    where = run(f"{path}/python", "-c", "import autometa; print(autometa.__file__)").strip()
    assert Path(where).parent == place / "autometa"
    told = run(f"{path}/autometa", "doctor")
    assert "loads; instruction set" in told and "mixed_op" in told
    assert any(line.split()[:2] == ["mixed_op", "cpp"] for line in told.splitlines()), told
