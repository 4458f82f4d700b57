"""Exported C, built with warnings as errors and sanitizers: the features, answers and refusals of this package."""

import re
from dataclasses import replace

import pytest
import torch

from autometa.data import Recipe
from autometa.errors import InputError
from autometa.export.c.project import LEARN, WEIGHTS, Device
from autometa.export.c.training import suiting
from autometa.meta.learner import LEARNERS
from autometa.train.learned import Learned
from benchmarks.on_device import CLASSES, SANITIZERS, TALK, asked, built, floats, on_device, ran, taught, write
from tests.export.c import programs
from tests.export.c.building import EACH_COMPILER, KINDS, device, meta_learned, needs_gcc, written
from tests.export.made import NETWORKS, SHOTS, WAYS, pictures

pytestmark = needs_gcc
LABELS = torch.tensor([2, 0, 1, 1, 0, 2, 2])
FORMS = pytest.mark.parametrize("learn, frozen", [*((learn, False) for learn in LEARN), ("all", True)])
"""Ways to learn, and whether a network that learns as a whole has frozen statistics; the others always have them."""


@FORMS
@pytest.mark.parametrize("kind", ["strided", "block cell"])
def test_the_header_states_its_memory(kind, learn, frozen, tmp_path):
    folder = written(device(kind, learn, frozen=frozen), tmp_path / "c", programs.MEMORY)
    (told,) = re.findall(r"`autometa`, ([\d,]+) bytes", (folder / "autometa.h").read_text())
    assert int(told.replace(",", "")) == int(ran(built(folder), b""))


@EACH_COMPILER
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("kind", KINDS)
def test_features_are_those_of_the_network(kind, weights, compiler, tmp_path):
    made = device(kind, "prototypes", weights)
    images = pictures(4, made.model.recipe.size, 2)
    wanted = made.features(images)
    assert float((wanted - wanted[:1]).abs().max()) > 1e-3, "pictures that are all alike show nothing"
    program = built(written(made, tmp_path / "c", programs.FEATURES), "-O1", *SANITIZERS, compiler=compiler)
    found = floats(ran(program, on_device(images)), wanted.shape[1])
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    if weights == "int8":
        real = device(kind, "prototypes").features(images)
        assert float((found - real).abs().mean()) < 0.2 * float(real.abs().mean())


def talk(made, program, *, forget=None, task=0):
    """Probabilities `[n, classes]` and answers of a taught device; the same of the reference."""
    size = made.model.recipe.size
    support, queries = pictures(len(LABELS), size, 5 + 2 * task), pictures(4, size, 6 + 2 * task)
    said = taught(support, LABELS)
    said += bytes([ord("f"), forget]) if forget is not None else b""
    said += b"l" + asked(queries)
    found = floats(ran(program, said), CLASSES + 1)
    kept = [k for k in range(WAYS) if k != forget]
    chosen = torch.isin(LABELS, torch.tensor(kept))
    labels = torch.tensor([kept.index(k) for k in LABELS[chosen].tolist()])
    wanted = torch.zeros(len(queries), CLASSES)
    wanted[:, kept] = made.answer(support[chosen], labels, queries)
    return found, wanted


@EACH_COMPILER
@pytest.mark.parametrize(
    "learn, kind, frozen",
    [
        ("prototypes", "block cell", False),
        ("head", "strided", False),
        ("head", "genotype", False),
        *(("all", kind, frozen) for kind in NETWORKS for frozen in (False, True)),
    ],
)
def test_answers_are_those_of_the_reference(learn, kind, frozen, compiler, tmp_path):
    made = device(kind, learn, frozen=frozen)
    program = built(written(made, tmp_path / "c", TALK), "-O1", *SANITIZERS, compiler=compiler)
    seen = []
    for task, forget in enumerate((None, 1, None, None, None)):
        found, wanted = talk(made, program, forget=forget, task=task)
        seen.append(wanted)
        torch.testing.assert_close(found[:, :-1], wanted, rtol=0, atol=1e-4)
        assert found[:, -1].tolist() == wanted.argmax(dim=1).tolist()
    apart = torch.cat(seen)
    assert float((apart - apart[:1]).abs().max()) > 1e-2, "queries that are answered alike show nothing"


def test_steps_of_the_head_change_answers(tmp_path):
    made = device("strided", "head")
    folder = written(made, tmp_path / "c", TALK)
    found, _ = talk(made, built(folder, "-O1"))
    untaught, _ = talk(made, built(folder, "-O1", "-DAUTOMETA_STEPS=0"))
    assert float((found - untaught).abs().max()) > 1e-2


@EACH_COMPILER
@FORMS
def test_hostile_input_is_told_by_a_code(learn, frozen, compiler, tmp_path):
    folder = written(device("strided", learn, frozen=frozen), tmp_path / "c", programs.HOSTILE)
    ran(built(folder, "-O1", "-DAUTOMETA_CLASSES=4", *SANITIZERS, compiler=compiler))


def test_none_of_these_and_memory_that_does_not_fit(tmp_path):
    made = device("strided", "prototypes")
    folder = written(made, tmp_path / "c", TALK)
    found, _ = talk(made, built(folder, "-O1", "-DAUTOMETA_MIN_PROBABILITY=1.5f"))
    assert found[:, -1].tolist() == [-1] * len(found)
    with pytest.raises(AssertionError, match="autometa_is_larger_than_AUTOMETA_RAM_LIMIT"):
        built(folder, "-DAUTOMETA_RAM_LIMIT=100")


