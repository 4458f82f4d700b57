"""How a run keeps to a time budget that covers all of it: what is measured and told before it begins."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import torch

from autometa.api.estimate import rest
from autometa.api.planning import Plan
from autometa.runs.budget import format_duration
from autometa.runs.folder import RunFolder
from autometa.train.cost import MEASURED
from autometa.train.pace import LEAST_SHARE, RESERVE, Pace, spent_in

MARGIN = 0.02
"""Of a budget: for what is neither trained nor tested, such as starting Python and writing the last files."""
FEWEST = 20


def paced(
    plan: Plan, budget: float, left: float, device: torch.device, notice: Callable[[str], None]
) -> tuple[Plan, Pace, float]:
    """The plan, its pace, and seconds for its loop, so that the run keeps to a budget of which `left` seconds are left
    now.

    Where there are candidates the loop is that over them; the winner's training and test are as long as they are.
    The loop gets at least a quarter of what is left, which is told where that is too much. A search on a person's own
    images whose length was not asked for gets as many meta-iterations as fit at the speed measured, and other numbers
    of them on the way where the speed changes.
    """
    begun, config = time.monotonic(), plan.config
    source, network = plan.prepare(device)
    final = config.handed_out()
    if final is not config:
        network = final.build(source.image_shape)
    found = rest(network, source, final, MEASURED * budget)
    after, known = sum(found.parts.values()), None if plan.resume is None else Pace.read(RunFolder.open(plan.resume))
    left -= time.monotonic() - begun + MARGIN * budget
    pace = Pace(
        left,
        found.iteration,
        after,
        tested=found.parts["evaluation"] / after if after else 1.0,
        stretch=plan.stretched if known is None else known.stretch,
        warm=config.warm if known is None else known.warm,
        spent=0.0 if plan.resume is None else spent_in(RunFolder.open(plan.resume)),
    )
    iteration = found.iteration.mean()
    pace.ratio = found.rival_iteration / iteration
    if final is not config:
        after += iteration * final.meta.iterations
    loop = (left - RESERVE * after) / (1 + pace.ratio)
    if loop < LEAST_SHARE * left:
        what = f"what follows the search takes about {format_duration(after)} by itself"
        lower = "--test.tasks" if final is config else f"--{config.prefix}meta.iterations"
        notice(
            f"{what}: fewer test tasks are done where the time is up"
            if pace.stretch
            else f"{what}: all will take longer than {format_duration(budget)}; lower {lower}"
        )
        loop = max(LEAST_SHARE * left, 1e-3)
    else:
        notice(f"all in {format_duration(budget)} at most, the tests after the search included")
    if pace.stretch and plan.resume is None and final is config:
        plan = _fitted(plan, loop, iteration, notice)
    return plan, pace, loop


def _fitted(plan: Plan, loop: float, iteration: float, notice: Callable[[str], None]) -> Plan:
    """As many meta-iterations as the loop's seconds hold."""
    fit = max(FEWEST, int(loop / iteration))
    notice(f"about {fit} meta-iterations: one takes {iteration:.2g} s here and now; more or fewer where that changes")
    return replace(plan, config=plan.config.with_iterations(fit))
