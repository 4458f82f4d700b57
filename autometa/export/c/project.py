"""An export as files of C: which there are, and what their templates are filled with."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from autometa._version import __version__
from autometa.brief import brief
from autometa.data import Recipe
from autometa.export.c import code
from autometa.export.c.filling import filled, kernels, template
from autometa.export.c.folding import Folded, fold, statistics_of
from autometa.export.c.graph import graph_of
from autometa.export.c.measured import Measured
from autometa.export.c.quantised import IntegerWriter, Quantised
from autometa.export.c.readme import Cost, memory, readme
from autometa.export.c.reference import (
    Features,
    FloatFeatures,
    HeadStart,
    by_prototypes,
    classifier_of,
    start_second,
)
from autometa.export.c.training import Training, check_all
from autometa.export.plan import plan_of
from autometa.meta.bn_modes import Statistics
from autometa.models.classifier import learn
from autometa.models.model import Model
from autometa.train.frozen import frozen_statistics

LEARN = ("prototypes", "head", "all")
WEIGHTS = ("float32", "int8")
BATCH, FROZEN = STATISTICS = ("batch", "frozen")
"""Whose mean and variance normalise: of the batch and, in answers, of what was taught; or of training tasks."""
SIZES = {"float": 4, "int32_t": 4, "int8_t": 1}
CLASSES, STACK = 10, 1024
"""Most classes unless the build says otherwise; bytes of stack that suffice."""


@brief
@dataclass(frozen=True)
class Device:
    """A network made ready for a device, with one way to learn: its features, learning and tolerance are what the C
    code computes. statistics: the frozen ones; none where the whole network learns by those of its batches."""

    name: str
    model: Model
    folded: Folded
    statistics: Statistics
    learn: str
    weights: str = "float32"
    training: Training | None = None
    quantised: Quantised | None = None

    @classmethod
    def of(
        cls,
        name: str,
        model: Model,
        pictures: Tensor | None,
        learn: str,
        weights: str = "float32",
        frozen: bool = False,
    ) -> Device:
        """pictures: uint8 `[n, C, H, W]` of training tasks, for frozen statistics and ranges; None for a network that
        learns as a whole by the statistics of its batches. frozen: that one learns by frozen ones too."""
        network, theta = classifier_of(model), model.learned.theta.cpu()
        plan = plan_of(network, theta[None])
        values = {key: value.float() for key, value in network.layout.unpack(theta).items()}
        shape = (model.recipe.channels, model.recipe.size, model.recipe.size)
        if learn == "all":
            check_all(model, weights)
            second = {key: v.float() for key, v in network.layout.unpack(start_second(model)).items()}
            graph = graph_of(plan, shape, values, shared=False)
            still: Statistics = ()
            if frozen:
                assert pictures is not None, "given wherever statistics are frozen"
                still = frozen_statistics(network, theta, pictures)
            each = [statistics_of(norm, plan, still) for norm in graph.norms()] if frozen else []
            batch = model.config.test.batch
            training = Training(graph, values, second, batch, torch.cat(each, dim=1) if frozen else None)
            return cls(name, model, Folded(graph, {}), still, learn, weights, training)
        assert pictures is not None, "given wherever statistics are frozen"
        statistics = frozen_statistics(network, theta, pictures)
        folded = fold(graph_of(plan, shape, values), plan, values, statistics)
        quantised = Quantised.of(folded, pictures) if weights == "int8" else None
        return cls(name, model, folded, statistics, learn, weights, None, quantised)

    @property
    def features(self) -> Features:
        return self.quantised or FloatFeatures(self.model, self.folded.graph, self.statistics)

    def answer(self, support: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
        """Probabilities `[n, ways]` of queries, images uint8 `[n, C, H, W]`, after learning the support set."""
        if self.learn == "all":
            names = [f"class {k}" for k in range(int(labels.max()) + 1)]
            return learn(self.model, support, labels, names, frozen=self.statistics or None).probabilities(queries)
        found = self.features(torch.cat([support, queries]))
        task = found[: len(support)], labels, found[len(support) :]
        if self.learn == "head":
            return HeadStart.of(self.model, self.folded.graph)(*task)
        return by_prototypes(*task, self.model.config.learner.distance_scale)

    def writer(self) -> code.Writer:
        return IntegerWriter(self.quantised) if self.quantised else code.Writer(self.folded.graph)

    def files(self, measured: Measured | None, pictures: Tensor) -> dict[str, str]:
        """Name of each file -> its text; pictures: uint8 `[3, C, H, W]` of the self-test, the last one is asked."""
        graph, recipe = self.folded.graph, self.model.recipe
        title = f"{self.name}: {graph.picture} -> {graph.features} features, {self.weights}, learns by {self.learn}"
        title += ", frozen statistics" if self.training and self.statistics else ""
        expected = self.answer(pictures[:2], torch.tensor([0, 1]), pictures[2:])[0]
        fills = {
            "TITLE": title,
            "STACK": str(STACK),
            "RECIPE": in_words(recipe),
            "HEIGHT": str(recipe.size),
            "WIDTH": str(recipe.size),
            "CHANNELS": str(recipe.channels),
            "FEATURES": str(graph.features),
            "CLASSES": str(CLASSES),
            "THRESHOLD": f"{measured.least:.2f}" if measured and measured.least is not None else "0.0",
            "THRESHOLD_NOTE": threshold_note(measured),
            "PICTURES": ",\n".join(f"    {{\n{code.numbers(_bytes(p), 'int')}\n    }}" for p in pictures),
            "EXPECTED": ", ".join(f"{float(p):.7f}f" for p in expected),
            "TOLERANCE": "1e-4",
            "DISTANCE_SCALE": f"{self.model.config.learner.distance_scale!r}f",
            "KERNELS": kernels("float"),
            "INTEGER_KERNELS": kernels("int8_t"),
            **STRUCTURES[self.learn],
        }
        own, constants = (self._whole if self.training else self._folded)(fills)
        start = HeadStart.of(self.model, graph) if self.learn != "prototypes" else None
        own += LAST_LAYER if self.learn != "prototypes" else ()
        extra = 0 if start is None else 2 * start.rows.numel()
        bytes_each = 1 if self.quantised else 4
        costs = Cost(self.flash + 4 * extra, int(fills["ARENA"]) * bytes_each, graph, self.training)
        fills["RAM"] = f"{memory(self.learn, costs, CLASSES)[1]:,}"
        made = {name: filled(template(name), fills) for name in (*COMMON, *own)}
        found = {re.sub("network_(all|frozen)", "network", name): text for name, text in made.items()} | constants
        found["learn.c"] = filled(template(f"learn_{self.learn}.c"), fills)
        if start is not None:
            found |= head_files(start, self._settings(), self.training.constants() if self.training else {})
        found["README.md"] = readme(title, self.learn, self.weights, costs, measured, in_words(recipe))
        return found

    @property
    def flash(self) -> int:
        """Bytes of constants but for the last layer's."""
        if self.training:
            return 4 * sum(value.numel() for value in self.training.constants().values())
        constants, kinds = self._constants
        return sum(SIZES[kinds.get(name, "float")] * value.numel() for name, value in constants.items())

    @property
    def _constants(self) -> tuple[Mapping[str, Tensor], Mapping[str, str]]:
        """What stands in weights.c, and the types of what is not float."""
        if self.quantised:
            return self.quantised.constants, self.quantised.kinds
        return self.folded.constants, {}

    def _folded(self, fills: dict[str, str]) -> tuple[list[str], dict[str, str]]:
        """Names of templates and further files of a network that does not change."""
        writer, graph = self.writer(), self.folded.graph
        declared, made = code.weights_source(*self._constants)
        fills |= {
            "COST": f"{graph.macs:,} multiply-accumulates, {self.flash:,} bytes of weights.",
            "MODEL": f"0x{zlib.crc32((made + self.learn).encode()):08x}",
            "ARENA": str(writer.memory.size),
            "ARENA_UNIT": f"values of {writer.kind}, for the maps of one picture",
            "VALUE": writer.kind,
            "PLACES": writer.places(),
            "BODY": writer.body(),
            "DECLARED": declared,
            "OPS": "ops_int8.h" if self.quantised else "ops.h",
        }
        names = ["network.h", "network.c", "weights.h", *(["ops_int8.h", "ops_int8.c"] if self.quantised else [])]
        return names, {"weights.c": f'#include "weights.h"\n\n{made}'}

    def _whole(self, fills: dict[str, str]) -> tuple[list[str], dict[str, str]]:
        """The same of one that learns as a whole."""
        training = self.training
        fills |= training.fills()
        fills |= {
            "COST": f"{self.folded.graph.macs:,} multiply-accumulates forward, {len(training.start):,} weights.",
            "MODEL": f"0x{zlib.crc32(arrays(training.constants()).encode()):08x}",
            "ARENA_UNIT": f"values of float, for the maps and gradients of {training.batch} pictures",
            "VALUE": "float",
            "BODY_SIZE": str(len(training.start)),
            "BATCH": str(training.batch),
            "NORMS": str(len(training.firsts)),
            "NORM_CHANNELS": str(training.channels),
            "GRAD": str(training.scratch),
        }
        header = "network_all.h" if training.frozen is None else "network_frozen.h"
        return [header, "network_all.c", "train.h", "train.c"], {}

    def _settings(self) -> list[str]:
        """Of the inner loop's batches."""
        config = self.model.config
        mode = config.test.batch_mode or config.inner.batch_mode
        return [f"#define AM_SEED {config.test.seed}u", f"#define AM_PASSES {int(mode == 'passes')}"]


