"""What a registered primitive must keep to, tried on small inputs before it is taken."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor

from autometa.errors import InputError

SIZES = ((4, 6, 5), (3, 5, 8))
SLOTS, BATCH = 2, 2
_PLAIN = {"dtype": torch.float32, "device": "cpu"}


def try_primitive(primitive) -> None:
    """Raises `InputError` where shapes, stages or costs are not as `register` asks, or slots see each other."""
    for (channels, height, width), stride in product(SIZES, (1, 2)):
        where = f"primitive {primitive.name}, {channels} channels, stride {stride}"
        try:
            _try(primitive, channels, (height, width), stride, where)
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"{where}: {type(error).__name__}: {error}") from error


def _try(primitive, channels: int, size: tuple[int, int], stride: int, where: str) -> None:
    stages = primitive.convolutions(channels, stride)
    if len(stages) not in (1, 2) or len({len(weights) for weights in stages}) != 1:
        raise InputError(f"{where}: convolutions must give one or two stages of as many weights, not {stages!r}")
    roles = [shape.role for weights in stages for shape in weights]
    if len(set(roles)) != len(roles) or any("bn_" in role or "." in role for role in roles):
        raise InputError(f"{where}: roles {roles} must differ and hold neither a dot nor bn_")
    output = tuple(-(-n // stride) for n in size)
    cost = primitive.macs(channels, *output, stride)
    if not isinstance(cost, int) or cost < 0:
        raise InputError(f"{where}: macs must give a whole number from 0 on, not {cost!r}")
    generator = torch.Generator("cpu").manual_seed(0)
    x = torch.randn(BATCH, SLOTS, channels, *size, generator=generator, **_PLAIN)
    for number, weights in enumerate(stages):
        values = [torch.randn(SLOTS, *shape.shape, generator=generator, **_PLAIN) for shape in weights]
        x = _stage(primitive, x, values, 1 if number else stride, output, f"{where}, stage {number}")


def _stage(primitive, x: Tensor, values: list[Tensor], stride: int, output: tuple[int, ...], where: str) -> Tensor:
    """x `[N, S, C, H, W]` -> the stage's result in that form, for all slots at once and compared with one alone."""

    def run(x: Tensor, values: list[Tensor]) -> Tensor:
        folded, slots = x.flatten(1, 2), x.shape[1]
        y = primitive.run(folded, torch.relu(folded) if values else None, values, slots, stride)
        wanted = (len(x), slots * x.shape[2], *output)
        if not isinstance(y, Tensor) or tuple(y.shape) != wanted:
            found = list(y.shape) if isinstance(y, Tensor) else type(y).__name__
            raise InputError(f"{where} must give {list(wanted)}, not {found}")
        return y.reshape(len(x), slots, x.shape[2], *output)

    y = run(x, values)
    alone = run(x[:, 1:], [value[1:] for value in values])
    if not torch.allclose(y[:, 1:], alone, rtol=1e-4, atol=1e-4):
        raise InputError(f"{where}: a slot's result depends on the slots beside it; keep them apart, as `conv` does")
    return y
