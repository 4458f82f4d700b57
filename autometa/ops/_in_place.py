"""Ops that write into their arguments, in C++ and CUDA: one list of arguments serves both compiled modules."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import ModuleType

import torch

from autometa.ops._cuda import cuda_refuses, launching
from autometa.ops._native import Op, compiled_or_raise, pointers, threads, watched
from autometa.ops.backend import cpp_refuses, implements
from autometa.ops.rows import Rows


class InPlace(Op):
    """An op of the compiled modules that writes into arguments: autograd is told, and asked where one of them has a
    gradient.

    arguments(module, *args): the tensors whose addresses `module.<op>` reads, some may be None, then what it reads
    besides; its last argument is the number of threads, or the stream.
    An argument `rows` is a `Rows`; torch's dispatcher sees its three tensors.
    """

    def __init__(self, op: str, arguments: Callable, schema: str, mutates: tuple[str, ...]) -> None:
        names = list(inspect.signature(arguments).parameters)[1:]
        self.arguments, self.written = arguments, [names.index(name) for name in mutates]
        self.rows_at = names.index("rows") if "rows" in names else None
        custom = torch.library.custom_op(
            f"autometa::{op}",
            lambda *args: self.on_cpu(*self._packed(args)),
            mutates_args=mutates,
            device_types="cpu",
            schema=schema,
        )
        custom.register_fake(lambda *args: None)
        custom.register_kernel("cuda")(lambda *args: self.on_cuda(*self._packed(args)))
        super().__init__(op, self.on_cpu, custom)

    def __call__(self, *args):
        if watched() or any(isinstance(a, torch.Tensor) and a.requires_grad for a in args):
            return self.dispatched(*args)
        self.direct(*args)
        for i in self.written:
            if args[i] is not None:
                torch.autograd.graph.increment_version(args[i])

    def on_cpu(self, *args) -> None:
        """Run by the compiled module."""
        self._run(compiled_or_raise(), args, threads())

    def on_cuda(self, *args) -> None:
        """Run by the CUDA module, on the current stream of the first argument's device."""
        with launching(args[0]) as (module, stream):
            self._run(module, args, stream)

    def _run(self, module: ModuleType, args: tuple, where: int) -> None:
        tensors, *rest = self.arguments(module, *args)  # held until the call returns
        getattr(module, self.op)(pointers(*tensors), *rest, where)

    def dispatched(self, *args) -> None:
        """Run as torch's dispatcher chooses."""
        at = self.rows_at
        return self.overload(*args) if at is None else self.overload(*args[:at], *args[at].tensors, *args[at + 1 :])

    def _packed(self, args: tuple) -> tuple:
        at = self.rows_at
        return args if at is None else (*args[:at], Rows(*args[at : at + 3]), *args[at + 3 :])


def in_place(
    op: str,
    schema: str,
    mutates: tuple[str, ...],
    on_cpu: Callable = cpp_refuses,
    on_cuda: Callable = cuda_refuses,
) -> Callable:
    """Decorator: make `arguments`, see `InPlace`, the backends `cpp` and `cuda` of `op`; on_cpu, on_cuda: why they
    cannot run on tensors of a device and dtype, or None."""

    def wrap(arguments: Callable) -> InPlace:
        made = InPlace(op, arguments, schema, mutates)
        implements(op, "cpp", on_cpu)(made)
        implements(op, "cuda", on_cuda)(made.dispatched)
        return made

    return wrap
