"""`python -m autometa` is the command line."""

import sys

from autometa.cli import main

if __name__ == "__main__":
    sys.exit(main())
