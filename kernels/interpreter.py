"""Repairs of Triton's interpreter: NumPy 2.4 refuses its way to read a scalar, so that no loop ran to a bound that is
an argument (Triton 3.6); and most of its time went where nothing comes of it, so that it took twice as long."""

from __future__ import annotations

from dataclasses import replace

from triton.runtime import interpreter


def repair() -> None:
    """Make `range(n)` work in interpreted kernels, and leave out work without an effect."""
    before = interpreter._patch_lang_tensor

    def patch(tensor, *scope):
        before(tensor, *scope)
        tensor.__index__ = lambda self: int(self.handle.data.item())

    interpreter._patch_lang_tensor = patch
    _no_unread_checks()
    if hasattr(interpreter, "_LangPatchScope"):
        _patch_once()


def _no_unread_checks() -> None:
    """Checks of overflow are computed for every integer operation, and asserted in debug mode only."""
    builder = interpreter.interpreter_builder
    options = getattr(builder, "options", None)
    if getattr(options, "sanitize_overflow", False) and not options.debug:
        builder.options = replace(options, sanitize_overflow=False)


def _patch_once() -> None:
    """The language is patched when a kernel starts, and again at every call of a function within: once will do."""
    before, done = interpreter._patch_lang, set()

    def patch(fn):
        module = id(fn.__globals__)
        if module in done:
            return interpreter._LangPatchScope()
        outermost = not done
        done.add(module)
        scope = before(fn)
        if outermost:
            restore = scope.restore
            scope.restore = lambda: (done.clear(), restore())
        return scope

    interpreter._patch_lang = patch
