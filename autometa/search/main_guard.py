"""Worker processes import the script that started them anew: what it starts must stand under a main guard."""

from __future__ import annotations

import ast
import multiprocessing
import sys
from pathlib import Path
from types import FrameType

from autometa.errors import InputError

UNGUARDED = 78
"""The exit code of a worker that was about to begin its parent's work once more."""
GUARD = 'put the call under `if __name__ == "__main__":`, or leave workers and seeds out'


def check_main_guard(processes: bool) -> None:
    """Before a run begins.  processes: whether worker processes will be started.

    Raises `InputError` where they would run the script again, or would not find it. In a process that is importing such
    a script, it raises SystemExit with `UNGUARDED`.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise SystemExit(UNGUARDED)
    if not processes:
        return
    main = sys.modules.get("__main__")
    script = getattr(main, "__file__", None)
    if script is not None and getattr(main, "__spec__", None) is None and not Path(script).is_file():
        raise InputError(
            f"the script {script} starts processes that import it anew, but is no file: save it as one and run that, "
            "or leave workers and seeds out"
        )
    if _unguarded():
        raise InputError(f"{script} starts processes that import it anew: {GUARD}")


def _unguarded() -> bool:
    """Whether a call in the main script, outside every `if` about `__name__`, has led here; False where there is no
    script that a new process would import: a notebook, a prompt, `python -c`."""
    main = sys.modules.get("__main__")
    frame: FrameType | None = sys._getframe()
    while frame is not None and not (frame.f_code.co_name == "<module>" and frame.f_globals is vars(main)):
        frame = frame.f_back
    script = getattr(main, "__file__", None)
    if frame is None or script is None:
        return False
    line = frame.f_lineno
    try:
        tree = ast.parse(Path(script).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return False
    guards = [node for node in ast.walk(tree) if isinstance(node, ast.If) and _asks_name(node.test)]
    return not any(node.lineno <= line <= (node.end_lineno or 0) for node in guards)


def _asks_name(test: ast.expr) -> bool:
    return any(isinstance(node, ast.Name) and node.id == "__name__" for node in ast.walk(test))
