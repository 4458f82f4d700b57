import pytest
import torch

from autometa.ops.backend import libraries
from autometa.train.tasks import Source
from tests.algorithms.test_metanas import TINY

GPU = torch.device("cuda", 0)


@pytest.fixture(scope="session", autouse=True)
def as_runs_compute(tmp_path_factory):
    """One CPU thread, libraries that repeat themselves, float32, drawn data in a folder of these tests."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch, libraries("fp32"):
        patch.setenv("AUTOMETA_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def on_gpu(as_runs_compute):
    return Source.open(TINY.data, GPU)


@pytest.fixture(scope="session")
def on_cpu(as_runs_compute):
    return Source.open(TINY.data)
