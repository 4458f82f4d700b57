"""Calls of the public ops and of the compiled module with what nobody should pass, one argument at a time.

Run as a program: prints how many calls were made and how many of them refused. A crash, a hang or an error of the
interpreter ends it otherwise.
"""

from __future__ import annotations

import faulthandler
import functools
import inspect
import random
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autometa import ops
from autometa.ops import backend
from autometa.ops.cell_stack import cell_stack
from autometa.ops.share import share
from autometa.ops.split_columns import split_columns
from tests.ops.arenas import ARENAS
from tests.ops.node_case import random_node

LONGEST = 120  # seconds of one call, on a busy machine
MEMORY = 6 << 30
HUGE = (2**31, 10**9, 2**62, 2**63 - 1, 2**64, 2**70)


def baseline() -> dict[str, tuple[Callable, dict[str, Any]]]:
    """Op -> the function and arguments that are good; all float32, on the CPU."""
    shape, node = ARENAS["row of 7"], random_node(slots=2, channels=3, size=(4, 5), dtype=torch.float32)
    block, draw = ops.ConvBlock(3, 5, kernel=3, pool=True), torch.ones
    phi, rate = shape.random(0, torch.float32), shape.per_group(1, 0.1, 0.2)
    tables = dict(zip(("bounds", "group_of_slot", "layout_of_slot"), shape.rows.tensors, strict=True))
    ids, node_of = torch.arange(2), torch.zeros(2, dtype=torch.int64)
    head = {"states": [draw(2, 3, 4, 2, 2)], "params": draw(2, 96), "classes": 5}
    two = torch.tensor([[0, -1], [0, 4]])
    both = [draw(2, 3, 4, 2, 2), draw(2, 3, 4, 2, 2)]
    made: dict[Callable, dict[str, Any]] = {
        on_rows(ops.adam_): {
            "phi": phi, "grad": phi.clone(), "second": phi.abs(), "steps": torch.zeros(3, 2, dtype=torch.int64),
            "lr": rate, "weight_decay": rate, **tables, "first": phi.clone(), "beta1": 0.5, "beta2": 0.9, "eps": 1e-8,
        },
        on_rows(ops.sgd_): {
            "phi": phi, "grad": phi.clone(), "lr": rate, "weight_decay": rate, **tables, "momentum": 0.5,
            "velocity": phi.clone(),
        },
        on_rows(ops.reptile_): {
            "theta": phi[:1].clone(), "phi": phi, "step_size": rate,
            "finite": torch.ones(3, dtype=torch.bool), **tables,
        },
        on_rows(ops.clip_grad_): {"grad": phi, "max_norm": rate, **tables},
        ops.finite_slots: {"phi": phi},
        ops.sample_tasks: {
            "class_start": torch.arange(0, 50, 7), "classes": torch.arange(6), "task_ids": ids,
            "group_start": torch.tensor([0, 3, 6]), "rotations": 4, "ways": 3, "shots": 2, "queries": 2, "seed": 0,
        },
        ops.batch_indices: {
            "task_ids": ids, "n_items": 7, "batch": 2, "steps": 3, "seed": 0, "mode": "passes", "first_step": 1,
        },
        ops.drop_masks: {
            "task_ids": ids, "exempt": torch.tensor([True, False]), "keep": 0.5, "seed": 0, "step": 1, "batch": 2,
            "dtype": torch.float32,
        },
        ops.gather_images: {
            "images": torch.zeros(4, 1, 3, 3, dtype=torch.uint8), "index": ids, "rotation": ids, "scale": draw(1),
            "shift": draw(1), "out": draw(2, 1, 3, 3),
        },
        ops.read_ink: {"images": torch.randint(0, 256, (2, 5, 6), dtype=torch.uint8)},
        ops.augment_images: {
            "images": draw(2, 3, 1, 4, 4), "task_ids": ids, "place": torch.arange(6).view(2, 3),
            "augment": ops.Augment(shift=0.1, noise=0.1), "seed": 0, "out": torch.zeros(2, 3, 1, 4, 4),
        },
        ops.mixed_op: {
            "states": node.states, "params": node.params, "op_weight": node.op_weight,
            "input_weight": node.input_weight, "table": node.table, "table_of_slot": node_of,
            "drop": draw(2, 2, node.table.shape[1]), "given": draw(2, node.table.shape[1], 2, 2, 3), "eps": 1e-5,
        },
        ops.preprocess: {
            "states": both, "params": draw(2, 64), "channels": 3, "given": draw(2, 2, 3), "eps": 1e-5, "table": two,
            "table_of_slot": ids,
        },
        ops.conv_block: {"x": draw(2, 2, 3, 5, 6), "params": draw(2, 176), "block": block, "given": draw(2, 2, 5)},
        ops.conv_stack: {"x": draw(2, 2, 3, 5, 6), "params": draw(2, 288), "blocks": [block], "classes": 3},
        ops.linear_head: {**head, "flatten": True},
        linear_head_by_table: {"states": both, "params": draw(2, 64), "classes": 2, "table": two, "table_of_slot": ids},
        ops.cross_entropy: {"logits": draw(2, 3, 4), "labels": torch.zeros(2, 3, dtype=torch.int64)},
        share: {"x": draw(2, 2, 3, 4, 4).requires_grad_(), "readers": 2},
        split_columns: {"rows": draw(2, 9).requires_grad_(), "widths": [4, 5]},
    }  # fmt: skip
    return {f"{call.__name__} {number}": (call, kept) for number, (call, kept) in enumerate(made.items())}


