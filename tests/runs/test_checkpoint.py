import errno
import itertools
import json
import os
from pathlib import Path

import pytest
import torch

from autometa.errors import DiskError, InputError
from autometa.runs import checkpoint, load_latest, load_named

FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
DTYPES = [*FLOATS, torch.int64, torch.int32, torch.uint8, torch.bool]


def bits(tensor):
    return tensor.contiguous().reshape(-1).view(torch.uint8).tolist() if tensor.numel() else []


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and bits(a) == bits(b)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (7, 63)], ids=str)
def test_every_bit_comes_back(tmp_path, dtype, shape):
    size = torch.Size(shape).numel() * torch.empty((), dtype=dtype).element_size()
    raw = torch.randint(0, 2 if dtype == torch.bool else 256, (size,), dtype=torch.uint8)
    tensor = raw.view(dtype).reshape(shape) if size else torch.empty(shape, dtype=dtype)
    path = checkpoint.save(tmp_path, 1, {"x": tensor}, {})
    assert same(checkpoint.load(path).tensors["x"], tensor)


def test_views_strides_and_shared_memory(tmp_path):
    base = torch.randn(6, 4, 5)
    tensors = {
        "whole": base,
        "same": base,
        "part": base[1:3],
        "turned": base.transpose(0, 2),
        "last": base.to(memory_format=torch.contiguous_format)[..., ::2],
        "none": base[:0],
        "grad": base.clone().requires_grad_(),
        "parameter": torch.nn.Parameter(base[0, 0]),
    }
    found = checkpoint.load(checkpoint.save(tmp_path, 1, tensors, {})).tensors
    assert found.keys() == tensors.keys()
    assert all(same(found[name], tensors[name].detach()) for name in tensors)
    found["whole"].add_(1)
    assert not torch.equal(found["whole"], found["same"])


def test_special_values_and_state(tmp_path):
    values = torch.tensor([0.0, -0.0, float("inf"), float("nan"), 1e-45])
    state = {"float": 0.1 + 0.2, "big": 2**127 + 1, "inf": float("inf"), "ü": [1, [2.5, None, True, "\n"]]}
    found = checkpoint.load(checkpoint.save(tmp_path, 12, {"v": values}, state, metrics_bytes=77))
    assert same(found.tensors["v"], values)
    assert (found.state, found.step, found.metrics_bytes) == (state, 12, 77)
    assert checkpoint.load(checkpoint.save(tmp_path, 13, {}, {})).tensors == {}


def test_newest_and_named_are_kept(tmp_path):
    for step in range(5):
        checkpoint.save(tmp_path, step, {}, {"n": step})
        if step < 2:
            checkpoint.save(tmp_path, step, {}, {"n": 10 + step}, name="best")
    names = sorted(entry.name for entry in tmp_path.iterdir())
    assert names == ["best-step-00000001", "step-00000003", "step-00000004"]
    assert load_latest(tmp_path).state == {"n": 4}
    assert load_named(tmp_path, "best").state == {"n": 11}
    assert load_named(tmp_path, "other") is None
    checkpoint.save(tmp_path, 4, {}, {"n": 5}, keep=1)
    assert load_latest(tmp_path).state == {"n": 5}
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["best-step-00000001", "step-00000004.1"]


def damage_flip(path):
    data = bytearray((path / "tensors.safetensors").read_bytes())
    data[-1] ^= 1
    (path / "tensors.safetensors").write_bytes(data)


def damage_cut(path):
    os.truncate(path / "tensors.safetensors", 20)


def damage_missing(path):
    (path / "tensors.safetensors").unlink()


def damage_state(path):
    text = (path / "state.json").read_text()
    (path / "state.json").write_text(text.replace('"n": 2', '"n": 3'))


def damage_empty_state(path):
    (path / "state.json").write_text("")


def damage_format(path):
    (path / "state.json").write_text(json.dumps([1]))


@pytest.mark.parametrize(
    "damage", [damage_flip, damage_cut, damage_missing, damage_state, damage_empty_state, damage_format]
)
def test_a_damaged_newest_is_passed_over_with_a_notice(tmp_path, damage):
    checkpoint.save(tmp_path, 1, {"x": torch.ones(3)}, {"n": 1})
    newest = checkpoint.save(tmp_path, 2, {"x": torch.ones(3)}, {"n": 2})
    damage(newest)
    told = []
    found = load_latest(tmp_path, told.append)
    assert found.step == 1 and found.state == {"n": 1}
    assert len(told) == 1 and "step-00000002" in told[0]
    checkpoint.set_aside_after(tmp_path, found.path)
    assert [entry.step for entry in checkpoint.entries(tmp_path)] == [1]
    assert (tmp_path / "damaged.step-00000002").is_dir()
    damage_cut(found.path)
    with pytest.raises(InputError, match="no checkpoint in .* is readable"):
        load_latest(tmp_path, told.append)


def test_nothing_there_is_not_an_error(tmp_path):
    assert load_latest(tmp_path) is None
    assert load_latest(tmp_path / "missing") is None


def full_disk_at(original, number):
    """`original`, whose call `number` fails."""
    calls = itertools.count()

    def failing(*args, **kwargs):
        if next(calls) == number:
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(*args, **kwargs)

    return failing


OPERATIONS = [(os, "open"), (os, "write"), (os, "fsync"), (Path, "mkdir"), (os, "rename")]


@pytest.mark.parametrize("owner, operation", OPERATIONS, ids=[name for _, name in OPERATIONS])
def test_a_full_disk_at_any_moment_leaves_the_previous_one(tmp_path, monkeypatch, owner, operation):
    checkpoint.save(tmp_path, 1, {"x": torch.ones(3)}, {"n": 1}, keep=1)
    for fail_at in range(10):
        with monkeypatch.context() as patch:
            patch.setattr(owner, operation, full_disk_at(getattr(owner, operation), fail_at))
            try:
                checkpoint.save(tmp_path, 2, {"x": torch.zeros(3)}, {"n": 2}, keep=1)
            except DiskError as error:
                assert "No space left on device" in str(error)
            else:
                break
        # Only where the very last fsync or the removal of the old one fails is the new one in place.
        told = []
        assert load_latest(tmp_path, told.append).step in (1, 2) and not told
        assert not [entry for entry in tmp_path.iterdir() if entry.name.endswith(".tmp")]
    assert fail_at > 0 and load_latest(tmp_path).step == 2


def test_names_cannot_leave_the_folder(tmp_path):
    for name in ["../x", "a/b", "", ".hidden"]:
        with pytest.raises(InputError, match="checkpoint name"):
            checkpoint.save(tmp_path / "c", 1, {}, {}, name=name)
    assert not (tmp_path / "c").exists()
