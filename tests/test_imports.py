"""The import law: arrows between rooms point down, never up or sideways (docs: who may import whom)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "autometa"

EVERYWHERE = {"errors", "_version", "plugins", "printable", "brief", "registry"}
LEARNING = {"nas", "meta", "data", "slots", "ops"}
BELOW_ALGORITHMS = LEARNING | {"runs", "train", "search"}
USED_BY_TOP = BELOW_ALGORITHMS | {"algorithms", "models"}
TOP = USED_BY_TOP | {"report", "export", "estimator", "api"}
MAY_IMPORT = {
    "errors": set(),
    "_version": set(),
    "printable": set(),
    "plugins": set(),
    "registry": set(),
    "brief": set(),
    "ops": {"kernels", "_C", "_cuda"},
    "slots": {"ops"},
    "nas": {"slots", "ops"},
    "meta": {"slots", "ops"},
    "data": {"slots", "ops"},
    "runs": {"slots", "ops"},
    "train": LEARNING | {"runs"},
    "search": LEARNING | {"runs", "train"},
    "models": BELOW_ALGORITHMS,
    "algorithms": BELOW_ALGORITHMS | {"models"},
    "report": USED_BY_TOP,
    "export": USED_BY_TOP,
    "estimator": USED_BY_TOP,
    "api": USED_BY_TOP | {"report", "export", "estimator"},
    "cli": TOP,
    "__main__": TOP | {"cli"},
    "__init__": TOP,
}


def room_of(name: str) -> str:
    """`autometa.nas.spaces.cells` -> `nas`; the package itself -> `__init__`."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def imported(tree: ast.Module, module: str, is_package: bool, rooms: set[str]) -> Iterator[tuple[int, str]]:
    """Yield (line, dotted name) of everything of `autometa` that a module imports, in whatever way."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _base(node, module, is_package)
            names = [base]
            if base == "autometa":
                names = [f"{base}.{a.name}" if a.name in rooms else base for a in node.names]
        elif isinstance(node, ast.Call) and _called(node.func) in ("import_module", "__import__", "find_spec"):
            names = [a.value for a in node.args[:1] if isinstance(a, ast.Constant) and isinstance(a.value, str)]
        yield from ((node.lineno, name) for name in names if name.split(".")[0] == "autometa")


def _base(node: ast.ImportFrom, module: str, is_package: bool) -> str:
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    kept = parts[: len(parts) - node.level + is_package]
    return ".".join(kept + ([node.module] if node.module else []))


def _called(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def violations(package: Path) -> list[str]:
    """Every arrow that the law forbids, as `file:line: why`."""
    found = []
    rooms = set(MAY_IMPORT) | {"kernels", "_C", "_cuda"} | {p.stem for p in package.iterdir()}
    for path in sorted(package.rglob("*.py")):
        relative = path.relative_to(package)
        module = ".".join(["autometa", *relative.with_suffix("").parts]).removesuffix(".__init__")
        room = room_of(module)
        if room not in MAY_IMPORT:
            found.append(f"{relative}: the room {room!r} is not in the law's table")
            continue
        allowed = MAY_IMPORT[room] | EVERYWHERE | ({room} if room != "__init__" else set())
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for line, name in imported(tree, module, path.name == "__init__.py", rooms):
            if room_of(name) not in allowed:
                found.append(f"{relative}:{line}: {room} must not import {name}")
    return found


def test_arrows_point_down():
    assert sum(1 for _ in PACKAGE.rglob("*.py")) > 20
    assert violations(PACKAGE) == []


def test_nas_and_meta_never_meet():
    assert "meta" not in MAY_IMPORT["nas"] and "nas" not in MAY_IMPORT["meta"]
    assert [room for room, allowed in MAY_IMPORT.items() if "_C" in allowed or "kernels" in allowed] == ["ops"]
    assert not MAY_IMPORT["runs"] & {"algorithms", "nas", "meta", "data"}


FORBIDDEN = {
    "nas/bad.py": "from autometa.meta.reptile import Schedule",
    "meta/bad.py": "import autometa.nas.spaces.cells as cells",
    "meta/relative.py": "from ..nas import cells",
    "data/bad.py": "def late():\n    from autometa import nas",
    "runs/bad.py": "from autometa.data import open_dataset",
    "ops/bad.py": "from autometa.slots.layout import Layout",
    "slots/bad.py": "import autometa._C",
    "nas/kernels.py": "from autometa import kernels",
    "nas/dynamic.py": "import importlib\nimportlib.import_module('autometa._C')",
    "algorithms/bad.py": "from autometa.cli import main",
    "slots/root.py": "import autometa",
    "attic/bad.py": "x = 1",
}
ALLOWED = {
    "nas/good.py": "from autometa.slots.layout import Layout\nfrom autometa.ops import mixed_op\nfrom . import cells",
    "ops/good.py": "import importlib\nimportlib.import_module('autometa._C')\nfrom autometa.kernels import adam",
    "data/good.py": "from autometa.errors import InputError\nfrom autometa import _version\nimport numpy",
    "algorithms/good.py": "from autometa.nas import cells\nfrom autometa.meta import maml\nimport autometa.runs",
}


def planted(tmp_path: Path, files: dict[str, str]) -> Path:
    package = tmp_path / "autometa"
    for name, text in files.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")
    return package


@pytest.mark.parametrize("name", FORBIDDEN)
def test_a_forbidden_arrow_is_found(tmp_path, name):
    found = violations(planted(tmp_path, {name: FORBIDDEN[name]}))
    assert len(found) == 1 and found[0].startswith(name)


def test_allowed_arrows_pass(tmp_path):
    assert violations(planted(tmp_path, ALLOWED)) == []
