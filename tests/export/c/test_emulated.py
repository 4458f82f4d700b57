"""An export on emulated microcontrollers without an operating system: the same answers, within 256 kB."""

import shutil

import pytest
import torch

from benchmarks.meter_on_device import BOARDS, EXAMPLE, TOOLS, emulated, pictures_file
from tests.export.c.building import device
from tests.export.made import pictures

pytestmark = [pytest.mark.skipif(shutil.which(tool) is None, reason=f"{tool} is not installed") for tool in TOOLS]


@pytest.mark.parametrize("board", BOARDS)
@pytest.mark.parametrize("learn, weights", [("prototypes", "int8"), ("all", "float32")])
def test_it_is_taught_and_answers_on_a_board(board, learn, weights, tmp_path):
    made = device("strided", learn, weights)
    size = made.model.recipe.size
    images, digits = pictures(9, size, 8), [3, 5, 8] * 3
    files = made.files(None, images[:3])
    files["pictures.h"] = pictures_file(images, digits, 6)
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    found = emulated(tmp_path, board, "-DAUTOMETA_CLASSES=3", "-DAUTOMETA_SHOTS=2", "-DAUTOMETA_RAM_LIMIT=200000")
    labels = torch.tensor([0, 1, 2] * 2)
    wanted = made.answer(images[:6], labels, images[6:]).argmax(dim=1)
    assert found["right"] == int((wanted == torch.arange(3)).sum()) and found["asked"] == 3
    assert 0 < found["stack"] < 2048 and found["instructions"] > made.folded.graph.macs


def test_the_example_is_short():
    code = (EXAMPLE / "meter.c").read_text().splitlines()
    assert len([line for line in code if line.strip()]) <= 45
