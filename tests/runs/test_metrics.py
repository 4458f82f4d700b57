import errno
import os

import numpy as np
import pytest
import torch

from autometa.errors import DiskError, InputError
from autometa.runs import MetricsWriter, read_metrics
from autometa.runs.metrics import truncate_to


def test_lines_are_there_at_once(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with MetricsWriter(path) as writer:
        writer.log(0, loss=torch.tensor(0.5), accuracy=np.float64(12.5), name="a\nb")
        assert list(read_metrics(path)) == [{"step": 0, "loss": 0.5, "accuracy": 12.5, "name": "a\nb"}]
        writer.log(1, loss=float("nan"))
        assert writer.sync() == path.stat().st_size
    assert list(read_metrics(path))[1] == {"step": 1, "loss": None}
    with MetricsWriter(path) as writer:
        writer.log(2)
    assert [row["step"] for row in read_metrics(path)] == [0, 1, 2]


@pytest.mark.parametrize("width", [1, 70_000])
def test_cut_back_to_every_byte(tmp_path, width):
    lines = [b'{"step":%d,"x":"%s"}\n' % (i, b"y" * width) for i in range(3)]
    whole = b"".join(lines)
    ends = [sum(map(len, lines[:i])) for i in range(4)]
    path = tmp_path / "metrics.jsonl"
    for position in {*range(0, len(whole) + 2, 1 if width == 1 else 4999), *ends}:
        path.write_bytes(whole)
        kept = max(end for end in ends if end <= position)
        assert truncate_to(path, position) == kept
        assert path.read_bytes() == whole[:kept]


def test_a_half_written_last_line_is_passed_over_and_cut_off(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step":0}\n{"step":1,"lo')
    assert list(read_metrics(path)) == [{"step": 0}]
    with MetricsWriter(path) as writer:
        assert writer.position == 11
        writer.log(1)
    assert path.read_bytes() == b'{"step":0}\n{"step":1}\n'


def test_a_damaged_line_is_named(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step":0}\n{"st\n{"step":2}\n')
    with pytest.raises(InputError, match="line 2 of .*metrics.jsonl is damaged"):
        list(read_metrics(path))
    with pytest.raises(InputError, match="cannot read"):
        list(read_metrics(tmp_path / "none.jsonl"))


def test_a_full_disk_leaves_whole_lines(tmp_path, monkeypatch):
    path = tmp_path / "metrics.jsonl"
    original, left = os.write, 15

    def filling(fd, data):
        nonlocal left
        if left == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        done = original(fd, data[:left])
        left -= done
        return done

    with MetricsWriter(path) as writer:
        monkeypatch.setattr(os, "write", filling)
        writer.log(0)
        with pytest.raises(DiskError, match="No space left"):
            writer.log(1)
        assert path.read_bytes() == b'{"step":0}\n'
        left = 1000
        writer.log(1)
    assert path.read_bytes() == b'{"step":0}\n{"step":1}\n'
