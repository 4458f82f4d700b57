"""Any data set that a person owns, recognised and converted once into a store of the cache."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from autometa.brief import brief
from autometa.data.errors import DataError
from autometa.data.folders import recipe
from autometa.data.formats.recognise import forget, recognise
from autometa.data.formats.sources import ImageSource, SourceClass, SourceDataset
from autometa.data.images import FITS, Recipe
from autometa.data.names import READING
from autometa.data.store import ClassEntry, ImageStore, cached_store, write_store

AHEAD = 16
SIZES = {"ink": 28, "grey": 28, "colour": 84}

Progress = Callable[[Iterable, int, str], Iterable]
"""(items, their number, what is done) -> the same items, shown as they go by."""


def silent(items: Iterable, total: int, doing: str) -> Iterable:
    """A `Progress` that shows nothing."""
    return items


@brief
@dataclass(frozen=True)
class Prepared:
    """A recognised data set and its store."""

    dataset: SourceDataset
    store: ImageStore

    @property
    def skipped(self) -> tuple[str, ...]:
        """Why images were left out as unreadable, one sentence each (only where asked)."""
        return self.store.left_out


def prepare(
    path: str | Path,
    *,
    size: int | None = None,
    variant: str | None = None,
    skip_bad: bool = False,
    force: bool = False,
    workers: int | None = None,
    progress: Progress = silent,
    reading: int = READING,
    fit: str = FITS[0],
) -> Prepared:
    """Recognise what stands under `path` and convert it, if that has not been done yet.

    Memory does not grow with the set. A killed conversion leaves nothing; the next one begins it again.

    Args:
        size: height and width of the images; 84 for colour, else 28.
        variant: `ink`, `grey` or `colour`; that of the layout where None.
        skip_bad: leave images out that cannot be read, instead of stopping at the first.
        force: accept what looks like a few-shot data set and is not.
        workers: threads that decode, as many as there are processors where None.
        reading: how names and folders are read (`data.names`).
        fit: of pictures, `crop`, `stretch` or `ink` (`Recipe`).

    Raises:
        DataError: nothing there, nothing known, or damaged. DiskError: the store cannot be written.
    """
    dataset = recognise(path, force, reading)
    how = recipe_of(dataset, size, variant, fit)
    threads = workers or processors()

    def convert(place: Path) -> None:
        readable, bad = without_bad(dataset, how, threads, progress) if skip_bad else (dataset, [])
        entries = [ClassEntry(c.name, c.group, c.part, len(c.images)) for c in readable.classes]
        sources = [source for c in readable.classes for source in c.images]
        pixels = progress(read_all(sources, how, threads), len(sources), f"converting {dataset.name}")
        write_store(place, dataset.name, how, entries, pixels, dataset.split, bad, dataset.notice)

    try:
        store = cached_store(_file_name(dataset.name), label_of(dataset, how, skip_bad), convert)
    except MemoryError as error:
        forget(dataset.archives)
        raise DataError(f"{path} has images that need more memory than there is; make them smaller") from error
    except DataError:
        forget(dataset.archives)
        raise
    return Prepared(dataset, store)


def recipe_of(
    dataset: SourceDataset, size: int | None = None, variant: str | None = None, fit: str = FITS[0]
) -> Recipe:
    """How the images of a set are converted. Raises `DataError` for an unknown variant or size."""
    variant = variant or dataset.variant
    return recipe(size if size is not None else SIZES.get(variant, 28), variant, fit)


def label_of(dataset: SourceDataset, how: Recipe, skip_bad: bool = False) -> str:
    """What tells a store from others of the same name."""
    key = hashlib.sha256(f"{dataset.format}\0{dataset.fingerprint}\0{skip_bad}".encode(errors="surrogateescape"))
    return f"{how.label}-{key.hexdigest()[:16]}"


def read_all(sources: Iterable[ImageSource], how: Recipe, threads: int) -> Iterator[np.ndarray]:
    """Images in order, decoded by several threads, a few ahead of whoever takes them."""
    return _ahead(lambda source: source.read(how), sources, threads)


def bad_images(sources: Iterable[ImageSource], how: Recipe, threads: int) -> Iterator[str | None]:
    """For each image in order None, or the sentence that says why it cannot be read."""

    def tried(source: ImageSource) -> str | None:
        try:
            source.read(how)
        except DataError as error:
            return str(error)
        return None

    return _ahead(tried, sources, threads)


def _ahead(work: Callable, items: Iterable, threads: int) -> Iterator:
    """`map` by several threads, a few items ahead of whoever takes them."""
    waiting: deque[Future] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > AHEAD * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def without_bad(
    dataset: SourceDataset, how: Recipe, threads: int, progress: Progress = silent
) -> tuple[SourceDataset, list[str]]:
    """The set without its unreadable images, and why each was left out.

    Raises `DataError` where nothing of a class is left.
    """
    sources = [source for c in dataset.classes for source in c.images]
    verdicts = iter(progress(bad_images(sources, how, threads), len(sources), f"checking {dataset.name}"))
    classes, reasons = [], []
    for c in dataset.classes:
        good = []
        for source in c.images:
            verdict = next(verdicts)
            if verdict is None:
                good.append(source)
            else:
                reasons.append(verdict)
        if not good:
            raise DataError(f"no image of class {c.name} can be read; remove the class or fetch it again")
        classes.append(SourceClass(c.name, c.group, c.part, tuple(good)))
    return replace(dataset, classes=tuple(classes)), reasons


def processors() -> int:
    """Processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        return os.cpu_count() or 1


def _file_name(name: str) -> str:
    """A data set's name as part of a file name."""
    return "".join(c if c.isalnum() or c in "._-" else "_" for c in name)[:60] or "images"
