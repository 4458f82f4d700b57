"""Archives unpacked into a folder."""

import contextlib
import io
import os
import shutil
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pytest

from autometa.data import DataError, cache_root
from autometa.data.formats.archives import is_archive, unpack
from autometa.data.formats.recognise import recognise
from autometa.errors import DiskError

FILES = {"set/a.pkl": b"alpha" * 1000, "set/deep er/ä.pkl": b"beta", "set/empty": b""}


def tar(path, files=FILES, mode="w:gz", **kinds):
    with tarfile.open(path, mode) as packed:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            packed.addfile(info, io.BytesIO(content))
        for name, (kind, target) in kinds.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            packed.addfile(info)
    return path


def zipped(path, files=FILES):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return path


@contextlib.contextmanager
def unpacked(path):
    """A folder of the cache with the files of an archive."""
    cache_root().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_root()) as folder:
        unpack(path, Path(folder))
        yield Path(folder)


def content_of(folder):
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("name", ("a.tar", "a.tar.gz", "a.tgz", "a.tar.bz2", "a.tar.xz", "a b.zip"))
def test_archives_end_in_their_files(tmp_path, name):
    mode = {"gz": "w:gz", "tgz": "w:gz", "bz2": "w:bz2", "xz": "w:xz"}.get(name.rsplit(".", 1)[-1], "w")
    path = zipped(tmp_path / name) if name.endswith("zip") else tar(tmp_path / name, mode=mode)
    assert is_archive(path) and not is_archive(tmp_path)
    with unpacked(path) as folder:
        assert content_of(folder) == FILES


def test_nothing_is_left_after_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOMETA_CACHE", str(tmp_path / "cache"))
    for files in (FILES, {"good": b"x", "../evil": b"x"}):
        with pytest.raises(DataError, match="b.tar.gz"):
            recognise(tar(tmp_path / "b.tar.gz", files))
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.stat().st_size]


@pytest.mark.parametrize("name", ("../evil", "set/../../evil", "/tmp/evil-absolute", "C:/evil", "a\\..\\..\\evil"))
@pytest.mark.parametrize("make", (tar, zipped))
def test_no_member_climbs_out(tmp_path, name, make):
    path = make(tmp_path / ("a.zip" if make is zipped else "a.tar.gz"), {"good": b"x", name: b"evil"})
    with pytest.raises(DataError, match="points outside the archive; do not use"), unpacked(path):
        pass
    assert not list(tmp_path.rglob("evil*")) and not list(cache_root().rglob("evil*"))
    assert not os.path.exists("/tmp/evil-absolute")


@pytest.mark.parametrize("kind", (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE))
def test_links_and_devices_are_refused(tmp_path, kind):
    path = tar(tmp_path / "a.tar.gz", odd=(kind, "/etc/passwd"))
    with pytest.raises(DataError, match="'odd', a link or device"), unpacked(path):
        pass


def test_names_that_come_twice_are_refused(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as packed:
        for _ in range(2):
            packed.addfile(tarfile.TarInfo("set/a.pkl"), io.BytesIO())
    with pytest.raises(DataError, match="'set/a.pkl' twice"), unpacked(path):
        pass
    with (
        pytest.raises(DataError, match="'set/a.pkl/b' twice"),
        unpacked(tar(path, {"set/a.pkl": b"", "set/a.pkl/b": b""})),
    ):
        pass


def test_damaged_archives_are_told(tmp_path):
    whole = tar(tmp_path / "a.tar.gz", {"set/a.pkl": os.urandom(50_000)}).read_bytes()
    for content in (
        whole[: len(whole) // 2],
        whole[:-30_000],
        b"",
        b"<html>quota exceeded</html>",
        whole[:100] + whole[150:],
    ):
        (tmp_path / "cut.tar.gz").write_bytes(content)
        with pytest.raises(DataError, match="cut.tar.gz .*copy") as told, unpacked(tmp_path / "cut.tar.gz"):
            pass
        assert "\n" not in str(told.value) and ("a web page" in str(told.value)) == content.startswith(b"<")
    whole = zipped(tmp_path / "a.zip", {"set/a.pkl": os.urandom(5_000)}).read_bytes()
    for content in (whole[:-100], whole[:200] + b"\xff\xff" + whole[202:], b""):
        (tmp_path / "cut.zip").write_bytes(content)
        with pytest.raises(DataError, match="cut.zip.* copy"), unpacked(tmp_path / "cut.zip"):
            pass
    with pytest.raises(DataError, match="none.tar cannot be read"), unpacked(tmp_path / "none.tar"):
        pass


@pytest.mark.parametrize("stated", (3, 1003))
def test_a_member_that_lies_about_its_size_is_told(tmp_path, stated):
    path = zipped(tmp_path / "a.zip", {"set/a.pkl": b"x" * 1000})
    content = bytearray(path.read_bytes())
    entry = content.index(b"PK\x01\x02")
    content[entry + 24 : entry + 28] = stated.to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(DataError, match="a.zip.*download or copy"), unpacked(path):
        pass


@pytest.mark.parametrize("make", (tar, zipped))
def test_a_full_disk_is_told_before_it_is_full(tmp_path, monkeypatch, make):
    path = make(tmp_path / ("a.zip" if make is zipped else "a.tar.gz"))
    full = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: full)
    with pytest.raises(DiskError, match="bytes unpacked, .* has 100; make room"), unpacked(path):
        pass


def test_a_cache_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("AUTOMETA_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(DiskError, match="cannot be written.*change AUTOMETA_CACHE"):
        recognise(tar(tmp_path / "a.tar"))
