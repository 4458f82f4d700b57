"""A pytest plugin that watches what interpreted Triton kernels read and write.

Every masked load and store of a launch is held against the tensors that the launch was given, before it is carried out,
and the addresses of all its programs against each other: two programs of a grid run in any order, so that none may
write where another one reads or writes. (Atomic operations may: they are not looked at. What the threads of one
program do among each other is not seen.)

    python -m pytest -p tests.access_checker tests/ops/test_mixed_op_triton.py

watches all tests; without `-p`, `tests/conftest.py` has those of `SELECTED` watched in every run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

SELECTED = {
    "test_mixed_op_triton.py": ("test_all_primitives_at_both_strides[True]", "test_a_table_for_every_slot"),
    "test_preprocess_triton.py": ("test_programs_of_several_tiles", "test_with_gamma_and_beta[fp32-True]"),
    "test_conv_block_triton.py": ("test_agrees_with_the_reference[", "test_images_are_read_from_any_strides"),
    "test_linear_head_triton.py": ("test_states_in_different_sizes", "test_many_classes"),
    "test_cross_entropy_triton.py": ("test_agrees_with_the_reference[",),
    "test_share_triton.py": ("test_the_gradient_is_the_sum_in_order",),
    "test_state_tables_triton.py": ("test_programs_of_several_tiles",),
    "test_split_columns.py": ("",),
}
"""File of tests/ops -> beginnings of the names of its tests that are watched: each kernel at least once."""
PROGRAMS = 16  # bits of a program's number; 48 are an address


class AccessError(AssertionError):
    """A kernel reads or writes where it must not."""


class Watch:
    """The accesses of one launch. spans: first and last address of every tensor that it was given."""

    def __init__(self, kernel: str, arguments: Any) -> None:
        self.kernel, self.program = kernel, 0
        found = sorted(_spans(arguments))
        self._first = np.array([first for first, _ in found], dtype=np.uint64)
        ends = np.array([end for _, end in found], dtype=np.uint64)
        self._end = np.maximum.accumulate(ends) if found else ends  # the furthest of all tensors that begin no later
        self._seen: dict[bool, list[np.ndarray]] = {False: [], True: []}
        self.accesses = 0

    def see(self, addresses: np.ndarray, width: int, writes: bool) -> None:
        """One load or store of a program. Raises `AccessError` where it lies outside the tensors."""
        if not addresses.size:
            return
        place = np.searchsorted(self._first, addresses, side="right").astype(np.int64) - 1
        outside = place < 0
        inside = ~outside
        outside[inside] = addresses[inside] + np.uint64(width) > self._end[place[inside]]
        if outside.any():
            what = "writes" if writes else "reads"
            count = f"{int(outside.sum())} of {addresses.size} elements"
            raise AccessError(f"{self.kernel}: program {self.program} {what} outside its tensors ({count})")
        self._seen[writes].append(np.unique((addresses << np.uint64(PROGRAMS)) | np.uint64(self.program)))
        self.accesses += addresses.size

    def close(self) -> None:
        """The end of the launch. Raises `AccessError` where programs meet."""
        written, read = (np.unique(np.concatenate(self._seen[k])) if self._seen[k] else None for k in (True, False))
        if written is None:
            return
        where = written >> np.uint64(PROGRAMS)
        twice = int((where[1:] == where[:-1]).sum())
        if twice:
            raise AccessError(f"{self.kernel}: several programs write the same {twice} elements")
        if read is None:
            return
        place = np.searchsorted(where, read >> np.uint64(PROGRAMS))
        place[place == len(where)] = 0
        met = (where[place] == read >> np.uint64(PROGRAMS)) & (written[place] != read)
        if met.any():
            raise AccessError(f"{self.kernel}: programs read {int(met.sum())} elements that another program writes")


def _spans(value: Any) -> Iterator[tuple[int, int]]:
    if isinstance(value, torch.Tensor) and value.numel():
        furthest = sum((n - 1) * step for n, step in zip(value.shape, value.stride(), strict=True))
        yield value.data_ptr(), value.data_ptr() + (furthest + 1) * value.element_size()
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _spans(item)


@contextmanager
def watched(counts: Counter[str] | None = None) -> Iterator[Counter[str]]:
    """Within it every interpreted launch is watched; kernel -> launches."""
    from triton.runtime import interpreter

    builder, executor = interpreter.InterpreterBuilder, interpreter.GridExecutor
    launched = Counter() if counts is None else counts
    current: list[Watch] = []
    before = builder.create_masked_load, builder.create_masked_store, builder.set_grid_idx, executor.__call__
    load, store, enter, call = before

    def see(pointers, mask, writes: bool) -> None:
        if current:
            addresses = np.asarray(pointers.data, dtype=np.uint64)
            chosen = np.broadcast_to(np.asarray(mask.data, dtype=bool), addresses.shape)
            current[-1].see(addresses[chosen], _width(pointers), writes)

    def watched_load(self, pointers, mask, *rest):
        see(pointers, mask, False)
        return load(self, pointers, mask, *rest)

    def watched_store(self, pointers, value, mask, *rest):
        see(pointers, mask, True)
        return store(self, pointers, value, mask, *rest)

    def watched_enter(self, x, y, z):
        enter(self, x, y, z)
        if current:
            _, rows, planes = self.grid_dim
            current[-1].program = (x * rows + y) * planes + z

    def watched_call(self, *args, **options):
        watch = Watch(self.fn.__name__, [*args, *options.values()])
        current.append(watch)
        try:
            found = call(self, *args, **options)
        finally:
            current.pop()
        launched[watch.kernel] += 1
        watch.close()
        return found

    builder.create_masked_load, builder.create_masked_store = watched_load, watched_store
    builder.set_grid_idx, executor.__call__ = watched_enter, watched_call
    try:
        yield launched
    finally:
        builder.create_masked_load, builder.create_masked_store, builder.set_grid_idx, executor.__call__ = before


def _width(pointers) -> int:
    """Bytes of an element."""
    return max(1, pointers.get_element_ty().primitive_bitwidth // 8)


class AccessChecker:
    """The plugin. every: watch all tests, not those of SELECTED alone."""

    def __init__(self, every: bool) -> None:
        self.every, self.launched = every, Counter()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item):
        if not (self.every or selected(item)):
            return (yield)
        with watched(self.launched):
            return (yield)

    def pytest_terminal_summary(self, terminalreporter) -> None:
        """Where there are no workers, what was seen."""
        if self.launched:
            text = f"{sum(self.launched.values())} launches of {len(self.launched)} interpreted kernels watched"
            terminalreporter.write_line(text)


def selected(item: pytest.Item) -> bool:
    """Whether a test is watched in every run."""
    path = Path(item.path)
    return path.parent.name == "ops" and item.name.startswith(SELECTED.get(path.name, ()))


def interpreting() -> bool:
    """Whether kernels run in Triton's interpreter here."""
    import importlib.util
    import os

    return os.environ.get("TRITON_INTERPRET") == "1" and importlib.util.find_spec("triton") is not None


def pytest_configure(config: pytest.Config) -> None:
    """Loaded by `-p`."""
    if interpreting():
        config.pluginmanager.register(AccessChecker(every=True), "access-checker")
