"""Workers on Ray: one killed in the middle, the ranking that of one process."""

import sys
from dataclasses import replace
from itertools import islice

import pytest

from autometa.algorithms.auto_meta_job import CandidateUnit
from autometa.errors import InputError
from autometa.nas.spaces.blocks import level_one
from autometa.runs.ledger import Ledger
from autometa.search.workers import Alone, train_all, workforce
from autometa.train.candidates import CandidateConfig
from autometa.train.config import DataConfig, EvalConfig, InnerConfig, MetaConfig
from autometa.train.tasks import Source

from .test_workers import KEYS, proposed, results
from .units import Killed, Toy, Within, value_of


def test_without_ray_it_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with Ledger.open(proposed(tmp_path)) as ledger:
        with pytest.raises(InputError, match=r"pip install 'autometa-nas\[ray\]'"):
            workforce(ledger, Toy(tmp_path), ray="auto")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    ray = pytest.importorskip("ray", reason="Ray is not installed (the extra `ray`)")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("driver"))  # Ray's workers look for packages where the driver was started
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    yield "auto"
    ray.shutdown()


def ranking(rows):
    return sorted((-row.accuracy, row.key) for row in rows)


def trained(folder, keys, cluster=None, **options):
    folder.mkdir()
    path, told = proposed(folder, keys), []
    with Ledger.open(path) as ledger:
        unit = Toy(folder)
        force = Alone(ledger, unit)
        if cluster is not None:
            force = workforce(ledger, unit, ray=cluster, notice=told.append, **options)
        with force:
            train_all(ledger, force)
    return results(path), told


def test_one_of_two_killed_gives_the_ranking_of_one_process(tmp_path, cluster):
    keys = [*KEYS[:3], "kill-1", *KEYS[3:], "raise-1"]
    # alone nothing is killed: what the first time of these keys does has been done
    (tmp_path / "alone-notes").mkdir()
    for key in ("kill-1", "raise-1"):
        (tmp_path / "alone-notes" / f"done-{key}").touch()
    path = proposed(tmp_path / "alone-notes", keys)
    with Ledger.open(path) as ledger, Alone(ledger, Toy(tmp_path / "alone-notes")) as force:
        train_all(ledger, force)
    rows, told = trained(tmp_path / "ray", keys, cluster, workers=2)
    assert ranking(rows) == ranking(results(path)) and rows == results(path)
    assert [row.accuracy for row in rows] == [value_of(key) for key in keys]
    assert len(told) == 2 and any("raise-1 will not do" in line for line in told), told


def test_a_users_mistake_ends_the_run(tmp_path, cluster):
    with pytest.raises(InputError, match="input-1 is a mistake"):
        trained(tmp_path / "wrong", ["input-1"], cluster, workers=1)
    (row,) = results(tmp_path / "wrong" / "ledger.sqlite")
    assert row.state == "waiting" and row.attempts == 0


def test_as_many_actors_as_the_cluster_holds(tmp_path, cluster):
    rows, told = trained(tmp_path / "all", KEYS, cluster)
    assert [row.accuracy for row in rows] == [value_of(key) for key in KEYS] and not told
    with pytest.raises(InputError, match="has no GPU"):
        trained(tmp_path / "none", KEYS, cluster, devices=("cuda",))


def test_real_candidates_rank_alike_on_ray_and_alone(tmp_path, cluster, monkeypatch):
    """Cells trained by Reptile: by one process, and by two actors of which one is killed."""
    monkeypatch.setenv("AUTOMETA_CACHE", str(tmp_path / "cache"))
    data = DataConfig("strokes:8x8x8", 8)
    config = CandidateConfig(
        filters=3,
        repeats=0,
        data=data,
        inner=InnerConfig(ways=3, shots=3, batch=6, steps=2, lr=5e-3),
        meta=MetaConfig(iterations=2, batch=2),
        validation=EvalConfig(tasks=8, shots=1, queries=4, batch=3, steps=3, part="val"),
    )
    Source.open(data)  # drawn once, into the cache that actors share
    keys = [cell.key for cell in islice(level_one(), 0, 48, 8)]
    unit, rows = CandidateUnit(config, data), {}
    for name, workers in (("alone", None), ("ray", 2)):
        (tmp_path / name).mkdir()
        cache = {"AUTOMETA_CACHE": str(tmp_path / "cache")}
        with Ledger.open(proposed(tmp_path / name, keys)) as ledger:
            made = Alone(ledger, unit)
            if workers:
                made = workforce(ledger, Within(Killed(unit, tmp_path, keys[2]), cache), workers, cluster, notice=list)
            with made as force:
                train_all(ledger, force)
        rows[name] = [replace(row, seconds=None) for row in results(tmp_path / name / "ledger.sqlite")]
    assert (tmp_path / "killed").exists() and {row.state for row in rows["alone"]} == {"done"}
    assert rows["ray"] == rows["alone"], "to the last bit"
    assert ranking(rows["ray"]) == ranking(rows["alone"])
