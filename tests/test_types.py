"""The type checker: annotations are demanded in the rooms that pyproject.toml names, and hold."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
api = pytest.importorskip("mypy.api", reason="mypy is not installed (the extra `test`)")


def checked(*arguments: str) -> tuple[int, str]:
    out, err, code = api.run(["--config-file", str(ROOT / "pyproject.toml"), *arguments])
    return code, out + err


def test_annotations_are_there_and_hold(monkeypatch):
    monkeypatch.chdir(ROOT)
    code, told = checked()
    assert code == 0 and told.startswith("Success"), told


@pytest.mark.parametrize(
    ("text", "fault"),
    [("def double(x):\n    return 2 * x\n", "no-untyped-def"), ("def half(x: int) -> str:\n    return x\n", "return")],
)
def test_a_fault_is_found(tmp_path, text, fault):
    path = tmp_path / "planted.py"
    path.write_text(text)
    code, told = checked("--cache-dir", str(tmp_path / "cache"), str(path))
    assert code == 1 and fault in told
