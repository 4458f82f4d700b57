"""The README's three commands, typed as they stand there, on folders made from Omniglot."""

import json
import os
import random
import re
import shlex
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from PIL import Image

import autometa

ROOT = Path(__file__).resolve().parents[2]
GIVEN = os.environ.get("AUTOMETA_DATA")  # the tests of this room take it away
SEARCHED, NEW, DRAWINGS = 12, 5, 20
LIMIT = 300.0


@pytest.fixture
def drawings():
    """Characters of the background part, each a list of its drawings' PNG files as bytes, in an order of their own."""
    for root in (GIVEN, ROOT.parent / "shared" / "data"):
        for folder in (Path(root), Path(root) / "omniglot") if root else ():
            if (folder / "images_background.zip").is_file():
                return _chosen(folder / "images_background.zip")
    pytest.skip("Omniglot's zips are not here: set AUTOMETA_DATA to their folder")


def _chosen(path):
    draw, files = random.Random(0), {}
    with zipfile.ZipFile(path) as archive:
        for name in sorted(archive.namelist()):
            if name.endswith(".png") and not name.startswith("__MACOSX"):
                files.setdefault("-".join(name.split("/")[-3:-1]), []).append(name)
        found = {}
        for name in draw.sample(sorted(files), SEARCHED + NEW):
            found[name] = [archive.read(file) for file in draw.sample(files[name], DRAWINGS)]
    return found


def put(folder, drawings):
    folder.mkdir(parents=True)
    for number, drawing in enumerate(drawings):
        (folder / f"{number}.png").write_bytes(drawing)


def lines_of_the_readme():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"## Your own photos in three commands\n+```sh\n(.*?)```", text, re.DOTALL)[1]
    return [shlex.split(line, comments=True) for line in block.splitlines()]


def typed(words):
    source = str(Path(autometa.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([source, os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, "-m", *words], env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return done


def test_twelve_characters_to_search_on_five_others_to_learn_from_one_drawing_each(drawings, tmp_path):
    classes = list(drawings.items())
    for name, own in classes[:SEARCHED]:
        put(tmp_path / "my_photos" / name, own)
    for name, own in classes[SEARCHED:]:
        put(tmp_path / "new_classes" / name, own[:1])
        put(tmp_path / "held_back" / name, own[1:])
    held_back = sorted((tmp_path / "held_back").glob("*/*.png"))
    with Image.open(held_back[0]) as image:
        image.convert("L").save(tmp_path / "photo.jpg", quality=95)

    search, adapt, predict = lines_of_the_readme()
    begun = time.monotonic()
    told = typed(search)
    assert "12 classes with 20 images each" in told.stderr and "each turn a class of its own" in told.stderr
    typed(adapt)
    answer = typed(predict)
    took = time.monotonic() - begun
    assert answer.stdout.startswith("photo.jpg")
    found = json.loads(typed([*predict[:2], *map(str, held_back), "--json"]).stdout)
    assert len(found) == NEW * (DRAWINGS - 1)
    right = sum(row["class"] == Path(row["image"]).parent.name for row in found) / len(found)
    print(f"{right:.1%} right of {len(found)} held-back drawings, in {took:.0f} s")
    assert right >= 0.6, f"{right:.1%} right"
    assert took < LIMIT, f"{took:.0f} s"
