"""What a run observes: the update it reports is the one it took, answers are those of the scores, pictures are true."""

import base64
import io
import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from autometa.algorithms import metanas_outcome, metanas_steps, train
from autometa.meta.bn_modes import answers
from autometa.runs import RunFolder, read_metrics
from autometa.train import observations as recording
from autometa.train.config import MetaConfig
from autometa.train.learned import Learned
from autometa.train.observations import ArchitectureSeries, class_names, confusions, described, examples, observations
from autometa.train.phases import Terms, meta_train
from tests.algorithms.test_metanas import TINY, network, one_thread, source  # noqa: F401  fixtures

FOUR = train.ReptileConfig(filters=3, data=TINY.data, inner=TINY.inner, meta=MetaConfig(4, 3), test=TINY.test)


@pytest.fixture(scope="module")
def tested(network, source):  # noqa: F811
    found = metanas_steps.meta_test_chunk(network, Learned.untrained(network, 0), source, TINY, 0, 4)
    return metanas_outcome.as_tensors(network, found)


def episodes_of(source, **changes):  # noqa: F811
    return source.testing(TINY.inner.ways, replace(TINY.test, **changes))


@pytest.mark.parametrize("config", [TINY, FOUR], ids=["metanas", "reptile"])
def test_an_update_is_what_theta_did(config, source):  # noqa: F811
    make = metanas_steps if config is TINY else train
    run = make.trainer(config.build(source.image_shape), source, config)
    cut = config.build(source.image_shape).layout.weights
    for i in range(3):
        before = run.arena.theta[0].double()
        done = run.step(i)
        moved = run.arena.theta[0].double() - before
        expected = moved[:cut].norm() / before[:cut].norm()
        assert done.update[0].item() == pytest.approx(expected.item(), rel=1e-5) and expected > 0
        assert torch.equal(done.architecture, run.arena.theta[0, cut:])
        if config is TINY:
            expected = (moved[cut:].norm() / before[cut:].norm()).item()
            assert done.update[1].item() == pytest.approx(expected, rel=1e-5)
            assert (expected == 0) == (i < TINY.warmup)


def test_a_description_holds_the_shares_at_that_temperature(network):  # noqa: F811
    row = network.initial(3).double()
    found = described(network, 50 * row[network.layout.weights :], 0.5)
    logits = network.layout.view(row[None], "alpha.normal")[0]
    expected = torch.softmax(100 * logits, dim=-1)
    assert np.allclose(found["ops"]["normal"], expected, atol=1e-5)
    assert [len(node) for node in found["pairs"]["reduction"]] == [1, 3]
    assert all(sum(node) == pytest.approx(1, abs=1e-4) for node in found["pairs"]["reduction"])
    assert 0 < found["entropy"]["normal"] < 1


@pytest.mark.parametrize("iterations, told", [(1, 1), (7, 7), (200, 200), (1000, 1000), (30_000, 777)])
def test_a_series_has_few_lines_the_first_and_the_last(tmp_path, iterations, told, network):  # noqa: F811
    folder = RunFolder.create(tmp_path / "run", "search", {}, ["autometa"])
    series = ArchitectureSeries(folder, network, 1.0, iterations)
    row = network.initial(0)[network.layout.weights :]
    for i in range(told):
        series.tell(i, row)
    series.finish(), series.finish(), series.close()
    steps = [line["step"] for line in read_metrics(folder.phase_metrics("architecture"))]
    assert steps[0] == 0 and steps[-1] == told - 1 and len(steps) <= 201
    assert steps == sorted(set(steps)) and (told < iterations or len(steps) >= min(iterations, 100))


def test_a_time_budget_leaves_the_last_line(tmp_path, source, network):  # noqa: F811
    config = replace(TINY, meta=replace(TINY.meta, iterations=30_000))
    folder = RunFolder.create(tmp_path / "run", "search", config, ["autometa"])
    series = ArchitectureSeries(folder, network, 1.0, 30_000)
    run = metanas_steps.trainer(network, source, config)
    done = meta_train(run, folder, Terms(quiet=True, time_budget=0.1), "search", series=series)
    lines = list(read_metrics(folder.phase_metrics("architecture")))
    assert lines[-1]["step"] == done.iterations - 1 and lines[0]["step"] == 0
    last = described(network, run.arena.theta[0, network.layout.weights :], 1.0)
    assert lines[-1]["ops"] == last["ops"]


def test_answers_are_those_of_the_scores(tested, source):  # noqa: F811
    labels = source.testing(3, TINY.test).queries(source.testing(3, TINY.test).tasks(range(4)))[1]
    right = (tested["predicted"] == labels).double().mean(dim=1)
    assert torch.equal(right, tested["pruned.support_statistics"])
    assert bool((tested["probability"] > 1 / 3 - 1e-6).all()) and bool((tested["probability"] <= 1).all())
    found = train.evaluate_chunk(
        FOUR.build(source.image_shape), Learned.untrained(FOUR.build(source.image_shape), 0), source, FOUR, 0, 4
    )
    assert torch.equal((found["predicted"] == labels).double().mean(dim=1), found["support_statistics"])


