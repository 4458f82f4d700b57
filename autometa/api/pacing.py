"""How a run keeps to a time budget that covers all of it: what its loop of meta-iterations may take."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import torch

from autometa.algorithms.auto_meta import AutoMetaConfig
from autometa.algorithms.metanas import MetaNASConfig
from autometa.api.estimate import LEAST_SHARE, iteration_seconds, rest
from autometa.api.photos import PHOTOS
from autometa.api.planning import Plan
from autometa.runs.budget import format_duration

RESERVE = 1.2
"""What the estimated time after a loop is multiplied by, for machines that grow busier."""
LENGTHS = 0.8
"""Of the loop's time: what its iterations are planned to take where their number is fitted to it."""
FEWEST = 20


def paced(
    plan: Plan, budget: float, left: float, device: torch.device, notice: Callable[[str], None]
) -> tuple[Plan, float]:
    """The plan and seconds for its loop, so that the run keeps to a budget of which `left` seconds are left now.

    The loop of an Auto-Meta search is that over candidates; its winner's training and test are as long as they are.
    The loop gets at least a quarter of what is left, which is told where that is too much. A search on a person's own
    images whose length was not asked for gets fewer meta-iterations where this machine is slow: a schedule that is cut
    short would leave its architecture undecided.
    """
    begun, config = time.monotonic(), plan.config
    source, network = plan.prepare(device)
    final = config.final_config("published") if isinstance(config, AutoMetaConfig) else config
    if final is not config:
        network = final.build(source.image_shape)
    found = rest(network, source, final)
    iteration = iteration_seconds(plan.job.trainer(network, source, final), final)
    after = sum(found.parts.values())
    if final is not config:
        after += iteration * final.meta.iterations
    left -= time.monotonic() - begun
    loop = (left - RESERVE * after) / (1 + found.rival_iteration / iteration)
    if loop < LEAST_SHARE * left:
        notice(
            f"what follows the search takes about {format_duration(after)} by itself: all will take longer than "
            f"{format_duration(budget)}; lower {'--test.tasks' if final is config else '--final_meta.iterations'}"
        )
        loop = max(LEAST_SHARE * left, 1e-3)
    else:
        notice(f"all in {format_duration(budget)} at most, the tests after the search included")
    return _shortened(plan, loop, iteration, notice), loop


def _shortened(plan: Plan, loop: float, iteration: float, notice: Callable[[str], None]) -> Plan:
    config = plan.config
    if plan.preset != PHOTOS or plan.length_asked or not isinstance(config, MetaNASConfig):
        return plan
    meta, fit = config.meta, max(FEWEST, int(LENGTHS * loop / iteration) // 10 * 10)
    if fit >= meta.iterations:
        return plan
    notice(f"{fit} meta-iterations instead of {meta.iterations}: one takes {iteration:.2g} s here and now")
    warmup = config.warmup * fit // meta.iterations
    return replace(plan, config=replace(config, meta=replace(meta, iterations=fit), warmup=warmup))
