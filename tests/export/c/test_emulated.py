"""An export on emulated microcontrollers without an operating system: the same answers, within 256 kB."""

import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from benchmarks.on_device import on_device
from tests.export.c.building import device
from tests.export.made import pictures

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "device"
M33 = ("-Wl,--defsym=FLASH_AT=0x10000000", "-Wl,--defsym=RAM_AT=0x38000000")
BOARDS = {
    "mps2-an386": ("-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16"),
    "mps2-an500": ("-mcpu=cortex-m7", "-mfpu=fpv5-d16"),
    "mps2-an505": ("-mcpu=cortex-m33", "-mfpu=fpv5-sp-d16", *M33),
}
WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")

pytestmark = [
    pytest.mark.skipif(shutil.which(tool) is None, reason=f"{tool} is not installed")
    for tool in ("arm-none-eabi-gcc", "qemu-system-arm")
]


def pictures_file(images: torch.Tensor, digits: list[int], taught: int) -> str:
    rows = ",\n".join(f"    {{{', '.join(map(str, on_device(image[None])))}}}" for image in images)
    return (
        f"#define COUNT {len(images)}\n#define TAUGHT {taught}\n"
        f"static const int digit[COUNT] = {{{', '.join(map(str, digits))}}};\n"
        f"static const uint8_t pictures[COUNT][AUTOMETA_PICTURE_BYTES] = {{\n{rows}\n}};\n"
    )


def emulated(folder: Path, board: str, *options: str) -> dict[str, int]:
    """What the example prints, of an export with pictures.h in a folder."""
    sources = [str(p) for p in (*folder.glob("*.c"), *EXAMPLE.glob("*.c")) if p.name != "selftest.c"]
    words = ["arm-none-eabi-gcc", "-O2", *WARNINGS, "-mthumb", "-mfloat-abi=hard", *BOARDS[board], *options]
    words += ["-ffunction-sections", "-Wl,--gc-sections", "-nostartfiles", "--specs=nano.specs", "--specs=nosys.specs"]
    words += [
        f"-I{folder}",
        f"-I{EXAMPLE}",
        *sources,
        "-T",
        str(EXAMPLE / "board.ld"),
        "-lm",
        "-o",
        str(folder / "elf"),
    ]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    words = ["qemu-system-arm", "-M", board, "-nographic", "-monitor", "none", "-serial", "none", "-icount", "shift=0"]
    words += ["-semihosting-config", "enable=on,target=native", "-kernel", str(folder / "elf")]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, (ran.returncode, ran.stdout, ran.stderr)
    lines = (ran.stdout + ran.stderr).split("\n")
    return {line.split()[0]: int(line.split()[1]) for line in lines if len(line.split()) == 2}


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
