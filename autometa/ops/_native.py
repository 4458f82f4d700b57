"""The seam to the compiled module: registration with torch, pointers, sizes, threads."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import ModuleType

import torch

from autometa.ops.backend import BackendError, compiled, compiled_error


class Op:
    """A function that is also the torch op `autometa::<op>`.

    Called, it goes through torch's dispatcher only where somebody looks on (a compiler, a fake or other mode): the
    way through it takes longer than small ops do.
    """

    def __init__(self, op: str, body: Callable, custom) -> None:
        self.op, self.direct, self.custom = op, body, custom
        self.overload = getattr(torch.ops.autometa, op).default

    def __call__(self, *args):
        return self.overload(*args) if watched() else self.direct(*args)


class InPlace(Op):
    """The same for an op that writes into arguments: autograd is told, and asked where one of them has a gradient."""

    def __init__(self, op: str, body: Callable, custom, mutates: tuple[str, ...]) -> None:
        super().__init__(op, body, custom)
        names = list(inspect.signature(body).parameters)
        self.written = [names.index(name) for name in mutates]

    def __call__(self, *args):
        if watched() or any(isinstance(a, torch.Tensor) and a.requires_grad for a in args):
            return self.overload(*args)
        self.direct(*args)
        for i in self.written:
            if args[i] is not None:
                torch.autograd.graph.increment_version(args[i])


def watched() -> bool:
    """Whether a compiler or a mode wants to see every op."""
    return torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() > 0


def register(
    op: str,
    schema: str,
    mutates: tuple[str, ...] = (),
    fake: Callable | None = None,
    devices: str | None = "cpu",
) -> Callable:
    """Decorator: make a function the torch op `autometa::<op>` on tensors of `devices`, of any where None.

    fake: computes shapes and strides of the results; without it the op only writes into the arguments `mutates`.
    """

    def wrap(body: Callable) -> Callable:
        custom = torch.library.custom_op(
            f"autometa::{op}", body, mutates_args=mutates, device_types=devices, schema=schema
        )
        custom.register_fake(fake or (lambda *args: None))
        return Op(op, body, custom) if fake else InPlace(op, body, custom, mutates)

    return wrap


def once_differentiable(forward: Op, backward: Op, save: Callable, formula: Callable) -> None:
    """Make `formula(ctx, *grads)`, which calls the op `backward`, the gradient of the op `forward`.

    save(ctx, inputs, output) keeps what it needs.  Differentiating again raises `BackendError`.
    """

    def refuse(ctx, *grads):
        raise BackendError(
            "the compiled ops give first derivatives only; for second ones compute the forward pass within "
            "autometa.ops.backend.second_order(), or with backend='reference'"
        )

    forward.custom.register_autograd(formula, setup_context=save)
    backward.custom.register_autograd(refuse)
    forward.direct = _direct(forward.direct, save, formula)
    plain = backward.direct
    # Only with create_graph is there a gradient to record here, by the op that refuses it.
    backward.direct = lambda *args: backward.overload(*args) if torch.is_grad_enabled() else plain(*args)


def _direct(body: Callable, save: Callable, formula: Callable) -> Callable:
    """`body` with the gradient `formula`. A first argument that is a list of tensors is laid out for autograd."""

    class Direct(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *args):
            *args, listed = args
            args = args if listed < 0 else (list(args[:listed]), *args[listed:])
            output = body(*args)
            ctx.listed = listed
            save(ctx, args, output)
            return output

        @staticmethod
        def backward(ctx, *grads):
            found = formula(ctx, *grads)
            if ctx.listed < 0:
                return *found, None
            listed = [None] * ctx.listed if found[0] is None else found[0]
            return *listed, *found[1:], None

    def call(first, *rest):
        if isinstance(first, list):
            return Direct.apply(*first, *rest, len(first))
        return Direct.apply(first, *rest, -1)

    return call


def compiled_or_raise() -> ModuleType:
    """The compiled module; raises `BackendError` where it does not load."""
    module = compiled()
    if module is None:
        raise BackendError(compiled_error())
    return module


def pointer(tensor: torch.Tensor | None) -> int:
    """Address of the first element, 0 for None."""
    return 0 if tensor is None else tensor.data_ptr()


def threads() -> int:
    """How many threads a compiled op may use."""
    return torch.get_num_threads()


def layout_arguments(
    arena: torch.Tensor,
    groups: int,
    bounds: torch.Tensor,
    group_of_slot: torch.Tensor,
    layout_of_slot: torch.Tensor,
) -> tuple[int, ...]:
    """The part of a compiled arena op's arguments that describes rows and slots."""
    layouts, edges = bounds.shape
    tables = (bounds.data_ptr(), group_of_slot.data_ptr(), layout_of_slot.data_ptr())
    return (*tables, *arena.shape, groups, layouts, edges - 1)


def refuses_unless(dtype: torch.dtype) -> Callable:
    """The condition of a `cpp` implementation for one dtype on the CPU.

    float32 passes too: it is what `backend.explain` asks about every op with.
    """

    def refuses(device: torch.device, found: torch.dtype) -> str | None:
        if device.type != "cpu":
            return f"cpp works on CPU tensors, these are on {device}"
        if found not in (dtype, torch.float32):
            return f"cpp works in {dtype} here, not in {found}"
        return compiled_error()

    return refuses
