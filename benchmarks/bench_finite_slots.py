"""The finite check of an arena, beside the reference and a copy of the same bytes."""

import pytest

from autometa.ops.finite_slots import finite_slots
from benchmarks.arenas import SIZES, make
from benchmarks.device import DEVICES, NATIVE
from benchmarks.measure import side_by_side


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("size", SIZES)
def test_finite_slots(benchmark, size, device):
    arena = make(size, device)

    def run(backend):
        finite_slots(arena.phi, backend=backend)

    rivals = {"reference": lambda: run("reference")}
    ratios = side_by_side(benchmark, lambda: run(NATIVE[device]), rivals, 4 * arena.elements, device=device)
    assert ratios["reference"] > 1
