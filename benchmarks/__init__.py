"""Benchmarks of the installed package: `pytest benchmarks/bench_*.py`; every op beside its rivals.

As in tests/, the checkout's root goes to the end of the search path.
"""

import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
_elsewhere = [entry for entry in sys.path if Path(entry or ".").resolve() != _ROOT]
sys.path[:] = [*_elsewhere, str(_ROOT)]
