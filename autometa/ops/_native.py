"""The seam to the compiled module: registration with torch, pointers, sizes, threads."""

from __future__ import annotations

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


def watched() -> bool:
    """Whether a compiler or a mode wants to see every op."""
    return torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() > 0


def register(op: str, schema: str, fake: Callable, devices: str | None = "cpu") -> Callable:
    """Decorator: make a function the torch op `autometa::<op>` on tensors of `devices`, of any where None.

    fake: computes shapes and strides of the results.
    """

    def wrap(body: Callable) -> Callable:
        custom = torch.library.custom_op(f"autometa::{op}", body, mutates_args=(), device_types=devices, schema=schema)
        custom.register_fake(fake)
        return Op(op, body, custom)

    return wrap


def once_differentiable(forward: Op, backward: Op, save: Callable, formula: Callable) -> None:
    """Make `formula(ctx, grad)`, which calls the op `backward`, the gradient of the first result of the op `forward`:
    gradients of as many arguments as it returns, the others have none.

    save(ctx, inputs, output) keeps what it needs; where the op has an argument `keep` that is false there is nothing
    to keep.  Differentiating again raises `BackendError`.
    """
    names = [argument.name for argument in forward.overload._schema.arguments]
    keep_at = names.index("keep") if "keep" in names else None

    def saved(ctx, inputs, output) -> None:
        ctx.set_materialize_grads(False)
        if isinstance(output, tuple):
            ctx.mark_non_differentiable(*output[1:])
        ctx.kept = keep_at is None or inputs[keep_at]
        save(ctx, inputs, output)

    def gradients(ctx, grad, *_):
        if grad is None:
            return (None,) * len(names)
        if not ctx.kept:
            op = forward.op.removesuffix("_triton")
            raise ValueError(f"{op} was called with keep=False, so that its gradient cannot be computed")
        found = formula(ctx, grad)
        return *found, *(None,) * (len(names) - len(found))

    def refuse(ctx, *grads):
        raise BackendError(
            "the compiled ops give first derivatives only; for second ones compute the forward pass within "
            "autometa.ops.backend.second_order(), or with backend='reference'"
        )

    forward.custom.register_autograd(gradients, setup_context=saved)
    backward.custom.register_autograd(refuse)
    forward.direct = _direct(forward.direct, saved, gradients)
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


def recording(*leaves: torch.Tensor) -> bool:
    """Whether a gradient of one of these may be asked for."""
    return torch.is_grad_enabled() and any(x.requires_grad for x in leaves)


def kept_memory(like: torch.Tensor, keep: bool, dtype: torch.dtype | None = None) -> torch.Tensor:
    """What stands for the memory that an op keeps for its backward, in its fake: of a size that nobody knows yet."""
    return like.new_empty(torch.library.get_ctx().new_dynamic_size() if keep else 0, dtype=dtype)


def single(x: torch.Tensor | None) -> torch.Tensor | None:
    """In float32, as the kernels read it."""
    return None if x is None else x.to(torch.float32)


def contiguous(*tensors: torch.Tensor | None) -> list[torch.Tensor | None]:
    """Copies of those that are not."""
    return [None if x is None else x.contiguous() for x in tensors]


def arena_rows(x: torch.Tensor) -> torch.Tensor:
    """A block of arena rows whose columns stand side by side."""
    return x if x.stride(1) == 1 or x.shape[1] <= 1 else x.contiguous()


def compiled_or_raise() -> ModuleType:
    """The compiled module; raises `BackendError` where it does not load."""
    module = compiled()
    if module is None:
        raise BackendError(compiled_error())
    return module


def pointers(*tensors: torch.Tensor | None) -> tuple[int, ...]:
    """Addresses of their first elements, 0 for None."""
    return tuple([0 if tensor is None else tensor.data_ptr() for tensor in tensors])


def run(name: str, *arguments):
    """Call a function or class of the compiled module, with the addresses of tensors and of lists of tensors, 0 for
    None; what it keeps an address of must be held by the caller."""
    return getattr(compiled_or_raise(), name)(*[_plain(argument) for argument in arguments])


def _plain(argument):
    if isinstance(argument, torch.Tensor):
        return argument.data_ptr()
    if isinstance(argument, list) and argument and isinstance(argument[0], torch.Tensor):
        return pointers(*argument)
    return 0 if argument is None else argument


def threads() -> int:
    """How many threads a compiled op may use."""
    return torch.get_num_threads()


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
