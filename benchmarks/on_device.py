"""C against this package: an export is built and taught the tasks of a run's test.

    python -m benchmarks.on_device --run RUN --learn all --weights float32 --tasks 200

prints by how much probabilities differ at most, how many answers are the same, and how many of both are right.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from autometa.export.c.project import BATCH, FROZEN, LEARN, STATISTICS, WEIGHTS, Device
from autometa.models.find import choose_start
from autometa.train.frozen import bytes_of, training_pictures
from autometa.train.tasks import Source

CLASSES = 10
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Werror", "-pedantic")

# Standard input: byte 0..9 and a picture: teach this class; 'p' and a picture: probabilities and the answer (as float);
# 'f' and a byte: forget that class; 'l': learn; 'r': begin anew.
TALK = """
#include "autometa.h"
#include <stdio.h>

static autometa m;

int main(void)
{
    static uint8_t picture[AUTOMETA_PICTURE_BYTES];
    float found[AUTOMETA_CLASSES + 1];
    int word;
    autometa_init(&m);
    while ((word = getchar()) != EOF) {
        if (word == 'r') {
            autometa_init(&m);
        } else if (word == 'l') {
            if (autometa_learn(&m) != AUTOMETA_OK)
                return 2;
        } else if (word == 'f') {
            if (autometa_forget_class(&m, getchar()) != AUTOMETA_OK)
                return 3;
        } else {
            if (fread(picture, sizeof picture, 1, stdin) != 1)
                return 4;
            if (word == 'p') {
                found[AUTOMETA_CLASSES] = (float)autometa_predict(&m, picture, found);
                fwrite(found, sizeof found, 1, stdout);
            } else {
                while (word < AUTOMETA_CLASSES && !m.taught.used[word])
                    if (autometa_add_class(&m) < 0)
                        return 5;
                if (autometa_teach(&m, picture, word) != AUTOMETA_OK)
                    return 6;
            }
        }
    }
    return 0;
}
"""


def write(files: dict[str, str], folder: Path, main: str | None = None) -> Path:
    """The files, with another program in place of the self-test."""
    folder.mkdir(exist_ok=True)
    for name, text in (files if main is None else {**files, "selftest.c": main}).items():
        (folder / name).write_text(text)
    return folder


def built(folder: Path, *options: str, compiler: str = "gcc") -> Path:
    """The program, of sources that give no warning."""
    sources = [str(path) for path in sorted(folder.glob("*.c"))]
    words = [compiler, "-std=c99", *WARNINGS, *options, *sources, "-lm", "-o", str(folder / "made")]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "made"


def ran(program: Path, given: bytes = b"") -> bytes:
    """Standard output."""
    done = subprocess.run([str(program)], input=given, capture_output=True)
    assert done.returncode == 0, (done.returncode, done.stdout[-500:], done.stderr[-3000:].decode(errors="replace"))
    return done.stdout


def on_device(images: Tensor) -> bytes:
    """uint8 `[n, C, H, W]` as a device reads them."""
    return images.permute(0, 2, 3, 1).contiguous().numpy().tobytes()


def floats(data: bytes, width: int) -> Tensor:
    """Rows of float32."""
    return torch.from_numpy(np.frombuffer(data, dtype=np.float32).reshape(-1, width).copy())


def taught(support: Tensor, labels: Tensor) -> bytes:
    """What `TALK` hears to be taught."""
    return b"".join(bytes([k]) + on_device(x[None]) for x, k in zip(support, labels.tolist(), strict=True))


def asked(queries: Tensor) -> bytes:
    """What it hears to be asked."""
    return b"".join(b"p" + on_device(x[None]) for x in queries)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run")
    parser.add_argument("--learn", default=LEARN[0], choices=LEARN)
    parser.add_argument("--weights", default=WEIGHTS[0], choices=WEIGHTS)
    parser.add_argument("--statistics", default=BATCH, choices=STATISTICS, help="of --learn all")
    parser.add_argument("--tasks", type=int, default=200)
    parser.add_argument("--shots", type=int)
    parser.add_argument("--steps", type=int, help="of the inner loop")
    parser.add_argument("--compiler", default="gcc", help="gcc or clang")
    parser.add_argument("--sanitize", action="store_true", help="stop at bad addresses and undefined behaviour")
    given = parser.parse_args()
    torch.set_num_threads(1)
    start = choose_start(given.run)
    model, source = start.model, Source.open(start.model.config.data)
    if given.steps is not None:
        model = replace(model, config=model.config.with_steps(given.steps))
    frozen = given.learn == "all" and given.statistics == FROZEN
    seen = None if given.learn == "all" and not frozen else training_pictures(model.config, source)
    device = Device.of(start.name, model, seen, given.learn, given.weights, frozen)
    plain = Device.of(start.name, model, seen, given.learn) if given.weights == "int8" else None
    test = model.config.test
    episodes = source.testing(model.network.ways, replace(test, shots=given.shots or test.shots))
    said, wanted, floating, truth = b"", [], [], []
    for i in range(given.tasks):
        tasks = episodes.tasks(torch.tensor([i]))
        (support, labels), (queries, answers) = episodes.support(tasks), episodes.queries(tasks)
        support, queries, labels = bytes_of(support[0]), bytes_of(queries[0]), labels[0]
        said += b"r" + taught(support, labels) + b"l" + asked(queries)
        wanted.append(device.answer(support, labels, queries))
        truth.append(answers[0])
        if plain is not None:
            floating.append(plain.answer(support, labels, queries))
    with tempfile.TemporaryDirectory() as place:
        files = device.files(None, source.store.tensor()[:3])
        shots = f"-DAUTOMETA_SHOTS={given.shots or test.shots}"
        options = ["-O2", shots, "-DAUTOMETA_MIN_PROBABILITY=0.0f", *(SANITIZERS if given.sanitize else ())]
        program = built(write(files, Path(place) / "c", TALK), *options, compiler=given.compiler)
        found = floats(ran(program, said), CLASSES + 1)
    reference, right = torch.cat(wanted), torch.cat(truth)
    said_by_c = found[:, -1].long()
    print(f"{given.tasks} tasks, {len(right)} questions, {given.weights}, by {given.learn}")
    print(f"largest difference of a probability  {float((found[:, : reference.shape[1]] - reference).abs().max()):.2e}")
    print(
        f"same answers                         {100 * float((said_by_c == reference.argmax(1)).double().mean()):.2f}%"
    )
    print(f"right, C and reference               {_right(said_by_c, right)}, {_right(reference.argmax(1), right)}")
    if floating:
        print(f"right, float32                       {_right(torch.cat(floating).argmax(1), right)}")


def _right(said: Tensor, truth: Tensor) -> str:
    return f"{100 * float((said == truth).double().mean()):.2f}%"


if __name__ == "__main__":
    main()
