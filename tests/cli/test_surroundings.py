"""What the environment need not have: room on the disk, a reader, a home, a present folder, standard streams."""

import contextlib
import errno
import json
import os
import pwd
import stat
import sys
import tempfile

import pytest

from autometa.cli import main
from autometa.cli.output import open_streams
from autometa.data import DataError, cache_root
from autometa.runs import environment
from autometa.runs.files import say, shown
from tests.cli.driving import call


@contextlib.contextmanager
def written_to(stream, monkeypatch):
    with monkeypatch.context() as patch, contextlib.suppress(OSError):
        patch.setattr(sys, "stdout", stream)
        yield


@pytest.mark.parametrize("words", [["runs", "list"], ["runs", "list", "--json"], ["--help"], ["search", "--help"]])
def test_a_full_disk_is_one_sentence(words, monkeypatch, capsys):
    with written_to(open("/dev/full", "w"), monkeypatch):
        code = main(words)
        sys.stdout.close()  # as when Python leaves
    assert code == 2
    assert capsys.readouterr().err == "autometa: cannot write to standard output: No space left on device\n"


def test_a_reader_who_has_seen_enough_is_no_error(monkeypatch, capsys):
    reads, writes = os.pipe()
    os.close(reads)
    with written_to(os.fdopen(writes, "w"), monkeypatch):
        code = main(["--help"])
        sys.stdout.close()
    assert code == 0 and capsys.readouterr().err == ""


def test_a_device_is_written_to_and_stays(searched, tmp_path):
    full = tmp_path / "full"
    try:
        os.mknod(full, stat.S_IFCHR | 0o666, os.makedev(1, 7))
        open(full, "w").close()
    except OSError:
        pytest.skip("devices cannot be made here")
    answer = call("report", searched[0], "--out", full)
    assert answer.code == 2 and answer.err == "autometa: cannot write full: No space left on device\n"
    assert stat.S_ISCHR(full.stat().st_mode) and os.listdir(tmp_path) == ["full"]


@pytest.mark.parametrize("reason", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EMFILE])
def test_what_the_system_refuses_anywhere_is_one_sentence(reason, monkeypatch):
    def refused(*_):
        raise OSError(reason, os.strerror(reason), "/somewhere")

    monkeypatch.setattr("autometa.cli.looking.api.list_runs", refused)
    answer = call("runs", "list")
    assert answer.code == 2 and answer.err == f"autometa: cannot go on: {os.strerror(reason)} (/somewhere)\n"


@pytest.fixture
def nobody(monkeypatch, tmp_path):
    """A user id without HOME and without an entry in the user database."""

    def unknown(_):
        raise KeyError("uid not found")

    for name in ("HOME", "USER", "LOGNAME", "AUTOMETA_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_without_a_home(nobody):
    place = nobody / f"autometa-{os.getuid()}"
    assert cache_root() == place
    told = call("doctor", "--json")
    assert told.code == 0 and told.json["data"]["cache"] == str(place)
    answer = call("data", "info", "~nobody-of-this-name/photos")
    assert answer.code == 2 and answer.err.count("\n") == 1
    place.symlink_to(nobody)
    with pytest.raises(DataError, match="belongs to someone else; set AUTOMETA_CACHE"):
        cache_root()
    answer = call("doctor")
    assert answer.code == 0 and "belongs to someone else" in answer.out


def test_in_a_folder_that_is_gone(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert shown("/x/y") == "/x/y" and environment.describe(["x"])["folder"] is None
    assert call("runs", "list").code == 0


def test_processors_that_nobody_tells(monkeypatch):
    def refused(_):
        raise PermissionError

    monkeypatch.setattr(os, "sched_getaffinity", refused)
    assert environment.usable_cpus() == os.cpu_count()


def test_without_standard_streams(tmp_path, monkeypatch):
    """The next file to be opened must not become standard error."""
    kept = os.dup(2)
    try:
        os.close(2)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", None)
            open_streams()
            assert os.readlink("/proc/self/fd/2") == os.devnull
            say("nobody reads this")
            json.dumps(sys.stderr.encoding)
    finally:
        os.dup2(kept, 2)
        os.close(kept)
