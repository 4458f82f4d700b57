import os

import pytest
import torch

from tests.cli import driving


@pytest.fixture(scope="package", autouse=True)
def own_cache(tmp_path_factory):
    """Drawn data go to a folder of these tests; one thread, so that bits are those of the child processes."""
    settings = {"AUTOMETA_CACHE": str(tmp_path_factory.mktemp("cache"))}
    before = {name: os.environ.get(name) for name in (*settings, "AUTOMETA_DEBUG", "AUTOMETA_DATA")}
    threads = torch.get_num_threads()
    for name in before:
        os.environ.pop(name, None)
    os.environ.update(settings)
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    for name, value in before.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """Every test in a folder of its own: `runs/` and `latest` appear there."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="package")
def searched(tmp_path_factory, own_cache):
    """A finished tiny search, and what it printed."""
    run = tmp_path_factory.mktemp("searched") / "run"
    answer = driving.call("search", "metanas", "--preset", "quick", *driving.SEARCH, "--out", run)
    assert answer.code == 0, answer.err
    return run, answer


@pytest.fixture(scope="package")
def trained(tmp_path_factory, own_cache):
    """A finished tiny training of a four-layer net, and what it printed."""
    run = tmp_path_factory.mktemp("trained") / "run"
    answer = driving.call("train", "reptile-omniglot", *driving.TRAIN, "--out", run, "--json")
    assert answer.code == 0, answer.err
    return run, answer
