"""Programs that run without this package: an adapted classifier, or the adaptation itself, for PyTorch or as ONNX.

`autometa.export` is this package and, called, the word of the command line: `autometa.export(run, out="birds.onnx")`.
"""

import sys
import types


class _Word(types.ModuleType):
    """A package that is also a function, since both have the same name."""

    def __call__(self, *arguments, **options):
        """`autometa.export.writing.export`."""
        from autometa.export.writing import export

        return export(*arguments, **options)


sys.modules[__name__].__class__ = _Word
