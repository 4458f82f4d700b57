"""`predict` answers for the pictures that can be read, names the others and leaves with 2."""

import io
import os
import warnings

import pytest
from PIL import Image

import autometa
from autometa.errors import InputError
from tests.cli.driving import call
from tests.data.tiff import exif
from tests.estimator.drawings import saved, shots, strokes


@pytest.fixture
def taught(tmp_path):
    """`adapted`, and a folder `new` of five drawings, the second damaged, the third with a broken tag, and an HEIF."""
    support, labels, queries, _ = shots(*strokes(characters=2))
    for k, name in enumerate("ab"):
        saved(support[labels == k], tmp_path / "some" / name)
    saved(queries[:5], tmp_path / "new")
    (tmp_path / "new" / "001.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    broken = exif((0x010F, 5, 1, bytes([1, 0, 0, 0, 2, 0, 0, 0])), (0x0112, 3, 1, b"\1\0"))
    Image.fromarray(queries[2]).save(tmp_path / "new" / "002.png", exif=broken)
    (tmp_path / "new" / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    assert call("adapt", "--support", "some", "-q").code == 0
    return tmp_path


class Bytes:
    """A path of bytes."""

    def __init__(self, path):
        self.path = path

    def __fspath__(self):
        return os.fsencode(self.path)


def test_the_others_are_answered(taught):
    answer = call("predict", "new", "-q", "--json")
    assert answer.code == 2 and answer.err.count("\n") == 2
    assert "001.png cannot be read as an image" in answer.err and "IMG_1.HEIC is an HEIF picture" in answer.err
    assert [row["image"] for row in answer.json] == [f"new/{n}.png" for n in ("000", "002", "003", "004")]
    (taught / "new" / "001.png").unlink()
    (taught / "new" / "IMG_1.HEIC").unlink()
    clean = call("predict", "new", "-q", "--json")
    assert clean.code == 0 and clean.json == answer.json
    (taught / "bad").mkdir()
    (taught / "bad" / "IMG_2.HEIC").write_bytes(b"\0")
    (taught / "bad" / "IMG_3.HEIC").write_bytes(b"\0")
    none = call("predict", "bad", "-q")
    assert none.code == 2 and none.out == "" and "IMG_2.HEIC is an HEIF picture" in none.err and "1 more" in none.err


def test_in_python_contents_are_pictures_and_what_is_none_is_told(taught):
    path = taught / "new" / "000.png"
    (wanted,) = autometa.predict(path, quiet=True)
    with open(path, "rb") as file:
        rows = autometa.predict([path.read_bytes(), file, path, bytearray(path.read_bytes())], quiet=True)
    assert [row[1:] for row in rows] == [wanted[1:]] * 4
    assert [row[0].name for row in rows] == ["image 1", "image 2", "000.png", "image 4"]
    assert autometa.predict(Bytes(path), quiet=True)[0][1:] == wanted[1:]
    with pytest.warns(UserWarning, match="001.png cannot be read"):
        assert len(autometa.predict([path, taught / "new" / "001.png"], quiet=True)) == 1
    for given, sentence in (
        (bytes(10**5), "image 1 cannot be read as an image"),
        ("x" * 10**5, r"no image x{60}\.\.\. \(100,000 characters\)"),
        (None, "not of type NoneType"),
        ([5], "image 1 is of type int"),
        ({path: 1}, "not of type dict"),
        (io.StringIO("text"), "image 1 was opened as text"),
        (io.RawIOBase(), r"from the file object \(NotImplementedError\)"),
        (b"", "its content is empty"),
        (["", path], "image 1 has an empty name; give its path, or . for the present folder"),
    ):
        with warnings.catch_warnings(), pytest.raises(InputError, match=sentence) as told:
            autometa.predict(given, quiet=True)
        assert len(str(told.value)) < 300
    with pytest.raises(InputError, match="support is the path of a folder"):
        autometa.adapt(path.read_bytes())


def test_a_folder_of_pictures_that_cannot_be_read_is_named_by_every_command(tmp_path):
    for name in ("cat", "dog"):
        saved(strokes(characters=1, drawings=3)[0], tmp_path / "set" / name)
    (tmp_path / "set" / "dog" / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    told = "IMG_1.HEIC is an HEIF picture"
    about = call("data", "info", "set")
    assert about.code == 0 and told in about.out
    assert told in call("data", "verify", "set").out
    for words in (("data", "prepare", "set"), ("adapt", "--support", "set")):
        answer = call(*words, "-q") if words[0] != "data" else call(*words)
        assert answer.code == 2 and told in answer.err, words
    left = call("data", "prepare", "set", "--skip-bad", "--json")
    assert left.code == 0 and left.json["images"] == 6 and told in left.json["skipped"][0]
