"""Codes of primitives and columns of node tables: C++, Python and the Triton kernels read the same numbers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from autometa.kernels import op_codes
from autometa.ops import backend
from autometa.ops._triton import _missing
from autometa.ops.primitives import BUILT_IN, BY_CODE
from tests.ops.arenas import native

ROOT = Path(__file__).resolve().parents[2]


def test_every_line_of_the_table_is_read():
    lines = (ROOT / "kernels" / "op_codes.def").read_text(encoding="utf-8").splitlines()
    entries = [line for line in lines if line and not line.startswith("//")]
    assert len(entries) == len(op_codes.KINDS) + len(op_codes.OP_CODES) > 15
    assert {op.kind for op in op_codes.OP_CODES} <= set(op_codes.KINDS)


def test_the_reference_has_the_codes_and_stages_of_the_table():
    assert [(p.name, p.code) for p in BY_CODE[:BUILT_IN]] == [(op.name, i) for i, op in enumerate(op_codes.OP_CODES)]
    assert [p.stages(1) for p in BY_CODE[:BUILT_IN]] == [op.stages for op in op_codes.OP_CODES]


@native
def test_the_compiled_module_was_built_with_this_table():
    found = [tuple(op) for op in backend.compiled().op_codes()]
    assert found == [(op.name, op_codes.KINDS[op.kind], *op[2:]) for op in op_codes.OP_CODES], "build it again"


@pytest.mark.skipif(_missing() is not None, reason=str(_missing()))
def test_the_kernels_have_the_columns_and_kinds_of_the_table():
    from autometa.kernels import node_table

    columns = {name: value for name, value in vars(op_codes).items() if name.isupper() and isinstance(value, int)}
    assert len(columns) == 19 and columns["COLUMNS"] == 25
    kinds = {name.upper(): number for name, number in op_codes.KINDS.items()}
    for name, value in (columns | kinds).items():
        assert getattr(node_table, name).value == value, name


def test_no_other_source_lists_them():
    """A name of a primitive in C++, or a number for one, would be a second table."""
    names = "|".join(re.escape(op.name) for op in op_codes.OP_CODES if op.name != "none")
    sources = [path for path in (ROOT / "csrc").rglob("*.*") if path.suffix in (".h", ".cpp", ".cu")]
    pools = {"max_pool", "avg_pool"}  # kernels of these names
    found = [p.name for p in sources if set(re.findall(rf"\b(?:{names})\b", p.read_text(encoding="utf-8"))) - pools]
    assert len(sources) > 60 and not found
