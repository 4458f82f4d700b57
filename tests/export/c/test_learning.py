"""Exported C, built with warnings as errors and sanitizers: the features, answers and refusals of this package."""

import pytest
import torch

from autometa.export.c.reference import answer
from tests.export.c import programs
from tests.export.c.building import KINDS, SANITIZERS, built, device, floats, needs_gcc, on_device, ran, written
from tests.export.made import SHOTS, WAYS, pictures

pytestmark = needs_gcc
CLASSES = 10
LABELS = torch.tensor([2, 0, 1, 1, 0, 2, 2])


@pytest.mark.parametrize("kind", KINDS)
def test_features_are_those_of_the_network(kind, tmp_path):
    made = device(kind, "prototypes")
    images = pictures(4, made.model.recipe.size, 2)
    wanted = made.features(images)
    assert float((wanted - wanted[:1]).abs().max()) > 1e-3, "pictures that are all alike show nothing"
    program = built(written(made, tmp_path / "c", programs.FEATURES), "-O1", *SANITIZERS)
    found = floats(ran(program, on_device(images)), wanted.shape[1])
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def talk(made, program, *, forget=None):
    """Probabilities `[n, classes]` and answers of a taught device; the same of the reference."""
    size = made.model.recipe.size
    support, queries = pictures(len(LABELS), size, 5), pictures(4, size, 6)
    said = b"".join(bytes([k]) + on_device(x[None]) for x, k in zip(support, LABELS.tolist(), strict=True))
    said += bytes([ord("f"), forget]) if forget is not None else b""
    said += b"l" + b"".join(b"p" + on_device(x[None]) for x in queries)
    found = floats(ran(program, said), CLASSES + 1)
    kept = [k for k in range(WAYS) if k != forget]
    chosen = torch.isin(LABELS, torch.tensor(kept))
    labels = torch.tensor([kept.index(k) for k in LABELS[chosen].tolist()])
    wanted = torch.zeros(len(queries), CLASSES)
    wanted[:, kept] = answer(made.features, made.learning, support[chosen], labels, queries)
    return found, wanted


@pytest.mark.parametrize("learn, kind", [("prototypes", "block cell"), ("head", "strided"), ("head", "genotype")])
def test_answers_are_those_of_the_reference(learn, kind, tmp_path):
    made = device(kind, learn)
    program = built(written(made, tmp_path / "c", programs.TALK), "-O1", *SANITIZERS)
    for forget in (None, 1):
        found, wanted = talk(made, program, forget=forget)
        assert float((wanted[:, 0] - wanted[:1, 0]).abs().max()) > 1e-3, "queries that are answered alike show nothing"
        torch.testing.assert_close(found[:, :-1], wanted, rtol=0, atol=1e-4)
        assert found[:, -1].tolist() == wanted.argmax(dim=1).tolist()


def test_steps_of_the_head_change_answers(tmp_path):
    made = device("strided", "head")
    folder = written(made, tmp_path / "c", programs.TALK)
    found, _ = talk(made, built(folder, "-O1"))
    untaught, _ = talk(made, built(folder, "-O1", "-DAUTOMETA_STEPS=0"))
    assert float((found - untaught).abs().max()) > 1e-2


@pytest.mark.parametrize("learn", ["prototypes", "head"])
def test_hostile_input_is_told_by_a_code(learn, tmp_path):
    made = device("strided", learn)
    ran(built(written(made, tmp_path / "c", programs.HOSTILE), "-O1", "-DAUTOMETA_CLASSES=4", *SANITIZERS))


def test_none_of_these_and_memory_that_does_not_fit(tmp_path):
    made = device("strided", "prototypes")
    folder = written(made, tmp_path / "c", programs.TALK)
    found, _ = talk(made, built(folder, "-O1", "-DAUTOMETA_MIN_PROBABILITY=1.5f"))
    assert found[:, -1].tolist() == [-1] * len(found)
    with pytest.raises(AssertionError, match="autometa_is_larger_than_AUTOMETA_RAM_LIMIT"):
        built(folder, "-DAUTOMETA_RAM_LIMIT=100")


@pytest.mark.parametrize("learn", ["prototypes", "head"])
def test_the_self_test_of_an_export_passes(learn, tmp_path):
    folder = written(device("pooled", learn), tmp_path / "c")
    assert b"as expected" in ran(built(folder, "-O2"))
    wrong = (folder / "selftest.c").read_text().replace("expected[2] = {0.", "expected[2] = {9.")
    (folder / "selftest.c").write_text(wrong)
    with pytest.raises(AssertionError, match="WRONG"):
        ran(built(folder, "-O2"))


def test_shots_differ():
    assert len(LABELS) != WAYS * SHOTS, "so that classes of several sizes are taught"