COMMON = ("autometa.h", "learner.h", "learner.c", "ops.h", "ops.c", "windows.h", "selftest.c")
LAST_LAYER = ("last_layer.h", "last_layer.c")
"""Of what learns by gradient steps."""
STRUCTURES: dict[str, dict[str, str]] = {
    "prototypes": {
        "SIZES": "#define AUTOMETA_MOST_PICTURES 65535u /* of a class; each one is forgotten after its features */\n",
        "TAUGHT": "    uint32_t pictures[AUTOMETA_CLASSES];\n"
        "    float sum[AUTOMETA_CLASSES][AUTOMETA_FEATURES]; /* of the features of its pictures */",
        "WORK": "    @VALUE@ arena[AUTOMETA_ARENA];\n    float features[AUTOMETA_FEATURES];",
        "LEARN_NOTE": "To be called when all is taught; with prototypes nothing is computed here.",
    },
    "head": {
        "SIZES": "/* Pictures, of all classes, that can be taught: their features are kept. */\n"
        "#ifndef AUTOMETA_PICTURES\n#define AUTOMETA_PICTURES (5 * AUTOMETA_CLASSES)\n#endif\n",
        "TAUGHT": "    uint32_t pictures;\n    uint32_t label[AUTOMETA_PICTURES];\n"
        "    float features[AUTOMETA_PICTURES][AUTOMETA_FEATURES];\n"
        "    float weight[AUTOMETA_CLASSES][AUTOMETA_FEATURES + 1]; /* of the last layer; last the bias */",
        "WORK": "    float second_head[AUTOMETA_CLASSES][AUTOMETA_FEATURES + 1]; /* moment, of Adam */\n"
        "    float wrong[AUTOMETA_PICTURES][AUTOMETA_CLASSES];           /* by how much each score should fall */\n"
        "    @VALUE@ arena[AUTOMETA_ARENA];\n    float features[AUTOMETA_FEATURES];",
        "LEARN_NOTE": "Take the gradient steps on all that was taught, from the start; after every change of it.",
    },
    "all": {
        "SIZES": "/* Pictures of each class that can be taught: they are kept. */\n"
        "#ifndef AUTOMETA_SHOTS\n#define AUTOMETA_SHOTS 5\n#endif\n"
        "#define AM_BODY @BODY_SIZE@ /* weights but the last layer's */\n"
        "#define AM_BATCH @BATCH@ /* pictures of a step */\n"
        "#define AM_NORMS @NORMS@ /* normalisations, and their channels together */\n"
        "#define AM_NORM_CHANNELS @NORM_CHANNELS@\n",
        "TAUGHT": "    uint32_t pictures[AUTOMETA_CLASSES];\n"
        "    float body[AM_BODY];\n"
        "    float weight[AUTOMETA_CLASSES][AUTOMETA_FEATURES + 1]; /* of the last layer; last the bias */\n"
        "@MOMENTS@"
        "    uint8_t picture[AUTOMETA_CLASSES][AUTOMETA_SHOTS][AUTOMETA_PICTURE_BYTES];",
        "WORK": "    float second[AM_BODY]; /* moments, of Adam */\n"
        "    float second_head[AUTOMETA_CLASSES][AUTOMETA_FEATURES + 1];\n"
        "    float grad[@GRAD@]; /* of the op at hand */\n"
        "    float arena[AUTOMETA_ARENA];\n"
        "    float features[AM_BATCH * AUTOMETA_FEATURES], grad_features[AM_BATCH * AUTOMETA_FEATURES];\n"
        "    float wrong[AM_BATCH][AUTOMETA_CLASSES]; /* by how much each score should fall */\n"
        "    int truth[AM_BATCH];\n"
        "    uint16_t order[AUTOMETA_CLASSES * AUTOMETA_SHOTS];"
        "@MEASURED@",
        "LEARN_NOTE": "Take the gradient steps on all that was taught, from the start; after every change of it.",
    },
}


