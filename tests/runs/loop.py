"""A small training loop in a process of its own, to be killed.

python loop.py run FOLDER TOTAL EVERY DELAY     runs or resumes; exit code as the command line's
python loop.py crash FOLDER                     kills a fork at every single disk operation, resumes it
"""

from __future__ import annotations

import builtins
import io
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import torch

from autometa.errors import AutometaError
from autometa.runs import RunFolder, Session, environment, load_latest

TOTAL, EVERY = 4, 2
OPERATIONS = "open write fsync mkdir rename replace ftruncate unlink symlink rmdir".split()


class Trainer:
    """Momentum steps along noise of a generator whose state goes on from step to step."""

    def __init__(self, decay: float = 0.9):
        self.decay = decay
        self.weights = torch.linspace(-1, 1, 105).reshape(7, 15)
        self.momentum = torch.zeros(7, 15, dtype=torch.float64)
        self.random = torch.Generator().manual_seed(5)
        self.seen = 0

    def step(self) -> float:
        noise = torch.randn(7, 15, generator=self.random, dtype=torch.float64)
        self.momentum.mul_(self.decay).add_(noise + 0.1 * self.weights)
        self.weights.sub_(0.01 * self.momentum)
        self.seen += 1
        return float(self.weights.square().mean())

    def capture(self):
        tensors = {"weights": self.weights, "momentum": self.momentum, "random": self.random.get_state()}
        return tensors, {"seen": self.seen}

    def restore(self, tensors, state):
        self.weights.copy_(tensors["weights"])
        self.momentum.copy_(tensors["momentum"])
        self.random.set_state(tensors["random"])
        self.seen = state["seen"]


def run(path: Path, total: int, every: int, delay: float = 0.0) -> None:
    command = ["loop.py", "run", str(path)]
    if (path / "config.json").exists():
        folder = RunFolder.resume(path, command)
    else:
        folder = RunFolder.create(path, "loop", {"decay": 0.9}, command)
    with folder:
        trainer = Trainer(folder.config["decay"])
        options = {"every_steps": every, "every_seconds": None, "resume_command": command}
        with Session(folder, trainer.capture, trainer.restore, **options) as session:
            for step in session.steps(total):
                loss = trainer.step()
                session.log(step, loss=loss, seen=trainer.seen)
                time.sleep(delay)
        folder.write_result({"accuracy": 50.0, "seen": trainer.seen})


def outcome(path: Path) -> tuple[bytes, bytes, bytes]:
    """Bytes of the final tensors, the metrics and the result."""
    last = load_latest(path / "checkpoints")
    tensors = (last.path / "tensors.safetensors").read_bytes()
    return tensors, (path / "metrics.jsonl").read_bytes(), (path / "result.json").read_bytes()


def kill_at(point: int) -> None:
    """Die by SIGKILL just before disk operation number `point` of this process; a write is torn."""
    count = 0

    def wrap(name):
        original = getattr(os, name)

        def wrapper(*args, **kwargs):
            nonlocal count
            if count == point:
                if name == "write":
                    original(args[0], args[1][: len(args[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1
            return original(*args, **kwargs)

        return wrapper

    for name in OPERATIONS:
        setattr(os, name, wrap(name))
    plain_open = io.open

    def opened(file, mode="r", *args, **kwargs):
        nonlocal count
        found = plain_open(file, mode, *args, **kwargs)
        if "r" not in mode:
            if count == point:
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1
        return found

    io.open = builtins.open = opened


def in_fork(path: Path, point: int | None) -> int:
    """Wait status of a fork that runs the loop, killed at `point` where one is given."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if point is not None:
                kill_at(point)
            run(path, TOTAL, EVERY)
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1]


def crash_everywhere(folder: Path) -> None:
    torch.set_num_threads(1)
    environment.git_commit = lambda: None
    os.fsync = lambda fd: None  # SIGKILL spares the page cache: counted, but not waited for
    run(folder / "whole", TOTAL, EVERY)
    expected = outcome(folder / "whole")
    point, lengths = 0, set()
    while True:
        path = folder / f"run-{point}"
        status = in_fork(path, point)
        if status == 0:
            break
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, (point, status)
        metrics = path / "metrics.jsonl"
        lengths.add(metrics.stat().st_size if metrics.exists() else -1)
        if point % 3 == 0:  # killed once more while it resumes
            again = in_fork(path, point // 2)
            assert again == 0 or os.WIFSIGNALED(again), (point, again)
        assert in_fork(path, None) == 0, point
        assert outcome(path) == expected, f"killed before operation {point}"
        left = [entry for entry in path.rglob(".*") if entry.name != ".autometa.lock"]
        assert not left, (point, left)
        shutil.rmtree(path)
        point += 1
    print(f"{point} points, {len(lengths)} lengths of metrics")


if __name__ == "__main__":
    try:
        if sys.argv[1] == "crash":
            crash_everywhere(Path(sys.argv[2]))
        else:
            run(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]))
    except AutometaError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
