"""torchmeta's batches: our episodes come out as such, and such batches feed the algorithms bit for bit the same."""

import json
import os
import tarfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset

from autometa.algorithms import metanas_steps, train
from autometa.algorithms.metanas import MetaNASConfig
from autometa.data import DataError, Episodes, Split, TaskSpec
from autometa.data.torchmeta import BatchMetaDataLoader, LoaderEpisodes, LoaderSource
from autometa.train.config import DataConfig, EvalConfig, InnerConfig, MetaConfig
from autometa.train.learned import Learned
from autometa.train.tasks import Source

COUNTS = [8, 9, 8, 8, 10, 8]
SPEC = TaskSpec(ways=3, shots=2, queries=4, rotations=4)
CONFIG = train.ReptileConfig(
    filters=4,
    data=DataConfig("strokes", 12),
    inner=InnerConfig(ways=3, shots=2, batch=4, steps=3),
    meta=MetaConfig(iterations=4, batch=4, max_slots=3),
    test=EvalConfig(tasks=6, shots=2, queries=4, batch=4, steps=3),
    seed=5,
)


@pytest.fixture
def store(make_store):
    return make_store(COUNTS, size=12)[0]


@pytest.fixture
def episodes(store):
    return Episodes(store, np.arange(5), SPEC, seed=7)


@pytest.fixture
def source(store):
    return Source(store, Split("own", np.arange(5), np.arange(2), np.arange(1, 6)))


def same(one, other):
    """Two lists of batches, bit for bit."""
    return len(one) == len(other) and all(
        torch.equal(x, y) for a, b in zip(one, other, strict=True) for k in a for x, y in zip(a[k], b[k], strict=True)
    )


def test_a_batch_has_torchmetas_look_and_the_episodes_images(episodes):
    loader = BatchMetaDataLoader(episodes, batch_size=4, shuffle=False, tasks=10, first=3)
    assert loader.batch_size == 4 and len(loader) == 3
    batches = list(loader)
    assert [list(batch) for batch in batches] == [["train", "test"]] * 3
    tasks = episodes.tasks(range(7, 11))
    for (x, y), expected, images in zip(
        batches[1].values(), (episodes.support(tasks), episodes.queries(tasks)), (2, 4), strict=True
    ):
        assert x.dtype == torch.float32 and x.shape == (4, 3 * images, 1, 12, 12)
        assert y.dtype == torch.int64 and y.shape == (4, 3 * images)
        assert torch.equal(x, expected[0]) and torch.equal(y, expected[1])
        assert float(x.var()) > 0 and y[0].tolist() == [way for way in range(3) for _ in range(images)]
    assert len(batches[2]["train"][0]) == 2


def test_a_script_against_torchmeta_runs_as_it_is(episodes):
    """The loop of its MAML example."""
    loader = BatchMetaDataLoader(episodes, batch_size=2, shuffle=True, num_workers=1)
    seen = []
    for number, batch in enumerate(loader):
        inputs, targets = batch["train"]
        test_inputs, _ = batch["test"]
        for task, (image, label, other) in enumerate(zip(inputs, targets, test_inputs, strict=True)):
            assert image.shape[0] == label.shape[0] == 6 and other.shape[0] == 12, task
        seen.append(inputs)
        if number >= 3:
            break
    assert len(torch.cat(seen).flatten(1).unique(dim=0)) == 8


def test_length_is_the_number_of_choices_as_in_torchmeta(store):
    episodes = Episodes(store, np.arange(5), TaskSpec(3, 1, 1), seed=0)
    assert len(BatchMetaDataLoader(episodes)) == 10 == len(list(BatchMetaDataLoader(episodes)))
    assert len(BatchMetaDataLoader(episodes, 4)) == 3
    dropping = BatchMetaDataLoader(episodes, 4, drop_last=True)
    assert len(dropping) == 2 and [len(batch["train"][0]) for batch in dropping] == [4, 4]
    turned = Episodes(store, np.arange(5), TaskSpec(3, 1, 1, rotations=4), seed=0)
    assert len(BatchMetaDataLoader(turned)) == 1140


