"""A repair of Triton's interpreter: NumPy 2.4 refuses its way to read a scalar, so that no loop ran to a bound that is
an argument (Triton 3.6)."""

from __future__ import annotations

from triton.runtime import interpreter


def repair() -> None:
    """Make `range(n)` work in interpreted kernels."""
    before = interpreter._patch_lang_tensor

    def patch(tensor, *scope):
        before(tensor, *scope)
        tensor.__index__ = lambda self: int(self.handle.data.item())

    interpreter._patch_lang_tensor = patch
