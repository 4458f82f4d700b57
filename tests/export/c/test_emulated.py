"""The example: on emulated microcontrollers without an operating system, within 256 kB, and on a computer."""

import shutil

import pytest
import torch

from benchmarks.meter_on_device import BOARDS, EXAMPLE, TOOLS, emulated, pictures_file
from benchmarks.on_device import SANITIZERS, built, ran
from tests.export.c import programs
from tests.export.c.building import EACH_COMPILER, device
from tests.export.made import pictures

LIMITS = ("-DAUTOMETA_CLASSES=3", "-DAUTOMETA_SHOTS=2", "-DAUTOMETA_RAM_LIMIT=200000")


def on_a_board(test):
    for tool in TOOLS:
        test = pytest.mark.skipif(shutil.which(tool) is None, reason=f"{tool} is not installed")(test)
    return test


def example(made, folder):
    """The files of a meter of three digits, two pictures of each taught and one asked; how many answers are right."""
    images, digits = pictures(9, made.model.recipe.size, 8), [3, 5, 8] * 3
    files = made.files(None, images[:3])
    files["pictures.h"] = pictures_file(images, digits, 6)
    for name, text in files.items():
        (folder / name).write_text(text)
    wanted = made.answer(images[:6], torch.tensor([0, 1, 2] * 2), images[6:]).argmax(dim=1)
    return int((wanted == torch.arange(3)).sum())


@on_a_board
@pytest.mark.parametrize("board", BOARDS)
@pytest.mark.parametrize("learn, weights", [("prototypes", "int8"), ("head", "int8"), ("all", "float32")])
def test_it_is_taught_and_answers_on_a_board(board, learn, weights, tmp_path):
    made = device("strided", learn, weights)
    right = example(made, tmp_path)
    found = emulated(tmp_path, board, *LIMITS)
    assert found["right"] == right and found["asked"] == 3
    assert 0 < found["stack"] < 2048 and found["instructions"] > made.folded.graph.macs


@EACH_COMPILER
def test_it_runs_on_a_computer_too(compiler, tmp_path):
    right = example(device("pooled", "head"), tmp_path)
    (tmp_path / "selftest.c").unlink()
    for name in ("meter.c", "board.h"):
        (tmp_path / name).write_text((EXAMPLE / name).read_text())
    (tmp_path / "board.c").write_text(programs.HOST_BOARD)
    told = ran(built(tmp_path, "-O1", *LIMITS, *SANITIZERS, compiler=compiler)).decode().split()
    found = dict(zip(told[::2], map(int, told[1::2]), strict=True))
    assert found["right"] == right and found["asked"] == 3 and 0 < found["ram"] < 200_000


def test_the_example_is_short():
    code = (EXAMPLE / "meter.c").read_text().splitlines()
    assert len(code) <= 40 and max(map(len, code)) <= 120
