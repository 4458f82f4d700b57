"""The README of an export: how to build it, what it costs, how well it answers."""

from __future__ import annotations

from dataclasses import dataclass

from autometa.export.c.graph import Graph
from autometa.export.c.measured import Measured
from autometa.export.c.training import Training


@dataclass(frozen=True)
class Cost:
    """flash: bytes of constants; arena: bytes of maps, and of their gradients where the whole network learns."""

    flash: int
    arena: int
    graph: Graph
    training: Training | None


SHOTS = 5


def memory(learn: str, cost: Cost, classes: int) -> tuple[int, int]:
    """Bytes that are saved, and of all RAM."""
    f, pictures = cost.graph.features, SHOTS * classes
    if learn == "prototypes":
        saved, beside = 1 + 2 * classes + classes * f, f
    elif learn == "head":
        saved = 2 + classes + pictures + pictures * f + classes * (f + 1)
        beside = classes * (f + 1) + pictures * classes + f
    else:
        training = cost.training
        body, batch = len(training.start), training.batch
        head, kept = classes * (f + 1), pictures * cost.graph.picture.size
        moments, measuring = (2 * training.channels, 2) if training.frozen is None else (0, 0)
        saved = 1 + 2 * classes + body + head + moments + -(-kept // 4)
        beside = body + head + training.scratch + batch * (2 * f + classes + 1) + -(-pictures // 2) + measuring
    return 4 * saved + 20, 4 * (saved + beside) + cost.arena


def readme(title: str, learn: str, weights: str, cost: Cost, measured: Measured | None, pictures: str) -> str:
    """Markdown."""
    rows = []
    for classes in (2, 4, 10):
        state, ram = memory(learn, cost, classes)
        rows.append(f"| {classes} | {ram:,} | {state:,} |")
    table = "\n".join(rows)
    maps, steps = "the maps of one picture", ""
    if cost.training:
        maps = f"the maps and gradients of a batch of {cost.training.batch} pictures"
        steps = f"A step of learning is about {4 * cost.graph.macs * cost.training.batch:,}. "
    return f"""# {title}

C99 that learns classes from a few pictures each. It needs `<math.h>`, `<stdint.h>` and `<string.h>`, no allocation, no
recursion, and has no global variables: all memory is the structure `autometa`.

```c
#include "autometa.h"

static autometa m;

autometa_init(&m);
int open = autometa_add_class(&m), closed = autometa_add_class(&m);
autometa_teach(&m, picture, open);              /* as often as there are pictures */
autometa_teach(&m, other_picture, closed);
autometa_learn(&m);
int answer = autometa_predict(&m, new_picture, NULL);   /* open, closed, or AUTOMETA_NONE */
```

Add all `.c` files but `selftest.c` to your build. `autometa.h` says what each function returns. On a computer

    cc -std=c99 -O2 *.c -lm && ./a.out

runs the self-test, which has its expected answers in it. Pictures are {pictures}.

## Cost

| classes | RAM, bytes | a saved state, bytes |
|---|---|---|
{table}

Of that {maps} take {cost.arena:,} bytes; the stack needs less than 1 kB beside it. Flash:
{cost.flash:,} bytes of constants, and the code (5 to 20 kB). A question is {cost.graph.macs:,} multiply-accumulates,
in {weights}. {steps}`-DAUTOMETA_CLASSES=4` sets the number of classes, `-DAUTOMETA_RAM_LIMIT=65536` makes a build fail
that needs more.

## Accuracy

{told(measured)}
"""


def told(measured: Measured | None) -> str:
    """A paragraph."""
    if measured is None:
        return "Not measured: the data set has too few test classes or pictures of them."
    found = (
        f"{measured.accuracy:.1f} +- {measured.spread:.1f}% right, of this very form, with {measured.ways} classes "
        f"that training never saw, {measured.shots} picture{'s' * (measured.shots != 1)} of each, over "
        f"{measured.tasks} tasks."
    )
    if measured.least is not None:
        found += (
            f"\nBelow a probability of {measured.least:.2f} the answer is `AUTOMETA_NONE`, which 90% of right answers "
            f"are above;\n{measured.refused:.0f}% of pictures of other classes are refused by it."
        )
    return found
