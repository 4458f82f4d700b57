"""Does the ledger keep up? Many pretended workers claim and finish batches of candidates that cost nothing.

    python -m benchmarks.ledger_load --workers 100 --candidates 10000 --batch 1

Prints claims and finishes per second of all workers together, each worker with a connection of its own, and of one
driver that does all of it (as with Ray); and how long a worker waits for a claim with its finish.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sqlite3
import statistics
import tempfile
import threading
import time
from pathlib import Path

from autometa.runs.ledger import Ledger


def work(path: Path, name: str, waits: list[float]) -> None:
    """One worker, to the end of the ledger."""
    with Ledger.open(path, create=False) as ledger:
        while True:
            begun = time.perf_counter()
            batch = ledger.claim(name, 600.0)
            if batch is None:
                return
            ledger.finish(batch, [{"key": key, "accuracy": 50.0, "seconds": 1.0} for key in batch.keys])
            waits.append(time.perf_counter() - begun)


def workers(path: Path, process: int, count: int, ready, queue) -> None:
    """`count` workers as threads of one process."""
    waits: list[float] = []
    threads = [threading.Thread(target=work, args=(path, f"worker {process}.{n}", waits)) for n in range(count)]
    ready.wait()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    queue.put(waits)


def proposed(folder: str, candidates: int, batch: int) -> Path:
    path = Path(folder) / "ledger.sqlite"
    with Ledger.open(path) as ledger:
        ledger.propose(1, [(f"cell-{n}", 0.0, 1.0) for n in range(candidates)], batch)
    return path


def measure(count: int, processes: int, candidates: int, batch: int, folder: str | None) -> tuple[float, list[float]]:
    """Seconds until the ledger is done, and each worker's wait per batch."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        path = proposed(place, candidates, batch)
        context = multiprocessing.get_context("fork")
        ready, queue = context.Event(), context.Queue()
        shares = [count // processes + (p < count % processes) for p in range(processes)]
        running = [context.Process(target=workers, args=(path, p, n, ready, queue)) for p, n in enumerate(shares)]
        for process in running:
            process.start()
        begun = time.perf_counter()
        ready.set()
        waits = [wait for _ in running for wait in queue.get()]
        seconds = time.perf_counter() - begun
        for process in running:
            process.join()
        with Ledger.open(path) as ledger:
            rows = ledger.outcomes()
        if {(row.state, row.attempts) for row in rows} != {("done", 1)}:
            raise SystemExit("candidates were lost or handed out twice")
    return seconds, waits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=100)
    parser.add_argument("--processes", type=int, default=4, help="that the workers are threads of")
    parser.add_argument("--candidates", type=int, default=10_000)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--folder", help="on the disk to measure (default: that of temporary files)")
    given = parser.parse_args()
    batches = -(-given.candidates // given.batch)
    print(f"SQLite {sqlite3.sqlite_version}; {given.candidates} candidates in {batches} batches")
    for name, count, processes in (("workers", given.workers, given.processes), ("driver", 1, 1)):
        seconds, waits = measure(count, processes, given.candidates, given.batch, given.folder)
        waits.sort()
        middle, late = statistics.median(waits), waits[int(0.99 * (len(waits) - 1))]
        print(
            f"{count:>4} {name:<8} {seconds:7.2f} s, {batches / seconds:7.0f} claims and as many finishes per second; "
            f"claim + finish: median {1e3 * middle:.1f} ms, 99% {1e3 * late:.1f} ms, longest {1e3 * waits[-1]:.0f} ms"
        )


if __name__ == "__main__":
    main()
