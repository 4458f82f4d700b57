"""Rivals of the progression, in its space and with its budget: random search, regularised evolution, and a surrogate
that chooses among cells of full size from the start.

Each decides from the ledger and its seed alone which cells to train next, so a rival that is cut off goes on to the
same end, and is trained by the same unit of work. All of them train cells of `blocks` blocks, each cell at most once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from autometa.errors import DivergedError, InputError
from autometa.nas.predictors.surrogate import Surrogate, best, predictions
from autometa.nas.spaces.blocks import OPS, Block, BlockCell, Operand
from autometa.nas.spaces.cells import INPUT_STATES
from autometa.ops.philox import bounded, philox_uint32
from autometa.runs.ledger import Candidate, Entry, Ledger

STREAM = 4
"""Philox stream of the rivals' choices, beside those of tasks, batches, drop path and initialisations."""
TRIES = 1000
"""Draws in a row that may give known cells before the space is taken to be used up."""


class Draws:
    """Random integers of one numbered choice, in order: (seed, item) decides them."""

    def __init__(self, seed: int, item: int) -> None:
        self._seed, self._item, self._next = seed, item, 0

    def below(self, limit: int) -> int:
        """One of 0 .. limit - 1."""
        number = philox_uint32(self._seed, STREAM, self._item, self._next)
        self._next += 1
        return int(bounded(number, limit))


def random_cell(blocks: int, draws: Draws) -> BlockCell:
    """Every block draws two operands evenly from all ops on all states before it; canonical."""
    made = []
    for b in range(blocks):
        first, second = (Operand(draws.below(len(OPS)), draws.below(b + INPUT_STATES)) for _ in range(2))
        made.append(Block(first, second))
    return BlockCell(tuple(made)).canonical()


def mutated(cell: BlockCell, draws: Draws) -> BlockCell:
    """With one operand changed: its op or its state, evenly, to another one (Real et al. 2019, section 3, where cells
    may also stay as they are: here a cell is trained once)."""
    blocks = list(cell.blocks)
    b, side = draws.below(len(blocks)), draws.below(2)
    pair = [blocks[b].first, blocks[b].second]
    op, state = pair[side].op, pair[side].state
    if draws.below(2):
        op = (op + 1 + draws.below(len(OPS) - 1)) % len(OPS)
    else:
        states = b + INPUT_STATES
        state = (state + 1 + draws.below(states - 1)) % states
    pair[side] = Operand(op, state)
    blocks[b] = Block(*pair)
    return BlockCell(tuple(blocks)).canonical()


@dataclass(frozen=True)
class Rival(ABC):
    """What to train next, round by round; a round is a level of the ledger.

    Args:
        ledger: of the run.
        blocks: of every cell.
        candidates: cells to train in all; as many as the progression trains, failed ones included.
        batch: candidates trained side by side.
        seed: of all choices.
        fits: which cells may be trained at all.
    """

    ledger: Ledger
    blocks: int
    candidates: int
    batch: int
    seed: int
    fits: Callable[[BlockCell], bool] = field(default=lambda cell: True, kw_only=True)

    def advance(self) -> bool:
        """Where all that was proposed is trained, propose the next round; whether anything waits to be trained now.

        Raises `DivergedError` where no candidate has come through so far.
        """
        levels = self.ledger.levels()
        if levels and not levels[-1].finished:
            return True
        rows = self.ledger.outcomes()
        if rows and not any(row.state == "done" for row in rows):
            reasons = Counter(row.failure or "no reason given" for row in rows)
            raise DivergedError(f"none of {len(rows)} candidates came through: {reasons.most_common(1)[0][0]}")
        left = self.candidates - len(rows)
        entries = self.round(rows)[:left] if left > 0 else []
        if not entries:
            return False
        self.ledger.propose(len(levels) + 1, entries, self.batch)
        return True

    @abstractmethod
    def round(self, rows: Sequence[Candidate]) -> list[Entry]:
        """The next cells, after `rows` were trained (or failed); empty where nothing new is left."""

    def drawn(self, count: int, known: set[str], item: int) -> list[BlockCell]:
        """Up to `count` random cells that are not in `known`, which learns of them; choices from number `item` on."""
        found: list[BlockCell] = []
        for number in range(count):
            draws = Draws(self.seed, item + number)
            tried = (random_cell(self.blocks, draws) for _ in range(TRIES))
            cell = next((c for c in tried if c.key not in known and self.fits(c)), None)
            if cell is None:
                break
            known.add(cell.key)
            found.append(cell)
        return found


