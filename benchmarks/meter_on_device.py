"""Meters that a network never saw, read by its export: accuracy of each form, and one meter on an emulated board.

    python -m benchmarks.meter_on_device RUN FOLDER

FOLDER has a folder for each meter with one of pictures for each digit. Of each digit min(5, n - 2) pictures are taught,
three times others; all the rest is asked. The board (QEMU) is taught the last meter and asked 60 pictures.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from autometa.data import load_class_folder
from autometa.export.c.project import WEIGHTS, Device
from autometa.models.find import choose_start
from autometa.train.frozen import training_pictures
from autometa.train.tasks import Source
from benchmarks.on_device import WARNINGS, on_device, write

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "device"
M33 = ("-Wl,--defsym=FLASH_AT=0x10000000", "-Wl,--defsym=RAM_AT=0x38000000")
BOARDS = {
    "mps2-an386": ("-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16"),
    "mps2-an500": ("-mcpu=cortex-m7", "-mfpu=fpv5-d16"),
    "mps2-an505": ("-mcpu=cortex-m33", "-mfpu=fpv5-sp-d16", *M33),
}
TOOLS = ("arm-none-eabi-gcc", "qemu-system-arm")
DRAWS, ASKED = 3, 60


def pictures_file(images: Tensor, digits: list[int], taught: int) -> str:
    """pictures.h of the example: uint8 `[n, C, H, W]`, the first ones are taught."""
    rows = ",\n".join(f"    {{{', '.join(map(str, on_device(image[None])))}}}" for image in images)
    return (
        f"#define COUNT {len(images)}\n#define TAUGHT {taught}\n"
        f"static const int digit[COUNT] = {{{', '.join(map(str, digits))}}};\n"
        f"static const uint8_t pictures[COUNT][AUTOMETA_PICTURE_BYTES] = {{\n{rows}\n}};\n"
    )


def emulated(folder: Path, board: str, *options: str) -> dict[str, int] | None:
    """What the example prints, of an export with pictures.h in a folder; `flash`: bytes that are stored. None where
    that is more than the board's linker script has.
    """
    sources = [str(p) for p in (*folder.glob("*.c"), *EXAMPLE.glob("*.c")) if p.name != "selftest.c"]
    words = ["arm-none-eabi-gcc", "-O2", "-std=c99", *WARNINGS, "-mthumb", "-mfloat-abi=hard", *BOARDS[board], *options]
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
    if "overflowed by" in done.stderr:
        return None
    assert done.returncode == 0, done.stderr
    words = ["qemu-system-arm", "-M", board, "-nographic", "-monitor", "none", "-serial", "none", "-icount", "shift=0"]
    words += ["-semihosting-config", "enable=on,target=native", "-kernel", str(folder / "elf")]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, (ran.returncode, ran.stdout, ran.stderr)
    lines = (ran.stdout + ran.stderr).split("\n")
    found = {line.split()[0]: int(line.split()[1]) for line in lines if len(line.split()) == 2}
    told = subprocess.run(["arm-none-eabi-size", str(folder / "elf")], capture_output=True, text=True, check=True)
    text, data, *_ = told.stdout.split("\n")[1].split()
    return {**found, "flash": int(text) + int(data)}


def divided(labels: Tensor, random: np.random.Generator, most: int = 5) -> tuple[list[int], list[int]]:
    """Positions of the pictures to teach, at most so many of a class, and of those to ask about."""
    taught, asked = [], []
    for k in range(int(labels.max()) + 1):
        own = random.permutation(np.flatnonzero((labels == k).numpy()))
        first = min(most, len(own) - 2)
        taught += own[:first].tolist()
        asked += own[first:].tolist()
    return taught, asked


def nearest_pixels(support: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
    """The class of the nearest taught picture."""
    apart = torch.cdist(queries.flatten(1).float(), support.flatten(1).float())
    return labels[apart.argmin(dim=1)]


def main(run: str, folder: str) -> None:
    torch.set_num_threads(1)
    model = choose_start(run).model
    seen = training_pictures(model.config, Source.open(model.config.data))
    devices = {weights: Device.of("meter", model, seen, "prototypes", weights) for weights in WEIGHTS}
    random, right = np.random.default_rng(0), {}
    for meter in sorted(path for path in Path(folder).iterdir() if path.is_dir()):
        images, labels = (torch.from_numpy(np.ascontiguousarray(v)) for v in load_class_folder(meter, model.recipe)[:2])
        for _ in range(DRAWS):
            taught, asked = divided(labels, random)
            task = (images[taught], labels[taught], images[asked])
            said = {weights: device.answer(*task).argmax(dim=1) for weights, device in devices.items()}
            said["nearest pixels"] = nearest_pixels(*task)
            for name, answers in said.items():
                share = 100 * float((answers == labels[asked]).double().mean())
                right.setdefault(name, {}).setdefault(meter.name, []).append(share)
    for name, meters in right.items():
        rows = [f"{meter} {np.mean(shares):.1f}" for meter, shares in meters.items()]
        print(f"{name}: {np.mean([np.mean(shares) for shares in meters.values()]):.1f}%; {', '.join(rows)}", flush=True)
    chosen = taught + random.permutation(asked)[:ASKED].tolist()
    for weights, device in devices.items():
        files = device.files(None, images[:3])
        files["pictures.h"] = pictures_file(images[chosen], labels[chosen].tolist(), len(taught))
        wanted = device.answer(images[taught], labels[taught], images[chosen[len(taught) :]]).argmax(dim=1)
        expected = int((wanted == labels[chosen[len(taught) :]]).sum())
        for board in BOARDS:
            with tempfile.TemporaryDirectory() as place:
                found = emulated(write(files, Path(place) / "c"), board)
            if found is None:
                print(f"{weights}, {board}: larger than 256 kB of flash or of RAM", flush=True)
                continue
            flash = found["flash"] - images[0].numel() * len(chosen)
            each = found["instructions"] / device.folded.graph.macs
            print(
                f"{weights}, {board}: {found['right']} of {found['asked']} right, {expected} expected; "
                f"{found['ram']:,} bytes of RAM and {found['stack']} of stack, {flash:,} of flash beside the pictures; "
                f"{found['instructions']:,} instructions a question, {each:.1f} a multiply-accumulate",
                flush=True,
            )


if __name__ == "__main__":
    main(*sys.argv[1:3])