def on_rows(call: Callable) -> Callable:
    """The op with the tables of its rows as arguments of its own."""

    @functools.wraps(call)
    def run(*, bounds: Any, group_of_slot: Any, layout_of_slot: Any, **given: Any) -> Any:
        return call(rows=ops.Rows(bounds, group_of_slot, layout_of_slot), **given)

    return run


def linear_head_by_table(**given: Any) -> Tensor:
    """The head where slots read different states."""
    return ops.linear_head(**given)


def hostile_tensors(x: Tensor) -> Iterator[Any]:
    """Others in the place of a tensor."""
    yield from (None, 3, "x", [], x.numpy(force=True), x.to("meta"), x.to_sparse(), x.flatten(), x[None], x[..., None])
    yield from (
        x.to(kind) for kind in (torch.bfloat16, torch.float64, torch.int64, torch.int32, torch.bool, torch.complex64)
    )
    for axis, size in enumerate(x.shape):
        yield x.narrow(axis, 0, 0)
        one = x.narrow(axis, 0, 1) if size else x
        for many in (size + 1, 10**4, 10**9, 2**40, 2**61):
            if size:
                yield lambda one=one, axis=axis, many=many: one.expand(*one.shape[:axis], many, *one.shape[axis + 1 :])
        yield torch.repeat_interleave(x, 3, dim=axis)[(slice(None),) * axis + (slice(None, None, 3),)]
    yield torch.full_like(x, -1) if x.dtype != torch.bool else ~x
    if x.dtype == torch.int64:
        yield from (torch.full_like(x, value) for value in (1, 7, 2**31, 2**62, -(2**63), 2**63 - 1, 2**63 - 16))
        yield from (
            _one_changed(x, at, value) for at in range(min(x.numel(), 10)) for value in (-5, 9, 10**9, 2**63 - 1)
        )
    if x.is_floating_point():
        yield from (torch.full_like(x, value) for value in (torch.nan, torch.inf, -torch.inf, 1e38))


def _one_changed(x: Tensor, at: int, value: int) -> Tensor:
    made = x.clone()
    made.view(-1)[at] = value
    return made


def hostile(value: Any) -> Iterator[Any]:
    """What may stand in the place of an argument."""
    if isinstance(value, Tensor):
        yield from hostile_tensors(value)
    elif isinstance(value, list):
        yield from (None, [], value[:1], [*value, value[-1]], [None] * len(value), tuple(value))
        for at, one in enumerate(value):
            yield from (
                (lambda w=wrong, at=at: [*value[:at], w() if callable(w) else w, *value[at + 1 :]])
                for wrong in hostile(one)
            )
    elif isinstance(value, ops.ConvBlock):
        for name in ("c_in", "c_out", "kernel", "stride"):
            for wrong in (0, -1, 2, 10**9, 2**31 - 1, 2**62, 2**70, 1.5, None):
                yield lambda name=name, wrong=wrong: _replaced(value, name, wrong)
        yield from (lambda eps=eps: _replaced(value, "eps", eps) for eps in (-1.0, float("nan")))
    elif isinstance(value, (int, float)):
        yield from (0, -1, 1.5, None, "x", float("nan"), float("inf"), -0.5, *HUGE, *(-n for n in HUGE))
    else:
        yield from (None, 3, "x")


