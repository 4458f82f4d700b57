"""What MetaNAS does with a search network: meta-train it, adapt it to tasks, prune it to their limits, meta-test it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from autometa.algorithms.metanas_outcome import MetaTest, pruned_size
from autometa.errors import InputError
from autometa.meta.bn_modes import MODES, accuracies, accuracy, answers, logits_by_mode
from autometa.meta.inner_loop import Batches
from autometa.meta.learner import InnerLoop, TaskChunk
from autometa.nas.one_shot.network import AtTemperature, OneShotNetwork
from autometa.nas.one_shot.pruned import genotype_of
from autometa.nas.one_shot.size_limits import Limits, smallest, within
from autometa.nas.one_shot.traces import traces
from autometa.nas.relax.relaxation import SEARCH, TEST, TINY, WARMUP, Phase, Task
from autometa.ops.cross_entropy import cross_entropy
from autometa.ops.finite_slots import finite_slots
from autometa.slots.layout import head_columns
from autometa.train.learned import Learned
from autometa.train.tasks import Source, TestTasks
from autometa.train.trainer import Logits, Trainer

if TYPE_CHECKING:
    from autometa.algorithms.metanas import MetaNASConfig


def guided(network: OneShotNetwork, config: MetaNASConfig, phase: Phase, task: TaskChunk) -> TaskChunk:
    """A task whose objective gives the architecture the gradient of the config's relaxation."""
    lr, weights = config.inner.lr, lambda phi: network.shares(phi, phase.t_max)
    steps = phase.steps if config.learner.inner_loop else 0
    source = Task(steps, network.layout.weights, task.queries, lr, weights, network.primitives)
    return task._replace(objective=config.relaxation.objective(task.objective, source, phase))


def trainer(network: OneShotNetwork, source: Source, config: MetaNASConfig, start: Learned | None = None) -> Trainer:
    """A meta-training run from a fresh initialisation, or from `start`: one forward and backward per inner step updates
    weights and architecture together (section 3.2); the temperature falls within every task once warm-up is over."""
    keep, model = 1.0 - config.drop_path, config.learner.classifier(network, network.layout.row)

    def phase_of(warm: bool) -> Phase:
        return config.phase_of(WARMUP if warm else SEARCH)

    def logits_of(ids: Tensor, warm: bool) -> Logits:
        def logits(phi: Tensor, images: Tensor, t: int, *, features: bool = False) -> Tensor:
            heat = config.relaxation.temperature(t, phase_of(warm))
            drop = network.drop(keep, config.seed, ids, t, images.shape[1], phi.dtype)
            threshold = None if warm else config.prune_training
            how: dict[str, Any] = {"temperature": heat, "threshold": threshold, "drop": drop, "features": features}
            return model.logits(phi, images, **how)

        return logits

    start = start or Learned.untrained(network, config.seed)
    return Trainer(
        arena=start.to(source.device).arena(network.layout, config.meta.batch, config.inner.adam_state),
        episodes=source.training(config.inner, config.test.part, config.seed, config.learner, config.relaxation),
        optimiser=config.inner.optimiser(config.learner, config.arch_lr, config.arch_weight_decay),
        inner=config.inner,
        meta=config.meta,
        logits=logits_of,
        architecture_step=config.arch_steps(),
        warmup=config.warmup,
        weights=network.layout.weights,
        learner=config.learner,
        guide=lambda task, warm: guided(network, config, phase_of(warm), task),
        before=partial(shrink_, network),
    )


def shrink_(network: OneShotNetwork, theta: Tensor, share: float) -> None:
    """Take away what the relaxation leaves no longer when `share` of the meta-iterations is over: logits in rows
    `[S, row]`, in place."""
    relaxation = network.relaxation
    network.shrink_(theta, share)
    if relaxation.parameters < 1.0 and share >= relaxation.shrink[-1]:
        most = Limits(parameters=int(relaxation.parameters * network.layout.count()))
        theta.copy_(within(network, theta, 1.0, TINY, most))


@torch.no_grad()
def ready(model: AtTemperature, phi: Tensor, batches: Batches, config: MetaNASConfig) -> Tensor:
    """Adapted rows `[slots, row]` as the learner's classifier around `model` takes them."""
    head = head_columns([model.layout], model.layout.row).to(phi.device).expand(len(phi), -1, -1)

    def no_loss(phi: Tensor, images: Tensor, labels: Tensor, step: int) -> Tensor:
        raise InputError(f"learner {config.learner.name} asks for a loss after adaptation, which MetaNAS does not give")

    return config.learner.ready(phi, head, TaskChunk.of(model, no_loss, batches))


