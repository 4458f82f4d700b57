"""The C++ tests, built with sanitizers from the sources of this checkout, run clean."""

import os
import platform
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# sanitizers -> arguments of the test: threads race alike with every instruction set
BUILDS = {"address,undefined": [], "thread": ["portable"]}
OPTIONS = {
    # Blocks are counted by the test itself; the leak checker does not run in every container.
    "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "TSAN_OPTIONS": "halt_on_error=1",
}


def run(*command: str | Path, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        env={**os.environ, **OPTIONS},
        **options,
    )


def compiler() -> str:
    """The C++ compiler, or skips."""
    name = os.environ.get("CXX") or next((c for c in ("c++", "g++", "clang++") if shutil.which(c)), None)
    if name is None or shutil.which(name.split()[0]) is None:
        pytest.skip("no C++ compiler is here")
    return name


def launcher(sanitizers: str, folder: Path) -> list[str]:
    """What to put before a program so that this sanitizer's runtime works, or skips.

    The thread sanitizer of older compilers does not start where the kernel spreads addresses far apart.
    """
    source, program = folder / "probe.cpp", folder / "probe"
    source.write_text("#include <thread>\nint main() { std::thread([] {}).join(); }\n")
    made = run(*compiler().split(), "-std=c++17", "-pthread", f"-fsanitize={sanitizers}", source, "-o", program)
    if made.returncode:
        pytest.skip(f"this compiler has no -fsanitize={sanitizers}: {made.stdout.strip().splitlines()[-1]}")
    fixed = [["setarch", platform.machine(), "-R"]] if shutil.which("setarch") else []
    for before in [*fixed, []]:
        done = run(*before, program)
        if done.returncode == 0:
            return before
    pytest.skip(f"programs with -fsanitize={sanitizers} do not run here: {done.stdout.strip()[:200]}")


@pytest.mark.skipif(os.name == "nt", reason="the sanitizers of this test are those of g++ and clang++")
@pytest.mark.parametrize("sanitizers", BUILDS)
def test_the_core_is_clean(sanitizers, tmp_path):
    if shutil.which("cmake") is None:
        pytest.skip("cmake is not here")
    before = launcher(sanitizers, tmp_path)
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    settings = ["-DCMAKE_BUILD_TYPE=None", f"-DAUTOMETA_SANITIZE={sanitizers}"]
    configured = run("cmake", "-S", ROOT, "-B", tmp_path, *generator, *settings)
    assert configured.returncode == 0, configured.stdout
    built = run("cmake", "--build", tmp_path, "--parallel", "2", "--target", "autometa_core_test")
    assert built.returncode == 0, built.stdout
    done = run(*before, tmp_path / "autometa_core_test", *BUILDS[sanitizers])
    assert done.returncode == 0 and "portable: done" in done.stdout, done.stdout[-8000:]
