"""Runs side by side: what is read from their ledgers, what is said and drawn."""

import sys

import pytest

from autometa.errors import InputError
from autometa.report import plot
from autometa.report.compare import Point, compare, front, marks
from autometa.runs.folder import RunFolder
from autometa.runs.ledger import LEDGER, Ledger
from tests.cli.driving import call

CONFIG = {"data": {"name": "strokes", "seed": 0}, "meta": {"iterations": 10}, "strategy": "random"}


def search(path, accuracies, config=CONFIG, result=None):
    """A run whose candidates have these accuracies (None: failed) and 100, 200, ... parameters in turns of three."""
    folder = RunFolder.create(path, "search auto-meta", config, ["test"], notice=lambda text: None)
    with folder, Ledger.open(folder.path / LEDGER) as ledger:
        keys = [f"cell-{n}" for n in range(len(accuracies))]
        ledger.propose(1, [(key, None, None) for key in keys], len(keys))
        outcomes = []
        for n, (key, accuracy) in enumerate(zip(keys, accuracies, strict=True)):
            measured = {"accuracy": accuracy, "interval": 1.5} if accuracy is not None else {"failure": "diverged"}
            outcomes.append({"key": key, **measured, "parameters": 100 * (1 + n % 3), "macs": 1, "seconds": 60.0})
        ledger.finish(ledger.claim("me", 60), outcomes)
        if result is not None:
            folder.write_result(result)
    return path


@pytest.fixture
def runs(tmp_path):
    scores = {"support_statistics": {"mean": 61.0, "ci95": 0.5}}
    done = {"kind": "search auto-meta", "accuracy": 61.0, "parameters": 12345.0, "scores": scores}
    first = search(tmp_path / "first", [50.0, 40.0, None, 55.0, 52.0, 55.0, 54.0], result=done)
    other = {**CONFIG, "meta": {"iterations": 20}, "strategy": "evolution"}
    second = search(tmp_path / "second", [30.0 + n for n in range(25)], other)
    net = RunFolder.create(tmp_path / "net", "train reptile-omniglot", {}, ["test"], notice=lambda text: None)
    with net:
        net.write_result({"kind": "train", "accuracy": 70.0, "parameters": 113221})
    return [first, second, tmp_path / "net"]


def test_what_a_ledger_tells(runs):
    first, second, net = compare(runs).runs
    assert (first.run, first.kind) == ("first", "search auto-meta (random)")
    assert (first.candidates, first.trained, first.failed, first.seconds) == (7, 6, 1, 420.0)
    assert first.best == Point(55.0, 1.5, 100, "cell-3")
    assert first.curve == ((1, 50.0), (3, 55.0), (6, 55.0))
    assert [first.at(n) for n in (1, 2, 3, 6, 7)] == [50.0, 50.0, 55.0, 55.0, None]
    assert first.final == Point(61.0, 0.5, 12345.0, "search auto-meta") and second.final is None
    assert second.at(25) == 54.0
    assert (net.candidates, net.best, net.front, net.final.accuracy) == (0, None, (), 70.0)


def test_the_front_holds_what_nothing_beats():
    points = [
        Point(a, None, p, f"{a} {p}") for a, p in ((50, 100), (60, 300), (50, 200), (55, 200), (60, 400), (40, 90))
    ]
    points.append(Point(99, None, None, "of unknown size"))
    assert [(p.accuracy, p.parameters) for p in front(points)] == [(40, 90), (50, 100), (55, 200), (60, 300)]
    for point in points[:-1]:
        assert any(p.accuracy >= point.accuracy and p.parameters <= point.parameters for p in front(points))


def test_searches_are_read_off_at_the_same_places(runs):
    found = compare(runs)
    assert marks(found) == [10, 20, 25]
    assert marks(compare(runs[2:])) == []


def test_settings_that_differ_are_told(runs):
    assert dict(compare(runs).unlike) == {"meta.iterations": (10, 20)}
    assert not compare([runs[0], runs[2]]).unlike


