"""Which image files are opened, by their content and in named formats alone, and which are named as unread."""

import io
import re
import struct
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

import autometa
from autometa.data import DataError, Recipe, load_class_folder
from autometa.data.formats.recognise import recognise
from autometa.data.formats.sources import ImageFile
from autometa.data.image_files import SUFFIXES, UNREAD, opened
from autometa.data.images import convert, read_image
from autometa.data.prepare import bad_images
from tests.data.tiff import exif, tiff

PLAIN = Recipe(size=8, polarity="as-is")
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n0 0 moveto 8 8 lineto stroke\nshowpage\n%%EOF\n"
RAMP = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4


def encoded(form: str, pixels=RAMP, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()


@pytest.fixture
def no_ghostscript(monkeypatch):
    """Fails the test where Pillow begins to run Ghostscript."""
    begun = []
    blank = Image.new("L", (8, 8))
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *given, **also: begun.append(given) or blank)
    yield
    assert not begun, "Ghostscript was started"


def test_a_photo_cannot_start_a_program(tmp_path, no_ghostscript):
    for name in ("photo.png", "photo.eps", "photo", "photo.tga"):
        (tmp_path / name).write_bytes(EPS)
        with pytest.raises(DataError, match=f"{name} .*cannot be read"):
            read_image(tmp_path / name, PLAIN)
    with pytest.raises(DataError, match="x cannot be read"):
        read_image(io.BytesIO(EPS), PLAIN, "x")
    with Image.open(io.BytesIO(EPS)) as image, pytest.raises(DataError, match="format EPS is not decoded"):
        convert(image, PLAIN)


def test_pillow_opens_files_in_one_place_alone():
    package = Path(autometa.__file__).parent
    there = [f.name for f in package.rglob("*.py") if re.search(r"\bImage\.(open|OPEN)\b|imread\(", f.read_text())]
    assert there == ["image_files.py"]


@pytest.mark.parametrize("form", ["PNG", "GIF", "BMP", "TIFF", "PPM", "SGI", "PCX", "ICO", "TGA", "DDS", "DIB", "QOI"])
def test_lossless_formats_are_read(form, tmp_path):
    pixels = np.repeat(RAMP[:, :, None], 3, axis=2) if form in ("DDS", "ICO", "QOI") else RAMP
    file = tmp_path / f"1{next(s for s, f in Image.registered_extensions().items() if f == form)}"
    file.write_bytes(encoded(form, pixels))
    assert np.array_equal(read_image(file, PLAIN)[0], RAMP)


def test_every_suffix_of_a_format_is_that_of_an_image_in_a_class_folder(tmp_path):
    assert {".jfif", ".ppm", ".avif", ".jpg", ".jp2", ".tga"} <= SUFFIXES and not SUFFIXES & set(UNREAD)
    (tmp_path / "set" / "cat").mkdir(parents=True)
    for number, suffix in enumerate(sorted(SUFFIXES)):
        name = f"{number}{suffix.upper() if number % 2 else suffix}"
        (tmp_path / "set" / "cat" / name).write_bytes(encoded("PNG", np.full((8, 8), number, np.uint8)))
    assert len(recognise(tmp_path / "set").classes[0].images) == len(SUFFIXES)
    images, _, _ = load_class_folder(tmp_path / "set", PLAIN)
    assert sorted(images[:, 0, 0, 0].tolist()) == list(range(len(SUFFIXES)))


def test_a_picture_that_is_not_read_is_named(tmp_path):
    folder = tmp_path / "set" / "cat"
    folder.mkdir(parents=True)
    (folder / "._1.HEIC").write_bytes(b"what a Mac leaves")
    for name in ("1.HEIC", "2.CR2", "3.psd", "4.svg", "5.jxl"):
        (folder / name).write_bytes(encoded("PNG"))
        with pytest.raises(DataError, match=rf"cat/{name} is an? .* cannot be read; save it as JPEG or PNG"):
            load_class_folder(tmp_path / "set", PLAIN)
        (folder / name).unlink()
    (folder / "photo.jpg").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99))
    with pytest.raises(DataError, match=r"photo.jpg is an HEIF picture by its content"):
        load_class_folder(tmp_path / "set", PLAIN)


