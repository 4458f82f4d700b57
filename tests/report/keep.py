"""Keep what the report reads of a real run, for tests: `python -m tests.report.keep RUN [NAME]` replaces runs/NAME.

Only JSON is kept, in one line each, and nothing that says where it was made.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

RUNS = Path(__file__).with_name("runs")
KEPT = [f"{n}.json" for n in ("config", "data", "environment", "health", "observations", "result", "search")]
MACHINE = ("folder", "host", "git_commit", "settings", "resumed")
LARGEST = 400_000


def keep(run: Path, to: Path) -> int:
    """Copy; returns the bytes. Raises `ValueError` where they are too many for a repository."""
    shutil.rmtree(to, ignore_errors=True)
    (to / "genotypes").mkdir(parents=True)
    for path in [run / name for name in KEPT] + sorted(run.glob("genotypes/*.json")):
        if path.exists():
            value = json.loads(path.read_text(encoding="utf-8"))
            if path.name == "environment.json":
                value = {name: item for name, item in value.items() if name not in MACHINE}
                value["command"] = re.sub(r"(?<=--out )\S*/", "runs/", value["command"])
            text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
            (to / path.relative_to(run)).write_text(text + "\n", encoding="utf-8")
    for path in sorted(run.glob("metrics-*.jsonl")):
        shutil.copyfile(path, to / path.name)
    size = sum(path.stat().st_size for path in to.rglob("*") if path.is_file())
    if size > LARGEST:
        raise ValueError(f"{size:,} bytes are too many to check in; the most is {LARGEST:,}")
    return size


if __name__ == "__main__":
    source = Path(sys.argv[1])
    place = RUNS / (sys.argv[2] if len(sys.argv) > 2 else "omniglot-small")
    print(f"{place}: {keep(source, place):,} bytes")