def test_the_words(runs):
    answer = call("compare", *runs)
    assert answer.code == 0, answer.err
    for words in ("first", "55.00 +- 1.50", "61.00 +- 0.50", "12,345", "113,221", "Not alike", "evolution", "7m"):
        assert words in answer.out, answer.out
    found = call("compare", *runs, "--json").json
    assert found["runs"][0]["best"] == {"accuracy": 55.0, "interval": 1.5, "parameters": 100, "what": "cell-3"}
    assert found["runs"][1]["curve"][-1] == [25, 54.0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "the following arguments are required: RUN"),
        (("nowhere",), "there is no run folder nowhere"),
        (("first", "--plot", "x.gif"), "pictures are .png, .svg, .pdf files"),
        (("first", "--plot", "no/x.png"), "there is no folder no"),
        (("begun",), "begun has no candidates and no result yet"),
    ],
)
def test_mistakes(runs, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    RunFolder.create(tmp_path / "begun", "search", {}, ["test"], notice=lambda text: None).close()
    answer = call("compare", *words)
    assert answer.code == 2 and said in answer.err, answer.err


def test_without_matplotlib_it_says_how_to_get_it(runs, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    answer = call("compare", *runs, "--plot", tmp_path / "picture.png")
    assert answer.code == 2 and "pip install 'autometa-nas[plot]'" in answer.err
    assert call("compare", *runs).code == 0


@pytest.mark.parametrize("kind", plot.KINDS)
def test_a_picture_is_drawn(runs, tmp_path, kind):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (the extra `plot`)")
    path = tmp_path / f"picture{kind}"
    answer = call("compare", *runs, "--plot", path)
    assert answer.code == 0 and path.name in answer.out, answer.err
    assert path.read_bytes()[:4] in (b"\x89PNG", b"<?xm", b"%PDF") and path.stat().st_size > 3000
    assert [p.name for p in tmp_path.glob(".*")] == []


PROTOCOL = {"split": "alphabets", "part": "test", "ways": 5, "shots": 1, "queries": 15, "tasks": 100, "test_seed": 1}


def trained(path, seed, accuracy, config=None, protocol=None, mode="support_statistics", seeds=None):
    """A finished training of a seed."""
    config = {"data": {"name": "strokes"}, "inner": {"ways": 5}, **(config or {}), "seed": seed}
    with RunFolder.create(path, "train", config, ["test"], seeds=seeds, notice=lambda text: None) as folder:
        scores = {mode: {"mean": accuracy, "ci95": 1.0}}
        result = {"kind": "train", "accuracy": accuracy, "scores": scores, "data_hash": "abc", "parameters": 100.0}
        folder.write_result({**result, "protocol": {**PROTOCOL, **(protocol or {})}})
    return path


def test_runs_that_differ_in_their_seed_alone_are_one_group(tmp_path):
    alike = [trained(tmp_path / name, seed, 60.0 + seed) for name, seed in (("a", 0), ("b", 1), ("c", 2))]
    other = trained(tmp_path / "other", 1, 10.0, {"inner": {"ways": 20}})
    found = compare([*alike, other])
    (group,) = found.groups
    assert (group.runs, group.seeds, group.parameters) == (("a", "b", "c"), (0, 1, 2), 100.0)
    assert (group.score["mean"], group.score["sd"]) == (61.0, 1.0)
    assert group.score["ci95"] == pytest.approx(4.302652729911275 / 3**0.5)
    assert compare([alike[0], other]).groups == ()
    lines = call("compare", *alike, other).out.splitlines()
    assert lines[1].split()[:6] == ["run", "what", "data", "ways", "shots", "seeds"] and "trained" not in lines[1]
    assert "a and other seeds  train  strokes     5      1  0, 1, 2  61.00 +- 2.48" in lines[2], lines[2]
    assert lines[3].startswith("    a ") and lines[3].split()[:6] == ["a", "train", "strokes", "5", "1", "0"]


def test_a_folder_of_seeds_stands_for_those_that_have_begun(tmp_path):
    whole = trained(tmp_path / "three", 0, 50.0, seeds={"seeds": [0, 1, 2]})
    with pytest.raises(InputError, match="no seed of .* has begun"):
        compare([whole])
    for seed in (0, 1):
        trained(whole / f"seed-{seed}", seed, 50.0 + seed)
    found = compare([whole, whole / "seed-1"])
    assert [run.run for run in found.runs] == ["three/seed-0", "three/seed-1"], "each once"
    assert [(group.name, group.seeds) for group in found.groups] == [("three", (0, 1))]


@pytest.mark.parametrize(
    ("title", "more"),
    [
        ("ways", {"protocol": {"ways": 20}}),
        ("shots", {"protocol": {"shots": 5}}),
        ("test tasks", {"protocol": {"tasks": 1000}}),
        ("seed of tasks", {"protocol": {"test_seed": 2}}),
        ("classes", {"protocol": {"part": "val"}}),
        ("BN mode", {"mode": "transductive"}),
    ],
)
def test_what_cannot_be_compared_is_told(tmp_path, title, more):
    first, second = trained(tmp_path / "a", 0, 60.0), trained(tmp_path / "b", 1, 60.0, **more)
    assert not compare([first, trained(tmp_path / "c", 2, 60.0)]).incomparable
    found = compare([first, second])
    assert list(found.incomparable) == [title]
    out = call("compare", first, second).out
    assert "Not comparable" in out and title in out
    assert list(call("compare", first, second, "--json").json["incomparable"]) == [title]


def test_other_images_cannot_be_compared(tmp_path):
    paths = [trained(tmp_path / name, 0, 60.0) for name in ("a", "b")]
    path = paths[1] / "result.json"
    path.write_text(path.read_text().replace('"abc"', '"def"'))
    assert compare(paths).incomparable == {"images (sha256)": ("abc", "def")}
