"""The report of real runs: every part where it was recorded, a line where it was not, names as text."""

import json
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

import autometa
from autometa.errors import DiskError, InputError
from autometa.report.recorded import read
from autometa.report.sizes import network_of
from autometa.report.writing import SECTIONS, page
from autometa.runs.folder import RunFolder
from tests.cli.driving import call
from tests.report.observed import EVIL, observed

RUNS = Path(__file__).with_name("runs")
OLD = ("observations.json", "health.json", "metrics-architecture.jsonl")
"""What runs did not record before there were reports."""


class Outline(HTMLParser):
    """Tags, attributes and text of a document; complains of tags that do not match."""

    VOID = {"meta", "br", "wbr", "img", "hr", "col", "link"}

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.found, self.text = [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.found.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)

    @property
    def words(self):
        return " ".join("".join(self.text).replace("\u00a0", " ").split())

    def all(self, tag, **wanted):
        return [a for t, a in self.found if t == tag and all(a.get(k) == v for k, v in wanted.items())]


@pytest.fixture
def run(tmp_path):
    """A copy of the real run."""
    return Path(shutil.copytree(RUNS / "omniglot-small", tmp_path / "omniglot-small"))


@pytest.fixture
def old(run):
    """The run as a version that observed nothing would have left it."""
    for name in OLD:
        (run / name).unlink(missing_ok=True)
    path = run / "metrics-search.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    kept = [{name: value for name, value in row.items() if not name.startswith("update")} for row in rows]
    path.write_text("".join(json.dumps(row) + "\n" for row in kept))
    return run


def outline(run):
    return Outline(page(read(run)))


def change(path, **values):
    value = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**value, **values}))


def check_page(found):
    """What holds for every report."""
    assert "script" not in found.tags and "link" not in found.tags and "iframe" not in found.tags
    assert all(a.get("src", "data:image/png;base64,").startswith("data:image/png;base64,") for _, a in found.found)
    assert not [a for _, a in found.found if any(name.startswith("on") for name in a)]
    assert all(a["href"].startswith("#") for a in found.all("a"))
    ids = [a["id"] for _, a in found.found if "id" in a]
    assert len(ids) == len(set(ids)) and {a["href"][1:] for a in found.all("a")} <= set(ids)
    assert [a["id"] for a in found.all("section")] == [key for key, _, _ in SECTIONS]
    for drawing in found.all("svg"):
        assert drawing.get("aria-hidden") == "true" or (drawing["role"] == "img" and drawing["aria-label"])
    assert all("alt" in a for a in found.all("img"))
    assert "cannot be shown" not in found.words and "cannot be read" not in found.words, found.words


def test_a_real_run(run):
    found = outline(run)
    check_page(found)
    result = json.loads((run / "result.json").read_text())
    for mode, score in result["scores"].items():
        assert found.words.count(f"{score['mean']:.2f} ± {score['ci95']:.2f}") >= 2, f"{mode} drawn and in the table"
    drawn = [a["aria-label"] for a in found.all("svg") if "role" in a]
    cells = [a for a in found.all("svg", **{"class": "cell"})]
    assert [a["aria-label"].split(".")[0] for a in cells] == ["Normal cell", "Reduction cell"]
    assert any(words.startswith("Loss") for words in drawn) and any(words.startswith("Time") for words in drawn)
    assert "autometa reproduce omniglot-small" in found.words and result["data_hash"] in found.words
    assert f"{result['genotype']['normal_found_in']} settled on this normal cell" in found.words
    assert "four-layer net" in found.words and "154,213" in found.words


def test_an_old_run_says_in_one_line_per_section_what_is_missing(old):
    found = outline(old)
    check_page(found)
    assert found.words.count("This run did not record") == 4
    for words in (
        "record the weights of inputs and operations;",
        "record which classes were confused and examples of its test tasks;",
        "record the size of its meta-updates, its architecture over time and how its operations were pruned;",
        "record how much memory it took;",
        "its version had no health alarms",
    ):
        assert words in found.words, words
    assert "Pruning on a test task" not in found.words and "Confused classes" not in found.words


