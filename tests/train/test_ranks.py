"""Meta-batches divided among processes: the meta-weights of one process, whatever happens in between."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import distributed as dist

import autometa
from autometa.meta.ranks import Ranks, mean_of_parts, part_of_mean
from autometa.meta.reptile import Reptile
from autometa.ops.reptile import reptile_
from autometa.runs import RunFolder, load_latest, read_metrics
from autometa.runs.files import read_json
from autometa.slots.arena import Arena
from autometa.train.distributed import Lead
from autometa.train.loop import Loop
from tests.cli import driving
from tests.train.graphs import FakeGraphs

from . import run_ranks

pytestmark = pytest.mark.skipif(not dist.is_available(), reason="torch was built without torch.distributed")
CLOSE = 1e-10
OUTCOMES = ("losses", "accuracy", "finite")
LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]


def run(command, folder):
    root, source = Path(run_ranks.__file__).parents[2], Path(autometa.__file__).parents[1]
    paths = [str(source), str(root), *filter(None, [os.environ.get("PYTHONPATH")])]
    more = {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", "AUTOMETA_CACHE": str(folder / "cache")}
    done = subprocess.run(
        list(map(str, command)), env={**os.environ, **more}, capture_output=True, text=True, timeout=120, cwd=folder
    )
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The data are drawn once, for these processes and for this one; one thread, as there."""
    place, threads = tmp_path_factory.mktemp("ranks"), torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOMETA_CACHE", str(place / "cache"))
        yield place
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def alone(folder):
    train = run_ranks.begun_(run_ranks.trainer())
    return run_ranks.trained(Lead(train, None), Loop(train))["end"]


@pytest.fixture(scope="module")
def divided(folder):
    done = run([*LAUNCH, 2, run_ranks.__file__, folder], folder)
    assert done.returncode == 0, done.stderr
    return torch.load(folder / "found.pt")


def close(found, expected):
    for name in ("theta", "second", "losses", "accuracy"):
        assert found[name].dtype == torch.float64 and found[name].shape == expected[name].shape, name
        assert (found[name] - expected[name]).abs().max() < CLOSE, name
    assert torch.equal(found["steps"], expected["steps"]) and torch.equal(found["finite"], expected["finite"])


def test_two_processes_give_the_meta_weights_of_one(folder, alone, divided):
    moved = (alone["theta"] - run_ranks.trainer().arena.theta).abs().max()
    assert moved > 1e-3, "theta has moved, or nothing is shown"
    close(divided["end"], alone)


def test_every_process_has_the_same_bits(folder, divided):
    leader, other = (torch.load(folder / f"theta-{rank}.pt") for rank in range(2))
    assert torch.equal(leader, other) and torch.equal(leader, divided["resumed"]["theta"])


def test_checkpoints_hold_all_slots_and_go_on_with_the_same_bits(divided):
    assert divided["cut"]["second"].shape[0] == run_ranks.CONFIG.meta.batch
    assert len({row.sum().item() for row in divided["cut"]["second"]}) == run_ranks.CONFIG.meta.batch
    for name in ("theta", "second", "steps"):
        assert torch.equal(divided["resumed"][name], divided["end"][name]), name


def test_one_process_goes_on_where_two_stopped(folder, alone, divided):
    train = run_ranks.trainer()
    train.restore(run_ranks.state_of(divided["cut"]), {})
    found = run_ranks.trained(Lead(train, None), Loop(train), run_ranks.CUT)["end"]
    close(found, {**alone, **{name: alone[name][run_ranks.CUT :] for name in OUTCOMES}})


def to_mean_(arena, total, sizes):
    """Reptile's update from the parts of all processes."""
    mean, found = mean_of_parts(total, arena)
    Reptile().update_from_mean_(arena, mean, {}, found, sizes, {})


