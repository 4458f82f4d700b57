"""Which image files are read, by format and by suffix, and the one place where Pillow opens one."""

from __future__ import annotations

import io
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image, ImageFile

from autometa.data.errors import DataError

FORMATS = """
PNG JPEG GIF BMP TIFF WEBP AVIF JPEG2000 PPM QOI ICO ICNS DDS SGI SUN XPM XBM MSP PCX DCX FITS FLI FTEX BLP GBR PIXAR
DIB CUR PCD TGA
""".split()
"""What Pillow decodes by itself; formats without a magic number come last.

Not among them: EPS (Ghostscript, a program, would interpret the file), WMF, FPX, GRIB, BUFR, HDF5 and MIC (a plug-in),
IPTC (what it holds is opened in any format), MPEG (video), PSD (often without the flat picture that is read), and
SPIDER, MCIDAS, IMT, XVTHUMB (no suffix), IM (going to be removed from Pillow).
"""
SUFFIXES = {suffix for suffix, form in Image.registered_extensions().items() if form in (*FORMATS, "MPO")}
SUFFIXES |= {".webp", ".avif", ".avifs"}
"""Of image files; those that Pillow may have been built without are named as unreadable, never passed over."""
_UNREAD = {
    "an HEIF picture": ".heic .heics .heif .heifs .hif",
    "a camera's raw picture": ".dng .raw .cr2 .cr3 .crw .nef .nrw .arw .srf .sr2 .raf .orf .rw2 .rwl .pef .srw .x3f "
    ".3fr .fff .iiq .erf .mef .mos .mrw .kdc .dcr",
    "a picture in layers": ".psd .psb .xcf .kra .ora",
    "a drawing, not a picture in pixels,": ".svg .svgz .eps .epsf .epsi .ai .wmf .emf",
    "a picture of a format that is not read,": ".jxl .jxr .hdp .wdp .jls .exr .hdr .bpg .flif .djvu .djv .pict .pct",
}
UNREAD = {suffix: kind for kind, listed in _UNREAD.items() for suffix in listed.split()}
"""Suffix -> what it is, of pictures that are named where they lie among images, never passed over."""
LARGEST = 2 * 89_478_485
"""Pixels of an image, as many as Pillow's own limit: 4 bytes each while it is decoded."""
LARGEST_JPEG = 1 << 28
"""Pixels of a JPEG file: beyond `LARGEST` it is decoded at a quarter of its width and height."""
ALONE = 1 << 26
"""Pixels from which images are decoded one at a time, however many threads there are."""
LONGEST = 1000
"""Characters of a path that are shown."""
_HEIF = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_BEGINNINGS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*")
_WITHIN = {b"RIFF": (b"WEBP",), b"ftyp": (b"avif", b"avis", *_HEIF)}
"""How files of images begin, and what those hold from byte 8 on that begin as others do."""
_OTHERS = set(
    ".txt .csv .tsv .json .jsonl .ndjson .xml .md .html .yaml .yml .ini .log .py .pdf .db .pkl .npy .npz .mat .zip "
    ".tar .gz .mp4 .mov".split()
)
"""Suffixes of files that no picture has: they are not looked into."""
_alone = threading.Lock()


def is_image(file: Path) -> bool:
    """Whether a file's name is that of a picture, one that is read here or one to be named as unread."""
    suffix = file.suffix.lower()
    return (suffix in SUFFIXES or suffix in UNREAD) and not file.name.startswith(".")


def is_picture(file: Path) -> bool:
    """Whether a file is one of an image by its name, or by its content where its suffix says nothing of it: pictures
    that were downloaded often have none, or another one behind it."""
    suffix = file.suffix.lower()
    if is_image(file) or file.name.startswith(".") or suffix in _OTHERS:
        return is_image(file)
    try:
        if not file.is_file():
            return False
        with open(file, "rb") as opened:
            start = opened.read(12)
    except OSError:
        return False
    inside = b"ftyp" if start[4:8] == b"ftyp" else start[:4]
    return start.startswith(_BEGINNINGS) or start[8:] in _WITHIN.get(inside, ())