def test_what_was_observed_is_shown_and_names_stay_text(old):
    before = len(outline(old).all("svg"))
    found = outline(observed(old))
    check_page(found)
    assert "did not record" not in found.words.replace("did not record the size of its meta-updates", "")
    drawn = [a["aria-label"] for a in found.all("svg") if "role" in a]
    assert sum("cell, node" in words for words in drawn) == 18, "an edge each"
    assert sum("inputs of node" in words for words in drawn) == 4, "nodes that choose between pairs"
    assert len(found.all("svg")) >= before + 18 + 4 + 3
    assert "1.00 × 0.10" in found.words, "input weight × op weight in the drawing"
    assert "in 3 of 30 queries" in found.words and found.words.count(EVIL) >= 4
    assert [a["alt"] for a in found.all("img")] == [
        f"support image of {EVIL}",
        "support image of b",
        f"query image of {EVIL}",
    ]
    assert "query image of b" in found.words, "a picture from elsewhere is told, not loaded"
    assert "✗ B 90 %is A" in found.words and "✓ B 80 %" in found.words
    assert "main memory 512 MB" in found.words and "collapse (search, step 700)" in found.words
    assert "What to do: lower it" in found.words


def test_names_of_runs_and_settings_stay_text(run, tmp_path):
    change(run / "environment.json", command=f"autometa search {EVIL}", started=EVIL)
    change(run / "data.json", data_hash=EVIL)
    odd = run.rename(tmp_path / "<b>run&")
    found = outline(odd)
    check_page(found)
    assert "b" not in [tag for tag, a in found.found if tag == "b" and "run&" in str(a)] and "<b>run&" in found.words
    assert f"autometa search {EVIL}" in found.words


PARTS = [
    "result.json",
    "data.json",
    "environment.json",
    "metrics-search.jsonl",
    "metrics-architecture.jsonl",
    "observations.json",
    "health.json",
    "genotypes",
    "metrics-four-layer.jsonl",
]


@pytest.mark.parametrize("part", PARTS)
def test_any_part_may_be_missing(run, part):
    path = run / part
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    found = outline(run)
    check_page(found)
    told = {
        "result.json": "Not tested yet",
        "metrics-search.jsonl": "No meta-iteration was recorded",
        "environment.json": "data hash",
        "genotypes": "No test task has settled on a cell yet",
    }
    assert told.get(part, "How to repeat it") in found.words


def test_an_unfinished_run(old):
    for name in ("result.json", "genotypes"):
        shutil.rmtree(old / name) if name == "genotypes" else (old / name).unlink()
    lines = (old / "metrics-search.jsonl").read_text().splitlines(keepends=True)
    (old / "metrics-search.jsonl").write_text("".join(lines[:20]) + '{"step": 2')
    found = outline(old)
    check_page(found)
    assert "interrupted: what is missing comes with the end of the run" in found.words
    assert "No alarm so far" in found.words
    assert "20 recorded meta-iterations" in found.words and "No cell is chosen yet" in found.words


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("observations.json", "{", "observations.json cannot be read"),
        ("observations.json", "[]", "it must be an object, not a list"),
        ("observations.json", '{"confusion": {"pairs": [{}]}}', "confusion.pairs[0].true is missing"),
        ("health.json", "[" * 100_000, "nested deeper than 64"),
        ("genotypes/tasks.json", '[{"format": "other"}]', "genotypes/tasks.json cannot be read"),
        ("metrics-search.jsonl", "not json\n{}\n", "line 1 of"),
    ],
)
def test_damage_is_told_and_the_rest_is_shown(run, name, text, said):
    (run / name).write_text(text)
    found = outline(run)
    assert said in found.words and "How to repeat it" in found.words
    assert [a["id"] for a in found.all("section")] == [key for key, _, _ in SECTIONS]


def test_settings_of_another_version(run):
    change(run / "config.json", beam_me_up=2)
    found = outline(run)
    check_page(found)
    assert "Sizes are left out: this version cannot rebuild the network (unknown setting beam_me_up" in found.words
    assert [a["aria-label"].split(".")[0] for a in found.all("svg", **{"class": "cell"})] == [
        "Normal cell",
        "Reduction cell",
    ]


