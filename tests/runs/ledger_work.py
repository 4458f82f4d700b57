"""Workers on a ledger in processes of their own, to be killed.

python ledger_work.py FILE WORKERS CANDIDATES BATCH KILLS LEASE
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

from autometa.runs.ledger import Ledger


def outcome(key: str) -> dict:
    """What training a candidate would give: decided by the candidate alone."""
    number = int(key.split("-")[1])
    if number % 97 == 13:
        return {"key": key, "failure": "diverged", "parameters": number}
    return {
        "key": key,
        "accuracy": number % 89 + 0.25,
        "interval": 0.5,
        "parameters": number,
        "macs": 7,
        "seconds": 0.1,
    }


def entries(count: int) -> list[tuple[str, float, float]]:
    return [(f"cell-{n}", float(n), 0.5) for n in range(count)]


def work(path: Path, name: str, lease: float) -> None:
    """Claim, take a moment, finish, until nothing is left."""
    with Ledger.open(path, create=False) as ledger:
        while ledger.unfinished():
            batch = ledger.claim(name, lease)
            if batch is None:
                time.sleep(0.01)
                continue
            time.sleep(0.001)
            ledger.finish(batch, [outcome(key) for key in batch.keys])


def forked(path: Path, name: str, lease: float) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work(path, name, lease)
            code = 0
        finally:
            os._exit(code)
    return child


def main(path: Path, workers: int, candidates: int, batch: int, kills: int, lease: float) -> None:
    chance, killed = random.Random(), 0
    with Ledger.open(path) as ledger:
        ledger.propose(1, entries(candidates), batch)
    running = {forked(path, f"w{n}", lease): f"w{n}" for n in range(workers)}
    started = workers
    while running:
        time.sleep(chance.random() * 0.02)
        if killed < kills:
            victim = chance.choice(list(running))
            os.kill(victim, signal.SIGKILL)
            os.waitpid(victim, 0)
            killed += 1
            name = f"w{started}"
            started += 1
            del running[victim]
            running[forked(path, name, lease)] = name
        else:
            child, status = os.waitpid(-1, 0)
            assert status == 0, f"{running[child]} ended with {status}"
            del running[child]
    print(killed)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:6]), float(sys.argv[6]))