class TestParts:
    """The arithmetic, without processes."""

    @staticmethod
    def arena(dtype, slots=7):
        random = torch.Generator().manual_seed(3)
        theta = torch.randn(1, 48, generator=random, dtype=torch.float64).to(dtype)
        phi = (theta + torch.randn(slots, 48, generator=random, dtype=torch.float64)).to(dtype)
        zeros = torch.zeros(slots, dtype=torch.int64)
        bounds = torch.tensor([[0, 16, 32, 48]])
        steps, head = torch.zeros(slots, 3, dtype=torch.int64), torch.zeros(1, 0, 1, dtype=torch.int64)
        none = torch.zeros(1, 0, dtype=torch.int64)
        return Arena(theta, phi, torch.zeros_like(phi), steps, bounds, head, none, none, zeros, zeros)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize("size", [1, 2, 3, 7])
    def test_parts_add_up_to_reptiles_step(self, dtype, size):
        sizes = torch.tensor([[0.7, 0.7, 0.0]], dtype=torch.float64)
        finite = torch.tensor([True, True, False, True, True, False, True])
        whole = self.arena(dtype)
        before = whole.theta.clone()
        whole.phi[2, 5] = torch.nan
        divided, total = self.arena(dtype), 0.0
        divided.phi[2, 5] = torch.nan
        for rank in range(size):
            start, stop = Ranks(rank, size, rank).share(7)
            total = total + part_of_mean(divided.part(start, stop), finite[start:stop])
        to_mean_(divided, total, sizes)
        reptile_(whole.theta, whole.phi, sizes, finite, whole.rows)
        worst = 1e-14 if dtype == torch.float64 else 4e-7
        assert (divided.theta - whole.theta).abs().max() <= worst
        assert (whole.theta - before)[:, :32].abs().min() > 1e-4 and torch.equal(divided.theta[:, 32:], before[:, 32:])

    def test_nothing_moves_where_all_are_lost(self):
        lost = self.arena(torch.float64)
        before = lost.theta.clone()
        lost.phi[:] = torch.nan
        finite = torch.zeros(7, dtype=torch.bool)
        to_mean_(lost, part_of_mean(lost, finite), torch.ones(1, 3, dtype=torch.float64))
        assert torch.equal(lost.theta, before)


class Lonely(Ranks):
    """One process that is divided nevertheless."""

    def summed(self, values):
        return values

    def copied(self, values):
        pass


@pytest.mark.parametrize("divided_too", [False, True])
def test_a_divided_iteration_is_replayed_up_to_what_processes_say(folder, alone, divided_too):
    train, graphs = run_ranks.begun_(run_ranks.trainer()), FakeGraphs()
    if divided_too:
        train.divide_(Lonely(0, 1, 0))
    loop, found = Loop(train, pytest.fail, graphs), []
    for i in range(run_ranks.TOTAL):
        found += loop.launch(i)
    found += loop.drain()
    assert graphs.captured == 2 and graphs.replays == run_ranks.TOTAL
    assert (train.arena.theta - alone["theta"]).abs().max() < CLOSE
    assert (torch.stack([step.losses for _, step in found]) - alone["losses"]).abs().max() < CLOSE


@pytest.mark.parametrize("total, size", [(10, 3), (5, 5), (7, 2), (4, 1)])
def test_shares_cover_all_slots_in_order(total, size):
    shares = [Ranks(rank, size, rank).share(total) for rank in range(size)]
    assert [s for share in shares for s in range(*share)] == list(range(total))
    counts = [stop - start for start, stop in shares]
    assert max(counts) - min(counts) <= 1 and min(counts) >= 1


def test_the_command_line_under_torchrun(tmp_path, monkeypatch):
    words = driving.changed(driving.SEARCH, **{"meta.iterations": 4})
    search = ["search", "metanas", "--preset", "quick", *words, "--compare", "untrained"]
    monkeypatch.setenv("AUTOMETA_CACHE", str(tmp_path / "cache"))
    one = driving.call(*search, "--out", tmp_path / "one")
    assert one.code == 0, one.err
    two = run([*LAUNCH, 2, "-m", "autometa", *search, "--out", tmp_path / "two"], tmp_path)
    assert two.returncode == 0, two.stderr
    assert two.stdout.count("Accuracy in %") == 1, "the leader alone tells"
    kept = [load_latest(tmp_path / name / "checkpoints" / "search") for name in ("one", "two")]
    for name in ("theta", "second"):
        a, b = (found.tensors[name] for found in kept)
        assert a.shape == b.shape and torch.allclose(a, b, rtol=1e-4, atol=1e-6), name
    folders = [RunFolder.open(tmp_path / name) for name in ("one", "two")]
    lines = [list(read_metrics(folder.phase_metrics("search"))) for folder in folders]
    assert [line["step"] for line in lines[0]] == [line["step"] for line in lines[1]]
    series = [[line["step"] for line in read_metrics(folder.phase_metrics("architecture"))] for folder in folders]
    assert series == [[0, 1, 2, 3]] * 2 and "update_architecture" in lines[1][0]
    seen = [read_json(folder.path / "observations.json") for folder in folders]
    assert seen[0].keys() == seen[1].keys() and {"confusion", "examples", "pruning", "weights"} < seen[1].keys()
    assert [read_json(folder.path / "health.json") for folder in folders] == [[], []]
    assert lines[0][0]["loss"] == pytest.approx(lines[1][0]["loss"], rel=1e-5)
    many = run([*LAUNCH, 3, "-m", "autometa", *search, "--out", tmp_path / "many"], tmp_path)
    assert many.returncode != 0 and "2 tasks per meta-iteration cannot be divided among 3 processes" in many.stderr
    cells = run([*LAUNCH, 2, "-m", "autometa", "search", "auto-meta", "--preset", "quick", "--out", "no"], tmp_path)
    assert cells.returncode != 0 and "takes --workers N or --ray ADDRESS" in cells.stderr
    assert not (tmp_path / "no").exists()
