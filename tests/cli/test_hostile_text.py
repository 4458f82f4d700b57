"""Names and files of a stranger: nothing that a terminal obeys is printed, JSON keeps every value exactly."""

import json
import re
import shutil

import pytest

import autometa
from autometa.data.splits import by_hash
from autometa.errors import InputError
from autometa.printable import json_text, printable, printable_text, unprinted
from autometa.report.card import model_card
from autometa.report.recorded import read
from autometa.report.writing import page
from autometa.runs import RunFolder
from tests.cli.driving import call, class_folders, start

EVIL = "a\x1b]0;owned\x07\x1b[2J\u202egnp\x9b31m\u2066\r"
FORGED = "first\nautometa: all is well"
UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def harmless(*texts):
    for text in texts:
        assert not UNSAFE.search(text), UNSAFE.search(text)
        assert "\nautometa: all is well" not in text


def with_strings(value, evil):
    """The same with every string replaced."""
    if isinstance(value, dict):
        return {name: with_strings(item, evil) for name, item in value.items()}
    if isinstance(value, list):
        return [with_strings(item, evil) for item in value]
    return evil if isinstance(value, str) else value


@pytest.fixture
def strange(searched, tmp_path):
    """A copy of a run whose environment.json and name hold escape sequences."""
    run = shutil.copytree(searched[0], tmp_path / "runs" / f"run{EVIL}", symlinks=True)
    about = json.loads((run / "environment.json").read_text())
    (run / "environment.json").write_text(json.dumps(with_strings(about, f"{EVIL}{FORGED}")))
    return run


def test_what_is_printable_stays():
    usual = "Blätter_7 漢字 👩\u200d🌾 می\u200cخواهم |*"
    assert printable(usual) == usual == printable_text(usual)
    assert printable("\x1b[2J\n\u202e\udcff") == r"\x1b[2J\n\u202e\udcff" and printable_text("a\n\tb\r") == "a\n\tb\\r"
    for value in ({EVIL: [EVIL, FORGED, "\udcff\U000e0041é"]}, usual):
        assert json.loads(json_text(value)) == value
        harmless(json_text(value))
    assert "漢字" in json_text(usual), "what is harmless is not escaped"


def test_names_of_classes_and_files(trained, tmp_path):
    names = (f"c{EVIL}", f"d{FORGED}", "plain")
    support = class_folders(tmp_path / "photos", names)
    picture = support / "plain/0.png"
    evil_file = picture.rename(tmp_path / f"p{EVIL}{FORGED}.png")
    files = [sorted((support / name).iterdir())[0] for name in names]
    autometa.FewShotClassifier(trained[0]).fit(files, list(names)).save(f"to{EVIL}")
    taught = call("adapt", "--support", support, "--run", trained[0])
    asked = call("predict", evil_file, "--run", f"to{EVIL}")
    assert asked.code == 0 and asked.out.count("\n") == 1 and r"\x1b" in asked.out
    told = call("predict", evil_file, "--run", f"to{EVIL}", "--json")
    assert set(told.json[0]["probabilities"]) == set(names) and told.json[0]["image"] == str(evil_file)
    (support / "plain" / f"bad{EVIL}.png").write_text("no picture")
    refused = [call("adapt", "--support", support, "--run", trained[0]), call("predict", f"gone{EVIL}{FORGED}")]
    refused += [call("data", "info", support), call("data", "verify", support), call(f"wrong{EVIL}")]
    assert all(answer.code in (0, 1, 2) and "Traceback" not in answer.err for answer in refused), refused
    for answer in (taught, asked, told, *refused):
        harmless(answer.out, answer.err)


def test_a_strangers_run(strange, tmp_path):
    listed, told = call("runs", "list"), call("runs", "list", "--json")
    assert listed.code == told.code == 0 and listed.out.count("\n") == 2
    assert told.json[0]["kind"] == f"{EVIL}{FORGED}" and told.json[0]["name"] == strange.name
    compared = call("compare", strange)
    assert compared.code == 0, compared.err
    result = json.loads((strange / "result.json").read_text())
    (strange / "result.json").write_text(json.dumps({**result, "genotype": with_strings(result["genotype"], EVIL)}))
    (strange / "config.json").write_text(json.dumps({EVIL: FORGED}))
    others = [call("adapt", "--support", "x", "--run", strange), call("eval", "--run", strange)]
    others += [call("search", "--resume", strange), call("compare", strange), call("report", strange)]
    for answer in (listed, told, compared, *others):
        assert answer.code in (0, 2) and "Traceback" not in answer.err, answer
        harmless(answer.out, answer.err)


