"""Build of autometa: Python packages, the compiled core where a compiler works, CUDA kernels where nvcc is found.

AUTOMETA_REQUIRE_NATIVE=1 makes a failing compiler an error; without it the package installs without
`autometa._C` and runs its slower reference implementations.
AUTOMETA_CUDA=1 makes a missing or failing nvcc an error, 0 leaves `autometa._cuda` out; AUTOMETA_CUDA_ARCHS names the
architectures, e.g. "90" for one (default: 80, 90 and 100 with PTX, see csrc/cuda.cmake).
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


def nvcc() -> str | None:
    """The CUDA compiler: $CUDACXX, on PATH, or in $CUDA_HOME or $CUDA_PATH."""
    homes = [os.path.join(os.environ[name], "bin") for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
    found = (shutil.which(os.environ.get("CUDACXX") or "nvcc", path=path) for path in (None, *homes))
    return next((path for path in found if path), None)


class CMakeBuild(build_ext):
    """Compile the core and the CUDA kernels with CMake, each for itself; warn and go on without what fails."""

    def build_extension(self, ext: Extension) -> None:
        target = Path(self.get_ext_fullpath(ext.name)).resolve()
        target.unlink(missing_ok=True)
        if ext.name == "autometa._C":
            required, build = os.environ.get("AUTOMETA_REQUIRE_NATIVE", "0") not in ("", "0"), self._core
            need = "the package works without it, slower. A C++17 compiler (g++, clang++) is needed"
            setting = "AUTOMETA_REQUIRE_NATIVE"
        else:
            wish = os.environ.get("AUTOMETA_CUDA", "")
            if wish == "0" or (not wish and nvcc() is None):
                return
            required, build, setting = wish not in ("", "0"), self._cuda, "AUTOMETA_CUDA"
            need = "the package works without it, slower on GPUs. nvcc of CUDA 12 or later is needed"
        try:
            build(target.parent)
            if not target.exists():
                raise FileNotFoundError(f"the build left no {target.name}")
        except (OSError, ImportError, subprocess.CalledProcessError) as error:
            if required:
                raise
            print(
                f"\nWARNING: {ext.name} was not built ({error}).\n"
                f"WARNING: {need};\n"
                f"WARNING: {setting}=1 turns this warning into an error.\n",
                file=sys.stderr,
            )

    def _core(self, library_dir: Path) -> None:
        self._cmake(library_dir, "_C")

    def _cuda(self, library_dir: Path) -> None:
        compiler = nvcc()
        if compiler is None:
            raise FileNotFoundError("nvcc is neither on PATH nor in CUDA_HOME; put it there or unset AUTOMETA_CUDA")
        settings = {"AUTOMETA_CUDA": "ON", "AUTOMETA_CUDA_ARCHS": os.environ.get("AUTOMETA_CUDA_ARCHS", "")}
        self._cmake(library_dir, "_cuda", CMAKE_CUDA_COMPILER=compiler, **settings)

    def _cmake(self, library_dir: Path, name: str, **settings: str) -> None:
        import pybind11

        build = Path(self.build_temp).resolve() / f"cmake{name}"
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
                *(f"-D{key}={value}" for key, value in settings.items()),
            ],
            check=True,
        )
        jobs = str(self.parallel or os.cpu_count() or 1)
        subprocess.run(
            ["cmake", "--build", str(build), "--config", configuration, "--parallel", jobs, "--target", name],
            check=True,
        )


GPU = ['triton>=3.3; platform_system == "Linux"', "torch>=2.7"]  # torch 2.6 brings Triton 3.2
RAY = "ray>=2.9"
OPTUNA = "optuna>=4.0"
RAY_HAS_WHEELS = 'platform_system == "Linux" and python_version < "3.15"'
DOCS = ["sphinx>=7.2", "myst-parser>=3.0"]
TEST = [
    'triton; platform_system == "Linux"',
    "pytest>=7.4",
    "pytest-benchmark>=4.0",
    "pytest-xdist>=3.5",
    "hypothesis>=6.80",
    "mypy>=1.11",
    "h5py>=3.8",
    "tensorboard>=2.10",
    "scikit-learn>=1.6",
    "matplotlib>=3.6",
    OPTUNA,
    "onnx>=1.15",
    "onnxruntime>=1.17",
    f"{RAY}; {RAY_HAS_WHEELS}",
    "ruff>=0.17,<0.18",
    *DOCS,
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
    package_data={
        "": ["py.typed", "*.json", "*.yaml", "*.txt", "*.css"],
        "autometa.kernels": ["*.def"],
        "autometa": ["pretrained/*/*", "algorithms/table/*.safetensors", "export/c/templates/*"],
    },
    include_package_data=False,
    ext_modules=[Extension(f"autometa.{name}", sources=[], optional=True) for name in ("_C", "_cuda")],
    cmdclass={"build_ext": CMakeBuild},
    install_requires=[
        "torch>=2.6",
        "numpy",
        "pillow",
        "tqdm",
        "safetensors>=0.4.5",
        "jsonargparse[signatures]>=4.32",
    ],
    extras_require={
        "hdf5": ["h5py>=3.8"],
        "ray": [RAY],
        "sklearn": ["scikit-learn>=1.6"],
        "optuna": [OPTUNA],
        "plot": ["matplotlib>=3.6"],
        "tensorboard": ["tensorboard>=2.10"],
        "docs": DOCS,
        "onnx": ["onnx>=1.15"],
        "test": TEST,
        "gpu": GPU,
        "bench": ["pytest>=7.4", "pytest-benchmark>=4.0"],
    },
    entry_points={"console_scripts": ["autometa = autometa.cli:main"]},
    zip_safe=False,
)
