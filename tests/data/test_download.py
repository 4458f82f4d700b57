"""Downloads from a server of these tests: mirrors, resumption, checksums."""

import hashlib
import http.server
import os
import threading

import pytest

from autometa.cli import main
from autometa.data import DataError
from autometa.data import download as module
from autometa.data.download import Remote, download, fetch

CONTENT = os.urandom(300_000)
MD5 = hashlib.md5(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """/whole and /ranged serve CONTENT, /cut stops in the middle, /page is a web page, all else is missing."""

    def do_GET(self):
        self.server.asked.append((self.path, self.headers.get("Range")))
        if self.path not in ("/whole", "/ranged", "/cut", "/page"):
            self.send_error(404)
            return
        content = b"<html>quota</html>" if self.path == "/page" else CONTENT
        start = 0
        if self.headers.get("Range") and self.path in ("/ranged", "/cut"):
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_error(416)
                return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        stop = len(content) // 2 if self.path == "/cut" else len(content)
        self.wfile.write(content[start:stop])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.asked = []
        threading.Thread(target=running.serve_forever, daemon=True).start()
        running.url = f"http://127.0.0.1:{running.server_port}"
        yield running
        running.shutdown()


def remote(server, *paths, md5=MD5):
    return Remote("set.zip", md5, tuple(f"{server.url}/{path}" for path in paths))


def test_the_next_mirror_is_tried_and_a_half_file_is_continued(server, tmp_path):
    told = []
    path = fetch(remote(server, "missing", "cut", "ranged"), tmp_path, lambda *values: told.append(values))
    assert path.read_bytes() == CONTENT and [entry.name for entry in tmp_path.iterdir()] == ["set.zip"]
    assert server.asked == [("/missing", None), ("/cut", None), ("/ranged", f"bytes={len(CONTENT) // 2}-")]
    assert told[-1] == (len(CONTENT), len(CONTENT), "set.zip")


def test_a_killed_download_goes_on_where_it_was(server, tmp_path):
    (tmp_path / "set.zip.part").write_bytes(CONTENT[:1000])
    assert fetch(remote(server, "ranged"), tmp_path).read_bytes() == CONTENT
    assert server.asked == [("/ranged", "bytes=1000-")]


def test_a_server_that_cannot_resume_sends_all(server, tmp_path):
    (tmp_path / "set.zip.part").write_bytes(b"x" * 1000)
    assert fetch(remote(server, "whole"), tmp_path).read_bytes() == CONTENT


def test_a_complete_part_is_taken_and_a_wrong_one_is_not(server, tmp_path):
    (tmp_path / "set.zip.part").write_bytes(CONTENT)
    assert fetch(remote(server, "ranged"), tmp_path).read_bytes() == CONTENT
    (tmp_path / "set.zip").unlink()
    (tmp_path / "set.zip.part").write_bytes(b"y" * len(CONTENT))
    assert fetch(remote(server, "ranged", "whole"), tmp_path).read_bytes() == CONTENT


def test_what_is_there_is_not_fetched_again(server, tmp_path):
    (tmp_path / "set.zip").write_bytes(CONTENT)
    assert fetch(remote(server, "whole"), tmp_path) == tmp_path / "set.zip" and server.asked == []
    (tmp_path / "set.zip").write_bytes(b"mine")
    with pytest.raises(DataError, match="not the published file"):
        fetch(remote(server, "whole"), tmp_path)
    assert (tmp_path / "set.zip").read_bytes() == b"mine"


def test_nothing_wrong_is_kept(server, tmp_path):
    with pytest.raises(DataError, match=r"md5 differs.*put it into") as told:
        fetch(remote(server, "page", "missing"), tmp_path)
    assert "Not Found" in str(told.value) and list(tmp_path.iterdir()) == []


def test_the_command(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(module.CATALOGUE, "tiny", (remote(server, "whole"),))
    assert main(["data", "download", "tiny", "--to", str(tmp_path / "new")]) == 0
    assert (tmp_path / "new/set.zip").read_bytes() == CONTENT and "set.zip" in capsys.readouterr().out
    with pytest.raises(DataError, match="cannot be downloaded, only omniglot, tiny can; .*data prepare FOLDER"):
        download("imagenet", tmp_path)
    (tmp_path / "file").write_text("")
    assert main(["data", "download", "tiny", "--to", str(tmp_path / "file")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_published_files_have_mirrors_and_sums():
    for remotes in module.CATALOGUE.values():
        assert all(len(r.md5) == 32 and len(r.mirrors) >= 2 for r in remotes)
        assert all(m.startswith("https://") and m.endswith(r.name) for r in remotes for m in r.mirrors)