RATIONAL, SIGNED, SHORT = 5, 10, 3
TURNED = (0x0112, SHORT, 1, struct.pack("<H", 6))
BROKEN = {
    "XResolution -1/0": (0x011A, SIGNED, 1, struct.pack("<ll", -1, 0)),
    "Make as a rational": (0x010F, RATIONAL, 1, struct.pack("<LL", 1, 2)),
    "XResolution as text": (0x011A, 2, 6, b"hello\0"),
}


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "MPO"])
@pytest.mark.parametrize("tag", BROKEN)
def test_a_broken_exif_tag_beside_the_orientation_changes_nothing(tag, form):
    pixels = np.repeat(RAMP[:, :, None], 3, axis=2)
    plain = read_image(io.BytesIO(encoded(form, pixels)), PLAIN, "plain")[0]
    broken = encoded(form, pixels, exif=exif(TURNED, BROKEN[tag]))
    assert np.array_equal(read_image(io.BytesIO(broken), PLAIN, "broken")[0], np.rot90(plain, -1))


@pytest.mark.parametrize("tag", BROKEN)
def test_a_tiff_with_a_broken_tag_is_read(tag):
    assert np.array_equal(read_image(io.BytesIO(tiff(RAMP, BROKEN[tag])), PLAIN, "x")[0], RAMP)
    assert np.array_equal(read_image(io.BytesIO(tiff(RAMP, BROKEN[tag], TURNED)), PLAIN, "x")[0], np.rot90(RAMP, -1))


@pytest.mark.parametrize("value", [(SIGNED, 1, struct.pack("<ll", -1, 0)), (2, 6, b"hello\0"), (SHORT, 1, b"\xff\0")])
def test_an_orientation_that_is_none_is_none(value):
    file = io.BytesIO(encoded("PNG", exif=exif((0x0112, *value))))
    assert np.array_equal(read_image(file, PLAIN, "x")[0], RAMP)


@pytest.mark.parametrize("error", [KeyError("tag"), AttributeError("encode"), MemoryError(), RecursionError("deep")])
def test_whatever_a_decoder_raises_the_picture_is_named(error, tmp_path, monkeypatch):
    def fail(self):
        raise error

    (tmp_path / "1.png").write_bytes(encoded("PNG"))
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    with pytest.raises(DataError, match="1.png cannot be read as an image"):
        read_image(tmp_path / "1.png", PLAIN)
    assert "1.png cannot be read" in next(bad_images([ImageFile(tmp_path / "1.png")], PLAIN, 1))


@pytest.mark.parametrize("content", [b"", b"I", b"II*", b"\xff\xd8\xff"], ids=repr)
def test_a_few_bytes_are_no_picture(content):
    what = "empty" if not content else "of no image format that is read here"
    with pytest.raises(DataError, match=rf"x cannot be read as an image \(its content is {what}\)"):
        read_image(io.BytesIO(content), PLAIN, "x")


def test_a_jpeg_that_is_too_large_to_decode_whole_is_read_reduced(monkeypatch):
    monkeypatch.setattr("autometa.data.image_files.LARGEST", 128 * 96 - 1)
    pixels = np.zeros((96, 128), np.uint8)
    pixels[:, :64] = 200
    with opened(io.BytesIO(encoded("JPEG", pixels)), "x") as image:
        assert image.size == (32, 24)
    turned = encoded("JPEG", pixels, exif=exif(TURNED))
    assert np.array_equal(read_image(io.BytesIO(turned), PLAIN, "x")[0], np.repeat([[200] * 8, [0] * 8], 4, axis=0))
    with pytest.raises(DataError, match="x has 128 x 96 pixels"):
        read_image(io.BytesIO(encoded("PNG", pixels)), PLAIN, "x")


@pytest.mark.parametrize(("form", "side"), [("PNG", 13400), ("JPEG", 16500)])
def test_beyond_the_limit_the_sentence_names_it(form, side, tmp_path):
    head = encoded(form)
    if form == "PNG":
        head = head[:16] + struct.pack(">LL", side, side) + b"\x08" + head[25:]
        head = head[:29] + struct.pack(">L", zlib.crc32(head[12:29])) + head[33:]
    else:
        at = head.index(b"\xff\xc0") + 5
        head = head[:at] + struct.pack(">HH", side, side) + head[at + 4 :]
    file = tmp_path / "bomb"
    file.write_bytes(head)
    with pytest.raises(DataError, match=rf"bomb has {side} x {side} pixels, 178 million .* 268 million of a JPEG"):
        read_image(file, PLAIN)


def test_large_images_are_decoded_one_at_a_time(monkeypatch):
    monkeypatch.setattr("autometa.data.image_files.ALONE", 32)
    inside, most = [], []
    before = Image.Image.resize

    def watched(self, *given, **also):
        inside.append(1)
        most.append(len(inside))
        threading.Event().wait(0.02)
        inside.pop()
        return before(self, *given, **also)

    monkeypatch.setattr(Image.Image, "resize", watched)
    data = encoded("PNG")
    threads = [threading.Thread(target=read_image, args=(io.BytesIO(data), PLAIN, "x")) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1, 1]
