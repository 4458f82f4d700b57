"""Whatever torch's settings are where the package is called: the same answers, and the settings as before."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

import autometa
from autometa.models.classifier import learn
from autometa.models.find import find_start
from autometa.ops.torch_state import own_torch_state
from tests.estimator.drawings import saved, shots, strokes

TINY = {
    "data.name": "strokes",
    "meta.iterations": 2,
    "meta.batch": 2,
    "inner.steps": 2,
    "test.tasks": 2,
    "test.steps": 2,
}


@contextlib.contextmanager
def setting(change: Callable, value, before) -> Iterator[None]:
    change(value)
    try:
        yield
    finally:
        change(before)


@contextlib.contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


FOREIGN = {
    "bfloat16": lambda: setting(torch.set_default_dtype, torch.bfloat16, torch.float32),
    "float64": lambda: setting(torch.set_default_dtype, torch.float64, torch.float32),
    "default device": lambda: setting(torch.set_default_device, "meta", None),
    "device context": lambda: torch.device("meta"),
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "deterministic": deterministic,
    "medium products": lambda: setting(torch.set_float32_matmul_precision, "medium", "highest"),
    "flushed subnormals": lambda: setting(torch.set_flush_denormal, True, False),
}
EACH = pytest.mark.parametrize("name", FOREIGN)


def settings() -> tuple:
    """What a caller sees of torch's state."""
    with torch.device("cpu"):
        tiny = float(torch.full((), 1e-310, dtype=torch.float64) * 1.0)
    return (
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.get_autocast_dtype("cpu"),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.get_float32_matmul_precision(),
        tiny,
        torch.get_num_threads(),
        torch.random.get_rng_state().sum(dtype=torch.int64).item(),
    )


@contextlib.contextmanager
def foreign(name: str) -> Iterator[None]:
    """The setting of that name, which must be in force afterwards too."""
    with FOREIGN[name]():
        before = settings()
        yield
        assert settings() == before


@pytest.fixture(scope="module")
def drawn():
    return shots(*strokes())


def taught(drawn) -> tuple[np.ndarray, ...]:
    """What fit, partial_fit, predict and `learn` answer."""
    support, labels, queries, _ = drawn
    made = autometa.FewShotClassifier(steps=3).fit(support[:4], labels[:4])
    first = made.predict_proba(queries)
    made.partial_fit(support[4:], labels[4:])
    start = find_start().model
    images = np.repeat(support[:, None], start.recipe.channels, axis=1)
    kept = learn(start, images, labels, [str(k) for k in range(5)], steps=2)
    return (
        first,
        made.predict_proba(queries),
        made.predict(queries),
        kept.phi.numpy(),
        kept.probabilities(images).numpy(),
    )


@pytest.fixture(scope="module")
def answers(drawn):
    return taught(drawn)


@EACH
def test_a_classifier_is_taught_and_answers_alike(name, drawn, answers):
    with foreign(name):
        found = taught(drawn)
    for own, due in zip(found, answers, strict=True):
        assert own.dtype == due.dtype and np.array_equal(own, due)


def run_of(folder, pictures) -> tuple:
    """Train, evaluate, adapt and predict: what they tell."""
    autometa.train("reptile-omniglot", settings=TINY, out=folder, quiet=True, device="cpu")
    scores = autometa.evaluate(folder, settings={"tasks": 2}, quiet=True)
    autometa.adapt(pictures, run=folder, out=folder / "taught", quiet=True)
    found = autometa.predict(pictures / "0" / "000.png", run=folder / "taught", quiet=True)
    return scores["scores"], [row[1:] for row in found]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder, (images, labels) = tmp_path_factory.mktemp("pictures"), strokes()
    for k in range(3):
        saved(images[labels == k][:2], folder / str(k))
    return folder


@pytest.fixture(scope="module")
def expected(tmp_path_factory, pictures):
    return run_of(tmp_path_factory.mktemp("run") / "plain", pictures)


@pytest.mark.parametrize("name", ["bfloat16", "float64", "default device", "inference_mode", "autocast"])
def test_a_run_tells_the_same(name, tmp_path, pictures, expected):
    with foreign(name):
        found = run_of(tmp_path / "run", pictures)
    assert repr(found) == repr(expected)


def test_an_error_leaves_the_caller_its_settings():
    with torch.inference_mode(), setting(torch.set_default_dtype, torch.float64, torch.float32):
        before = settings()
        with pytest.raises(ZeroDivisionError), own_torch_state():
            assert torch.get_default_dtype() is torch.float32 and torch.is_grad_enabled()
            raise ZeroDivisionError
        assert settings() == before