def test_shuffle_goes_on_and_resumes_without_it_the_order_repeats(episodes):
    fixed = BatchMetaDataLoader(episodes, 2, shuffle=False, tasks=4)
    moving = BatchMetaDataLoader(episodes, 2, tasks=4)
    first = list(fixed)
    assert same(list(fixed), first) and same(list(moving), first)
    assert moving.next_task == 4
    second = list(moving)
    assert not same(second, first)
    resumed = BatchMetaDataLoader(episodes, 2, tasks=4)
    resumed.next_task = 4
    assert same(list(resumed), second)


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"tasks": 0}, {"first": -1}])
def test_a_loader_refuses(episodes, wrong):
    with pytest.raises(DataError, match="batch_size >= 1, tasks >= 1 and first >= 0"):
        BatchMetaDataLoader(episodes, **wrong)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batch_size=st.integers(1, 7),
    first=st.integers(0, 9),
    count=st.integers(1, 5),
    mode=st.sampled_from(["passes", "replacement"]),
    first_step=st.integers(0, 3),
)
def test_round_trip_gives_the_episodes_back(episodes, batch_size, first, count, mode, first_step):
    adapter = LoaderEpisodes(BatchMetaDataLoader(episodes, batch_size, shuffle=False), 3, shots=2, queries=4, seed=7)
    ids = torch.arange(first, first + count)
    ours, theirs = episodes.tasks(ids), adapter.tasks(ids)
    assert torch.equal(theirs.ids, ids) and len(theirs) == count
    for part in ("support", "queries"):
        for x, y in zip(getattr(episodes, part)(ours), getattr(adapter, part)(theirs), strict=True):
            assert x.dtype == y.dtype and torch.equal(x, y)
    direct, loaded = (e.batches(t, 5, 3, mode, first_step=first_step) for e, t in ((episodes, ours), (adapter, theirs)))
    assert len(loaded) == len(direct) == 3
    for t in range(3):
        assert all(torch.equal(x, y) for x, y in zip(direct.step(t), loaded.step(t), strict=True))


def loaders(source, batch_size):
    """What the algorithm would draw itself, as loaders."""
    train = source.training(CONFIG.inner, "test", CONFIG.seed)
    return [
        BatchMetaDataLoader(e, batch_size, shuffle=False, tasks=50) for e in (train, source.testing(3, CONFIG.test))
    ]


def meta_iterations(source, numbers, theta=None):
    network = CONFIG.build(source.image_shape)
    trainer = train.trainer(network, source, CONFIG)
    if theta is not None:
        trainer.restore(theta, {})
    start = trainer.arena.theta.clone()
    losses = torch.cat([trainer.step(number).losses for number in numbers], dim=1)
    assert float((trainer.arena.theta - start).abs().max()) > 1e-4
    return {name: value.clone() for name, value in trainer.capture()[0].items()}, losses


@pytest.mark.parametrize("batch_size", [1, 4, 5])
def test_reptile_learns_the_same_from_batches(source, batch_size):
    loaded = LoaderSource(*loaders(source, batch_size))
    assert loaded.image_shape == source.image_shape == (1, 12, 12)
    (theta, losses), (expected, wanted) = (meta_iterations(s, range(3)) for s in (loaded, source))
    assert torch.equal(losses, wanted)
    assert all(torch.equal(theta[name], value) for name, value in expected.items())


@pytest.mark.parametrize("moved_on", [False, True])
def test_a_run_resumes_identically_where_the_order_is_fixed(source, moved_on):
    whole, _ = meta_iterations(LoaderSource(*loaders(source, 3)), range(4))
    half, _ = meta_iterations(LoaderSource(*loaders(source, 3)), range(2))
    train, test = loaders(source, 3)
    if moved_on:
        train = BatchMetaDataLoader(train.episodes, 3, shuffle=False, first=8)
    rest, _ = meta_iterations(LoaderSource(train, test, first=8 * moved_on), range(2, 4), half)
    assert torch.equal(rest["theta"], whole["theta"])


