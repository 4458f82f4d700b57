"""No file outside `algorithms/` names an algorithm, a learner or a strategy: what differs is a method of theirs.

Named is: the import of an algorithm's module, a test of a config's class, an algorithm's tag as a string, and a
comparison of a string with the name of any of them. A registry's own table names what it holds, a learner's and a
strategy's file itself.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from autometa.meta.learner import LEARNERS
from autometa.nas.strategies.strategy import STRATEGIES
from autometa.train.run_config import ALGORITHMS

PACKAGE = Path(__file__).resolve().parents[1] / "autometa"
CONFIGS = {ALGORITHMS[name].config.__name__ for name in ALGORITHMS}
OWN = {f"autometa.algorithms.{path.stem}" for path in (PACKAGE / "algorithms").glob("*_run.py")}
OWN |= {
    f"{name.removesuffix('_run')}{suffix}" for name in OWN for suffix in ("", "_job", "_steps", "_outcome", "_cost")
}
COMMANDS = {ALGORITHMS[name].command for name in ALGORITHMS}
TAGS = {name for name in {*ALGORITHMS, *COMMANDS} if not name.isalpha() or name not in COMMANDS}
"""Words that can mean nothing else; `train` is a command and a part of a data set as well."""
NAMES = {*ALGORITHMS, *COMMANDS, *LEARNERS.names(), *STRATEGIES.names()}
EXEMPT = {
    "train/run_config.py": "the registry of algorithms",
    "runs/migrate.py": "what earlier versions wrote",
}
DATA = {"train", "reptile", "random"}
"""In `data/` these are a part of a data set and splits of Omniglot."""


def namings(path: Path, package: Path) -> Iterator[str]:
    """Everything of a file that names one, as `file:line: what`."""
    relative = path.relative_to(package).as_posix()
    if relative.startswith("algorithms/") or relative in EXEMPT:
        return
    names = NAMES - DATA if relative.startswith("data/") else NAMES
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = set(_docstrings(tree))
    for node in ast.walk(tree):
        what = _named(node, names)
        if what is None and isinstance(node, ast.Constant) and node.value in TAGS and node not in documented:
            what = f"the tag {node.value!r}"
        if what is not None:
            yield f"{relative}:{node.lineno}: {what}"


def _docstrings(tree: ast.Module) -> Iterator[ast.Constant]:
    for node in ast.walk(tree):
        for child in getattr(node, "body", []) if not isinstance(node, (ast.Lambda, ast.IfExp)) else []:
            if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
                yield child.value


def _named(node: ast.AST, names: set[str]) -> str | None:
    if isinstance(node, ast.ImportFrom) and node.module:
        imported = {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        found = sorted(imported & OWN) + sorted({alias.name for alias in node.names} & CONFIGS)
        return f"imports {found[0]}" if found else None
    if isinstance(node, ast.Import):
        found = sorted({alias.name for alias in node.names} & OWN)
        return f"imports {found[0]}" if found else None
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("isinstance", "issubclass"):
        asked, kinds = node.args
        if {word.id for word in ast.walk(kinds) if isinstance(word, ast.Name)} & CONFIGS or _called(asked) == "config":
            return f"asks for the class of {ast.unparse(asked)}"
    if isinstance(node, ast.Compare):
        words = {c.value for c in ast.walk(node) if isinstance(c, ast.Constant) and isinstance(c.value, str)}
        if words & names:
            return f"compares with {sorted(words & names)[0]!r}"
        sides = [node.left, *node.comparators]
        if any(_called(side) in ("kind", "algorithm") for side in sides) and _of_run(sides):
            return f"compares {ast.unparse(node)}"
        if any(isinstance(op, (ast.Is, ast.IsNot)) for op in node.ops) and any(_called(s) == "job" for s in sides):
            return f"compares {ast.unparse(node)}"
    if isinstance(node, ast.MatchValue) and isinstance(node.value, ast.Constant) and node.value.value in names:
        return f"matches {node.value.value!r}"
    return None


def _called(node: ast.AST) -> str:
    """The last part of a dotted name."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _of_run(sides: list[ast.expr]) -> bool:
    """Whether one side is an attribute of a run, a plan or a config, the other no None."""
    owners = {_called(side.value) for side in sides if isinstance(side, ast.Attribute)}
    nothing = any(isinstance(side, ast.Constant) and side.value is None for side in sides)
    return bool(owners & {"run", "plan", "config", "job"}) and not nothing


def test_no_file_names_an_algorithm_a_learner_or_a_strategy():
    assert {"metanas", "auto-meta"} <= TAGS and "train" not in TAGS
    found = [line for path in sorted(PACKAGE.rglob("*.py")) for line in namings(path, PACKAGE)]
    assert found == []


PLANTED = {
    "api/a.py": "from autometa.algorithms.metanas import MetaNASConfig",
    "cli/b.py": "from autometa.algorithms import auto_meta_run",
    "report/c.py": "def f(config):\n    return isinstance(config, dict)",
    "report/d.py": "def f(run, METANAS):\n    return run.kind == METANAS",
    "models/e.py": "KIND = 'auto-meta'",
    "search/f.py": "def f(strategy):\n    return strategy.name == 'evolution'",
    "train/g.py": "def f(name):\n    return name in ('maml', 'anil')",
    "api/h.py": "def f(word):\n    return word == 'train'",
    "api/i.py": "def f(job, AUTO_META):\n    return job is AUTO_META",
    "nas/j.py": "def f(x):\n    match x:\n        case 'progressive':\n            return 1",
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_name_is_found(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.write_text(PLANTED[name])
    assert len(list(namings(path, tmp_path))) == 1


@pytest.mark.parametrize("name", ["algorithms/a.py", *EXEMPT])
def test_where_names_belong_they_may_stand(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.write_text("NAME = 'metanas'\n")
    assert list(namings(path, tmp_path)) == []
