"""MetaNAS joined: configs, training that resumes, meta-testing whose chunks do not matter, comparisons."""

from dataclasses import replace

import pytest
import torch

from autometa.algorithms import metanas_outcome, metanas_steps
from autometa.algorithms.metanas import MetaNASConfig
from autometa.algorithms.metanas_run import four_layer_like
from autometa.algorithms.presets import METANAS, TRAIN, preset
from autometa.algorithms.train import ReptileConfig
from autometa.errors import InputError
from autometa.meta.bn_modes import MODES
from autometa.nas.networks.cell_network import CellNetwork
from autometa.nas.one_shot.pruned import remaining, remaining_weights
from autometa.nas.relax.relaxation import RELAXATIONS
from autometa.runs.files import plain
from autometa.train.config import DataConfig, EvalConfig, InnerConfig, MetaConfig, from_json
from autometa.train.learned import Learned
from autometa.train.tasks import Source, chunks

TINY = MetaNASConfig(
    channels=2,
    cells=2,
    reductions=(1,),
    nodes=2,
    data=DataConfig("strokes:6x6x8", 8),
    inner=InnerConfig(ways=3, shots=3, batch=6, batch_mode="passes", steps=2, lr=5e-3, adam_state="carry"),
    arch_lr=5e-2,
    meta=MetaConfig(iterations=4, batch=2, schedule="constant"),
    warmup=1,
    drop_path=0.2,
    test=EvalConfig(tasks=4, shots=1, queries=2, batch=3, steps=2, max_slots=4),
    test_weight_steps=1,
)


@pytest.fixture(scope="module", autouse=True)
def one_thread(tmp_path_factory):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOMETA_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def source(one_thread):
    return Source.open(TINY.data)


@pytest.fixture(scope="module")
def network(source):
    return TINY.build(source.image_shape)


@pytest.mark.parametrize("config", [*METANAS.values(), *TRAIN.values(), TINY], ids=lambda c: type(c).__name__)
def test_presets_are_valid_and_survive_json(config):
    config.check()
    assert from_json(type(config), plain(config)) == config


def test_preset_names_are_told():
    with pytest.raises(InputError, match="omniglot-small"):
        preset("metanas", "no-such")
    with pytest.raises(InputError, match="unknown setting colour"):
        from_json(ReptileConfig, {"colour": 1})


@pytest.mark.parametrize(
    "change, says",
    [
        (dict(reductions=(7,)), "positions"),
        (dict(primitives=("conv_9x9",)), "conv_9x9"),
        (dict(reductions=(0, 0)), "different positions"),
        (dict(primitives=("none",)), "beside none"),
        (dict(primitives=("skip_connect", "skip_connect")), "twice"),
        (dict(t_min=0.0), "t_min"),
        (dict(t_max=0.01), "t_max"),
        (dict(warmup=9), "warmup"),
        (dict(compare=("nobody",)), "nobody"),
        (dict(arch_lr=-1.0), "arch_lr"),
        (dict(arch_schedule="saw"), "arch_schedule"),
        (dict(prune_testing=2.0), "prune_testing"),
        (dict(test_weight_steps=-1), "test_weight_steps"),
        (dict(seed=-1), "seed"),
        (dict(inner=replace(TINY.inner, lr=-1.0)), "inner.lr"),
        (dict(inner=replace(TINY.inner, lr=float("nan"))), "inner.lr"),
        (dict(inner=replace(TINY.inner, beta2=1.0)), "inner.beta2"),
        (dict(inner=replace(TINY.inner, adam_state="keep")), "carry or reset"),
        (dict(inner=replace(TINY.inner, batch_mode="all")), "inner.batch_mode"),
        (dict(meta=replace(TINY.meta, schedule="saw")), "meta.schedule"),
        (dict(meta=replace(TINY.meta, max_slots=0)), "meta.max_slots"),
        (dict(meta=replace(TINY.meta, step_size=float("inf"))), "meta.step_size"),
        (dict(test=replace(TINY.test, steps=-1)), "test.steps"),
        (dict(test=replace(TINY.test, batch_mode="all")), "test.batch_mode"),
        (dict(test=replace(TINY.test, part="train")), "test or val"),
        (dict(data=replace(TINY.data, seed=-1)), "data.seed"),
    ],
)
def test_bad_settings_are_refused_before_work(change, says):
    with pytest.raises(InputError, match=says):
        replace(TINY, **change).check()