def _replaced(block: ops.ConvBlock, name: str, value: Any) -> ops.ConvBlock:
    return ops.ConvBlock(**{**{field: getattr(block, field) for field in block.__dataclass_fields__}, name: value})


class Watch:
    """Counts calls; one that does not return ends the process and says where it was."""

    def __init__(self) -> None:
        self.made = self.refused = 0

    def __call__(self, where: str, call: Callable[[], Any]) -> None:
        faulthandler.dump_traceback_later(LONGEST, exit=True)
        self.made += 1
        try:
            call()
        except SystemError as error:
            raise AssertionError(f"{where}: {error}") from error
        except Exception:
            self.refused += 1
        finally:
            faulthandler.cancel_dump_traceback_later()


def attack_ops(watch: Watch, forced: str | None) -> None:
    """Every argument of every op, with every value in its place; backwards too."""
    for name, (call, good) in baseline().items():
        found = call(**good, backend=forced)
        assert found is None or found is not None, name
        for argument, value in good.items():
            for number, wrong in enumerate(hostile(value)):

                def attempt(call=call, good=good, argument=argument, wrong=wrong):
                    own = {k: v.clone() if isinstance(v, Tensor) and k != argument else v for k, v in good.items()}
                    own[argument] = wrong() if callable(wrong) else wrong
                    made = call(**own, backend=forced)
                    made = made[0] if isinstance(made, tuple) else made
                    if isinstance(made, Tensor) and made.requires_grad and made.numel() < 10**6:
                        made.sum().backward()

                watch(f"{name}, {argument}, {number}", attempt)


def attack_cell_stack(watch: Watch) -> None:
    """A program of cells has a file of its own tests; here what lies beside it."""
    for wrong in ((), (0,), (0, 0), (5, 5), (-1, -1)):
        watch(
            "cell_stack",
            lambda wrong=wrong: cell_stack(torch.ones(2, 9), torch.ones(2, 1, 1, 4, 4), torch.zeros(2, 1), [], wrong),
        )


def _like(kind: str, number: int, given: int) -> Any:
    """An argument of that kind: `given` for a whole number."""
    if "Arena" in kind:
        return backend.compiled().Arena([0] * 3, [0, 0, 0, 0, 1])
    if "Sequence" in kind or "list" in kind or "vector" in kind.lower():
        counts = re.findall(r"FixedSize\((\d+)\)|\"\[(\d+)\]\"", kind)
        size = int(next((a or b for a, b in counts), 0)) if counts else 0
        return [given] * size if size else []
    if "tuple" in kind.lower():
        return (given,) * (kind.count(",") + 1)
    if "bool" in kind:
        return False
    if "Float" in kind or "float" in kind:
        return 0.0
    if "Int" in kind or "int" in kind:
        return given
    return "portable" if "str" in kind else None


def attack_module(watch: Watch) -> None:
    """The compiled module's own functions: nothing at all, null for everything, one size or address changed."""
    module = backend.compiled()
    for name in dir(module):
        call = getattr(module, name)
        if name.startswith("_") or not callable(call):
            continue
        told = call.__init__.__doc__ if inspect.isclass(call) else call.__doc__
        kinds = re.findall(
            r"arg\d+: ((?:[^,\[\]()]|\[(?:[^\[\]]|\[(?:[^\[\]]|\[[^\]]*\])*\])*\]|\([^)]*\))+)", told or ""
        )
        for given in (0, 1, -1, 2**20, 2**40, 2**62, None):
            for changed in range(len(kinds) + 1):
                arguments = [_like(k, i, given if i == changed else 0) for i, k in enumerate(kinds)]
                watch(f"_C.{name} {arguments}", lambda call=call, arguments=arguments: call(*arguments))
        for few in range(len(kinds)):
            watch(f"_C.{name}", lambda call=call, few=few: call(*[0] * few))


def main() -> None:
    warnings.simplefilter("ignore")
    faulthandler.enable()
    torch.set_num_threads(1)
    random.seed(0)
    np.random.seed(0)
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    except (ImportError, ValueError, OSError):
        pass
    watch = Watch()
    attack_module(watch)
    attack_cell_stack(watch)
    attack_ops(watch, "cpp")
    print(f"{watch.made} calls, {watch.refused} refused")


if __name__ == "__main__":
    main()
