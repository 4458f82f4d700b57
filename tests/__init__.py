"""The tests import the installed package: the checkout's root goes to the end of the search path.

Threads of torch sleep while they wait: several workers of the tests, each with as many threads as there are cores,
would take the cores from one another otherwise. OpenMP looks at it when torch is imported, which is later.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

_ROOT = Path(__file__).resolve().parents[1]
_elsewhere = [entry for entry in sys.path if Path(entry or ".").resolve() != _ROOT]
sys.path[:] = [*_elsewhere, str(_ROOT)]

EVERYTHING = os.environ.get("AUTOMETA_TESTS") == "all"
"""Also what takes minutes and proves more of the same: the full product where pairs are covered, longer runs."""