def test_metanas_searches_and_is_tested_the_same_from_batches(source):
    config = MetaNASConfig(
        channels=2,
        cells=2,
        reductions=(1,),
        nodes=2,
        data=CONFIG.data,
        inner=CONFIG.inner,
        arch_lr=5e-2,
        meta=MetaConfig(iterations=4, batch=2, schedule="constant"),
        warmup=0,
        test=CONFIG.test,
        test_weight_steps=1,
        seed=CONFIG.seed,
    )
    network, outcomes = config.build(source.image_shape), []
    for data in (source, LoaderSource(*loaders(source, 3))):
        run = metanas_steps.trainer(network, data, config)
        start = run.arena.theta.clone()
        losses = [run.step(number).losses for number in range(2)]
        learned = Learned.of(run.capture()[0])
        found = metanas_steps.meta_test_chunk(network, learned, data, config, 0, 2)
        outcomes.append([*losses, run.arena.theta, *found.soft.values(), *found.pruned.values()])
        assert not torch.equal(start, run.arena.theta)
    assert all(torch.equal(a, b) for a, b in zip(*outcomes, strict=True))


def test_evaluation_is_the_same_from_batches(source):
    network = CONFIG.build(source.image_shape)
    learned = Learned.untrained(network, 0)
    found, expected = (
        [train.evaluate_chunk(network, learned, s, CONFIG, *chunk) for chunk in ((0, 4), (4, 6), (0, 4))]
        for s in (LoaderSource(None, loaders(source, 5)[1]), source)
    )
    assert {"finite", "transductive"} <= found[0].keys()
    assert all(torch.equal(a[key], b[key]) for a, b in zip(found, expected, strict=True) for key in a)


class Collected(Dataset):
    """Tasks as torchmeta's ClassSplitter and Categorical give them: ordered, labels permuted, collated to lists."""

    def __init__(self, episodes, tasks):
        self.batch = next(iter(BatchMetaDataLoader(episodes, tasks, shuffle=False)))

    def __len__(self):
        return len(self.batch["train"][0])

    def __getitem__(self, task):
        names = torch.randperm(3, generator=torch.Generator().manual_seed(task))
        return OrderedDict((key, (x[task], names[y[task]])) for key, (x, y) in self.batch.items())


@pytest.mark.parametrize("names", [("train", "test"), ("support", "query")])
def test_permuted_labels_stay_with_their_images(episodes, names):
    dataset = Collected(episodes, 6)
    loader = [dict(zip(names, batch.values(), strict=True)) for batch in DataLoader(dataset, batch_size=4)]
    assert isinstance(loader[0][names[0]], list)
    adapter = LoaderEpisodes(loader, 3, shots=2, queries=4)
    tasks = adapter.tasks(range(3, 6))
    assert tasks.support_labels.tolist() != [[0, 0, 1, 1, 2, 2]] * 3
    for row, number in enumerate(range(3, 6)):
        x, y = dataset[number]["train"]
        pairs = {(image.numpy().tobytes(), int(label)) for image, label in zip(x, y, strict=True)}
        batches = adapter.batches(tasks, 6, 2, "passes")
        for t in range(2):
            images, labels = batches.step(t)
            picked = [(i.numpy().tobytes(), int(n)) for i, n in zip(images[row], labels[row], strict=True)]
            assert set(picked) == pairs


def test_tasks_come_again_after_the_end_and_after_going_back(episodes):
    adapter = LoaderEpisodes(BatchMetaDataLoader(episodes, 2, shuffle=False, tasks=5), 3)
    wanted = episodes.support(episodes.tasks(range(5)))[0]
    assert torch.equal(adapter.tasks(range(12)).support, wanted[[n % 5 for n in range(12)]])
    assert torch.equal(adapter.tasks([1]).support, wanted[1:2])


def batch_of(episodes):
    return next(iter(BatchMetaDataLoader(episodes, 2, shuffle=False)))


def generator(episodes):
    yield from BatchMetaDataLoader(episodes, 2, shuffle=False, tasks=4)


