"""What was read from files, held against the network that it is for: names, dtypes, shapes and values of tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from autometa.nas.networks.network import Network
from autometa.nas.one_shot.network import AtTemperature
from autometa.runs.forms import FormError
from autometa.runs.tensors import check_tensor
from autometa.slots.arena import steps_by_kind
from autometa.slots.layout import KINDS, Layout
from autometa.slots.statistics import Recorder
from autometa.train.learned import LEARNER, Learned

STATE = ("theta", "second", "steps")
"""The tensors of a loop of meta-iterations."""


def check_names(tensors: Mapping[str, Tensor], names: Sequence[str]) -> None:
    """Raise `FormError` unless these tensors are there, and no others."""
    missing, strange = sorted(set(names) - set(tensors)), sorted(set(tensors) - set(names))
    if missing:
        raise FormError(f"the tensor {missing[0]} is missing")
    if strange:
        raise FormError(f"it holds a tensor {strange[0][:60]!r}, which no such model has")


def check_row(name: str, tensor: Tensor | None, layout: Layout, lead: tuple[int | None, ...] = ()) -> Tensor:
    """A row of a network, or `lead` rows, float32: finite, and 0 in the gaps between parameters.

    Raises `FormError`.
    """
    tensor = check_tensor(name, tensor, torch.float32, (*lead, layout.row))
    used = torch.zeros(layout.row, dtype=torch.bool, device=tensor.device)
    for entry in layout.entries:
        used[entry.offset : entry.offset + entry.size] = True
    if bool(tensor[..., ~used].any()):
        raise FormError(f"the tensor {name} holds values where the network has no parameters")
    return tensor


def check_learned(learned: Learned, layout: Layout) -> Learned:
    """What a run or a model file holds of meta-training. Raises `FormError` unless it is of a network's layout."""
    check_row("theta", learned.theta, layout)
    _check_adam("second", check_row("second", learned.second, layout), learned.steps, ())
    return learned


def check_captured(tensors: Mapping[str, Tensor], layout: Layout, slots: int | None = None) -> None:
    """The tensors of a checkpoint of meta-training, of as many slots. Raises `FormError`."""
    check_names(tensors, (*STATE, *(name for name in tensors if name.startswith(LEARNER))))
    check_row("theta", tensors["theta"], layout, (1,))
    second = check_row("second", tensors["second"], layout, (slots,))
    if not len(second):
        raise FormError("the tensor second has no rows")
    _check_adam("second", second, steps_by_kind(tensors["steps"]), (len(second),))


def _check_adam(name: str, second: Tensor, steps: Tensor, lead: tuple[int, ...]) -> None:
    if bool((second < 0).any()):
        raise FormError(f"the tensor {name} holds values below 0")
    if bool((check_tensor("steps", steps, torch.int64, (*lead, len(KINDS))) < 0).any()):
        raise FormError("the tensor steps holds values below 0")


def check_statistics(
    statistics: Sequence[Tensor | None], network: Network | AtTemperature, phi: Tensor, shape: Sequence[int]
) -> None:
    """What a support set's forward pass recorded, held against what the network `phi [1, row]` records of two images of
    this shape. Raises `FormError` where one is missing, too many, of another shape, not finite, or a variance below 0.
    """
    recorder = Recorder()
    with torch.no_grad():
        network.logits(phi, torch.zeros(1, 2, *shape, dtype=phi.dtype, device=phi.device), recorder)
    if len(statistics) != len(recorder.kept):
        raise FormError(f"it holds {len(statistics)} statistics, not the {len(recorder.kept)} of its network")
    for place, (found, wanted) in enumerate(zip(statistics, recorder.kept, strict=True)):
        name = f"statistics.{place}"
        if wanted is None:
            if found is not None:
                raise FormError(f"it holds a tensor {name}, which its network does not have")
            continue
        check_tensor(name, found, wanted.dtype, tuple(wanted.shape))
        if found is not None and bool((found.select(-2, 1) < 0).any()):
            raise FormError(f"the tensor {name} holds a variance below 0")


def check_results(found: Mapping[str, Tensor], tasks: int, needed: Sequence[str]) -> None:
    """What an evaluation kept of its first tasks, `[tasks, ...]` by name. Raises `FormError` unless it is all there."""
    if not tasks and not found:
        return
    missing = [name for name in needed if name not in found]
    if missing:
        raise FormError(f"the tensor {missing[0]} is missing")
    for name, tensor in found.items():
        if tensor.ndim < 1 or len(tensor) != tasks:
            raise FormError(f"the tensor {name[:60]} is {list(tensor.shape)}, not of {tasks} tasks")
        single = name in needed and name != "genotypes"
        if single and (tensor.ndim != 1 or (tensor.is_floating_point() and bool(((tensor < 0) | (tensor > 1)).any()))):
            raise FormError(f"the tensor {name} does not hold one share for each task")
