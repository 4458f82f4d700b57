"""The package under test: compiled, complete, of one version."""

import importlib
import importlib.metadata
from pathlib import Path

import pytest
import torch

import autometa
from autometa._version import __version__
from autometa.ops import backend


def test_the_compiled_module_of_the_imported_package_loads():
    module = backend.compiled()
    assert module is not None, backend.compiled_error()
    assert Path(module.__file__).parent == Path(autometa.__file__).parent
    assert backend.compiled_error() is None


def test_the_compiled_module_has_the_version_of_the_package():
    assert backend.compiled().__version__ == __version__


def test_the_distribution_has_the_version_of_the_package():
    try:
        installed = importlib.metadata.version("autometa-nas")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the distribution autometa-nas is not installed, the package runs from a folder")
    assert installed == __version__


def test_kernels_install_as_a_part_of_the_package():
    kernels = importlib.import_module("autometa.kernels")
    assert kernels.__doc__


def test_the_typed_marker_ships():
    assert (Path(autometa.__file__).parent / "py.typed").exists()


def test_the_compiled_module_is_free_of_torch():
    assert torch.__version__  # torch is there, yet nothing of it is linked
    text = Path(backend.compiled().__file__).read_bytes()
    assert b"libtorch" not in text and b"libc10" not in text