def test_a_loader_for_one_pass(episodes):
    adapter = LoaderEpisodes(generator(episodes), 3)
    assert adapter.stream.image_shape == (1, 12, 12)
    wanted = episodes.support(episodes.tasks(range(4)))[0]
    assert torch.equal(adapter.tasks(range(4)).support, wanted)
    with pytest.raises(DataError, match="task 0 lies before task 2, and the loader can be iterated only once"):
        adapter.tasks([0])
    with pytest.raises(DataError, match="ended before task 4, and task 4 is needed"):
        adapter.tasks([4])


def test_loaders_with_too_little(episodes):
    with pytest.raises(DataError, match="gave no batch"):
        LoaderEpisodes([], 3).tasks([0])
    with pytest.raises(DataError, match="ended before task 2, and task 2 is needed"):
        LoaderEpisodes([batch_of(episodes)], 3, repeat=False).tasks(range(3))
    with pytest.raises(DataError, match="begins with task 5, not with 4"):
        LoaderEpisodes([batch_of(episodes)], 3, first=5).tasks([4])
    with pytest.raises(DataError, match="no tasks were asked for"):
        LoaderEpisodes([batch_of(episodes)], 3).tasks([])
    with pytest.raises(DataError, match="there is no loader of test tasks"):
        LoaderSource([batch_of(episodes)]).testing(3, CONFIG.test)
    with pytest.raises(DataError, match="the number of the first task is at least 0"):
        LoaderSource([batch_of(episodes)], first=-1)
    for wrong in ({"ways": 0}, {"ways": 3, "seed": 2**32}):
        with pytest.raises(DataError, match="ways >= 1 and a seed"):
            LoaderEpisodes([], **wrong)


def changed(key, x=lambda x: x, y=lambda y: y):
    return lambda batch: {**batch, key: (x(batch[key][0]), y(batch[key][1]))}


def only_two(y):
    return y.clamp(max=1)