def test_auto_meta():
    run = RUNS / "auto-meta"
    found = outline(run)
    check_page(found)
    search = json.loads((run / "search.json").read_text())
    drawn = [a["aria-label"] for a in found.all("svg") if "role" in a]
    levels = len(search["levels"])
    assert sum(words.startswith("Depth of the cells") for words in drawn) == levels >= 2
    assert sum(words.startswith("Predicted and measured") for words in drawn) == levels - 1
    assert sum(words.startswith("Cell number") for words in drawn) == 4
    trained = sum(len(level["cells"]) for level in search["levels"])
    assert f"trained {trained} candidates" in found.words
    for level in search["levels"][1:]:
        words = f"ρ {level['before']['spearman']:.2f}, τ {level['before']['kendall']:.2f}".replace("-", "−")
        assert words in found.words
    assert search["winner"]["key"] in found.words
    # the front and the best so far are those of `compare`
    from autometa.report.compare import Point, curve, front
    from autometa.report.levels import tried

    cells = tried(read(run))
    edge = front([Point(c.accuracy, None, c.parameters, c.key) for c in cells])
    assert f"{len(edge)} candidates are not beaten by a smaller one" in " ".join(drawn)
    assert f"to {curve([c.accuracy for c in cells])[-1][1]:.2f} over {trained} candidates" in " ".join(drawn)


@pytest.mark.parametrize("name", ["omniglot-small", "auto-meta"])
def test_sizes_add_up(name):
    run = read(RUNS / name)
    network = network_of(run)
    total = sum(layer.parameters for layer in network.layers)
    if name == "auto-meta":
        assert total == run.result["parameters"]
    else:
        assert total < run.result["parameters"], "pruning leaves more than the strongest operations"
    cells = [layer for layer in network.layers if layer.name.startswith("cell")]
    assert sum(sum(size.parameters) for size in network.ops.values()) < sum(layer.parameters for layer in cells)
    assert sum(sum(size.macs) for size in network.ops.values()) < run.result["macs"]


def test_a_training_run(tmp_path):
    words = ["train", "reptile-omniglot", "--data", "strokes:6x6x6", "--data.image_size", "8", "--inner.ways", "2"]
    words += [
        "--inner.shots",
        "2",
        "--inner.batch",
        "2",
        "--inner.steps",
        "2",
        "--test.tasks",
        "2",
        "--test.queries",
        "2",
    ]
    words += ["--test.steps", "2", "--test.batch", "2", "--meta.iterations", "3", "--meta.batch", "2", "--filters", "3"]
    answer = call(*words, "--data.variant", "ink", "--out", tmp_path / "run")
    assert answer.code == 0, answer.err
    assert f"Report autometa report {tmp_path / 'run'}" in answer.out
    told = call("report", tmp_path / "run", "--json")
    assert told.code == 0 and Path(told.json["report"]).name == "report.html"
    found = Outline((tmp_path / "run/report.html").read_text())
    check_page(found)
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert "No search: the fixed network reptile-omniglot was meta-trained" in found.words
    assert f"{result['parameters']:,}" in found.words and "block 4" in found.words
    assert not [entry for entry in (tmp_path / "run").iterdir() if entry.name.endswith(".tmp")]


def test_the_words(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = call("report", "omniglot-small", "--out", "shared.html")
    assert told.code == 0 and told.out == "Report  shared.html  (one file; open it in a browser)\n", told.err
    assert (tmp_path / "shared.html").read_text() == page(read(run)), "the same page from the same run"
    (tmp_path / "latest").symlink_to("omniglot-small")
    assert autometa.report() == run / "report.html" and autometa.report(run, tmp_path / "x.html").exists()
    assert autometa.report.writing.report is not None, "still the package"
    for words, said in (
        (("report", "nowhere"), "there is no run folder nowhere"),
        (("report", "omniglot-small", "--out", "no/x.html"), "there is no folder no for the report"),
        (("report", "omniglot-small", "--out", "."), "is a folder; name the file to write"),
    ):
        answer = call(*words)
        assert answer.code == 2 and said in answer.err, answer.err


def test_a_disk_that_refuses(run, monkeypatch):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(DiskError, match="No space left"):
        autometa.report(run)
    assert not (run / "report.html").exists() and not list(run.glob(".*.tmp"))
    with pytest.raises(InputError):
        autometa.report(run / "genotypes")


def test_an_overwritten_run_takes_its_report_with_it(tmp_path):
    folder = RunFolder.create(tmp_path / "run", "train", {"network": "x"}, ["test"], notice=lambda text: None)
    folder.close()
    autometa.report(tmp_path / "run")
    assert (tmp_path / "run/report.html").exists()
    again = {"overwrite": True, "notice": lambda text: None}
    RunFolder.create(tmp_path / "run", "train", {"network": "y"}, ["test"], **again).close()
    assert not (tmp_path / "run/report.html").exists()
