"""A run with worker processes in a process of its own, to be interrupted.

python run_workers.py LEDGER WORKERS DELAY
"""

import sys
from pathlib import Path

from autometa.errors import Interrupted
from autometa.runs.ledger import Ledger
from autometa.runs.session import Signals
from autometa.search.workers import Processes
from tests.search.units import Toy


def main(path: Path, workers: int, delay: float) -> int:
    signals = Signals()
    signals.install()
    with Ledger.open(path, create=False) as ledger:
        try:
            with Processes(ledger, Toy(path.parent, delay), workers, lease_seconds=5.0) as force:
                while ledger.unfinished():
                    if signals.asked:
                        raise Interrupted(signals.asked)
                    force.turn()
        except Interrupted:
            return 130
        finally:
            signals.restore()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