def test_pages_and_cards(strange, tmp_path):
    tag = f"<img src=x onerror=alert(1)>[x](javascript:a) ```\n# Head {EVIL} | `"
    about = json.loads((strange / "environment.json").read_text())
    (strange / "environment.json").write_text(json.dumps(with_strings(about, tag)))
    run = RunFolder.open(strange)
    html, card = page(read(run)), model_card(run)
    harmless(html, card)
    assert "<img src=x" not in html and "&lt;img src=x" in html
    prose = re.sub(r"(?ms)^(`{3,})\w*\n.*?^\1$", "", card)
    assert len(prose) < len(card) and "\n# Head" not in prose
    prose = re.sub(r"(?s)(?<![\\`])(`+)(?!`).*?(?<!`)\1(?!`)", "", prose)
    assert not re.search(r"(?<!\\)<img|(?<!\\)\[x", prose), prose


def test_names_in_a_drawing(searched, tmp_path):
    pytest.importorskip("matplotlib")
    names = [f"_$\\frac{EVIL}$", "cost$<b>&"]
    runs = [shutil.copytree(searched[0], tmp_path / name, symlinks=True) for name in names]
    answer = call("compare", *runs, "--plot", tmp_path / "picture.svg")
    assert answer.code == 0, answer.err
    drawn = (tmp_path / "picture.svg").read_text(encoding="utf-8")
    harmless(drawn)
    assert r"_$\frac" in drawn and "cost$&lt;b&gt;&amp;" in drawn, "names stand there as they are"


def test_errors_and_defects(monkeypatch):
    harmless(str(InputError(f"no class {EVIL}")))

    def broken(*_):
        raise RuntimeError(EVIL)

    monkeypatch.setattr("autometa.cli.looking.api.list_runs", broken)
    answer = call("runs", "list")
    assert answer.code == 1 and "RuntimeError" in answer.err
    harmless(answer.err)


def test_json_is_exact_where_the_terminal_knows_ascii_alone(tmp_path, monkeypatch):
    (tmp_path / "runs/é漢").mkdir(parents=True)
    (tmp_path / "runs/é漢/config.json").write_text("{}")
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    out, err = start("runs", "list", "--json").communicate()
    assert json.loads(out)[0]["name"] == "é漢", err


def test_names_that_are_no_utf8(trained, tmp_path):
    shutil.copytree(trained[0], tmp_path / "run\udcfe", symlinks=True)
    class_folders(tmp_path / "photos")
    told = [call("adapt", "--support", "photos", "--run", "run\udcfe"), call("report", "run\udcfe")]
    told += [call("runs", "list", ".")]
    assert [one.code for one in told] == [0, 0, 0], told
    harmless(*(text for one in told for text in (one.out, one.err)))
    assert r"run\udcfe/adapted" in told[0].out
    listed = call("runs", "list", ".", "--json")
    assert [row["name"] for row in listed.json] == ["run\udcfe"] and by_hash(["a\udcff", "b"], [0, 1], 1).size == 1


def test_a_run_is_named_as_it_is_shown(trained, tmp_path):
    """The commands that are told next can be typed, whatever bytes a folder's name has."""
    run = tmp_path / "runs/n\xe9\udcff\x1b"
    shutil.copytree(trained[0], run, symlinks=True)
    shutil.copytree(run, run / "within", symlinks=True)
    class_folders(tmp_path / "photos")
    named = printable(run.name)
    assert named == r"né\udcff\x1b" or named == "né" + r"\udcff\x1b"
    taught = call("adapt", "--support", "photos", "--run", f"runs/{named}")
    assert taught.code == 0 and f"--run 'runs/{named}'" in taught.out, taught
    answers = [call("predict", "photos/bar", "--run", name) for name in (f"runs/{named}", named, run)]
    assert answers[0].code == 0 and answers[0] == answers[1] == answers[2]
    assert call("report", named).code == 0 and (run / "report.html").is_file()
    assert "within" in call("runs", "list", f"runs/{named}").out
    for text in ("plain", r"C:\Users\new", "a\\tb", named):
        assert printable(unprinted(text)) == text
    (tmp_path / "runs" / named).mkdir()
    assert call("report", f"runs/{named}").code == 2, "a folder that has the name itself comes first"
