"""Tables of cells: all of them once, resumed as uninterrupted, packed with a checksum, asked by cell."""

from __future__ import annotations

import csv
import io
import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

import autometa
from autometa.algorithms.table import building, packed
from autometa.algorithms.table.agreement import agreement, compared
from autometa.algorithms.table.building import Batch, batches, build
from autometa.algorithms.table.costs import FEATURES, features, timed
from autometa.algorithms.table.spec import OMNIGLOT, SPECS, TableSpec, all_cells, order
from autometa.algorithms.table.store import FILE, TableStore
from autometa.algorithms.table.tables import NotTabled, Table
from autometa.algorithms.table.training import NOT_SCORED, measure
from autometa.errors import AutometaError, InputError
from autometa.nas.networks.many_cells import BlockNetwork
from autometa.nas.spaces.blocks import BlockCell, count
from autometa.train.candidates import CandidateConfig
from autometa.train.config import DataConfig, EvalConfig, InnerConfig, MetaConfig
from autometa.train.cost import CostModel
from autometa.train.scoring import train_candidates
from autometa.train.tasks import Source
from tests.cli.driving import call

TINY = TableSpec(
    name="tiny",
    config=CandidateConfig(
        filters=2,
        repeats=0,
        data=DataConfig("strokes:9x6x8", 8),
        inner=InnerConfig(ways=3, shots=3, batch=6, steps=2, lr=5e-3),
        meta=MetaConfig(iterations=8, batch=2),
        validation=EvalConfig(tasks=6, shots=1, queries=2, batch=3, steps=2, part="val", max_slots=4),
    ),
    tasks=(2, 2, 2, 6),
    test=EvalConfig(tasks=5, shots=1, queries=2, batch=3, steps=2, max_slots=4),
    cells=6,
    seeded=3,
    seeds=(1,),
    longer=2,
    random=2,
    best=2,
)


@pytest.fixture(scope="module", autouse=True)
def surroundings(tmp_path_factory):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOMETA_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setitem(SPECS, TINY.name, TINY)
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def built(surroundings, tmp_path_factory) -> Path:
    """A whole tiny table in its folder."""
    out = tmp_path_factory.mktemp("built")
    assert build(TINY, out, notice=lambda _: None) == 6 + 3 + 2 + len(_best(out) - set(TINY.keys[:2]))
    return out


def _best(out: Path) -> set[str]:
    with TableStore(out / FILE, TINY, create=False) as store:
        accuracy = store.accuracy()
    return set(sorted(TINY.keys, key=lambda key: (-accuracy[key], TINY.keys.index(key)))[:2])


@pytest.fixture(scope="module")
def file(built) -> Path:
    path = built / "tiny.safetensors"
    assert call("table", "pack", "--name", "tiny", "--out", str(built), "--to", str(path)).code == 0
    return path


def rows(out: Path) -> list:
    """What a folder holds, without the times."""
    with TableStore(out / FILE, TINY, create=False) as store:
        return [(repr(replace(row, seconds=0.0)), told) for row, told in store.rows()]


def test_the_space_has_55_and_5115_cells():
    levels = [cell.level for cell in all_cells().values()]
    assert (levels.count(1), levels.count(2)) == (55, 5115) == (count(1), count(2))
    assert all(key == cell.key for key, cell in all_cells().items())
    assert sorted(order()) == sorted(all_cells()) and order()[:2] == ("1c1i|2f2a", "0f1f|2i0m")
    assert len(OMNIGLOT.jobs("cells")) == 5170 and len(OMNIGLOT.jobs("seeds")) == 600
    assert OMNIGLOT.jobs("random")[0] == (order()[0], 0, 10)


def test_the_end_of_a_curve_is_what_a_candidate_gets(built):
    """Points on the way change nothing, and neither do the cells beside."""
    source = Source.open(TINY.config.data)
    with TableStore(built / FILE, TINY, create=False) as store:
        found = {(row.key, row.seed, row.length): row for row, _ in store.rows()}
    for key, seed, length in ((TINY.keys[3], 0, 1), (TINY.keys[1], 1, 1), (TINY.keys[0], 0, 2)):
        (alone,) = train_candidates([all_cells()[key]], TINY.config_of(seed, length), source)
        row = found[key, seed, length]
        assert alone.accuracy == pytest.approx(100 * row.right[-1] / (6 * 3 * 2), abs=1e-9)
        assert alone.interval == pytest.approx(row.interval) and row.failure is None
        assert (alone.parameters, alone.macs) == (row.parameters, row.macs)
        assert list(row.losses) == sorted(row.losses) and row.losses[0] > 0
    short, long = found[TINY.keys[0], 0, 1], found[TINY.keys[0], 0, 2]
    assert short.losses[2] != long.losses[1], "after as many iterations, but another schedule: another curve"


