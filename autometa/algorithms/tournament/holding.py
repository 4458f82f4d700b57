"""A tournament: settings chosen on one half of the cells, strategies judged on the other."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from autometa.algorithms.table.searching import CANDIDATES, TabledSpace, mean_of_seeds
from autometa.algorithms.table.tables import Table
from autometa.algorithms.tournament.entries import BATCH, Entry, Variant, entries
from autometa.algorithms.tournament.playing import Game, Played, play_all
from autometa.algorithms.tournament.ranks import ceiling, ranks
from autometa.errors import InputError
from autometa.search.simulated import Step

CHOOSING, OTHER, WHOLE = "choosing", "other", "whole"
FIRST = 10_000
"""Seeds of the searches that settings are chosen by begin here, apart from those that judge."""
MARKS = 36
SMALLEST = 20
"""Candidates of a search at least, where few cells are there."""
RESAMPLES = 1000


def halves(table: Table, seed: int = 0) -> dict[str, TabledSpace]:
    """Two random halves of the larger cells, in both of them all cells of one block, and all cells together."""
    whole = TabledSpace(table)
    small = [key for key in whole.keys if whole.space.parse(key).level == 1]
    large = [key for key in whole.keys if whole.space.parse(key).level > 1]
    mixed = np.random.Generator(np.random.Philox(seed)).permutation(len(large))
    cut = len(large) // 2
    parts = {CHOOSING: [large[n] for n in mixed[:cut]], OTHER: [large[n] for n in mixed[cut:]]}
    return {name: TabledSpace(table, frozenset(small + keys)) for name, keys in parts.items()} | {WHOLE: whole}


def budget_of(tabled: TabledSpace) -> int:
    """Full trainings of a search: `CANDIDATES`; of an incomplete table the same share of what should be there."""
    spec = tabled.table.spec
    return max(SMALLEST, min(CANDIDATES, round(CANDIDATES * len(tabled.table) / spec.cells)))


@dataclass(frozen=True)
class Rules:
    """seeds: searches of each strategy that judge; choosing: searches with each variant of a strategy's settings;
    whole: judged on all cells, those included on which settings were chosen; names: who takes part, all where None."""

    seeds: int = 200
    choosing: int = 20
    whole: bool = False
    names: Sequence[str] | None = None
    workers: int = 1


def hold(table: Table, rules: Rules, notice: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """The outcome of a tournament, all that is told and drawn of it.

    Raises `InputError` for an unknown strategy, too few seeds, or a table with too few cells to search.
    """
    if min(rules.seeds, rules.choosing) < 2:
        raise InputError(f"a tournament needs 2 seeds or more, not {min(rules.seeds, rules.choosing)}")
    parts = halves(table)
    if len(parts[OTHER].scored) <= SMALLEST:
        raise InputError(
            f"{table.spec.name} holds {len(table):,} cells yet, too few for a tournament; autometa table build goes on"
        )
    asked, budget = entries(rules.names), budget_of(parts[WHOLE])
    chosen, spent = choose(asked, parts, budget, rules, notice)
    judged_on = parts[WHOLE if rules.whole else OTHER]
    games = [
        Game(entry, chosen[entry.name], seed, WHOLE if rules.whole else OTHER, budget)
        for entry in asked
        for seed in range(rules.seeds if entry.learns else 1)
    ]
    by_name: dict[str, list[Played]] = defaultdict(list)
    for n, played in enumerate(play_all(games, parts, rules.workers), 1):
        by_name[played.game.entry.name].append(played)
        if n == len(games) or played.game.entry != games[n].entry:
            notice(f"{played.game.entry.name}: {len(by_name[played.game.entry.name])} searches")
    rows, refused = [], {}
    for entry in asked:
        own = by_name[entry.name]
        if own[0].refused is not None:
            refused[entry.name] = own[0].refused
        else:
            rows.append(_row(entry, chosen[entry.name], own, judged_on, budget))
    rows.sort(key=lambda row: (row["end"]["regret"]["mean"], row["name"]))
    notice("rank correlations of predictors")
    return {
        "table": table.spec.name,
        "cells": len(table),
        "of": table.spec.cells,
        "judged_on": len(judged_on.keys),
        "whole": rules.whole,
        "budget": budget,
        "batch": BATCH,
        "seeds": rules.seeds,
        "chosen_on": len(parts[CHOOSING].keys),
        "spent": spent,
        "best": {"validation": judged_on.best.accuracy, "test": judged_on.best_test},
        "strategies": rows,
        "refused": refused,
        "ceiling": ceiling(parts[WHOLE]),
        "ranks": ranks(parts[WHOLE]),
    }


def choose(
    asked: Sequence[Entry], parts: Mapping[str, TabledSpace], budget: int, rules: Rules, notice: Callable[[str], None]
) -> tuple[dict[str, Variant], dict[str, float]]:
    """Each strategy's settings of the least mean regret over the second half of its searches on the choosing half, and
    what was spent: searches, and full trainings that they would have taken."""
    games = [
        Game(entry, variant, FIRST + seed, CHOOSING, budget)
        for entry in asked
        if len(entry.variants) > 1
        for variant in entry.variants
        for seed in range(rules.choosing)
    ]
    regrets: dict[tuple[str, str], list[float]] = defaultdict(list)
    spent = {"searches": 0, "trainings": 0.0}
    late = np.linspace(budget / 2, budget, MARKS // 2)
    for played in play_all(games, parts, rules.workers):
        name, variant = played.game.entry.name, str(played.game.variant)
        if played.refused is None:
            spent["searches"] += 1
            spent["trainings"] += played.way[-1].trainings
            values = _regrets(played.way, parts[CHOOSING], late, lambda step: step.trainings)
            regrets[name, variant].append(float(values.mean()))
    if games:
        notice(f"settings chosen by {spent['searches']:,} searches of one half")
    chosen = {}
    for entry in asked:
        tried = [v for v in entry.variants if (entry.name, str(v)) in regrets]
        tried.sort(key=lambda v: float(np.mean(regrets[entry.name, str(v)])))
        chosen[entry.name] = (tried or entry.variants)[0]
    return chosen, spent


def _regrets(
    way: Sequence[Step], tabled: TabledSpace, marks: np.ndarray, at: Callable[[Step], float], test: bool = False
) -> np.ndarray:
    """Regret `[marks]` when so much was spent; that of the worst cell before there is anything to hand out."""
    values = {cell.key: cell.test if test else cell.accuracy for cell in tabled.scored}
    best = max(values.values())
    spent = np.array([at(step) for step in way])
    place = np.searchsorted(spent, marks + 1e-9, side="right") - 1
    keys = [None if n < 0 else way[n].key for n in place]
    return np.array([best - (min(values.values()) if key is None else values[key]) for key in keys])


def _row(entry: Entry, variant: Variant, own: Sequence[Played], tabled: TabledSpace, budget: int) -> dict[str, Any]:
    """What is told of a strategy. Every number is over its seeds."""
    marks, ways = np.linspace(budget / MARKS, budget, MARKS), [played.way for played in own]
    by_count = np.array([_regrets(way, tabled, marks, lambda step: step.trainings) for way in ways])
    tested = np.array([_regrets(way, tabled, marks[-1:], lambda step: step.trainings, True)[0] for way in ways])
    winners = [tabled.cells[way[-1].key] for way in ways]
    seeds = [mean for cell in winners if (mean := mean_of_seeds(cell)) is not None]
    row = {
        "name": entry.name,
        "settings": str(variant),
        "chosen_among": len(entry.variants),
        "searches": len(own),
        "trainings": float(np.mean([way[-1].trainings for way in ways])),
        "seconds": float(np.mean([way[-1].seconds for way in ways])),
        "candidates": {"at": marks.tolist(), "regret": [summary(values) for values in by_count.T]},
        "end": {
            "regret": summary(by_count[:, -1]),
            "test_regret": summary(tested),
            "seeds": {"winners": len(seeds), "mean": float(np.mean(seeds)) if seeds else None},
            "best_found": float((by_count[:, -1] <= 1e-9).mean()),
        },
    }
    each = [cell.seconds[-1] for cell in tabled.scored]
    if not math.isnan(sum(each)):
        times = marks * float(np.mean(each))
        by_time = np.array([_regrets(way, tabled, times, lambda step: step.seconds) for way in ways])
        row["time"] = {"at": times.tolist(), "regret": [summary(values) for values in by_time.T]}
    return row


def summary(values: np.ndarray) -> dict[str, float]:
    """Median and mean over searches, each with a 95% interval: of the median by resampling, of the mean normal."""
    rng = np.random.Generator(np.random.Philox(len(values)))
    again = np.median(values[rng.integers(0, len(values), (RESAMPLES, len(values)))], axis=1)
    low, high = np.percentile(again, [2.5, 97.5])
    half = 1.96 * float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    found = {"median": float(np.median(values)), "low": float(low), "high": float(high)}
    return found | {"mean": float(values.mean()), "half": half}
