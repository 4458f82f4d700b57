"""One set in every layout with a table: the same classes, counts and pixels."""

import pickle
import tarfile

import pytest

from autometa.data.formats import mini_imagenet_pickles, ravi_csv, table
from autometa.data.formats.mini_imagenet_pickles import CACHE
from tests.data.formats import test_category_split, test_pickle_cache, test_ravi_csv
from tests.data.formats.parted_sets import AS_IS, PARTS, assert_same, random_parts, shared_data


def write_table(folder, parts):
    """The images of a csv set under one table of another make."""
    test_ravi_csv.write_set(folder, parts)
    rows = []
    for part in PARTS:
        lines = (folder / f"{part}.csv").read_text(encoding="utf-8").splitlines()[1:]
        rows += [f"images/{line},{part}" for line in lines]
        (folder / f"{part}.csv").unlink()
    (folder / "all.csv").write_text("\n".join(["path,species,set", *rows]), encoding="utf-8")
    return folder


LAYOUTS = {
    "csv": (ravi_csv.detect, test_ravi_csv.write_set),
    "zip": (
        ravi_csv.detect,
        lambda folder, parts: test_ravi_csv.pack(LAYOUTS["csv"][1](folder, parts), folder / "a.zip"),
    ),
    "pickle cache": (mini_imagenet_pickles.detect, test_pickle_cache.write_set),
    "category split": (mini_imagenet_pickles.detect, test_category_split.write_set),
    "table": (table.detect, write_table),
}
DETECTORS = (ravi_csv.detect, mini_imagenet_pickles.detect, table.detect)


@pytest.fixture(scope="module", params=("random", "torchmeta's own"))
def parts(request):
    if request.param == "random":
        return random_parts(seed=3)
    with tarfile.open(shared_data("torchmeta/mini-imagenet-cache.tar.gz")) as packed:
        content = {part: pickle.load(packed.extractfile(name)) for part, name in CACHE.files.items()}
    return {
        part: {name: own["image_data"][indices[:5]] for name, indices in own["class_dict"].items()}
        for part, own in content.items()
    }


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_holds_the_same(tmp_path, parts, layout):
    detect, write = LAYOUTS[layout]
    found = detect(write(tmp_path / "set", parts))
    assert_same(found, parts, AS_IS)
    assert found.variant == "colour" and len(found.fingerprint) == 64


@pytest.mark.parametrize("layout", LAYOUTS)
def test_only_its_own_reader_takes_a_layout(tmp_path, layout):
    mine, write = LAYOUTS[layout]
    path = write(tmp_path / "set", random_parts(images=1, size=3))
    takes = [detect for detect in DETECTORS if detect is not table.detect and detect(path) is not None]
    assert takes == ([] if layout == "table" else [mine])