@dataclass(frozen=True)
class RandomSearch(Rival):
    """As many different random cells."""

    def round(self, rows: Sequence[Candidate]) -> list[Entry]:
        if rows:
            return []
        return [(cell.key, None, None) for cell in self.drawn(self.candidates, set(), 0)]


@dataclass(frozen=True)
class Evolution(Rival):
    """Regularised evolution (Real et al. 2019, algorithm 1): children of the best of a random sample of the population,
    from which the oldest die. A batch of children is bred from one population, so that they train side by side.

    Args:
        population: P, cells alive (paper: 100); the first P are random.
        sample: S, drawn with replacement for each child (paper: 25).
    """

    population: int = 100
    sample: int = 25

    def __post_init__(self) -> None:
        if not 1 <= self.population < self.candidates or self.sample < 1:
            raise InputError(
                f"evolution needs a population of 1 or more, smaller than its {self.candidates} candidates, and "
                f"samples of 1 or more, not {self.population} and {self.sample}"
            )

    def round(self, rows: Sequence[Candidate]) -> list[Entry]:
        known = {row.key for row in rows}
        if not rows:
            return [(cell.key, None, None) for cell in self.drawn(self.population, known, 0)]
        alive = [row for row in rows if row.state == "done"][-self.population :]
        children = (self._child(alive, known, len(rows) + n) for n in range(self.batch))
        return [(key, None, None) for key in children if key is not None]

    def _child(self, alive: Sequence[Candidate], known: set[str], number: int) -> str | None:
        """An unknown child, by more mutations where one gives a known cell."""
        draws = Draws(self.seed, number)
        sample = [alive[draws.below(len(alive))] for _ in range(self.sample)]
        cell = BlockCell.parse(max(sample, key=lambda row: (row.accuracy, row.place)).key)
        for _ in range(TRIES):
            cell = mutated(cell, draws)
            if cell.key not in known and self.fits(cell):
                known.add(cell.key)
                return cell.key
        return None


@dataclass(frozen=True)
class SurrogateSearch(Rival):
    """The surrogate without progression: random cells first, then rounds of the best by prediction among fresh random
    cells of full size; the surrogate learns from all that were trained.

    Args:
        surrogate: makes one that has learned nothing yet.
        per_round: cells trained in a round (the progression's K).
        pool: random cells that it chooses among.
        uncertainty_weight: of the predicted standard deviation in the choice.
    """

    surrogate: Callable[[], Surrogate]
    per_round: int = 100
    pool: int = 10_000
    uncertainty_weight: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.per_round <= self.pool:
            raise InputError(f"a round of {self.per_round} cells cannot be chosen among {self.pool}")

    def round(self, rows: Sequence[Candidate]) -> list[Entry]:
        known = {row.key for row in rows}
        if not rows:
            return [(cell.key, None, None) for cell in self.drawn(self.per_round, known, 0)]
        done = [row for row in rows if row.state == "done"]
        learned = self.surrogate()
        learned.fit([BlockCell.parse(row.key) for row in done], [row.accuracy for row in done], self.seed + len(rows))
        number = rows[-1].level
        fresh = self.drawn(self.pool, known, self.per_round + (number - 1) * self.pool)
        chosen = best(predictions(learned, fresh, self.uncertainty_weight), self.per_round)
        return [(p.cell.key, p.mean, p.std) for p in chosen]