def arrays(constants: Mapping[str, Tensor]) -> str:
    return "\n".join(code.array(name, values) for name, values in constants.items())


def head_files(start: HeadStart, more: list[str], constants: Mapping[str, Tensor]) -> dict[str, str]:
    """The last layer at its start, and constants of the rest of the network where that learns too."""
    rows, width = len(start.rows) - 1, start.rows.shape[1]
    settings = [
        f"#define AM_HEAD_ROWS {rows} /* classes with a row of their own at the start */",
        f"#define AM_STEPS_BEFORE {start.steps_before}",
        f"#define AM_RATE {start.rate!r}f",
        f"#define AM_DECAY {start.decay!r}f",
        f"#define AM_BETA2 {start.beta2!r}",
        f"#define AM_EPS {start.eps!r}f",
        f"#define AM_ADAM {int(start.adam)}",
        *more,
    ]
    declared = [f"extern const float am_head_{what}[{rows + 1}][{width}];" for what in ("start", "second")]
    declared += [f"extern const float {name}[{values.numel()}];" for name, values in constants.items()]
    text = "/* Where learning by head begins, and its steps. */\n#ifndef AUTOMETA_HEAD_START_H\n"
    text += "#define AUTOMETA_HEAD_START_H\n\n#ifndef AUTOMETA_STEPS\n"
    text += f"#define AUTOMETA_STEPS {start.steps}\n#endif\n" + "\n".join([*settings, "", *declared]) + "\n\n#endif\n"
    made = '#include "head_start.h"\n'
    for what, values in (("start", start.rows), ("second", start.second)):
        inner = ",\n".join(f"    {{\n{code.numbers(row.tolist())}\n    }}" for row in values)
        made += f"\nconst float am_head_{what}[{rows + 1}][{width}] = {{\n{inner}\n}};\n"
    return {"head_start.h": text, "head_start.c": f"{made}\n{arrays(constants)}" if constants else made}