@EACH_COMPILER
@FORMS
def test_the_self_test_of_an_export_passes(learn, frozen, compiler, tmp_path):
    folder = written(device("pooled", learn, frozen=frozen), tmp_path / "c")
    told = ran(built(folder, "-O2", compiler=compiler))
    assert b"as expected" in told
    memory = int(told.split()[-4])
    assert f"| 10 | {memory:,} |" in (folder / "README.md").read_text()
    wrong = (folder / "selftest.c").read_text().replace("expected[2] = {0.", "expected[2] = {9.")
    (folder / "selftest.c").write_text(wrong)
    with pytest.raises(AssertionError, match="WRONG"):
        ran(built(folder, "-O2", compiler=compiler))


@EACH_COMPILER
def test_the_head_learns_on_features_of_integers(compiler, tmp_path):
    made = device("pooled", "head", "int8")
    program = built(written(made, tmp_path / "c", TALK), "-O1", *SANITIZERS, compiler=compiler)
    found, wanted = talk(made, program)
    torch.testing.assert_close(found[:, :-1], wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize("inner", [dict(adam_state="reset"), dict(weight_decay=0.0, batch_mode="replacement")])
def test_the_whole_network_with_other_settings_of_the_inner_loop(inner, tmp_path):
    start = meta_learned("strided")
    other = replace(start, config=replace(start.config, inner=replace(start.config.inner, **inner)))
    changed = Device.of("changed", other, None, "all")
    found, wanted = talk(changed, built(written(changed, tmp_path / "c", TALK), "-O1"))
    torch.testing.assert_close(found[:, :-1], wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize("learn, weights", [("prototypes", "int8"), ("all", "float32")])
def test_colours_stand_beside_one_another(learn, weights, tmp_path):
    grey = meta_learned("strided")
    network = grey.config.build((3, 9, 9))
    start = network.initial(0)
    learned = Learned(start, torch.full_like(start, 1e-3), grey.learned.steps)
    model = replace(grey, network=network, learned=learned, recipe=Recipe(3, 9, polarity="as-is"))
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (23, 3, 9, 9), generator=random, dtype=torch.uint8)
    support, queries, seen = images.split([len(LABELS), 4, 12])
    colour = Device.of("colour", model, seen, learn, weights)
    program = built(write(colour.files(None, seen[:3]), tmp_path / "c", TALK), "-O1")
    found = floats(ran(program, taught(support, LABELS) + b"l" + asked(queries)), CLASSES + 1)
    torch.testing.assert_close(found[:, :WAYS], colour.answer(support, LABELS, queries), rtol=0, atol=1e-4)


def test_with_frozen_statistics_a_picture_does_not_depend_on_those_beside_it(tmp_path):
    start = meta_learned("strided")
    config = replace(start.config, test=replace(start.config.test, steps=0, batch=len(LABELS)))
    seen, found = pictures(12, 9, 3), {}
    images = pictures(len(LABELS), 9, 5)
    for way in (False, True):
        made = Device.of("still", replace(start, config=config), seen, "all", frozen=way)
        found[way] = [made.answer(support, LABELS, images[:2]) for support in (images, images.flip(2))]
    assert torch.equal(*found[True]) and not torch.allclose(*found[False], atol=1e-3)
    assert device("strided", "all", frozen=True).training.frozen.shape == (2, 16)


def test_maps_inside_an_op_are_not_kept_for_the_backward_pass():
    training = device("genotype", "all").training
    states = {span[-1].result for span in training.graph.spans}
    kept = training.batch * sum(m.size for m in states)
    everything = training.batch * sum(m.size for m in training.graph.maps())
    assert kept < training.memory.size < everything


def test_what_the_whole_network_cannot_learn_by_is_told():
    with pytest.raises(InputError, match="take --learn head, or --weights float32"):
        device("strided", "all", "int8")
    with pytest.raises(InputError, match="autometa train RUN"):
        device("search", "all")
    start = meta_learned("strided")
    with pytest.raises(InputError, match="a network learned by protonet has no inner loop of Adam"):
        Device.of("metric", replace(start, config=replace(start.config, learner=LEARNERS["protonet"]())), None, "all")


def test_shots_differ():
    assert len(LABELS) != WAYS * SHOTS, "so that classes of several sizes are taught"


def test_a_network_learns_as_it_was_meta_learned():
    start = meta_learned("strided")
    for name, wanted in (("protonet", "prototypes"), ("protonet-tuned", "prototypes"), ("proto-maml", "head")):
        assert suiting(replace(start, config=replace(start.config, learner=LEARNERS[name]())), "float32") == wanted


def test_distances_have_the_scale_they_were_trained_with(tmp_path):
    made = device("strided", "prototypes")
    learner = LEARNERS["protonet"](scale=0.25)
    scaled = replace(made, model=replace(made.model, config=replace(made.model.config, learner=learner)))
    found, wanted = talk(scaled, built(written(scaled, tmp_path / "c", TALK), "-O1"))
    assert float((wanted - talk_of(made)).abs().max()) > 1e-3
    torch.testing.assert_close(found[:, :-1], wanted, rtol=1e-4, atol=1e-5)


def talk_of(made):
    """What the reference answers in `talk`."""
    support, queries = (pictures(n, made.model.recipe.size, seed) for n, seed in ((len(LABELS), 5), (4, 6)))
    wanted = torch.zeros(len(queries), CLASSES)
    wanted[:, :WAYS] = made.answer(support, LABELS, queries)
    return wanted