BAD = {
    "no dict": (lambda b: (b["train"], b["test"]), "must be .*, not tuple"),
    "other keys": (lambda b: {"train": b["train"], "val": b["test"]}, "not the keys train, val"),
    "no pair": (lambda b: {**b, "train": b["train"][0]}, "'train' of .* must be a pair"),
    "strings": (lambda b: {**b, "test": (b["test"][0], ["cat"] * 2)}, "'test' of .* pair .*Categorical"),
    "bytes": (changed("train", x=lambda x: x.to(torch.uint8)), "must be float32, not uint8; use .*ToTensor"),
    "double": (changed("test", x=lambda x: x.double()), "x in 'test' .* must be float32, not float64"),
    "float labels": (changed("train", y=lambda y: y.float()), "must be int64, not float32"),
    "one task unstacked": (changed("train", x=lambda x: x[0]), r"\[tasks, images, .*not \[6, 1, 12, 12\]"),
    "no task": (lambda b: {k: (x[:0], y[:0]) for k, (x, y) in b.items()}, r"not \[0, 6, 1, 12, 12\]"),
    "labels short": (changed("train", y=lambda y: y[:, 1:]), r"must be \[2, 6\] as x is, not \[2, 5\]"),
    "tasks differ": (changed("test", lambda x: x[:1], lambda y: y[:1]), "as many tasks and one image shape"),
    "images differ": (changed("test", x=lambda x: x[..., 1:]), "as many tasks and one image shape"),
    "too many classes": (changed("train", y=lambda y: y + 1), r"support set of task 0 has labels 1 .. 3, 3 ways"),
    "negative": (
        changed("test", y=lambda y: y - 1),
        r"queries of task 0 has labels -1 .. 1, 3 ways",
    ),
    "too few classes": (changed("train", y=only_two), "support set of task 0 has 2 classes, not 3"),
    "other shots": (
        changed("train", lambda x: x[:, [0, 2, 4]], lambda y: y[:, [0, 2, 4]]),
        "1 images of class 0, not 2",
    ),
    "other queries": (changed("test", lambda x: x[:, 1:], lambda y: y[:, 1:]), "queries of task 0 has 3 images"),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_wrong_batch_is_told(episodes, fault):
    damage, told = BAD[fault]
    adapter = LoaderEpisodes([damage(batch_of(episodes)), batch_of(episodes)], 3, shots=2, queries=4)
    for _ in range(2):  # the good batch after it is never taken for it
        with pytest.raises(DataError, match=told) as raised:
            adapter.tasks([0])
        assert "\n" not in str(raised.value) and str(raised.value).count("; ") == 1
    good = LoaderEpisodes([batch_of(episodes)], 3, shots=2, queries=4)
    assert len(good.tasks([0, 1])) == 2


def test_batches_that_change_are_told(episodes):
    batch = batch_of(episodes)
    other = {key: (x[:, :3], y[:, :3]) for key, (x, y) in batch.items()}
    adapter = LoaderEpisodes([batch, other], 3)
    with pytest.raises(
        DataError, match=r"begins with task 2 has tasks of \[3, 1, 12, 12\] and .*, those before had \[6"
    ):
        adapter.tasks(range(4))
    assert torch.equal(adapter.tasks([1]).support, batch["train"][0][1:])


def test_the_configuration_must_fit_the_loader(source):
    train, test = loaders(source, 2)
    loaded = LoaderSource(train, test)
    with pytest.raises(DataError, match="has 3 classes, not 5; set ways"):
        loaded.training(InnerConfig(ways=5, shots=2), "test", 0).tasks([0])
    with pytest.raises(DataError, match="2 images of class 0, not 1; set shots"):
        loaded.training(InnerConfig(ways=3, shots=1), "test", 0).tasks([0])
    with pytest.raises(DataError, match="queries of task 0 has 4 images of class 0, not 1"):
        loaded.testing(3, EvalConfig(shots=2, queries=1)).tasks([0])


def test_loaders_of_different_scales_are_refused(episodes):
    unit = batch_of(episodes)

    def scaled(how):
        return [{key: (how(x), y) for key, (x, y) in unit.items()}]

    normal, byte = scaled(lambda x: (x - 0.45) / 0.22), scaled(lambda x: 255 * x)
    for alike in ((scaled(lambda x: 0.8 * x), [unit]), (normal, scaled(lambda x: 4 * x - 2))):
        LoaderSource(*alike).training(CONFIG.inner, "test", 0)
    for one, other in (([unit], normal), (byte, [unit]), (normal, byte), ([unit], scaled(lambda x: 2 * x - 1))):
        with pytest.raises(DataError, match="hold numbers from .* and from .*; give both loaders the same transforms"):
            LoaderSource(one, other).training(CONFIG.inner, "test", 0)


def test_images_of_a_real_torchmeta_root_train_a_network(tmp_path):
    """Batches put together by hand from hdf5 and json, as torchmeta does it: the network learns from those pixels."""
    h5py = pytest.importorskip("h5py", reason="h5py is not installed; it comes with the extra `hdf5`")
    archive = Path(os.environ.get("AUTOMETA_DATA") or "nowhere") / "torchmeta" / "torchmeta-root.tar.gz"
    if not archive.is_file():
        pytest.skip("torchmeta-root.tar.gz is not here: set AUTOMETA_DATA to the folder with torchmeta/ in it")
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    folder = next(tmp_path.glob("**/miniimagenet"))
    rng, batches = np.random.default_rng(0), []
    names = json.loads((folder / "train_labels.json").read_text())
    with h5py.File(folder / "train_data.hdf5") as data:
        for _ in range(2):
            tasks = [rng.choice(names, 3, replace=False) for _ in range(4)]
            images = np.stack([[data[f"datasets/{name}"][:6, ::7, ::7] for name in task] for task in tasks])
            x = torch.from_numpy(images).permute(0, 1, 2, 5, 3, 4) / 255
            y = torch.arange(3)[None, :, None].expand(x.shape[:3])
            parts = {"train": slice(0, 2), "test": slice(2, 6)}
            batches.append({k: (x[:, :, part].flatten(1, 2), y[:, :, part].flatten(1)) for k, part in parts.items()})
    source = LoaderSource(batches)
    assert source.image_shape == (3, 12, 12)
    _, losses = meta_iterations(source, range(3))
    assert torch.isfinite(losses).all() and float(losses[-1].mean()) < float(losses[0].mean())
    drawn = source.training(CONFIG.inner, "test", 0).tasks([1])
    assert torch.equal(drawn.support[0], batches[0]["train"][0][1])
