"""What runs show: each on a page of its own, or several side by side.

`autometa.report` is this package and, called, the word of the command line: `autometa.report(run)`.
"""

import sys
import types


class _Word(types.ModuleType):
    """A package that is also a function, since both have the same name."""

    def __call__(self, run="latest", out=None):
        """`autometa.report.writing.report`."""
        from autometa.report.writing import report

        return report(run, out)


sys.modules[__name__].__class__ = _Word
