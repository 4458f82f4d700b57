import pytest
import torch

import autometa
from tests.estimator.drawings import shots, strokes


@pytest.fixture(scope="package", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="package")
def drawn():
    """Support images `[5, 28, 28]` and labels, other images `[25, 28, 28]` and labels."""
    return shots(*strokes())


@pytest.fixture
def taught(drawn):
    """The shipped model after a few steps on five characters."""
    return autometa.FewShotClassifier(steps=5).fit(*drawn[:2])