def test_architecture_stands_still_in_warm_up_and_moves_after(network, source):
    run = metanas_steps.trainer(network, source, TINY)
    cut = network.layout.weights
    before = run.arena.theta.clone()
    run.step(0)
    assert torch.equal(run.arena.theta[:, cut:], before[:, cut:])
    assert not torch.equal(run.arena.theta[:, :cut], before[:, :cut])
    run.step(1)
    assert not torch.equal(run.arena.theta[:, cut:], before[:, cut:])


def test_architecture_has_a_schedule_of_its_own(network, source):
    moved = {}
    for schedule in ("constant", "linear"):
        config = replace(TINY, arch_step_size=0.8, arch_schedule=schedule, warmup=0)
        run = metanas_steps.trainer(network, source, config)
        start = network.layout.weights
        before = run.arena.theta.clone()
        run.step(TINY.meta.iterations // 2)
        moved[schedule] = (run.arena.theta - before).double()
    assert bool(moved["constant"][:, start:].any())
    torch.testing.assert_close(moved["linear"][:, start:], moved["constant"][:, start:] / 2, rtol=1e-3, atol=1e-7)
    assert torch.equal(moved["linear"][:, :start], moved["constant"][:, :start])


def test_a_step_tells_losses_and_accuracy(network, source):
    done = metanas_steps.trainer(network, source, replace(TINY, meta=replace(TINY.meta, max_slots=1))).step(0)
    assert done.losses.shape == (TINY.inner.steps, TINY.meta.batch)
    assert done.accuracy.shape == done.finite.shape == (TINY.meta.batch,)
    assert bool(((done.accuracy >= 0) & (done.accuracy <= 1)).all())


def test_validation_classes_stay_out_of_the_training_that_they_judge(source):
    val = set(source.split.val.tolist())
    for part in ("test", "val"):
        seen = set(source.training(TINY.inner, part, 0).classes.tolist())
        assert seen == set(source.split.train.tolist()) - (val if part == "val" else set())


def test_what_is_learned_carries_the_mean_moment_and_the_largest_count():
    second, steps = torch.tensor([[1.0, 2.0], [3.0, 2.0]]), torch.tensor([[0, 0], [9, 1]])
    learned = Learned.of({"theta": torch.tensor([[5.0, 6.0]]), "second": second, "steps": steps})
    assert learned.theta.tolist() == [5.0, 6.0]
    assert learned.second.tolist() == [2.0, 2.0] and learned.steps.tolist() == [9, 9, 1]


def test_resumed_equals_uninterrupted(network, source):
    whole = metanas_steps.trainer(network, source, TINY)
    for i in range(4):
        whole.step(i)
    first = metanas_steps.trainer(network, source, TINY)
    for i in range(2):
        first.step(i)
    tensors, state = first.capture()
    second = metanas_steps.trainer(network, source, TINY)
    second.restore({name: value.clone() for name, value in tensors.items()}, state)
    for i in range(2, 4):
        second.step(i)
    for name, value in whole.capture()[0].items():
        assert torch.equal(value, second.capture()[0][name]), name


def trained(config, source, steps, captured=None):
    """What a run has captured after the meta-iterations `steps`."""
    run = metanas_steps.trainer(config.build(source.image_shape), source, config)
    if captured is not None:
        run.restore(*captured)
    for i in steps:
        done = run.step(i)
        assert done.losses.isfinite().all() and done.accuracy.shape == (config.meta.batch,)
    return {name: value.clone() for name, value in run.capture()[0].items()}, run.capture()[1]


@pytest.mark.parametrize("name", RELAXATIONS.names())
def test_every_relaxation_trains_shrinks_and_resumes(source, name):
    relaxation = RELAXATIONS[name](entropy=0.1, skip=0.1, shrink=(0.5,))
    config = replace(TINY, relaxation=relaxation)
    before = trained(config, source, range(2))
    whole, resumed = trained(config, source, range(4))[0], trained(config, source, range(2, 4), before)[0]
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    net = config.build(source.image_shape)
    assert {int((op > 0).sum(dim=-1).max()) for op, _ in net.shares(whole["theta"], 1.0)["normal"]} == {1}
    found = metanas_steps.meta_test_chunk(net, Learned.of(whole), source, config, 0, 2)
    assert all(torch.equal(found.soft[mode], found.pruned[mode]) for mode in MODES), "nothing is left to prune"


@pytest.mark.parametrize("parameters", [0.7, 0.5])
def test_the_weakest_ops_go_until_a_share_of_the_weights_is_left(source, parameters):
    relaxation = replace(TINY.relaxation, shrink=(0.25,), ops=2, pairs=2, parameters=parameters)
    config = replace(TINY, relaxation=relaxation, t_min_test=1.0)
    whole = trained(config, source, range(4))[0]
    before = trained(config, source, range(3))
    resumed = trained(config, source, range(3, 4), before)[0]
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    net = config.build(source.image_shape)
    kept = {
        share: remaining_weights(net, remaining(net, net.shares(row, 1.0), 0, 1e-30)) / net.layout.count()
        for share, row in ((parameters, whole["theta"]), (1.0, trained(TINY, source, range(4))[0]["theta"]))
    }
    assert 0.5 * parameters < kept[parameters] <= parameters and kept[1.0] == 1.0
    found = metanas_steps.meta_test_chunk(net, Learned.of(whole), source, config, 0, 2)
    assert (found.parameters <= parameters * net.layout.count()).all()


def test_hard_pruning_at_the_end_of_meta_testing(network, source):
    learned = Learned.untrained(network, 0)
    soft, hard = (
        metanas_steps.meta_test_chunk(network, learned, source, replace(TINY, hard_pruning=hard, t_min_test=1.0), 0, 2)
        for hard in (False, True)
    )
    assert all(torch.equal(soft.soft[mode], hard.soft[mode]) for mode in MODES), "before pruning nothing differs"
    assert soft.genotypes == hard.genotypes and (hard.parameters < soft.parameters).all()
    plain = CellNetwork(
        normal=hard.genotypes[0].normal.cell(),
        reduction=hard.genotypes[0].reduction.cell(),
        cells=TINY.cells,
        reductions=TINY.reductions,
        channels=TINY.channels,
        ways=TINY.inner.ways,
        image_shape=source.image_shape,
        affine=False,
        stem_stride=TINY.stem_stride,
    )
    assert int(hard.parameters[0]) == plain.layout.count(), "the cell's own weights and no others"


def test_chunks_of_tasks_give_the_same_outcome(network, source):
    learned = Learned.untrained(network, 0)
    together = metanas_outcome.as_tensors(network, metanas_steps.meta_test_chunk(network, learned, source, TINY, 0, 4))
    parts = [
        metanas_outcome.as_tensors(network, metanas_steps.meta_test_chunk(network, learned, source, TINY, a, b))
        for a, b in chunks(4, 2)
    ]
    for name in ("parameters", "macs", "genotypes", "finite"):
        assert torch.equal(together[name], torch.cat([part[name] for part in parts])), name
    for mode in MODES:
        assert together[f"pruned.{mode}"].shape == (4,)


def test_genotypes_survive_their_coding(network, source):
    found = metanas_steps.meta_test_chunk(network, Learned.untrained(network, 0), source, TINY, 0, 3)
    coded = metanas_outcome.as_tensors(network, found)["genotypes"]
    assert tuple(metanas_outcome.genotypes_from(network, coded)) == found.genotypes


def test_pruned_size_counts_what_is_left(network, source):
    phi = network.initial(0)[None]
    nothing = replace(TINY, prune_testing=0.0)
    weights, macs = metanas_outcome.pruned_size(network, phi, 0, nothing)
    assert (weights, macs) == (network.layout.count(), network.macs())
    sharp = phi.clone()
    for kind in ("normal", "reduction"):
        network.layout.view(sharp, f"alpha.{kind}")[..., 0] = 9.0  # max pooling has no weights
    fewer, _ = metanas_outcome.pruned_size(network, sharp, 0, TINY)
    assert fewer < weights


def test_nothing_is_taken_away_before_it_has_learned():
    shrunk = replace(TINY, relaxation=replace(TINY.relaxation, shrink=(0.25, 0.5)))
    replace(shrunk, warmup=1).check()
    with pytest.raises(InputError, match="after 1 meta-iterations .* not 2"):
        replace(shrunk, warmup=2).check()
    METANAS["omniglot-small"].with_iterations(7).check()


def test_rival_is_as_large_and_sees_as_many_images():
    config = METANAS["omniglot-small"]
    rival = four_layer_like(config, 70, 60_000, (1, 28, 28))
    size = rival.build((1, 28, 28)).layout.count()
    assert abs(size - 60_000) < 1500
    assert rival.meta == replace(config.meta, iterations=70), "as many as the search really did"
    assert rival.inner == config.inner
    assert rival.test == replace(config.test, steps=100), "both kinds of the search's steps on the support set"