def test_an_answer_that_is_not_finite_is_none():
    logits = torch.tensor([[[1.0, 2.0], [torch.nan, 0.0], [torch.inf, 0.0]]])
    assert answers({"support_statistics": logits})["predicted"].tolist() == [[1, -1, -1]]
    assert answers({"transductive": logits}) == {}


@pytest.mark.parametrize("redrawn", [1, 3, 1000])
def test_confusions_are_counted_as_by_hand(redrawn, source, monkeypatch):  # noqa: F811
    monkeypatch.setattr(recording, "REDRAWN", redrawn)
    monkeypatch.setattr(recording, "CONFUSIONS", 10_000)
    monkeypatch.setattr(recording, "LEAST", 1)
    episodes = episodes_of(source, tasks=40)
    said = torch.randint(-1, 3, (40, 6), generator=torch.Generator().manual_seed(1)).to(torch.int16)
    names, wrong, met = class_names(episodes), Counter(), Counter()
    for task, row in zip(episodes.tasks(range(40)).chosen.tolist(), said.tolist(), strict=True):
        for q, answer in enumerate(row):
            true = task[q // 2]
            for other in task:
                met[names[true], names[other]] += 1
            if answer >= 0 and task[answer] != true:
                wrong[names[true], names[task[answer]]] += 1
    found = confusions(episodes, said)
    assert {(c["true"], c["predicted"]): (c["count"], c["of"]) for c in found} == {
        pair: (count, met[pair]) for pair, count in wrong.items()
    }
    rates = [c["count"] / c["of"] for c in found]
    assert rates == sorted(rates, reverse=True) and len(set(rates)) > 2
    assert confusions(episodes, torch.arange(3).repeat_interleave(2).expand(40, 6)) == []


def test_turned_classes_say_so(source):  # noqa: F811
    episodes = episodes_of(source)
    spec = replace(episodes.spec, rotations=4)
    turned = type(episodes)(episodes.store, episodes.classes, spec, 0)
    names = class_names(turned)
    assert len(names) == 4 * len(episodes.classes) == len(set(names))
    drawn = turned.tasks(range(20))
    for v, turns in zip(drawn.chosen.flatten().tolist(), drawn.rotation.flatten().tolist(), strict=True):
        assert names[v].endswith(f", turned {90 * turns}°") == (turns > 0)


def test_examples_show_the_images_of_the_task(tested, source):  # noqa: F811
    episodes, right = episodes_of(source), tested["pruned.support_statistics"]
    found = examples(episodes, tested)
    assert [right[e["task"]] for e in found] == sorted(right[e["task"]] for e in found)
    assert right[found[0]["task"]] == right.min() and right[found[-1]["task"]] == right.max()
    for example in found:
        drawn = episodes.tasks([example["task"]])
        shown = decoded(example["support"][1][0])
        stored = source.store.images[drawn.image[0, 1, 0], 0]
        assert np.array_equal(shown, np.rot90(stored, int(drawn.rotation[0, 1])))
        said = tested["predicted"][example["task"]].tolist()
        wrong = [q["true"] != q["predicted"] for q in example["queries"]]
        assert wrong == sorted(wrong, reverse=True) and len(wrong) == 6
        assert sorted(q["predicted"] for q in example["queries"]) == sorted(said)
        assert example["classes"][0] == source.store.class_names[episodes.classes[drawn.chosen[0, 0]]]
    lost = {**tested, "finite": torch.zeros(4, dtype=torch.bool)}
    assert examples(episodes, lost) == []


def decoded(uri):
    kind, _, data = uri.partition(",")
    assert kind == "data:image/png;base64"
    return np.array(Image.open(io.BytesIO(base64.b64decode(data))))


def test_observations_are_json_and_leave_out_what_was_not_kept(tested, source, network):  # noqa: F811
    found = observations(source, 3, TINY.test, tested, network, TINY)
    assert {"pruning", "weights", "confusion", "examples", "memory", "counts", "primitives", "edges"} < set(found)
    assert json.loads(json.dumps(found)) == found
    assert len(found["pruning"]["step"]) == TINY.test.steps + 1 == len(found["pruning"]["alive"]["normal"])
    assert found["pruning"]["temperature"] == [1.0, 0.1, 0.1]
    mean = tested["trace.ops"].double().mean(dim=0)[1]
    assert np.allclose(found["weights"]["reduction"], mean, atol=1e-5)
    assert found["memory"]["peak_bytes"] > 1e6
    bare = observations(source, 3, TINY.test, {"finite": tested["finite"]}, network, TINY)
    assert set(bare) == {"version", "memory", "counts"}
