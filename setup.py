"""Build of autometa: Python packages, and the compiled core through CMake where a compiler works.

AUTOMETA_REQUIRE_NATIVE=1 makes a failing compiler an error; without it the package installs without
`autometa._C` and runs its slower reference implementations.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent


def version() -> str:
    """The version that autometa/_version.py states."""
    text = (ROOT / "autometa" / "_version.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "([^"]+)"', text, re.MULTILINE).group(1)


def long_description() -> str:
    """The README where there is one."""
    readme = ROOT / "README.md"
    return readme.read_text(encoding="utf-8") if readme.exists() else ""


class CMakeBuild(build_ext):
    """Compile the core with CMake; warn and go on without it where that fails."""

    def build_extension(self, ext: Extension) -> None:
        target = Path(self.get_ext_fullpath(ext.name)).resolve()
        target.unlink(missing_ok=True)
        try:
            self._cmake(target.parent)
            if not target.exists():
                raise FileNotFoundError(f"the build left no {target.name}")
        except (OSError, ImportError, subprocess.CalledProcessError) as error:
            if os.environ.get("AUTOMETA_REQUIRE_NATIVE", "0") not in ("", "0"):
                raise
            print(
                f"\nWARNING: autometa's compiled core was not built ({error}).\n"
                "WARNING: the package works without it, slower. A C++17 compiler (g++, clang++) is needed;\n"
                "WARNING: AUTOMETA_REQUIRE_NATIVE=1 turns this warning into an error.\n",
                file=sys.stderr,
            )

    def _cmake(self, library_dir: Path) -> None:
        import pybind11

        build = Path(self.build_temp).resolve() / "cmake"
        shutil.rmtree(build, ignore_errors=True)  # its cache names tools of an earlier build environment
        build.mkdir(parents=True)
        ninja = shutil.which("ninja")
        generator = ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"] if ninja and os.name != "nt" else []
        configuration = "Debug" if self.debug else "Release"
        subprocess.run(
            [
                "cmake",
                "-S",
                str(ROOT),
                "-B",
                str(build),
                *generator,
                f"-DCMAKE_BUILD_TYPE={configuration}",
                f"-DCMAKE_LIBRARY_OUTPUT_DIRECTORY={library_dir}",
                f"-DCMAKE_LIBRARY_OUTPUT_DIRECTORY_RELEASE={library_dir}",
                f"-DPython_EXECUTABLE={sys.executable}",
                f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
                f"-DAUTOMETA_VERSION={version()}",
            ],
            check=True,
        )
        jobs = str(self.parallel or os.cpu_count() or 1)
        subprocess.run(
            ["cmake", "--build", str(build), "--config", configuration, "--parallel", jobs, "--target", "_C"],
            check=True,
        )


GPU = 'triton>=3.3; platform_system == "Linux"'
TEST = [
    'triton; platform_system == "Linux"',
    "pytest>=7.4",
    "pytest-benchmark>=4.0",
    "hypothesis>=6.80",
    "h5py>=3.8",
    "ruff>=0.17,<0.18",
]

setup(
    name="autometa-nas",
    version=version(),
    description="Few-shot image classification: finds a small network and an initialisation that adapts",
    long_description=long_description(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    classifiers=[
        "Programming Language :: Python :: 3",
        "Programming Language :: C++",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
    python_requires=">=3.10",
    packages=[*find_packages(include=["autometa", "autometa.*"]), "autometa.kernels"],
    package_dir={"autometa.kernels": "kernels"},
    package_data={"": ["py.typed", "*.json", "*.yaml", "*.txt"]},
    include_package_data=False,
    ext_modules=[Extension("autometa._C", sources=[], optional=True)],
    cmdclass={"build_ext": CMakeBuild},
    install_requires=[
        "torch>=2.6",
        "numpy",
        "pillow",
        "tqdm",
        "safetensors>=0.4.5",
        "jsonargparse[signatures]",
    ],
    extras_require={
        "hdf5": ["h5py>=3.8"],
        "test": TEST,
        "gpu": [GPU],
        "bench": ["pytest>=7.4", "pytest-benchmark>=4.0"],
    },
    entry_points={"console_scripts": ["autometa = autometa.cli:main"]},
    zip_safe=False,
)
