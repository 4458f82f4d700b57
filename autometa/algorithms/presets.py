"""Presets: the papers' settings, and smaller ones for two cores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from autometa.algorithms.auto_meta import AutoMetaConfig, MacroConfig, SurrogateConfig
from autometa.algorithms.metanas import MetaNASConfig
from autometa.algorithms.train import ReptileConfig
from autometa.errors import InputError
from autometa.meta.protonet import ProtoNet
from autometa.meta.protonet_tuned import TunedProtoNet
from autometa.nas.relax.same_batch import SameBatch
from autometa.ops.augment_images import Augment
from autometa.train.config import DataConfig, EvalConfig, InnerConfig, MetaConfig
from autometa.train.data_config import WITHIN_GROUP

_MINI_DATA = DataConfig("miniimagenet", 84, "colour")
_MINI_INNER = InnerConfig(ways=5, shots=15, batch=10, steps=8, lr=1e-3)
_OMNIGLOT = MetaNASConfig()
_SMALL = MetaNASConfig(
    channels=16,
    stem_stride=2,
    data=DataConfig("omniglot:background", 28),
    inner=InnerConfig(ways=5, shots=10, batch=10, batch_mode="passes", steps=5, lr=5e-3, adam_state="carry"),
    arch_lr=1e-2,
    meta=MetaConfig(iterations=1000, batch=5, step_size=1.0, step_size_end=0.0, schedule="linear"),
    warmup=450,
    drop_path=0.0,
    test=EvalConfig(tasks=200, shots=1, queries=15, batch=5, steps=50, max_slots=20),
    compare=("four-layer",),
)

METANAS = {
    "quick": replace(
        _SMALL,
        channels=8,
        cells=2,
        reductions=(1,),
        nodes=2,
        stem_stride=1,
        data=DataConfig("strokes", 14),
        arch_lr=5e-2,
        meta=replace(_SMALL.meta, iterations=150),
        warmup=60,
        test=EvalConfig(tasks=100, shots=1, queries=5, batch=5, steps=20, max_slots=25),
        test_weight_steps=20,
        compare=("untrained",),
    ),
    # at a temperature of 1 throughout; what is weak goes for good at 300 of the 1,000 iterations (docs/results.md)
    "omniglot-small": replace(
        _SMALL,
        relaxation=SameBatch(shrink=(0.3,), ops=2, pairs=2, parameters=0.4),
        arch_lr=0.1,
        warmup=120,
        t_min=1.0,
        t_min_test=1.0,
    ),
    # data, ways, shots and iterations are fitted to the images; few slots at once, so that testing can end in time
    "photos": replace(
        _SMALL,
        channels=12,
        cells=3,
        reductions=(0, 2),
        nodes=2,
        data=DataConfig("my_photos", 28, rotations=4),
        arch_lr=5e-2,
        warmup=400,
        test=EvalConfig(tasks=40, shots=1, queries=5, batch=5, steps=20, max_slots=5),
        test_weight_steps=20,
        compare=(),
    ),
    "omniglot": _OMNIGLOT,
    "miniimagenet": replace(
        _OMNIGLOT,
        data=_MINI_DATA,
        inner=InnerConfig(ways=5, shots=15, batch=20, batch_mode="replacement", steps=5, lr=1e-3, adam_state="carry"),
        arch_lr=1e-3,
        t_min=0.1,
        test=EvalConfig(tasks=200, shots=1, queries=15, batch=5, steps=50, max_slots=10),
    ),
}

_SCALED = ReptileConfig(
    network="most_frequent.json",
    filters=96,
    cells=5,
    drop_path=0.2,
    data=DataConfig("omniglot:background", 28),
    inner=replace(_OMNIGLOT.inner, steps=10, lr=5e-4, weight_decay=1e-4),
    meta=MetaConfig(iterations=100_000, batch=5, schedule="cosine"),
    test=EvalConfig(tasks=1000, shots=1, queries=15, batch=10, steps=50),
)

METER_PICTURES = Augment(
    shift=0.08,
    scale=0.15,
    rotation=8.0,
    shear=0.15,
    thickness=0.5,
    blur=1.0,
    contrast=0.4,
    brightness=0.1,
    noise=0.05,
)
"""How photographs of one digit differ."""
WRITTEN = Augment(
    shift=0.1,
    scale=0.2,
    rotation=10.0,
    shear=0.2,
    thickness=0.5,
    blur=1.0,
    contrast=0.2,
    noise=0.02,
)
"""How one character differs from hand to hand, and from scan to scan."""

TRAIN = {
    "reptile-omniglot": ReptileConfig(),
    "reptile-omniglot-20k": replace(ReptileConfig(), meta=MetaConfig(iterations=20_000), test=EvalConfig(tasks=5000)),
    # The model inside the package. Ink on paper as people's drawings are read; the inner rate is three times Reptile's,
    # for a fifth of its iterations (at 2,000 iterations: 84.7 instead of 80.5 by support statistics).
    "omniglot-5way": replace(
        ReptileConfig(),
        data=DataConfig("omniglot:background", 28),
        inner=InnerConfig(lr=3e-3),
        meta=MetaConfig(iterations=20_000),
        test=EvalConfig(tasks=1000, queries=5),
    ),
    # Digits of meters, in the package too. What makes it read meters that it never saw (docs/results.md): pictures
    # changed at random, digits of all training meters together as classes, 64 filters, steps from prototypes at a test.
    "meters": ReptileConfig(
        filters=64,
        learner=TunedProtoNet(),
        data=DataConfig("meters", 28, "grey", rotations=1, tasks=WITHIN_GROUP, augment=METER_PICTURES),
        inner=InnerConfig(ways=6, shots=2, queries=2, lr=0.01),
        meta=MetaConfig(iterations=2500, batch=4, step_size=2e-3),
        test=EvalConfig(tasks=200, shots=1, queries=4, batch=50, steps=5),
    ),
    # Characters, drawn and printed, in the package: alphabets of Omniglot, strokes and the fonts of this computer.
    "characters": ReptileConfig(
        network="reptile-miniimagenet",
        filters=64,
        learner=ProtoNet(scale=1 / 64),
        data=DataConfig("characters", 28, tasks=WITHIN_GROUP, augment=WRITTEN),
        inner=InnerConfig(ways=20, shots=1, queries=3),
        meta=MetaConfig(iterations=8000, batch=4, step_size=3e-3),
        test=EvalConfig(tasks=400, shots=1, queries=1, batch=20),
    ),
    "reptile-omniglot-20way": replace(
        ReptileConfig(),
        inner=InnerConfig(ways=20, shots=10, batch=20, steps=10, lr=5e-4),
        meta=MetaConfig(iterations=200_000),
        test=EvalConfig(tasks=10_000, batch=10),
    ),
    "reptile-miniimagenet": ReptileConfig(
        network="reptile-miniimagenet",
        data=_MINI_DATA,
        inner=_MINI_INNER,
        test=EvalConfig(tasks=10_000, batch=5),
    ),
    "metanas-scaled-omniglot": _SCALED,
    "metanas-scaled-miniimagenet": replace(
        _SCALED,
        data=_MINI_DATA,
        inner=replace(_SCALED.inner, ways=5, shots=15, batch=10, steps=8, lr=1e-3),
        test=replace(_SCALED.test, batch=5),
    ),
}

_MINI_SMALL = AutoMetaConfig(
    data=_MINI_DATA,
    inner=_MINI_INNER,
    final_inner=_MINI_INNER,
    test=EvalConfig(tasks=10_000, shots=1, queries=1, batch=5),
)

AUTO_META = {
    "quick": AutoMetaConfig(
        blocks=2,
        beam=20,
        macro=MacroConfig(filters=8, repeats=0),
        surrogate=SurrogateConfig(epochs=40),
        data=DataConfig("strokes", 14),
        inner=InnerConfig(ways=5, shots=10, batch=10, steps=5, lr=1e-2),
        meta=MetaConfig(iterations=20, batch=5),
        validation=EvalConfig(tasks=40, shots=1, queries=5, batch=5, steps=10, part="val"),
        final=MacroConfig(filters=8, repeats=0),
        final_inner=InnerConfig(ways=5, shots=10, batch=10, steps=5, lr=5e-3),
        final_meta=MetaConfig(iterations=400, batch=5),
        test=EvalConfig(tasks=200, shots=1, queries=5, batch=5, steps=20),
    ),
    "omniglot-small": AutoMetaConfig(
        blocks=3,
        beam=60,
        meta=MetaConfig(iterations=200, batch=5),
        inner=InnerConfig(ways=5, shots=10, batch=10, steps=5, lr=5e-3),
        validation=EvalConfig(tasks=150, shots=1, queries=5, batch=5, steps=20, part="val"),
        final_inner=InnerConfig(ways=5, shots=10, batch=10, steps=5, lr=1e-3),
        final_meta=MetaConfig(iterations=5000, batch=5),
        test=EvalConfig(tasks=1000, shots=1, queries=1, batch=5, steps=50),
    ),
    "omniglot": AutoMetaConfig(),
    "miniimagenet-small": _MINI_SMALL,
    # Of the paper's settings the one that brings the published cell closest to its 94,000 to 99,000 weights: 106,185.
    "miniimagenet-large": replace(_MINI_SMALL, final=MacroConfig(filters=4, repeats=0, scale_rate=2)),
}

_QUICK = AUTO_META["quick"]
AUTO_META["photos"] = replace(
    _QUICK,
    beam=10,
    data=DataConfig("my_photos", 28, rotations=4),
    test=replace(_QUICK.test, tasks=100),
)

PRESETS: Mapping[str, Mapping[str, Any]] = {"metanas": METANAS, "auto-meta": AUTO_META, "train": TRAIN}


def preset(kind: str, name: str) -> MetaNASConfig | AutoMetaConfig | ReptileConfig:
    """The config of a preset: kind `metanas`, `auto-meta` or `train`. Raises `InputError` naming those that exist."""
    known = PRESETS[kind]
    if name not in known:
        raise InputError(f"unknown preset {name!r}; choose from {', '.join(known)}")
    return known[name]
