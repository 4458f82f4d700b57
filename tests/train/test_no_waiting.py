"""A meta-iteration asks the device for no value and copies nothing to it, so that a graph can hold all of it."""

from contextlib import nullcontext
from dataclasses import fields, replace
from types import SimpleNamespace

import pytest
import torch

from autometa.meta import outer_loop
from autometa.meta.outer_loop import heal_without_looking_
from autometa.ops import backend
from autometa.slots.arena import Arena
from autometa.train.tasks import Source
from tests.algorithms.test_metanas import one_thread, source  # noqa: F401  fixtures
from tests.tolerances import assert_agree
from tests.train.test_loop import FOUR, LONG, trainer
from tests.train.waiting import Waits, Watching, nothing_waits


@pytest.fixture(autouse=True)
def as_on_a_gpu(monkeypatch):
    """The CPU mends lost slots one by one; a GPU all at once."""
    monkeypatch.setattr(outer_loop, "_heal_moments_", heal_without_looking_)


@pytest.mark.parametrize("call", [
    lambda x: x.sum().item(),
    lambda x: bool(x.any()),
    lambda x: x.tolist(),
    lambda x: x[x > 1],
    lambda x: x.nonzero(),
    lambda x: torch.tensor([1.0]) + x,
    lambda x: x.cpu(),
    lambda x: float(x[0]),
    lambda x: x.masked_select(x > 1),
])  # fmt: skip
def test_the_guard_finds_what_waits(call):
    x = torch.arange(3.0)
    with pytest.raises(Waits), nothing_waits():
        call(x)
    call(x)


CHUNKED = replace(LONG, meta=replace(LONG.meta, batch=3, max_slots=2))
RESET = replace(LONG, inner=replace(LONG.inner, adam_state="reset", batch_mode="replacement"))


@pytest.mark.parametrize("config", [LONG, CHUNKED, RESET, FOUR], ids=["metanas", "in chunks", "reset", "reptile"])
@pytest.mark.parametrize("warm", [True, False])
@pytest.mark.parametrize("guard, beside", [(nothing_waits, Watching), (nullcontext, nullcontext)])
def test_a_meta_iteration_waits_for_nothing_and_has_the_same_bits(config, warm, guard, beside, source):  # noqa: F811
    """Under the guard ops go through torch's dispatcher, where gradients add up in another order."""
    plain, run = trainer(config, source), trainer(config, source)
    first = 0 if warm else 7
    with beside():
        run.step(first), plain.step(first)  # tables are made once
        expected = [plain.step(first + 1), plain.step(first + 2)]
    run.counter.fill_(first + 1)
    with guard():
        found = [run.next_step(warm), run.next_step(warm)]
    for a, b in zip(found, expected, strict=True):
        for name in ("losses", "accuracy", "update", "architecture"):
            assert torch.equal(getattr(a, name), getattr(b, name)), name
    assert run.counter.item() == first + 3
    for name, value in plain.capture()[0].items():
        assert torch.equal(run.capture()[0][name], value), name


@pytest.fixture
def without_values(monkeypatch):
    """The ops run on tensors of the device `meta`, which has no values: by their fakes alone."""
    for found in backend._REGISTRY.values():
        if "cpp" in found:
            monkeypatch.setitem(found, "cpp", replace(found["cpp"], refuses=lambda device, dtype: None))
    monkeypatch.setitem(backend.PREFERENCE, "meta", ("cpp",))
    monkeypatch.setattr(torch.library, "get_ctx", lambda: SimpleNamespace(new_dynamic_size=lambda: 7))
    return torch.device("meta")


@pytest.mark.parametrize("config", [LONG, CHUNKED, RESET, FOUR], ids=["metanas", "in chunks", "reset", "reptile"])
def test_all_of_it_lies_on_the_device(config, source, without_values):  # noqa: F811
    """A tensor left on the host would meet one without values, or be copied."""
    there = Source(source.store, source.split, without_values)
    there.__dict__["images"] = torch.empty(source.store.images.shape, dtype=torch.uint8, device=without_values)
    run = trainer(config, there)
    with Watching():
        run.next_step(True), run.next_step(False)  # tables are made once
    with nothing_waits():
        for warm in (True, False):
            done = run.next_step(warm)
            assert {getattr(done, field.name).device for field in fields(done)} == {without_values}
            assert done.losses.shape == (config.inner.steps, config.meta.batch)


@pytest.mark.parametrize("lost", [(), (1,), (0, 3), (0, 1), (0, 1, 2, 3, 4, 5)])
def test_lost_slots_are_mended_all_at_once_as_one_by_one(lost, source):  # noqa: F811
    network = FOUR.build(source.image_shape)
    made, groups = torch.Generator().manual_seed(3), torch.tensor([0, 0, 1, 2, 1, 1])
    theta = network.initial(0).expand(3, -1).contiguous()
    one, other = (Arena.create([network.layout], theta, groups) for _ in range(2))
    one.second.copy_(torch.rand(one.second.shape, generator=made))
    one.second[list(lost)] = torch.nan
    one.steps.fill_(7)
    other.second.copy_(one.second), other.steps.copy_(one.steps)
    finite = torch.ones(6, dtype=torch.bool)
    finite[list(lost)] = False
    healed = [slot for slot in range(6) if finite[slot]]
    before = one.second[healed].clone()
    _ONE_BY_ONE(one, finite)
    with nothing_waits():
        heal_without_looking_(other, finite)
    assert torch.equal(other.second[healed], before)
    assert torch.equal(one.steps, other.steps)
    assert_agree(other.second, one.second, "formula", torch.float32)


_ONE_BY_ONE = outer_loop._heal_moments_
