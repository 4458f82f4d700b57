"""Archives and compressed files that ask for too much are refused before they get it, and leave nothing."""

import gzip
import io
import lzma
import pickle
import pickletools
import resource
import struct
import tarfile
import zipfile
import zlib

import pytest

from autometa.data import DataError
from autometa.data.formats import limits, pickles, rows, torchmeta_files
from autometa.data.formats.archives import unpack, zip_members
from autometa.data.formats.recognise import recognise
from autometa.data.prepare import prepare
from tests.data.formats.test_class_folders import fill, packed


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOMETA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def left(cache):
    return [path for path in cache.rglob("*") if path.is_file()]


def refused(path, says, cache):
    with pytest.raises(DataError, match=says) as told:
        recognise(path)
    assert path.name in str(told.value) and "\n" not in str(told.value) and "max_slots" not in str(told.value)
    assert not left(cache)


def header(name, size, kind=tarfile.REGTYPE):
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


def zeros(path, start, size):
    """A tar.gz of `start` and then `size` zeros, made without holding or compressing them one by one."""
    step = zlib.compressobj(9, zlib.DEFLATED, 31)
    with open(path, "wb") as file:
        file.write(step.compress(start))
        for _ in range(size >> 20):
            file.write(step.compress(bytes(1 << 20)))
        file.write(step.flush())
    return path


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, cache, monkeypatch):
    path = zeros(tmp_path / "bomb.tar.gz", header("a/0.png", 4 << 30), 4 << 20)
    monkeypatch.setattr("autometa.data.formats.archives._write", lambda *_: pytest.fail("something was written"))
    refused(path, r"would become more than 268,435,456 bytes.*out of all proportion.*unpack it yourself", cache)


def greedy(packed):
    """An .xz stream whose header asks for a dictionary of 4 GiB, which its content does not need."""
    data = bytearray(packed)
    end = 12 + 4 * (data[12] + 1)
    data[data.index(b"\x21\x01", 14, end) + 2] = 40
    data[end - 4 : end] = struct.pack("<I", zlib.crc32(data[12 : end - 4]))
    return bytes(data)


@pytest.mark.parametrize("name", ("mine.tar.xz", "mine.tar", "mine.tgz"))
def test_the_dictionary_of_an_xz_file_is_limited(tmp_path, cache, name):
    folder = fill(tmp_path / "mine", {"a": 2, "b": 2})
    whole = gzip.decompress(packed(folder, tmp_path / "mine.tar.gz").read_bytes())
    path, half = tmp_path / name, len(whole) // 2
    for content in (
        greedy(lzma.compress(whole)),
        lzma.compress(whole[:half]) + bytes(8) + greedy(lzma.compress(whole[half:])),
    ):
        path.write_bytes(content)
        refused(path, "asks for more than 134,217,728 bytes of memory to be unpacked; pack it again with xz -9", cache)
    path.write_bytes(lzma.compress(whole[:half], preset=9) + bytes(8) + lzma.compress(whole[half:]))
    assert prepare(path, size=5).store.class_names == ("a", "b")
    path.write_bytes(lzma.compress(whole)[:-400])
    refused(path, "damaged or no archive .it ends too early", tmp_path / "none")


