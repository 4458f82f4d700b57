"""Search, look at what was found, and evaluate it again under other conditions; drawn characters, no download.

    python examples/search_quick.py

The same on the command line: `autometa search metanas --preset quick --out runs/quick`, then `autometa eval`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import autometa

SHORT = {"meta.iterations": 20, "warmup": 8, "test.tasks": 20, "test.steps": 10, "test_weight_steps": 10, "compare": []}
"""A fifth of the preset's length, so that this example takes seconds; leave it out for the real thing."""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "quick"
        found = autometa.search("metanas", preset="quick", settings=SHORT, out=run, quiet=True)
        print("normal cell   ", found["genotype"]["normal"])
        print("reduction cell", found["genotype"]["reduction"])
        for mode, score in found["scores"].items():
            print(f"{mode:<20} {score['mean']:5.1f} ± {score['ci95']:.1f}%")
        print(
            f"{found['parameters']:,.0f} weights; files: {', '.join(sorted(p.name for p in run.iterdir())[1:4])}, ..."
        )

        five = autometa.evaluate(run, settings={"shots": 5, "tasks": 20}, quiet=True)
        print(f"with 5 pictures of each class instead of 1: {five['scores']['support_statistics']['mean']:.1f}%")


if __name__ == "__main__":
    main()
