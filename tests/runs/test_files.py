import dataclasses
import errno
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from autometa import errors
from autometa.runs import files


def entries(folder):
    return sorted(entry.name for entry in folder.iterdir())


def test_round_trip_replaces_and_leaves_nothing_beside(tmp_path):
    path = tmp_path / "a.json"
    files.write_json(path, {"x": 1})
    files.write_json(path, {"x": [1, 2.5, None, "ü"]})
    assert files.read_json(path) == {"x": [1, 2.5, None, "ü"]}
    assert entries(tmp_path) == ["a.json"]


@pytest.mark.parametrize("operation", ["fsync", "replace", "write", "open"])
def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch, operation):
    path = tmp_path / "a.json"
    files.write_text(path, "old")

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, operation, full)
        with pytest.raises(errors.DiskError, match=r"^cannot write .*a.json: No space left on device$"):
            files.write_text(path, "new")
    assert path.read_text() == "old"
    assert entries(tmp_path) == ["a.json"]


def test_short_writes_are_continued(tmp_path, monkeypatch):
    original = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: original(fd, data[:3]))
    files.write_bytes(tmp_path / "a", b"0123456789")
    assert (tmp_path / "a").read_bytes() == b"0123456789"


def test_sweep_takes_its_own_leftovers_only(tmp_path):
    mine = files.temporary_beside(tmp_path / "config.json")
    folder = files.temporary_beside(tmp_path / "step-00000001")
    mine.write_text("")
    folder.mkdir()
    (folder / "x").write_text("")
    (tmp_path / ".editor.tmp").write_text("")
    (tmp_path / "data.tmp").write_text("")
    files.sweep(tmp_path)
    assert entries(tmp_path) == [".editor.tmp", "data.tmp"]


def test_read_json_names_the_file(tmp_path):
    (tmp_path / "a.json").write_text('{"x": ')
    with pytest.raises(errors.InputError, match="a.json is not valid JSON"):
        files.read_json(tmp_path / "a.json")
    with pytest.raises(errors.InputError, match="cannot read .*b.json: No such file"):
        files.read_json(tmp_path / "b.json")


@dataclasses.dataclass(frozen=True)
class Config:
    rate: float = 0.1
    where: Path = Path("a/b")
    sizes: tuple = (1, np.int64(2), torch.tensor(3))


def test_plain_converts_what_configs_hold():
    assert files.plain({"c": Config()}) == {"c": {"rate": 0.1, "where": "a/b", "sizes": [1, 2, 3]}}
    assert files.plain(np.float32(0.5)) == 0.5
    assert files.plain(float("inf"), strict=True) is None
    with pytest.raises(TypeError, match="keys are strings"):
        files.plain({1: 2})
    with pytest.raises(TypeError, match="no JSON form"):
        files.plain({"a": object()})


def test_exit_codes():
    codes = {kind: kind.exit_code for kind in (errors.InputError, errors.DivergedError, errors.Interrupted)}
    assert list(codes.values()) == [2, 3, 130]
    assert issubclass(errors.InputError, ValueError) and issubclass(errors.DiskError, OSError)
    assert errors.AutometaError.exit_code == 1 and errors.DiskError("x").exit_code == 2
