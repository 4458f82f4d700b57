"""Bytes that stay in their file: the same as in memory, whatever piece is asked for."""

import os
import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autometa.data import DataError
from autometa.data.formats import pickles
from autometa.data.formats.mini_imagenet_pickles import detect
from autometa.data.formats.pickles import Window, state_of
from tests.data.formats.parted_sets import AS_IS, PARTS
from tests.data.formats.test_pickle_cache import write_set


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=1, max_size=80), st.integers(1, 9), st.data())
def test_any_piece_of_any_text(tmp_path_factory, content, step, data):
    stored = content.decode("latin-1").encode("utf-8")
    file = tmp_path_factory.mktemp("text") / "file"
    file.write_bytes(b"before" + stored + b"\x80after")
    start = data.draw(st.integers(0, len(content)))
    count = data.draw(st.integers(0, len(content) - start))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pickles, "_STEP", step)
        text = Window(file, 6, len(stored), state_of(file), latin=True)
        assert len(text) == len(content) and text.read(start, count) == content[start : start + count]
    pickles._characters_before.cache_clear()
    file.write_bytes(b"before" + content)
    assert Window(file, 6, len(content), state_of(file)).read(start, count) == content[start : start + count]


@pytest.mark.parametrize("stored", [b"\xc3", b"a\xffb", "€".encode(), b"\xed\xa0\x80"])
def test_text_of_other_characters_is_no_bytes(tmp_path, stored):
    (tmp_path / "file").write_bytes(stored)
    with pytest.raises(ValueError):
        len(Window(tmp_path / "file", 0, len(stored), state_of(tmp_path / "file"), latin=True))


@pytest.mark.parametrize("protocol", (1, 2, 4))
def test_memory_stays_flat_however_large_the_pickle(tmp_path, protocol):
    rng = np.random.default_rng(0)
    parts = {part: {f"n{part}": rng.integers(0, 256, (250, 84, 84, 3), dtype=np.uint8)} for part in PARTS}
    whole = sum(images.nbytes for classes in parts.values() for images in classes.values())
    write_set(tmp_path / "set", parts, protocol)
    tracemalloc.start()
    found = detect(tmp_path / "set")
    sums = [int(source.read(AS_IS).sum()) for entry in found.classes for source in entry.images[::10]]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sums == [int(image.sum()) for part in PARTS for image in parts[part][f"n{part}"][::10]]
    assert peak < 1_500_000 < whole / 10


def test_a_text_that_changed_is_told_and_a_source_stays_small(tmp_path):
    parts = {part: {f"n{part}": np.full((20, 84, 84, 3), 200, np.uint8)} for part in PARTS}
    write_set(tmp_path / "set", parts, 2)
    source = pickle.loads(pickle.dumps(detect(tmp_path / "set").classes[0].images[7]))
    assert len(pickle.dumps(source)) < 600 and (source.read(AS_IS) == 200).all()
    os.utime(source.pixels.path, ns=(1, 1))
    with pytest.raises(DataError, match="changed while it was read.*prepare the data again"):
        source.read(AS_IS)
