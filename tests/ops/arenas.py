"""Arenas of ugly shapes, and what the tests of the arena ops share."""

import contextlib
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from autometa.ops import backend
from autometa.ops.rows import Rows

native = pytest.mark.skipif(backend.compiled() is None, reason=str(backend.compiled_error()))
DTYPES = (torch.float32, torch.float64)
PADDING = 7.0


@dataclass(frozen=True)
class Arena:
    """An arena's shape: sizes of the kinds per layout, columns per row, tables over slots."""

    row: int
    groups: int
    bounds: torch.Tensor
    group_of_slot: torch.Tensor
    layout_of_slot: torch.Tensor

    @property
    def slots(self) -> int:
        return self.group_of_slot.numel()

    @property
    def kinds(self) -> int:
        return self.bounds.shape[1] - 1

    @property
    def rows(self) -> Rows:
        return Rows(self.bounds, self.group_of_slot, self.layout_of_slot)

    def live(self) -> torch.Tensor:
        """bool [slots, row]: columns that are not padding."""
        columns = torch.arange(self.row)
        edges = self.bounds[self.layout_of_slot]
        return (columns >= edges[:, :1]) & (columns < edges[:, -1:])

    def kind_mask(self, kind: int) -> torch.Tensor:
        """bool [slots, row]: columns of one kind."""
        columns, edges = torch.arange(self.row), self.bounds[self.layout_of_slot]
        return (columns >= edges[:, kind, None]) & (columns < edges[:, kind + 1, None])

    def random(self, seed: int, dtype=torch.float64, padding: float = PADDING) -> torch.Tensor:
        """Standard normal numbers [slots, row], `padding` outside the layouts."""
        values = torch.randn(self.slots, self.row, generator=generator(seed), dtype=torch.float64)
        return torch.where(self.live(), values, torch.tensor(padding, dtype=torch.float64)).to(dtype)

    def per_group(self, seed: int, low: float, high: float) -> torch.Tensor:
        """Uniform float64 [groups, kinds]."""
        uniform = torch.rand(self.groups, self.kinds, generator=generator(seed), dtype=torch.float64)
        return low + (high - low) * uniform

    def only(self, slot: int) -> "Arena":
        """The same slot without its neighbours."""
        pick = slice(slot, slot + 1)
        return replace(self, group_of_slot=self.group_of_slot[pick], layout_of_slot=self.layout_of_slot[pick])


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def arena(row: int, bounds: list[list[int]], group_of_slot: list[int], layout_of_group: list[int]) -> Arena:
    groups = torch.tensor(group_of_slot, dtype=torch.int64)
    return Arena(row, len(layout_of_group), torch.tensor(bounds), groups, torch.tensor(layout_of_group)[groups])


ARENAS = {
    "one element": arena(1, [[0, 1, 1]], [0], [0]),
    "row of 7": arena(7, [[0, 3, 7]], [0, 0, 0], [0]),
    "row of 63, one kind": arena(63, [[0, 63]], [0, 0], [0]),
    "gap before and after": arena(64, [[5, 31, 50]], [0] * 4, [0]),
    "two layouts, three groups": arena(333, [[0, 100, 117], [0, 300, 333]], [2, 0, 1, 0, 2, 2, 1], [0, 1, 0]),
    "many slots": arena(48, [[0, 32, 47]], [i % 5 for i in range(67)], [0] * 5),
    "several blocks": arena(30011, [[0, 29000, 29500], [0, 8192, 30011]], [0, 1, 1, 0, 1], [0, 1]),
    "no slots": arena(16, [[0, 8, 16]], [], [0]),
}


@pytest.fixture(params=ARENAS.values(), ids=ARENAS.keys())
def shape(request) -> Arena:
    return request.param


@contextlib.contextmanager
def threads(count: int):
    """Run with so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def instruction_set(name: str):
    """Run the compiled ops with one instruction set."""
    module = backend.compiled()
    before = module.isa()
    module.set_isa(name)
    try:
        yield
    finally:
        module.set_isa(before)


def ways_to_run():
    """Contexts under which the compiled ops must give the same bits."""
    for count in (1, 2, 3):
        yield threads(count)
    for name in backend.compiled().isa_names():
        yield instruction_set(name)


def assert_close(found: torch.Tensor, expected: torch.Tensor, bound: float) -> None:
    """Largest difference at most `bound` times the largest expected value."""
    assert found.shape == expected.shape
    if expected.numel() == 0:
        return
    difference = (found.double() - expected.double()).abs().max().item()
    scale = expected.double().abs().max().item()
    assert difference <= bound * max(scale, 1e-30), f"off by {difference:.3g} of {scale:.3g}"


def assert_moved(after, before, expected_after, expected_before, bound: float) -> None:
    """Updates agree up to `bound` times the largest update and one rounding of the largest value."""
    if after.numel() == 0:
        return
    expected = expected_after.double() - expected_before.double()
    difference = (after.double() - before.double() - expected).abs().max().item()
    rounding = torch.finfo(after.dtype).eps * max(before.abs().max().item(), after.abs().max().item())
    scale = expected.abs().max().item()
    assert difference <= bound * scale + rounding, f"off by {difference:.3g} of {scale:.3g}"


def golden(name: str) -> dict[str, np.ndarray]:
    """The arrays of a fixture file; skips the test where the folder is not there."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "golden"
    folder = Path(os.environ.get("AUTOMETA_GOLDEN") or beside)
    if not (folder / name).exists():
        pytest.skip(f"{name} is not here; AUTOMETA_GOLDEN names the folder of the fixtures")
    with np.load(folder / name, allow_pickle=False) as arrays:
        return dict(arrays)
