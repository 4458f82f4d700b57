"""Which slots hold finite numbers only: every place of a row counts, whatever stands beside it."""

import pytest
import torch

from autometa.ops.finite_slots import finite_slots
from autometa.ops.finite_slots.native import finite_slots_native
from tests.ops.arenas import DTYPES, native, ways_to_run

BACKENDS = ("reference", pytest.param("cpp", marks=native))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("row", (1, 7, 63, 64, 200, 8193))
def test_finds_every_place(row, dtype, backend):
    places = sorted({0, row // 2, row - 1, min(row - 1, 64)})
    bad = [float("nan"), float("inf"), -float("inf")]
    phi = torch.randn(len(places) * 3 + 2, row, dtype=dtype, generator=torch.Generator().manual_seed(0))
    for number, place in enumerate(places * 3):
        phi[number + 1, place] = bad[number % 3]
    phi[0] = torch.finfo(dtype).max
    phi[-1, 0] = -torch.finfo(dtype).max
    expected = torch.isfinite(phi).all(dim=1)
    assert expected.sum() == 2
    assert torch.equal(finite_slots(phi, backend=backend), expected)
    if backend == "cpp":
        for way in ways_to_run():
            with way:
                assert torch.equal(finite_slots(phi, backend=backend), expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_columns_are_finite_and_no_slots_are_none(backend):
    assert finite_slots(torch.empty(2, 0), backend=backend).tolist() == [True, True]
    assert finite_slots(torch.empty(0, 5), backend=backend).tolist() == []


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("wrong", (torch.ones(3), torch.ones(3, 4).half(), torch.ones(3, 4).t()))
def test_bad_arguments(backend, wrong):
    with pytest.raises(ValueError, match="phi must be"):
        finite_slots(wrong, backend=backend)


@native
def test_opcheck():
    phi = torch.tensor([[1.0, 2.0], [float("nan"), 0.0]])
    assert torch.library.opcheck(finite_slots_native.custom, (phi, torch.ones(2, dtype=torch.bool)))
