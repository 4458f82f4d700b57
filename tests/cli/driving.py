"""Drive the command line: in this process, or in one of its own that can be killed."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import autometa
from autometa.cli import main
from autometa.runs import load_latest

DATA = ["--data", "strokes:6x6x6", "--data.image_size", "8"]
INNER = ["--inner.ways", "2", "--inner.shots", "2", "--inner.batch", "2", "--inner.steps", "2"]
TEST = ["--test.tasks", "2", "--test.queries", "2", "--test.steps", "2", "--test.batch", "2"]
NETWORK = ["--channels", "2", "--cells", "1", "--reductions", "0", "--nodes", "1"]
LENGTH = ["--meta.iterations", "3", "--meta.batch", "2"]
SEARCH = [*DATA, *INNER, *TEST, *NETWORK, *LENGTH, "--warmup", "1", "--test_weight_steps", "1"]
TRAIN = [*DATA, *INNER, *TEST, *LENGTH, "--data.variant", "ink", "--filters", "3"]


def changed(words: list[str], **values: object) -> list[str]:
    """The words with other values: `changed(SEARCH, **{"meta.iterations": 9})`."""
    words = list(words)
    for name, value in values.items():
        words[words.index(f"--{name}") + 1] = str(value)
    return words


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


def call(*words) -> Answer:
    """The command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(word) for word in words])
    return Answer(code, out.getvalue(), err.getvalue())


def start(*words, threads: int = 1) -> subprocess.Popen:
    """The command line in a process of its own, Ctrl-C not ignored."""
    source = str(Path(autometa.__file__).parents[1])
    paths = [source, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": str(threads)}
    return subprocess.Popen(
        [sys.executable, "-m", "autometa", *map(str, words)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_for_checkpoint(child: subprocess.Popen, run: Path, phase: str) -> None:
    """Until the run has saved something in `phase`."""
    deadline = time.monotonic() + 60
    while child.poll() is None and not any((run / "checkpoints" / phase).glob("step-*")):
        assert time.monotonic() < deadline
        time.sleep(0.002)
    assert child.poll() is None, child.communicate()


def without_times(value):
    """A result without what differs from run to run."""
    if isinstance(value, dict):
        return {name: without_times(item) for name, item in value.items() if name != "seconds"}
    return value


def same_outcome(one: Path, other: Path) -> bool:
    """Equal results and files of what happened, and equal tensors in the last checkpoint of every phase."""
    results = [without_times(json.loads((path / "result.json").read_text())) for path in (one, other)]
    phases = [sorted(entry.name for entry in (path / "checkpoints").iterdir()) for path in (one, other)]
    if results[0] != results[1] or phases[0] != phases[1] or _kept(one) != _kept(other):
        return False
    for phase in phases[0]:
        a, b = (load_latest(path / "checkpoints" / phase) for path in (one, other))
        if a.step != b.step or a.tensors.keys() != b.tensors.keys():
            return False
        if not all(torch.equal(a.tensors[name], b.tensors[name]) for name in a.tensors):
            return False
    return True


def _kept(run: Path) -> dict[str, object]:
    """The bytes of all metrics and alarms, and the observations but for the memory that a process took."""
    files = {path.name: path.read_bytes() for path in [*run.glob("metrics-*.jsonl"), *run.glob("health.json")]}
    seen = json.loads((run / "observations.json").read_text())
    return {**files, "observations": {name: value for name, value in seen.items() if name != "memory"}}


def class_folders(root: Path, names=("bar", "blob", "cross"), images: int = 2) -> Path:
    """Class folders of 12 x 12 pictures, dark ink on white."""
    drawn = {name: np.full((12, 12), 255, np.uint8) for name in names}
    for k, picture in enumerate(drawn.values()):
        picture[:, 2 + 2 * k : 4 + 2 * k] = 0
        picture[3 * k : 3 * k + 2] = 0
    for name, picture in drawn.items():
        (root / name).mkdir(parents=True)
        for number in range(images):
            Image.fromarray(np.roll(picture, number, axis=1)).save(root / name / f"{number}.png")
    return root