def test_small_files_without_number_are_a_bomb_too(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(limits, "FREE", 1 << 22)
    path = tmp_path / "many.tar.gz"
    with gzip.open(path, "wb", 1) as file:
        file.write(b"".join(header(f"a/{k}.png", 0) for k in range(2000)))
    refused(path, "would become more than", cache)


@pytest.mark.parametrize("kind", (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK))
def test_headers_are_not_read_into_memory(tmp_path, cache, kind):
    path = zeros(tmp_path / "long.tar.gz", header("a/0.png", 2 << 30, kind), 1 << 20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(path, "headers too long for any data set", cache)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "kilobytes"


def test_headers_that_follow_each_other_without_end(tmp_path, cache):
    path = tmp_path / "chain.tar.gz"
    record = b"30 comment=xxxxxxxxxxxxxxxxxx\n"
    with gzip.open(path, "wb", 1) as file:
        file.write((header("h", len(record), tarfile.XHDTYPE) + record.ljust(512, b"\0")) * 5000)
    refused(path, "headers too long|more memory", cache)


def test_holes_are_refused(tmp_path, cache):
    buf = bytearray(header("a/0.png", 0, tarfile.GNUTYPE_SPARSE))
    buf[386:410] = b"%011o\0%011o\0" % (0, 0)
    buf[482] = 0
    buf[483:495] = b"%011o\0" % (1 << 32)
    buf[148:156] = b"%06o\0 " % (sum(buf[:148]) + 8 * 32 + sum(buf[156:]))
    (tmp_path / "holes.tar").write_bytes(bytes(buf) + bytes(1024))
    refused(tmp_path / "holes.tar", "out of all proportion|file with holes", cache)


def test_bombs_within_each_other_share_one_allowance(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(limits, "FREE", 1 << 20)
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:gz") as archive:
        info = tarfile.TarInfo("a/0.png")
        info.size = 8 << 20
        archive.addfile(info, io.BytesIO(bytes(info.size)))
    path = tmp_path / "outer.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo("inner.tar.gz")
        info.size = len(inner.getvalue())
        archive.addfile(info, io.BytesIO(inner.getvalue()))
    with pytest.raises(DataError, match="inner.tar.gz would become more than 1,048,576 bytes"):
        recognise(path)
    assert not left(cache)


def test_names_longer_than_any_file_system_takes(tmp_path, cache):
    for number, name in enumerate(("x" * 300, "/".join("d" * 100))):
        path = tmp_path / f"{number}.tar"
        with tarfile.open(path, "w") as archive:
            archive.addfile(tarfile.TarInfo(name))
        refused(path, "longer than file systems take", cache)


def test_nothing_stays_of_what_is_refused_later(tmp_path, cache):
    with tarfile.open(tmp_path / "nothing.tar.gz", "w:gz") as archive:
        info = tarfile.TarInfo("notes/readme.txt")
        info.size = 5
        archive.addfile(info, io.BytesIO(b"hello"))
    refused(tmp_path / "nothing.tar.gz", "no data set that is known", cache)
    folder = fill(tmp_path / "mine", {"a": 2, "b": 2})
    (folder / "a/000.png").write_bytes(b"no image")
    path = packed(folder, tmp_path / "mine.tar.gz")
    with pytest.raises(DataError, match="000.png cannot be read"):
        prepare(path, size=5)
    assert not [file for file in left(cache) if file.stat().st_size]
    assert prepare(path, size=5, skip_bad=True).store.class_names == ("a", "b")


def test_a_zip_is_held_to_the_same(tmp_path, cache, monkeypatch):
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/0.png", bytes(1 << 20))
    content = bytearray(path.read_bytes())
    entry = content.index(b"PK\x01\x02")
    content[entry + 24 : entry + 28] = struct.pack("<I", 3 << 30)
    path.write_bytes(content)
    refused(path, "out of all proportion", cache)
    content[entry + 20 : entry + 24] = struct.pack("<I", 1 << 30)
    path.write_bytes(content)
    refused(path, "truncated|out of all", cache)
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        for k in range(50):
            archive.writestr(f"a/{k}.png", b"x")
    monkeypatch.setattr("autometa.data.formats.archives.MEMBERS", 40)
    with pytest.raises(DataError, match="more than 40 files"):
        zip_members(tmp_path / "many.zip")
    monkeypatch.setattr("autometa.data.formats.archives.DIRECTORY", 1000)
    with pytest.raises(DataError, match="headers too long"):
        zip_members(tmp_path / "many.zip")


def test_comments_of_a_zip_are_no_fault(tmp_path):
    path = tmp_path / "told.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/0.png", b"x")
        archive.comment = b"c" * 65_535
    assert list(zip_members(path)) == ["a/0.png"]
    (tmp_path / "out").mkdir()
    unpack(path, tmp_path / "out")
    assert (tmp_path / "out/a/0.png").read_bytes() == b"x"


def test_tables_have_limits(tmp_path, monkeypatch):
    table = tmp_path / "a.csv"
    with open(table, "wb") as file:
        file.truncate(limits.TABLE + 1)
    with pytest.raises(DataError, match="a.csv is larger than 67,108,864 bytes"):
        recognise(table)
    monkeypatch.setattr(rows, "MEMBERS", 3)
    assert len(list(rows.csv_rows("a,b\n" * 4, "t"))) == 4
    with pytest.raises(DataError, match="t has more than 3 rows"):
        list(rows.csv_rows("a,b\n" * 5, "t"))


def test_a_pickle_that_copies_itself_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(pickles, "HELD", 1 << 20)
    text = pickle.dumps("x" * 60_000, 2)[:-1]
    again = b"c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R0"
    for name, content in {
        "copies.pkl": text + again * 30 + b".",
        "objects.pkl": b"\x80\x02" + b"}0" * 20_000 + b"N.",
    }.items():
        path = tmp_path / name
        path.write_bytes(content)
        pickletools.dis(content, io.StringIO())
        with pytest.raises(DataError, match=f"{name} asks for more memory than its arrays need"):
            pickles.load(path)
    (tmp_path / "good.pkl").write_bytes(pickle.dumps({"labels": list(range(3000))}))
    assert pickles.load(tmp_path / "good.pkl") == {"labels": list(range(3000))}


def test_an_hdf5_shell_claims_nothing(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "train_data.hdf5", "w") as file:
        file.create_group("datasets").create_dataset("a", (10**9, 84, 84, 3), "u1", chunks=(1, 84, 84, 3))
    with pytest.raises(DataError, match="train_data.hdf5 holds .*out of all proportion"):
        recognise(tmp_path)
    with pytest.raises(DataError, match="more than 1,500,000 images"):
        torchmeta_files.check_total(tmp_path, [10**6, 10**6])
