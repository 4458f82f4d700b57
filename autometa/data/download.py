"""Fetch a data set when asked to: several mirrors, resumed where it broke off, checked before anything reads it."""

from __future__ import annotations

import hashlib
import http.client
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from autometa.data.errors import DataError
from autometa.errors import DiskError

CHUNK = 1 << 16
TIMEOUT = 30.0

Progress = Callable[[int, int | None, str], None]
"""(bytes there, bytes in all if known, file name)."""


@dataclass(frozen=True)
class Remote:
    """One file: its name, md5 as published, and where it can be had, in the order to try."""

    name: str
    md5: str
    mirrors: tuple[str, ...]


_OMNIGLOT = (
    "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/{}",
    "https://github.com/brendenlake/omniglot/raw/master/python/{}",
)


def _omniglot(name: str, md5: str) -> Remote:
    return Remote(name, md5, tuple(mirror.format(name) for mirror in _OMNIGLOT))


CATALOGUE = {
    "omniglot": (
        _omniglot("images_background.zip", "68d2efa1b9178cc56df9314c21c6e718"),
        _omniglot("images_evaluation.zip", "6b91aef0f799c5bb55b94e3f2daec811"),
    )
}


def download(name: str, folder: str | Path, progress: Progress | None = None) -> list[Path]:
    """Fetch all files of a data set into `folder`; those that are there and whole are left alone.

    Raises `DataError` where the name is unknown or no mirror has a file, saying what to put where by hand;
    `DiskError` where `folder` cannot be written.
    """
    if name not in CATALOGUE:
        known = ", ".join(CATALOGUE)
        raise DataError(
            f"{name!r} cannot be downloaded, only {known} can; get it by hand in any layout, put it into a "
            "folder of its own and name that: autometa data prepare FOLDER"
        )
    folder = Path(os.path.expanduser(folder))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return [fetch(remote, folder, progress) for remote in CATALOGUE[name]]
    except DiskError:
        raise
    except OSError as error:
        raise DiskError(f"{folder} cannot be written ({error}); make room or name another folder") from error


def fetch(remote: Remote, folder: Path, progress: Progress | None = None) -> Path:
    """One file, from the first mirror that has it whole. Raises `DataError` where none has."""
    target = folder / remote.name
    if target.exists():
        if md5_of(target) == remote.md5:
            return target
        raise DataError(
            f"{target} is there and is not the published file (md5 differs); it is used as it is if you name its "
            "folder, remove it to download it anew"
        )
    part, failures = folder / f"{remote.name}.part", []
    for mirror in remote.mirrors:
        try:
            _continue(mirror, part, progress)
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError, ssl.SSLError) as error:
            failures.append(f"{mirror}: {getattr(error, 'reason', None) or error}")
            continue
        if md5_of(part) == remote.md5:
            part.replace(target)
            return target
        part.unlink()
        failures.append(f"{mirror}: another file than the published one (md5 differs)")
    raise DataError(
        f"{remote.name} could not be downloaded ({'; '.join(failures)}); get it in another way (md5 {remote.md5}), "
        f"put it into {folder} and go on with: autometa data prepare {folder}"
    )


def _continue(url: str, part: Path, progress: Progress | None) -> None:
    """Append to `part` what is missing of it; where the server cannot go on in the middle, from the start."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT)  # noqa: S310  http and https of the catalogue
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing is missing, or the rest is not what it was
            return
        raise
    with answer:
        resumed = have > 0 and answer.status == 206
        rest = answer.headers.get("Content-Length")
        have = have if resumed else 0
        total = have + int(rest) if rest else None
        with open(part, "ab" if resumed else "wb") as file:
            while chunk := answer.read(CHUNK):
                file.write(chunk)
                have += len(chunk)
                if progress is not None:
                    progress(have, total, part.name.removesuffix(".part"))
        if total is not None and have < total:
            raise http.client.IncompleteRead(b"", total - have)


def md5_of(path: Path) -> str:
    """Of a file's content, in hexadecimal."""
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(1 << 20), b""):
            digest.update(chunk)
    return digest.hexdigest()
