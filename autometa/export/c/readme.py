"""The README of an export: how to build it, what it costs, how well it answers."""

from __future__ import annotations

from dataclasses import dataclass

from autometa.export.c.measured import Measured


@dataclass(frozen=True)
class Cost:
    """flash: bytes of constants; arena: bytes for the maps of one picture; macs: multiply-accumulates of a picture."""

    flash: int
    arena: int
    macs: int
    features: int


STATES = {
    "prototypes": (lambda f, c, p: 4 * (1 + 2 * c + c * f), lambda f, c, p: 4 * f),
    "head": (
        lambda f, c, p: 4 * (2 + c + p + p * f + c * (f + 1)),
        lambda f, c, p: 4 * (c * (f + 1) + p * c + f),
    ),
}
"""Bytes that are saved, and others beside the arena, of features, classes and pictures."""


def readme(title: str, learn: str, weights: str, cost: Cost, measured: Measured | None, pictures: str) -> str:
    """Markdown."""
    saved, beside = STATES[learn]
    rows = []
    for classes in (2, 4, 10):
        state = saved(cost.features, classes, 5 * classes)
        ram = state + beside(cost.features, classes, 5 * classes) + cost.arena
        rows.append(f"| {classes} | {ram:,} | {state + 20:,} |")
    table = "\n".join(rows)
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

Of that the maps of one picture take {cost.arena:,} bytes; the stack needs less than 1 kB beside it. Flash:
{cost.flash:,} bytes of constants, and the code (10 to 20 kB). One picture is {cost.macs:,} multiply-accumulates, in
{weights}. `-DAUTOMETA_CLASSES=4` sets the number of classes, `-DAUTOMETA_RAM_LIMIT=65536` makes a build fail that needs
more.

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
