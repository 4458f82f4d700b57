"""Whatever is wrong with a person's data: exit code 2, one sentence that says what to do, no store, no traceback."""

import pytest

from tests.cli import bad_archives
from tests.cli.bad_data import KINDS, classes
from tests.cli.driving import call


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", KINDS)
def test_one_sentence_and_nothing_half_written(tmp_path, monkeypatch, name):
    monkeypatch.setenv("AUTOMETA_CACHE", str(tmp_path / "cache"))
    make, says, words = KINDS[name]
    make(tmp_path / "bad")
    before = set((tmp_path / "cache").glob("*-v1"))
    answer = call(*words)
    assert (answer.code, answer.out) == (2, ""), answer
    assert answer.err.startswith("autometa: ") and answer.err.count("\n") == 1 and len(answer.err) < 600, answer.err
    assert says in answer.err, answer.err
    if words[0] == "data":
        assert set((tmp_path / "cache").glob("*-v1")) == before, "no store of what is wrong"
    assert not list((tmp_path / "cache").rglob("*.tmp-*")) and not (tmp_path / "harm").exists()
    assert not (tmp_path / "outside.png").exists() and not (tmp_path.parent / "outside.png").exists()


def test_at_least_forty_kinds():
    assert len(KINDS) >= 40 and sum(make.__module__ == bad_archives.__name__ for make, *_ in KINDS.values()) >= 10


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    classes(tmp_path / "good", {"a": 2, "b": 2})
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AUTOMETA_CACHE", str(tmp_path / "file"))
    answer = call("data", "prepare", "good")
    assert answer.code == 2 and "AUTOMETA_CACHE" in answer.err and answer.err.count("\n") == 1


def test_a_full_disk(tmp_path, monkeypatch):
    classes(tmp_path / "good", {"a": 2, "b": 2})
    monkeypatch.setenv("AUTOMETA_CACHE", str(tmp_path / "cache"))

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("autometa.data.store._write_images", full)
        answer = call("data", "prepare", "good")
    assert answer.code == 2 and "No space left" in answer.err and "make room" in answer.err
    assert not [entry for entry in (tmp_path / "cache").glob("*good*") if entry.suffix != ".lock"]
    assert call("data", "prepare", "good").code == 0


def test_unicode_and_spaces_are_no_mistake(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOMETA_CACHE", str(tmp_path / "ein Ordner für Bilder"))
    classes(tmp_path / "meine Fotos ☂", {"Kätzchen": 2, "犬 と 猫": 2, "a'b\"c": 2})
    answer = call("data", "prepare", "meine Fotos ☂", "--json")
    assert answer.code == 0 and answer.json["images"] == 6
    assert call("data", "verify", "meine Fotos ☂").code == 0