def test_losses_are_sums_up_to_the_points():
    key, spec = TINY.keys[0], replace(TINY, config=replace(TINY.config, meta=MetaConfig(8, 2, schedule="constant")))
    source = Source.open(spec.config.data)
    (row,) = measure([key], spec, 0, 1, source)
    (long,) = measure([key], spec, 0, 2, source)  # with a constant step size the longer curve begins as the other one
    assert long.losses[1:3] == pytest.approx((row.losses[2], row.losses[3])) and long.right[2] != NOT_SCORED


def test_test_answers_choose_nothing(built, tmp_path):
    """Other test classes change no validation answer, and `best` follows those alone."""
    source, keys = Source.open(TINY.config.data), TINY.keys[:2]
    without = measure(keys, replace(TINY, test=None), 0, 1, source)
    with_test = measure(keys, TINY, 0, 1, source)
    assert [row.right for row in without] == [row.right for row in with_test]
    assert {row.test_right for row in without} == {NOT_SCORED} and min(row.test_right for row in with_test) >= 0
    best = {job[0] for job in TINY.jobs("best", {key: float(n) for n, key in enumerate(TINY.keys)})}
    assert best == set(TINY.keys[-2:]) and TINY.jobs("best", {TINY.keys[0]: 1.0}) == []
    with pytest.raises(InputError, match="test classes"):
        build(replace(TINY, test=replace(TINY.test, part="val")), tmp_path)


def test_batches_are_of_one_seed_and_length():
    jobs = [("a", 0, 1), ("b", 0, 10), ("c", 1, 1), ("d", 0, 1), ("e", 0, 10), ("f", 0, 10)]
    assert batches(jobs, 10) == [
        Batch(("a", "d"), 0, 1),
        Batch(("c",), 1, 1),
        Batch(("b", "e"), 0, 10),
        Batch(("f",), 0, 10),
    ]


def test_resumed_equals_uninterrupted(built, tmp_path, monkeypatch):
    monkeypatch.setattr(building, "SIDE_BY_SIDE", 4)
    silent = {"notice": lambda _: None}
    assert build(TINY, tmp_path, limit=1, **silent) == 1
    assert build(TINY, tmp_path, parts=("seeds",), limit=2, **silent) == 2
    assert build(TINY, tmp_path, parts=("best",), **silent) == 0, "the best are known only when all are there"
    build(TINY, tmp_path, **silent)
    assert rows(tmp_path) == rows(built) and build(TINY, tmp_path, **silent) == 0


KILLED = """
import sys
from pathlib import Path
sys.path[:0] = [{source!r}, {root!r}]
from autometa.algorithms.table import building
from tests.algorithms.test_table import TINY
if __name__ == "__main__":
    building.SIDE_BY_SIDE = 2
    building.build(TINY, Path({out!r}), workers=2)
"""