def limited(network: OneShotNetwork, phi: Tensor, config: MetaNASConfig) -> Tensor:
    """Adapted rows, pruned harder where the config says so, or their networks would be above its limits."""
    phi = network.strongest(phi) if config.hard_pruning else phi
    if not config.limits:
        return phi
    least = smallest(network)
    if not config.limits.hold(least):
        raise InputError(
            f"with {network.ways} classes the network has at least {least[0]:,} weights and {least[1]:,} MACs, above "
            f"its limits ({config.limits}); adapt to fewer classes, or search with a larger budget"
        )
    return within(network, phi, config.t_min_test, config.prune_testing, config.limits)


def unlimited(
    network: OneShotNetwork,
    learned: Learned,
    batches: Batches,
    slots: int,
    config: MetaNASConfig,
    seen: list[Tensor] | None = None,
) -> Tensor:
    """Train weights and architecture for `test.steps` steps, then weights alone (section 3.3), all slots at once; the
    adapted rows `[slots, row]`, before any limit. seen: receives the architecture `[slots, A]` before each of its steps
    and after the last one."""
    test, steps = config.test, config.test.steps
    arena = learned.arena(network.layout, slots, config.inner.adam_state)
    learner, state, phase = config.learner, learned.state, config.phase_of(TEST)
    optimiser = config.inner.optimiser(learner, config.arch_lr, config.arch_weight_decay)

    def note(phi: Tensor) -> None:
        if seen is not None:
            seen.append(phi.detach()[:, network.layout.weights :].clone())

    def loss(phi: Tensor, images: Tensor, labels: Tensor, t: int) -> Tensor:
        if t < steps and len(seen or ()) == t:  # a relaxation may look at other weights after the step's own
            note(phi)
        heat = config.relaxation.temperature(t, phase)
        return cross_entropy(network.logits(phi, images, temperature=heat), labels)

    def features(phi: Tensor, images: Tensor, t: int) -> Tensor:
        return network.logits(phi, images, temperature=config.relaxation.temperature(t, phase), features=True)

    task = TaskChunk(loss, batches, None, features)
    learner.adapt_(arena, guided(network, config, phase, task), InnerLoop(optimiser, test.steps, state))
    last = InnerLoop(optimiser, config.test_weight_steps, state, test.steps, ("architecture",))
    learner.adapt_(arena, task, last)
    for _ in range(steps + 1 - len(seen or ())):  # after the last step; at all of them where none was taken
        note(arena.phi)
    return arena.phi


def meta_test_chunk(
    network: OneShotNetwork,
    learned: Learned,
    source: Source,
    config: MetaNASConfig,
    start: int,
    stop: int,
    modes: tuple[str, ...] = MODES,
) -> MetaTest:
    """Tasks start .. stop - 1: adapt, classify, prune, classify again."""
    test = config.test
    episodes = source.testing(network.ways, test)
    steps = test.steps + config.test_weight_steps
    mode = test.batch_mode or config.inner.batch_mode
    tasks = TestTasks.draw(episodes, start, stop, test.batch, steps, mode)
    seen: list[Tensor] = []
    adapted = unlimited(network, learned, tasks.batches, stop - start, config, seen)
    phi = limited(network, adapted, config)
    soft, hard = AtTemperature(network, config.t_min_test), config.pruned(network)
    soft_phi, hard_phi = (ready(model, rows, tasks.batches, config) for model, rows in ((soft, adapted), (hard, phi)))
    answering = config.learner.classifier(soft, network.layout.row)
    sizes = [pruned_size(network, phi, slot, config) for slot in range(len(phi))]
    found = logits_by_mode(config.classifier(network), hard_phi, tasks.support, tasks.queries, modes)
    return MetaTest(
        soft=accuracies(answering, soft_phi, tasks.support, tasks.queries, tasks.labels, modes),
        pruned={mode: accuracy(logits, tasks.labels) for mode, logits in found.items()},
        genotypes=tuple(genotype_of(network, phi, slot) for slot in range(len(phi))),
        parameters=torch.tensor([weights for weights, _ in sizes], device="cpu"),
        macs=torch.tensor([macs for _, macs in sizes], device="cpu"),
        finite=finite_slots(hard_phi),
        answers=answers(found),
        traces=traces(network, torch.stack(seen), config.temperatures(), config.prune_testing),
    )
