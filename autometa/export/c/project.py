"""An export as files of C: which there are, and what their templates are filled with."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

import torch
from torch import Tensor

from autometa._version import __version__
from autometa.brief import brief
from autometa.data import Recipe
from autometa.export.c import code
from autometa.export.c.folding import Folded, Statistics, fold
from autometa.export.c.frozen import classifier_of
from autometa.export.c.graph import graph_of
from autometa.export.c.measured import Measured
from autometa.export.c.readme import Cost, readme
from autometa.export.c.reference import FloatFeatures, HeadStart, answer, by_prototypes
from autometa.export.plan import plan_of
from autometa.models.model import Model

LEARN = ("prototypes", "head")
WEIGHTS = ("float32",)
CLASSES, STACK = 10, 1024
"""Most classes unless the build says otherwise; bytes of stack that suffice."""


@brief
@dataclass(frozen=True)
class Device:
    """A network made ready for a device, with one way to learn: its features, learning and tolerance are what the C
    code computes."""

    name: str
    model: Model
    folded: Folded
    statistics: Statistics
    learn: str
    weights: str = "float32"

    @classmethod
    def of(cls, name: str, model: Model, statistics: Statistics, learn: str, weights: str) -> Device:
        network, theta = classifier_of(model), model.learned.theta.cpu()
        plan = plan_of(network, theta[None])
        values = {key: value.float() for key, value in network.layout.unpack(theta).items()}
        graph = graph_of(plan, (model.recipe.channels, model.recipe.size, model.recipe.size), values)
        return cls(name, model, fold(graph, plan, values, statistics), statistics, learn, weights)

    @property
    def features(self) -> FloatFeatures:
        return FloatFeatures(self.model, self.folded.graph, self.statistics)

    @property
    def learning(self):
        return HeadStart.of(self.model, self.folded.graph) if self.learn == "head" else by_prototypes

    def writer(self) -> code.Writer:
        return code.Writer(self.folded.graph)

    def files(self, measured: Measured | None, pictures: Tensor) -> dict[str, str]:
        """Name of each file -> its text; pictures: uint8 `[3, C, H, W]` of the self-test, the last one is asked."""
        writer, graph, recipe = self.writer(), self.folded.graph, self.model.recipe
        constants = {**self.folded.constants}
        declared, made = code.weights_source(constants)
        title = f"{self.name}: {graph.picture} -> {graph.features} features, {self.weights}, learns by {self.learn}"
        cost = f"{graph.macs:,} multiply-accumulates, {sum(v.numel() for v in constants.values()):,} weights."
        expected = answer(self.features, self.learning, pictures[:2], [0, 1], pictures[2:])[0]
        fills = {
            "TITLE": title,
            "COST": cost,
            "STACK": str(STACK),
            "RECIPE": in_words(recipe),
            "HEIGHT": str(recipe.size),
            "WIDTH": str(recipe.size),
            "CHANNELS": str(recipe.channels),
            "FEATURES": str(graph.features),
            "MODEL": f"0x{zlib.crc32((made + self.learn).encode()):08x}",
            "CLASSES": str(CLASSES),
            "THRESHOLD": f"{measured.least:.2f}" if measured and measured.least is not None else "0.0",
            "THRESHOLD_NOTE": threshold_note(measured),
            "ARENA": str(writer.memory.size),
            "ARENA_UNIT": f"values of {writer.kind}",
            "VALUE": writer.kind,
            "PLACES": writer.places(),
            "BODY": writer.body(),
            "DECLARED": declared,
            "PICTURES": ",\n".join(f"    {{\n{code.numbers(_bytes(p), 'int')}\n    }}" for p in pictures),
            "EXPECTED": ", ".join(f"{float(p):.7f}f" for p in expected),
            "TOLERANCE": "1e-4",
            **STRUCTURES[self.learn],
        }
        names = ["autometa.h", "learner.h", "learner.c", "network.h", "network.c", "ops.h", "ops.c", "weights.h"]
        found = {name: filled(template(name), fills) for name in [*names, "selftest.c"]}
        found["learn.c"] = filled(template(f"learn_{self.learn}.c"), fills)
        found["weights.c"] = f'#include "weights.h"\n\n{made}'
        extra = 0
        if self.learn == "head":
            start = HeadStart.of(self.model, graph)
            found |= head_files(start)
            extra = 2 * start.rows.numel()
        flash = 4 * (sum(v.numel() for v in constants.values()) + extra)
        costs = Cost(flash, 4 * writer.memory.size, graph.macs, graph.features)
        found["README.md"] = readme(title, self.learn, self.weights, costs, measured, in_words(recipe))
        return found


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
        "WORK": "    float second[AUTOMETA_CLASSES][AUTOMETA_FEATURES + 1]; /* moment, of Adam */\n"
        "    float wrong[AUTOMETA_PICTURES][AUTOMETA_CLASSES];      /* by how much each score should fall */\n"
        "    @VALUE@ arena[AUTOMETA_ARENA];\n    float features[AUTOMETA_FEATURES];",
        "LEARN_NOTE": "Take the gradient steps on all that was taught, from the start; after every change of it.",
    },
}


def head_files(start: HeadStart) -> dict[str, str]:
    """The last layer at its start."""
    rows, width = len(start.rows) - 1, start.rows.shape[1]
    settings = [
        f"#define AM_HEAD_ROWS {rows} /* classes with a row of their own at the start */",
        f"#define AM_STEPS_BEFORE {start.steps_before}",
        f"#define AM_RATE {start.rate!r}f",
        f"#define AM_DECAY {start.decay!r}f",
        f"#define AM_BETA2 {start.beta2!r}",
        f"#define AM_EPS {start.eps!r}f",
        f"#define AM_ADAM {int(start.adam)}",
    ]
    declared = [f"extern const float am_head_{what}[{rows + 1}][{width}];" for what in ("start", "second")]
    text = "/* Where learning by head begins, and its steps. */\n#ifndef AUTOMETA_HEAD_START_H\n"
    text += "#define AUTOMETA_HEAD_START_H\n\n#ifndef AUTOMETA_STEPS\n"
    text += f"#define AUTOMETA_STEPS {start.steps}\n#endif\n" + "\n".join([*settings, "", *declared]) + "\n\n#endif\n"
    made = '#include "head_start.h"\n'
    for what, values in (("start", start.rows), ("second", start.second)):
        inner = ",\n".join(f"    {{\n{code.numbers(row.tolist())}\n    }}" for row in values)
        made += f"\nconst float am_head_{what}[{rows + 1}][{width}] = {{\n{inner}\n}};\n"
    return {"head_start.h": text, "head_start.c": made}


def threshold_note(measured: Measured | None) -> str:
    if measured is None or measured.least is None:
        return "Not measured: there are too few classes that training never saw."
    return f"Measured: 90% of right answers reach it, {measured.refused:.0f}% of pictures of other classes do not."


def in_words(recipe: Recipe) -> str:
    """What a device must make of a camera's picture."""
    from autometa.export.program import INK

    colour = "grey" if recipe.channels == 1 else "red, green, blue"
    return (
        f"{colour}, square, values 0 to 255{INK[recipe.polarity].replace('autometa.data.images.convert', 'training')}"
    )


def template(name: str) -> str:
    return resources.files("autometa.export.c").joinpath("templates", name).read_text(encoding="utf-8")


def filled(text: str, fills: Mapping[str, str]) -> str:
    """With every @NAME@ in place, those inside fills too."""
    for _ in range(2):
        text = re.sub(r"@([A-Z_]+)@", lambda found: fills[found.group(1)], text)
    return text


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
