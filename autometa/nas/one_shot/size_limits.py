"""Limits on weights and multiply-accumulates of the network that is left of a one-shot network after pruning."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from autometa.nas.networks.cell_network import KINDS
from autometa.nas.networks.counting import network_macs
from autometa.nas.one_shot.network import OneShotNetwork, Shares
from autometa.nas.one_shot.pruned import remaining, remaining_weights
from autometa.nas.relax.soft_pruning import input_weights, pairs

GONE = -1e4
"""The logit of what a limit removes: its softmax is exactly 0 at any temperature in use."""

Size = tuple[int, int]
"""Weights and MACs."""
Place = tuple[str, int, int]
"""Kind of cell, node, op instance."""


@dataclass(frozen=True)
class Limits:
    """What a network may have at most; None without limit."""

    parameters: int | None = None
    macs: int | None = None

    def __bool__(self) -> bool:
        return self.parameters is not None or self.macs is not None

    def exceeded(self, size: Size) -> tuple[bool, bool]:
        """Whether weights and MACs are above their limits."""
        above = [limit is not None and have > limit for have, limit in zip(size, self.both, strict=True)]
        return above[0], above[1]

    def hold(self, size: Size) -> bool:
        return not any(self.exceeded(size))

    def __str__(self) -> str:
        named = zip(("weights", "MACs"), self.both, strict=True)
        return " and ".join(f"{limit:,} {name}" for name, limit in named if limit is not None)

    @property
    def both(self) -> tuple[int | None, int | None]:
        return self.parameters, self.macs


@dataclass(frozen=True)
class Costs:
    """What the op instances of a one-shot network add to `fixed`, the network without any of them; an instance counts
    once for each cell of its kind."""

    fixed: Size
    of: dict[Place, Size]


@lru_cache(maxsize=8)
def costs_of(one_shot: OneShotNetwork) -> Costs:
    """Counted instance by instance."""
    network = one_shot.network
    places = [(kind, i, k) for kind in KINDS for i, node in enumerate(network.normal.nodes) for k in range(len(node))]

    def size(live: Place | None) -> Size:
        flags = {
            kind: [[(kind, i, k) == live for k in range(len(node))] for i, node in enumerate(network.normal.nodes)]
            for kind in KINDS
        }
        return remaining_weights(one_shot, flags), network_macs(network, lambda kind, i, k: flags[kind][i][k])

    fixed = size(None)
    return Costs(fixed, {place: _less(size(place), fixed) for place in places})


def smallest(one_shot: OneShotNetwork) -> Size:
    """Weights and MACs that every task's network can be brought down to, whichever pairs of inputs it chose: of each
    input that is left the op with fewest weights."""
    costs, total = costs_of(one_shot), costs_of(one_shot).fixed
    for kind in KINDS:
        for i, n in enumerate(one_shot.inputs):
            cheap = [costs.of[_cheapest(one_shot, kind, i, j)] for j in range(n)]
            left = [_plus(cheap[a], cheap[b]) for a, b in pairs(n)] if one_shot.pairwise else [_sum(cheap)]
            total = _plus(total, (max(w for w, _ in left), max(m for _, m in left)))
    return total


def typical(one_shot: OneShotNetwork) -> Size:
    """Weights and MACs with two ops of mean size on every node, about what a search leaves."""
    costs, many = costs_of(one_shot), len(one_shot.primitives)
    total = [float(part) for part in costs.fixed]
    for kind in KINDS:
        for i, n in enumerate(one_shot.inputs):
            node = _sum([costs.of[kind, i, k] for k in range(n * many)])
            total = [t + 2 * part / (n * many) for t, part in zip(total, node, strict=True)]
    return round(total[0]), round(total[1])


def within(one_shot: OneShotNetwork, phi: Tensor, temperature: float, threshold: float, limits: Limits) -> Tensor:
    """Rows `[S, row]` whose networks, pruned at `threshold`, keep to the limits; rows that do so already stay as they
    are, bit for bit.

    In the others op instances go, the weakest (op weight times input weight) first, as by a threshold that rises for
    this task alone; the last op of an input that is left is replaced by the strongest of its ops with fewest weights.
    Where that is not enough pairs of inputs go, the weakest first. What stays on an input shares the weight that was
    removed there. Nothing can be removed beyond `smallest`.
    """
    shares = one_shot.shares(phi.detach(), temperature)
    made = None
    for slot in range(len(phi)):
        task = _Task(one_shot, shares, slot, threshold)
        if limits.hold(task.size()):
            continue
        task.shrink(limits)
        made = phi.detach().clone() if made is None else made
        for kind in KINDS:
            nodes = range(one_shot.nodes)
            gone = torch.cat([task.gone_ops(kind, i) for i in nodes])
            one_shot.layout.view(made, f"alpha.{kind}")[slot].masked_fill_(gone.to(made.device), GONE)
            if one_shot.pairwise:
                gone = torch.cat([task.gone_pairs(kind, i) for i in nodes])
                one_shot.layout.view(made, f"pair.{kind}")[slot].masked_fill_(gone.to(made.device), GONE)
    return phi if made is None else made


class _Task:
    """One slot's network: which op instances and pairs are left, and how strong they are."""

    def __init__(self, one_shot: OneShotNetwork, shares: Mapping[str, Shares], slot: int, threshold: float) -> None:
        self.net, self.costs, self.many = one_shot, costs_of(one_shot), len(one_shot.primitives)
        self.shares = {kind: [(op[slot].cpu(), _row(pair, slot)) for op, pair in shares[kind]] for kind in KINDS}
        left = remaining(one_shot, shares, slot, threshold)
        self.alive = {
            (kind, i, k) for kind in KINDS for i, node in enumerate(left[kind]) for k, flag in enumerate(node) if flag
        }
        self.pairs = {
            (kind, i): [p for p, weight in enumerate(pair.tolist()) if weight >= threshold]
            for kind in KINDS
            for i, (_, pair) in enumerate(self.shares[kind])
            if pair is not None
        }
        self.touched: set[tuple[str, int, int]] = set()
        self.repaired: set[tuple[str, int]] = set()

    def size(self) -> Size:
        return _plus(self.costs.fixed, _sum([self.costs.of[place] for place in self.alive]))

    def strength(self, place: Place) -> float:
        kind, i, k = place
        ops, pair = self.shares[kind][i]
        j, op = divmod(k, self.many)
        edge = 1.0 if pair is None else float(input_weights(pair[None], self.net.inputs[i])[0, j])
        return float(ops[j, op]) * edge

    def shrink(self, limits: Limits) -> None:
        """Remove until the limits hold or nothing is left to remove."""
        by_weight = sorted(self.alive, key=lambda place: (self.strength(place), place))
        for place in by_weight:
            over = limits.exceeded(self.size())
            if not any(over):
                return
            if any(cost and o for cost, o in zip(self.costs.of[place], over, strict=True)):
                self._remove(place)
        for node in sorted(self.pairs):
            self._fewer_pairs(node, limits)

    def _edge(self, place: Place) -> tuple[str, int, int]:
        kind, i, k = place
        return kind, i, k // self.many

    def _remove(self, place: Place) -> None:
        edge = self._edge(place)
        others = [other for other in self.alive if self._edge(other) == edge and other != place]
        if not others:
            least = _cheapest(self.net, *edge, strength=self.strength)
            if least == place:
                return
            self.alive.add(least)
        self.alive.discard(place)
        self.touched.add(edge)

    def _fewer_pairs(self, node: tuple[str, int], limits: Limits) -> None:
        kind, i = node
        shares, members = self.shares[kind][i][1], pairs(self.net.inputs[i])
        weights = [] if shares is None else shares.tolist()
        for p in sorted(self.pairs[node], key=weights.__getitem__)[:-1]:
            if limits.hold(self.size()):
                return
            self.pairs[node].remove(p)
            self.repaired.add(node)
            read = {j for q in self.pairs[node] for j in members[q]}
            self.alive = {a for a in self.alive if a[:2] != node or a[2] // self.many in read}

    def gone_ops(self, kind: str, i: int) -> Tensor:
        """bool `[inputs, primitives]`: on the inputs that were changed, what is not left."""
        gone = torch.zeros(self.net.inputs[i], self.many, dtype=torch.bool, device="cpu")
        for j in range(self.net.inputs[i]):
            if (kind, i, j) in self.touched:
                for op in range(self.many):
                    gone[j, op] = (kind, i, j * self.many + op) not in self.alive
                gone[j] &= not bool(gone[j].all())  # an input that no pair reads any more: its ops do not matter
        return gone

    def gone_pairs(self, kind: str, i: int) -> Tensor:
        """bool `[pairs]`: where pairs were removed, those that are not left."""
        left = self.pairs[kind, i] if (kind, i) in self.repaired else range(len(pairs(self.net.inputs[i])))
        return torch.tensor([p not in left for p in range(len(pairs(self.net.inputs[i])))], device="cpu")


def _cheapest(
    one_shot: OneShotNetwork, kind: str, i: int, j: int, strength: Callable[[Place], float] | None = None
) -> Place:
    """The op instance on input j of node i with fewest weights, then MACs, `none` aside; of equals the strongest."""
    costs, many = costs_of(one_shot), len(one_shot.primitives)
    places: Iterator[Place] = (
        (kind, i, j * many + op) for op, name in enumerate(one_shot.primitives) if name != "none"
    )
    return min(places, key=lambda place: (costs.of[place], -strength(place) if strength else 0.0, place))


def _row(pair: Tensor | None, slot: int) -> Tensor | None:
    return None if pair is None else pair[slot].cpu()


def _plus(a: Size, b: Size) -> Size:
    return a[0] + b[0], a[1] + b[1]


def _less(a: Size, b: Size) -> Size:
    return a[0] - b[0], a[1] - b[1]


def _sum(sizes: list[Size]) -> Size:
    return sum(w for w, _ in sizes), sum(m for _, m in sizes)
