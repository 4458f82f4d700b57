"""MetaNAS in float64, in one process or divided among those of torchrun.

torchrun --nproc-per-node N run_ranks.py FOLDER     saves what `trained` gives, and every process's theta
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import torch

from autometa.algorithms import metanas_steps
from autometa.algorithms.metanas import MetaNASConfig
from autometa.meta.ranks import Ranks
from autometa.slots.arena import Arena
from autometa.train.config import DataConfig, InnerConfig, MetaConfig
from autometa.train.distributed import Lead, follow
from autometa.train.loop import Loop
from autometa.train.tasks import Source
from autometa.train.trainer import Trainer

CONFIG = MetaNASConfig(
    channels=2,
    cells=2,
    reductions=(1,),
    nodes=2,
    data=DataConfig("strokes:6x6x8", 8),
    inner=InnerConfig(ways=3, shots=3, batch=6, steps=2, lr=5e-3, adam_state="carry"),
    arch_lr=5e-2,
    meta=MetaConfig(iterations=6, batch=5, schedule="linear"),
    warmup=1,
    drop_path=0.2,
)


def trainer(config: MetaNASConfig = CONFIG) -> Trainer:
    """In float64: theta and moments are made so, images as they come."""
    source = Source.open(config.data)
    network = config.build(source.image_shape)
    run = metanas_steps.trainer(network, source, config)
    run.arena = Arena.single(network.layout, network.initial(config.seed).double(), config.meta.batch)
    logits_of = run.logits

    def in_float64(ids, warm):
        logits = logits_of(ids, warm)
        return lambda phi, images, t, **how: logits(phi, images.double(), t, **how)

    return replace(run, logits=in_float64, arena=run.arena)


def begun_(run: Trainer) -> Trainer:
    """With moments of an earlier run, which the leader alone knows of."""
    run.arena.second[:, ::3], run.arena.steps[:] = 1e-3, 5
    return run


TOTAL, CUT = 3, 1


def trained(lead: Lead, loop: Loop, first: int = 0) -> dict[str, dict[str, torch.Tensor]]:
    """After meta-iteration `CUT` and at the end: theta, moments and outcomes so far."""
    steps, found = [], {}
    for i in range(first, TOTAL):
        steps.append(lead.launch(loop, i)[0][1])
        if i + 1 in (CUT, TOTAL):
            outcomes = {
                name: torch.stack([getattr(s, name) for s in steps]) for name in ("losses", "accuracy", "finite")
            }
            kept = {name: value.clone() for name, value in lead.capture()[0].items()}
            found["cut" if i + 1 == CUT else "end"] = {**kept, **outcomes}
    return found


def state_of(found: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: found[name] for name in ("theta", "second", "steps")}


def main(folder: Path) -> None:
    run, ranks = trainer(), Ranks.launched()
    if ranks is not None and not ranks.leads:
        follow(run, ranks)
    else:
        loop, lead = Loop(begun_(run)), Lead(run, ranks)
        with lead:
            found = trained(lead, loop)
            lead.restore(state_of(found["cut"]), {})
            found["resumed"] = trained(lead, loop, CUT)["end"]
        torch.save(found, folder / "found.pt")
    torch.save(run.arena.theta, folder / f"theta-{ranks.rank}.pt")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
