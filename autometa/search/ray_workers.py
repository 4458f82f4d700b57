"""Workers on a Ray cluster: actors train batches; the ledger is opened here alone, so no disk need be shared.

An existing cluster (Kubernetes included: docs/scale.md) or one begun for this run; nodes may join and leave meanwhile.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autometa._version import __version__
from autometa.errors import AutometaError, InputError, Interrupted
from autometa.runs.files import say
from autometa.runs.ledger import Batch, Ledger
from autometa.search.workers import DEATHS, LEASE_SECONDS, POLL_SECONDS, Unit, Work, release_dead


class Trainer:
    """An actor: one unit of work on one node."""

    def __init__(self, unit: Unit, device: str, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self._unit, self._device = unit, device
        self._work: Work | None = None

    def ready(self) -> dict[str, Any]:
        """Where it runs."""
        return {"node": platform.node(), "process": os.getpid(), "version": __version__}

    def train(self, batch: Batch) -> Sequence[Mapping[str, Any]]:
        """The outcomes of a batch."""
        self._work = self._work or self._unit(self._device)
        return self._work(batch)


@dataclass
class _Actor:
    """handle: of the actor; reference: what it is doing, `ready` until it has answered; batch: None while idle."""

    handle: Any
    number: int
    reference: Any
    node: str = ""
    batch: Batch | None = None

    @property
    def name(self) -> str:
        return f"{platform.node()}/{os.getpid()}/ray-{self.number}"


class RayWorkers:
    """`count` actors on the cluster at `address` (as `ray.init` takes it: `auto`, `ray://HOST:10001`, `local`).

    count: as many as the cluster has GPUs (or processors / threads) where None. gpu: each actor gets a GPU of its own.
    threads: processors of each actor. An actor that dies, or whose node does, is replaced and its batch handed out
    again; a new one gets work only when it has begun, so nodes may take their time. Leaving the block as `Processes`.

    Raises `InputError` where Ray is not installed or no cluster answers.
    """

    def __init__(
        self,
        ledger: Ledger,
        unit: Unit,
        address: str,
        count: int | None = None,
        gpu: bool = False,
        threads: int = 1,
        lease_seconds: float = LEASE_SECONDS,
        notice: Callable[[str], None] = say,
    ) -> None:
        if count is not None and count < 1:
            raise InputError(f"at least one worker is needed, not {count}")
        try:
            import ray
        except ImportError as error:
            raise InputError("Ray is not installed; get it by: pip install 'autometa-nas[ray]'") from error
        self._ray, self.ledger, self.unit, self.address = ray, ledger, unit, address
        self._asked, self._gpu, self._threads = count, gpu, threads
        self._count = count or 0
        self._lease, self._notice = lease_seconds, notice
        self._actors: list[_Actor] = []
        self._begun, self._deaths, self._renewed = 0, 0, time.monotonic()
        self._ours = False

    def __enter__(self) -> RayWorkers:
        ray = self._ray
        if not ray.is_initialized():
            try:
                ray.init(address=self.address, log_to_driver=False, logging_level="error")
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise InputError(f"no Ray cluster answers at {self.address}: {' '.join(str(error).split())}") from error
            self._ours = True
        release_dead(self.ledger)
        if self._asked is None:
            has = ray.cluster_resources()
            self._count = int(has.get("GPU", 0)) if self._gpu else int(has.get("CPU", 0)) // self._threads
            if self._count < 1:
                raise InputError(f"the Ray cluster at {self.address} has no {'GPU' if self._gpu else 'processor'} free")
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        try:
            if error is None or isinstance(error, Interrupted):
                while any(actor.batch for actor in self._actors):
                    self._listen()
        finally:
            for actor in self._actors:
                self.ledger.release(actor.name)
                self._ray.kill(actor.handle)
            self._actors = []
            if self._ours:
                self._ray.shutdown()

    def turn(self) -> None:
        """Give idle actors work, and wait a moment for results."""
        while len(self._actors) < self._count:
            self._actors.append(self._actor())
        for actor in self._actors:
            if actor.reference is None:
                actor.batch = self.ledger.claim(actor.name, self._lease)
                if actor.batch is None:
                    break
                actor.reference = actor.handle.train.remote(actor.batch)
        self._listen()

    def _actor(self) -> _Actor:
        options = {"num_cpus": self._threads, "max_restarts": 0, "max_task_retries": 0}
        if self._gpu:
            options["num_gpus"] = 1
        kind = self._ray.remote(**options)(Trainer)
        handle = kind.remote(self.unit, "cuda" if self._gpu else "cpu", self._threads)
        self._begun += 1
        return _Actor(handle, self._begun, handle.ready.remote())

    def _listen(self) -> None:
        """Take what has arrived, and keep the leases of what has not."""
        waiting = [actor.reference for actor in self._actors if actor.reference is not None]
        arrived = set()
        if waiting:
            arrived = set(self._ray.wait(waiting, num_returns=1, timeout=POLL_SECONDS)[0])
        else:
            time.sleep(POLL_SECONDS)
        for actor in [actor for actor in self._actors if actor.reference in arrived]:
            self._take(actor)
        if time.monotonic() - self._renewed > self._lease / 3:
            self._renewed = time.monotonic()
            for actor in self._actors:
                if actor.batch is not None:
                    self.ledger.renew(actor.name, self._lease)

    def _take(self, actor: _Actor) -> None:
        """What an actor answers, or what became of it."""
        ray = self._ray
        try:
            answer = ray.get(actor.reference)
        except ray.exceptions.RayTaskError as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, AutometaError):
                raise cause from None
            self._lose(actor, f"{type(cause).__name__}: {cause}" if cause is not None else str(error))
            return
        except ray.exceptions.RayError as error:
            self._lose(actor, f"lost: {str(error).strip().splitlines()[0]}")
            return
        actor.reference = None
        if actor.batch is None:
            self._check_version(answer)
            actor.node = answer["node"]
        else:
            self.ledger.finish(actor.batch, answer)
            actor.batch, self._deaths = None, 0

    def _check_version(self, answer: dict[str, Any]) -> None:
        if answer["version"] != __version__:
            raise InputError(
                f"autometa is {answer['version']} on the node {answer['node']} and {__version__} here; "
                "install one version everywhere, so that all candidates are trained alike"
            )

    def _lose(self, actor: _Actor, reason: str) -> None:
        """Give up an actor; the next turn begins another one."""
        self._actors.remove(actor)
        self._ray.kill(actor.handle)
        self.ledger.lost(actor.name, reason)
        self._deaths += 1
        if self._deaths >= max(DEATHS, 2 * self._count):
            raise RuntimeError(f"{self._deaths} workers died one after another, none ended a batch; the last: {reason}")
        self._notice(
            f"a worker{' on ' + actor.node if actor.node else ''} is gone ({reason}); another one takes its place"
        )
