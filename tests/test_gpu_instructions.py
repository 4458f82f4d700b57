"""The count of instructions of GPU kernels: of code whose counts are known, and of the dearest kernels, which must not
grow."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import gpu_instructions, gpu_step
from benchmarks.gpu_instructions import Cost, lines_of, often
from benchmarks.gpu_machine_code import blocks_of, executed, statement_of, unrolled

triton = pytest.importorskip("triton")
ROOT = Path(__file__).resolve().parents[1]
TAPS = str(ROOT / "kernels" / "taps.py")

CODE = """
	//## File "/x/kernels/taps.py", line 1000
        /*0000*/                   LDC R1, c[0x0][0x28] ;
        /*0010*/                   LDG.E.128 R4, desc[UR4][R2.64] ;
	//## File "/x/triton/language/standard.py", line 7 inlined at "/x/kernels/taps.py", line 1001
	//## File "/x/kernels/taps.py", line 1001 inlined at "/x/kernels/common.py", line 2000
	//## File "/x/kernels/common.py", line 2000
.L_x_0:
        /*0020*/                   FADD R1, R1, R2 ;
        /*0030*/                   STG.E desc[UR4][R2.64], R5 ;
        /*0040*/                   HMMA.1688.F32.TF32 R8, R4, R6, R8 ;
        /*0050*/               @P0 BRA `(.L_x_0) ;
	//## File "/x/kernels/taps.py", line 1002
        /*0060*/                   EXIT ;
        /*0070*/                   NOP ;
"""


@pytest.fixture
def known(monkeypatch):
    """Statements of files that are not there stand on one line each."""
    monkeypatch.setattr("benchmarks.gpu_machine_code._statements", lambda file: {})
    monkeypatch.setattr("benchmarks.gpu_instructions.unrolled", lambda file: [])


def test_instructions_count_as_often_as_their_lines(known):
    blocks = blocks_of(CODE)
    assert [(b.count, b.looped, b.bytes, b.flops) for b in blocks] == [
        (2, False, 512, 0.0), (4, True, 128, 2048.0), (1, False, 0, 0.0),
    ]  # fmt: skip
    inner = (("common.py", 2000), ("taps.py", 1001))
    assert blocks[1].chains == [inner] * 4, "Triton's own library belongs to the statement that calls it"
    counts = {(("taps.py", 1000),): 1, inner: 9, (("taps.py", 1002),): 7}
    assert executed(blocks, often(counts)) == (2 + 9 * 4 + 1, 512 + 9 * 128, 9 * 2048.0, 36)
    assert executed(blocks, often({(("taps.py", 1000),): 1}))[0] == 2, "what no program comes to is not executed"


def test_turns_of_an_unrolled_loop_have_instructions_of_their_own(monkeypatch):
    monkeypatch.setattr("benchmarks.gpu_instructions.unrolled", lambda file: [(10, 11, 12)])
    counts = {(("a.py", 10),): 5, (("a.py", 11),): 4, (("a.py", 12),): 4, (("a.py", 11), ("b.py", 99)): 4}
    times = often(counts)
    assert times((("a.py", 12),)) == 1.0 and times((("a.py", 11), ("b.py", 99))) == 1.0


def test_statements_begin_on_their_first_line():
    text = Path(TAPS).read_text(encoding="utf-8").splitlines()
    start = next(k for k, line in enumerate(text, 1) if line.strip().startswith("x, inside = load_pixels("))
    assert text[start - 1].strip().startswith("x, inside = load_pixels(")
    longer = next(k for k, line in enumerate(text, 1) if line.strip() == "x, inside = load_pixels(")
    assert statement_of(TAPS, longer + 1) == longer
    assert unrolled(str(ROOT / "kernels" / "node_table.py")) and not unrolled(TAPS)


def test_seconds_are_predicted_by_what_binds():
    cost = Cost(instructions=12e9, flops=1e9, launches=399, programs=399)
    assert cost.seconds("fp32") == pytest.approx(12e9 / (132 * 4 * 1.83e9 * 0.55))
    assert Cost(flops=4e12).seconds("fp32") == pytest.approx(0.01)
    *_, last = lines_of({"a": cost}, "fp32")
    assert "60.0 G instructions of warps, 0.0 G of them in loops, 399 launches a step, 120 ms predicted" in last


# Thousand million instructions of warps in a step of one node (28x28, 28 channels, ten slots), as last counted.
DEAREST = {"input_gradient": 0.1984, "first_stage": 0.2987}


@pytest.mark.skipif(platform.system() != "Linux", reason="triton compiles on Linux only")
@pytest.mark.skipif(not triton.__version__.startswith("3.9."), reason="the counts are those of triton 3.9's compiler")
def test_the_dearest_kernels_ask_for_no_more_than_they_did(tmp_path):
    out = tmp_path / "found.json"
    source = (
        "import sys; from pathlib import Path; from benchmarks import gpu_instructions as g; import json; "
        f"found = g.cost('node', 'fp32', frozenset({sorted(DEAREST)})); "
        f"Path({str(out)!r}).write_text(json.dumps({{k: v.instructions / 1e9 for k, v in found.items()}}))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = os.pathsep.join([*(path for path in sys.path if path), str(ROOT)])
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", source], env=environment, cwd=tmp_path)
    assert done.returncode == 0
    found = json.loads(out.read_text(encoding="utf-8"))
    print(found)
    for name, most in DEAREST.items():
        assert 0.5 * most < found[name] <= 1.02 * most, (name, found[name])
    assert gpu_instructions.STEPS == 5


def test_a_step_for_profilers_needs_a_gpu(capsys, monkeypatch):
    monkeypatch.setattr(gpu_step, "gpu_refuses", lambda number: "no CUDA GPU is usable here")
    assert gpu_step.main() == 2
    assert capsys.readouterr().err == "no CUDA GPU is usable here; this needs one\n"
