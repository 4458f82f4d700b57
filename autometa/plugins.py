"""Files of the user that register primitives, data sets or meta-learners: `--plugin FILE`, or AUTOMETA_PLUGINS.

A plugin is a Python file or the name of a module; importing it is all that happens. What the command line names goes
into AUTOMETA_PLUGINS, so that processes which this one starts load the same.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from autometa.errors import InputError

SETTING = "AUTOMETA_PLUGINS"


def load(names: Sequence[str] = ()) -> None:
    """Import the plugins that AUTOMETA_PLUGINS lists (parted as PATH is) and `names`, each once.

    Raises `InputError` naming a plugin that is missing or breaks.
    """
    wanted = list(dict.fromkeys([*loaded(), *(_settled(name) for name in names)]))
    for name in wanted:
        _import(name)
    if names:
        os.environ[SETTING] = os.pathsep.join(wanted)


def loaded() -> list[str]:
    """What AUTOMETA_PLUGINS lists: full paths and names of modules."""
    return [_settled(name) for name in os.environ.get(SETTING, "").split(os.pathsep) if name]


def options() -> str:
    """The options that load the same plugins, as they would be typed, each with a blank before it."""
    return "".join(f" --plugin {shlex.quote(name)}" for name in loaded())


def _is_file(name: str) -> bool:
    return name.endswith(".py") or os.sep in name


def _settled(name: str) -> str:
    return str(Path(os.path.expanduser(name)).resolve()) if _is_file(name) else name


def _import(name: str) -> None:
    try:
        _import_file(Path(name)) if _is_file(name) else importlib.import_module(name)
    except InputError as error:
        raise InputError(f"plugin {name}: {error}") from error
    except ModuleNotFoundError as error:
        missing = error.name == name
        hint = "; give the path of a Python file, or install the module" if missing else ""
        raise InputError(f"plugin {name} cannot be loaded: {error}{hint}") from error
    except Exception as error:
        raise InputError(f"plugin {name} cannot be loaded: {type(error).__name__}: {error}{_line(error)}") from error


def _import_file(path: Path) -> None:
    module_name = f"autometa_plugin_{path.stem}_{hashlib.sha256(os.fsencode(path)).hexdigest()[:8]}"
    if module_name in sys.modules:
        return
    if not path.is_file():
        raise InputError("there is no such file; --plugin takes a Python file or the name of a module")
    spec = importlib.util.spec_from_file_location(module_name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[module_name]
        raise


def _line(error: Exception) -> str:
    """Where in the plugin it broke."""
    line, trace = getattr(error, "lineno", None), error.__traceback__
    while trace is not None:
        if "autometa_plugin_" in trace.tb_frame.f_globals.get("__name__", ""):
            line = trace.tb_lineno
        trace = trace.tb_next
    return f" (line {line})" if line else ""