def shortened(name: str) -> str:
    """A path for messages; what is longer than one is, such as the content of a file, by its beginning."""
    return name if len(name) <= LONGEST else f"{name[:60]}... ({len(name):,} characters)"


def is_content(item: object) -> bool:
    """Whether it is the content of an image file, as bytes or as a file object, rather than its path."""
    return isinstance(item, (bytes, bytearray, memoryview)) or hasattr(item, "read")


def stream_of(item: Any, name: str) -> BinaryIO:
    """A seekable stream over bytes or the whole of an opened file. Raises `DataError` where it is text or closed."""
    if isinstance(item, (bytes, bytearray, memoryview)):
        return io.BytesIO(item)
    try:
        if item.seekable():
            item.seek(0)
        content = item.read()
    except Exception as error:
        raise DataError(
            f"{name} cannot be read from the file object ({_reason(error)}); give an open file or its path"
        ) from error
    if not isinstance(content, bytes):
        raise DataError(f'{name} was opened as text; open it with open(path, "rb")')
    return io.BytesIO(content)


@contextmanager
def opened(source: str | Path | BinaryIO, name: str) -> Iterator[ImageFile.ImageFile]:
    """An image file or seekable stream, identified by its content alone and not decoded yet; `name` is for messages.

    Raises `DataError` for any error, here or of who decodes it, as `naming` does.
    """
    name = shortened(name)
    with naming(name):
        suffix = Path(source).suffix.lower() if isinstance(source, (str, Path)) else ""
        if suffix in UNREAD and Path(source).is_file():
            raise DataError(f"{name} is {UNREAD[suffix]} and cannot be read; save it as JPEG or PNG, or remove it")
        with open(source, "rb") if isinstance(source, (str, Path)) else nullcontext(source) as file:
            image = _identified(file, name)
            width, height = image.size
            _check_size(image, name)
            with _alone if width * height > ALONE else nullcontext():
                yield image


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Whatever is raised is told of the image `name`, as `DataError`: a decoder raises anything for a damaged file."""
    try:
        yield
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"there is no image {name}; check the path") from None
    except Exception as error:
        raise DataError(f"{name} cannot be read as an image ({_reason(error)}); replace or remove it") from error


def _reason(error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(reason.split()) or type(error).__name__


def check_format(image: Image.Image) -> None:
    """Raises `DataError` for an opened Pillow image of a format that is not read here: decoding may start a program."""
    if isinstance(image, ImageFile.ImageFile) and image.format not in FORMATS and image.format != "MPO":
        raise DataError(
            f"a Pillow image of the format {image.format} is not decoded here; give a copy of it, such as "
            'image.convert("RGB")'
        )


def _identified(file: BinaryIO, name: str) -> ImageFile.ImageFile:
    """As `Image.open(file, formats=...)`, without its limit of pixels and its warning below that: see `_check_size`."""
    file.seek(0)
    start = file.read(16)
    for form in FORMATS if start else ():
        factory, accepts = Image.OPEN.get(form, (None, None))
        try:
            accepted = factory is not None and (accepts is None or accepts(start))
            if not accepted or isinstance(accepted, str):  # a sentence: this Pillow was built without the format
                continue
            file.seek(0)
            return factory(file, "")
        except (SyntaxError, IndexError, TypeError, struct.error):
            continue
    if start[4:8] == b"ftyp" and start[8:12] in _HEIF:
        raise DataError(f"{name} is an HEIF picture by its content and cannot be read; save it as JPEG or PNG")
    what = "empty" if not start else "of no image format that is read here"
    raise DataError(f"{name} cannot be read as an image (its content is {what}); replace or remove it")


def _check_size(image: ImageFile.ImageFile, name: str) -> None:
    width, height = image.size
    reducible = image.format in ("JPEG", "MPO")
    if width * height > (LARGEST_JPEG if reducible else LARGEST):
        limits = f"{LARGEST // 10**6} million are read at most, {LARGEST_JPEG // 10**6} million of a JPEG file"
        raise DataError(f"{name} has {width} x {height} pixels, {limits}; make it smaller")
    if width * height > LARGEST:
        image.draft(None, (width // 4, height // 4))
