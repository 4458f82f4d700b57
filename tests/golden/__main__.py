"""Command line of the golden check.

Exit status: 0 at least one group was checked and none failed, 1 otherwise, 2 a file or argument cannot be used.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from autometa.ops.backend import BACKENDS, requested
from tests.golden.checking import check_file, report
from tests.golden.fixture import Engine, UsageError

DTYPES = {"float64": torch.float64, "float32": torch.float32}


def main(arguments: Sequence[str] | None = None) -> int:
    """Check files and print one line per group; returns the exit status."""
    options = _parser().parse_args(arguments)
    if options.device and options.device.startswith("cuda") and not torch.cuda.is_available():
        print("no CUDA GPU is usable here; leave --device out", file=sys.stderr)
        return 2
    engine = Engine(DTYPES[options.dtype], options.backend, options.device)
    checked = failed = 0
    unusable = []
    for path in map(Path, options.files):
        try:
            results = check_file(path, engine)
        except UsageError as error:
            unusable.append(str(error))
            continue
        print("\n".join(report(path, results)), flush=True)
        checked += sum(r.checked for r in results)
        failed += sum(r.status == "FAILED" for r in results)
    for sentence in unusable:
        print(sentence, file=sys.stderr)
    if unusable:
        return 2
    if not checked:
        print(f"nothing was checked: {requested(options.backend)} provides no group of these files", file=sys.stderr)
    return 0 if checked and not failed else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.golden", description="Compare the package with known numbers."
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="a file of the fixtures' folder")
    parser.add_argument("--backend", choices=BACKENDS, help="force this backend for every op; the best where left out")
    parser.add_argument("--dtype", choices=DTYPES, default="float64", help="of the computation (default: float64)")
    places = "cpu or cuda (default: a GPU for triton and cuda where there is one)"
    parser.add_argument("--device", choices=("cpu", "cuda"), help=places)
    return parser


if __name__ == "__main__":
    sys.exit(main())