def test_killed_while_processes_work(built, tmp_path):
    """The parent dies, its workers follow, and the table goes on as if nothing had been."""
    script, out = tmp_path / "killed.py", tmp_path / "out"
    script.write_text(
        KILLED.format(source=str(Path(autometa.__file__).parents[1]), root=str(Path(__file__).parents[2]), out=str(out))
    )
    child = subprocess.Popen([sys.executable, str(script)], stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert "cells: 2 of 6" in child.stderr.readline()
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stderr.read()  # ends only when the workers are gone too
    done = rows(out)
    assert set(map(str, done)) <= set(map(str, rows(built)))
    build(TINY, out, notice=lambda _: None)
    assert rows(out) == rows(built)


def test_packed_and_begun_from_elsewhere(built, file, tmp_path, monkeypatch):
    """A machine that has the packed file alone goes on from it."""
    half = tmp_path / "half.safetensors"
    with TableStore(built / FILE, TINY, create=False) as store:
        kept = store.rows()
    packed.write(half, TINY, kept[:4], {"any": "thing"})
    again = tmp_path / "again.safetensors"
    assert packed.write(again, TINY, kept[:4], {"any": "thing"}) == packed.read(half, TINY).checksum
    assert again.read_bytes() == half.read_bytes()
    monkeypatch.setattr(packed, "path_of", lambda name: half)
    told: list[str] = []
    assert build(TINY, tmp_path / "new", notice=told.append) == len(kept) - 4
    assert told[0].startswith("4 trainings taken over") and TINY.fingerprint == replace(TINY, cells=4).fingerprint
    found = [row for row, _ in _rows_of(tmp_path / "new")]
    assert [(r.key, r.right, r.test_right) for r in found] == [(r.key, r.right, r.test_right) for r, _ in kept]
    assert np.allclose([r.losses for r in found], [r.losses for r, _ in kept], rtol=1e-6)
    told.clear()
    build(TINY, tmp_path / "new", notice=told.append)
    assert told == []


def _rows_of(out: Path) -> list:
    with TableStore(out / FILE, TINY, create=False) as store:
        return store.rows()


def test_damage_and_other_settings_are_found(built, file, tmp_path):
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    (tmp_path / "hurt.safetensors").write_bytes(data)
    with pytest.raises(InputError, match="checksum"):
        packed.read(tmp_path / "hurt.safetensors", TINY)
    (tmp_path / "short.safetensors").write_bytes(file.read_bytes()[:100])
    with pytest.raises(InputError, match="cannot be read"):
        packed.read(tmp_path / "short.safetensors", TINY)
    with pytest.raises(InputError, match="table pack --name tiny writes one"):
        packed.read(tmp_path / "none.safetensors", TINY)
    for told in ("[]", "5", '{"about": "[]"}', '{"about": 5}', "[" * 100_000):
        save_file({"x": np.zeros(3)}, tmp_path / "strange.safetensors", {packed.FORMAT: told})
        with pytest.raises(InputError, match="strange.safetensors cannot be read.*pack the table again"):
            packed.read(tmp_path / "strange.safetensors", TINY)
    other = replace(TINY, config=replace(TINY.config, filters=3))
    with pytest.raises(InputError, match="trained otherwise"):
        packed.read(file, other)
    with pytest.raises(InputError, match="trained otherwise"):
        build(other, built)
    assert replace(
        TINY, config=replace(TINY.config, seed=3, meta=replace(TINY.config.meta, max_slots=4))
    ).fingerprint == (TINY.fingerprint), "what leaves a cell's numbers as they are"
    (tmp_path / FILE).write_text("no database, but long enough to be taken for one" * 9)
    with pytest.raises(AutometaError, match="not a database"):
        build(TINY, tmp_path)


def test_one_process_builds_at_a_time(tmp_path):
    with building._locked(tmp_path), pytest.raises(InputError, match="another process builds"):
        build(TINY, tmp_path)
    with pytest.raises(InputError, match="no part 'all'"):
        build(TINY, tmp_path, parts=("all",))
    with pytest.raises(InputError, match="at least 1"):
        build(TINY, tmp_path, workers=0)


def test_a_cell_that_diverges_is_a_row_without_answers():
    spec = replace(TINY, config=replace(TINY.config, inner=replace(TINY.config.inner, lr=1e30)))
    for row in measure(TINY.keys[:2], spec, 0, 1, Source.open(spec.config.data)):
        assert row.failure and set(row.right) == {NOT_SCORED} and row.test_right == NOT_SCORED


def test_query(built, file):
    table = autometa.table("tiny", file=file)
    assert len(table) == 6 and table.complete and list(table) == list(TINY.keys)
    key = TINY.keys[0]
    found = table.query(key)
    row = next(row for row, _ in _rows_of(built) if (row.key, row.seed, row.length) == (key, 0, 1))
    assert found.validation == tuple(100 * r / (t * 6) for r, t in zip(row.right, TINY.tasks, strict=True))
    assert found.test == 100 * row.test_right / (5 * 6) and found.accuracy == found.validation[-1]
    assert found.losses == pytest.approx(row.losses) and set(found.seeds) == {0, 1} and found.longer.length == 2
    assert (found.parameters, found.macs) == (row.parameters, row.macs) and all(map(math.isnan, found.seconds))
    turned = BlockCell.parse("0c1m|1i0f")
    assert table.query(turned.canonical().key if turned in table else key)
    with pytest.raises(AttributeError):
        found.key = "other"


def test_what_is_not_there_yet_is_said(built, tmp_path):
    path = tmp_path / "part.safetensors"
    packed.write(path, TINY, _rows_of(built)[:2], None)
    table = Table.open("tiny", path)
    assert len(table) == 2 and not table.complete and TINY.keys[1] in table and TINY.keys[2] not in table
    with pytest.raises(NotTabled, match="not in tiny yet, 2 of 6 cells are"):
        table.query(TINY.keys[2])
    with pytest.raises(InputError, match="one and two blocks"):
        table.query("0c1c|1f1i|2m3a")
    with pytest.raises(InputError, match="choose from omniglot-two-blocks"):
        autometa.table("tables")


def test_the_command_line(built, file, tmp_path):
    status = call("table", "status", "--name", "tiny", "--out", str(built))
    assert status.code == 0 and "tiny: 6 of 6 cells, 0 of them failed" in status.out
    shown = call("table", "status", "--name", "tiny", "--file", str(file), "--json").json
    assert shown["parts"] == {"cells": [6, 6], "seeds": [3, 3], "random": [2, 2], "best": [2, 2]}
    key = TINY.keys[0]
    assert key in call("table", "query", key, "--name", "tiny", "--file", str(file)).out
    (asked,) = call("table", "query", key, "--name", "tiny", "--file", str(file), "--json").json
    assert asked["longer"]["length"] == 2 and len(asked["seeds"]) == 2
    assert call("table", "query", "--name", "tiny", "--file", str(file)).code == 2
    answer = call("table", "export", "--name", "tiny", "--file", str(file), "--csv", str(tmp_path / "t.csv"))
    assert answer.code == 0, answer.err
    lines = list(csv.DictReader(io.StringIO((tmp_path / "t.csv").read_text())))
    assert len(lines) == len(_rows_of(built)) and lines[0]["cell"] == key and float(lines[0]["validation at end"]) >= 0
    assert call("table", "status", "--name", "tiny", "--out", str(tmp_path)).code == 2
    again = call("table", "build", "--name", "tiny", "--out", str(built), "-q")
    assert again.code == 0 and again.out.startswith("0 trainings added")
    assert call("table", "build", "--name", "tiny", "--out", str(built), "--parts", "seed").code == 2


def test_seconds_are_fitted(built):
    source = Source.open(TINY.config.data)
    macro = TINY.config.macro(source.image_shape)
    found = np.array([features(key, macro) for key in order()[:40]])
    assert found.shape == (40, len(FEATURES))
    both = np.array([[1e-3, 2e-3, *[4e-4] * 5, *[1e-2] * 5], [1e-4, 0, *[2e-5] * 5, *[0] * 5]])
    model = CostModel.fitted(found @ both.T, found, {})
    assert model.error < 0.01 and model.timed == 40 and min(model.iteration) >= 0
    for row in found[:5]:
        assert model.seconds(row, 8, 6) == pytest.approx(row @ (8 * both[0] + 6 * both[1]), rel=0.02)
    seconds, few = timed(TINY, source, 2)
    assert seconds.shape == (2, 2) and (seconds > 0).all() and few.shape == (2, len(FEATURES))


def test_agreement_is_that_of_ranks():
    first = {f"{n}": n for n in range(12)}
    assert compared(first, {key: -n for key, n in first.items()})["spearman"] == pytest.approx(-1)
    assert compared(first, {"1": 1}) is None
    (row,) = measure(TINY.keys[:1], TINY, 0, 1, Source.open(TINY.config.data))
    places = list(enumerate(order()[:12]))
    both = [replace(row, key=key, seed=seed, right=(0, 0, 0, n)) for seed in (0, 1) for n, key in places]
    assert agreement(TINY, both)["seed 0 with seed 1"]["spearman"] == pytest.approx(1)


def test_what_the_package_holds_is_whole():
    """Of the table as far as it is there: the first cells of the order, sizes as counted now."""
    table = autometa.table()
    assert len(table) >= 20 and set(table) <= set(order())
    macro = OMNIGLOT.config.macro((1, OMNIGLOT.config.data.image_size, OMNIGLOT.config.data.image_size))
    for key in table.keys[:5]:
        network, found = BlockNetwork(macro, [all_cells()[key]]), table.query(key)
        assert (found.parameters, found.macs) == (network.parameters(0), network.macs(0))
        assert found.first.failure or (20 <= found.accuracy <= 100 and 20 <= found.test <= 100)
    assert all(told["instruction_set"] in ("portable", "avx2", "avx512") for told in table.kept.machines)