def threshold_note(measured: Measured | None) -> str:
    if measured is None or measured.least is None:
        return "Not measured: there are too few classes that training never saw."
    return f"Measured: 90% of right answers reach it, {measured.refused:.0f}% of pictures of other classes do not."


def in_words(recipe: Recipe) -> str:
    """What a device must make of a camera's picture."""
    from autometa.export.program import INK, SQUARES

    colour = "grey" if recipe.channels == 1 else "red, green, blue"
    square = {"stretch": "stretched to a square", "ink": SQUARES["ink"]}.get(recipe.fit, "square")
    ink = INK[recipe.polarity].replace("autometa.data.images.convert", "training")
    return f"{colour}, {square}, values 0 to 255{ink}"


def _bytes(picture: Tensor) -> list[int]:
    """`[C, H, W]` as the device reads it."""
    return picture.permute(1, 2, 0).flatten().tolist()


def some_pictures(images: Tensor | None, recipe: Recipe) -> Tensor:
    """Three of a store for the self-test, drawn ones where there is none."""
    if images is not None:
        return images[[0, len(images) // 2, 1]].cpu()
    random = torch.Generator().manual_seed(0)
    shape = (3, recipe.channels, recipe.size, recipe.size)
    return torch.randint(0, 256, shape, generator=random, dtype=torch.uint8)


def made_by() -> str:
    return f"autometa {__version__}"
