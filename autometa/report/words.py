"""Words and number formats that results are told in, here and on the command line."""

from __future__ import annotations

from collections.abc import Mapping

MODES = {
    "transductive": "all queries of the task",
    "support_plus_one": "support images + one query",
    "support_statistics": "support images alone",
    "frozen_statistics": "training images, frozen",
}
"""What batch normalisation takes its statistics from, by BN mode."""

OPS = {
    "none": ("none", "nothing"),
    "skip_connect": ("skip", "its input as it is; at stride 2 two strided 1×1 convolutions"),
    "max_pool_3x3": ("max pool 3×3", "largest of 3×3"),
    "avg_pool_3x3": ("avg pool 3×3", "mean of 3×3"),
    "conv_3x3": ("conv 3×3", "depthwise-separable convolution"),
    "dil_conv_3x3": ("dil conv 3×3", "depthwise-separable convolution, dilation 2"),
    "dil_conv_5x5": ("dil conv 5×5", "depthwise-separable convolution, dilation 2"),
    "sep_conv_3x3": ("sep conv 3×3", "two depthwise-separable convolutions"),
    "sep_conv_5x5": ("sep conv 5×5", "two depthwise-separable convolutions"),
    "conv_1x5_5x1": ("conv 1×5, 5×1", "factorised 5×5 convolution"),
    "conv_7x1_1x7": ("conv 7×1, 1×7", "factorised 7×7 convolution"),
    "full_conv_3x3": ("full conv 3×3", "convolution over all channels"),
}
"""Short name and meaning of each primitive."""

PHASES = {
    "search": "search",
    "train": "training",
    "test": "test",
    "final": "training of the best cell",
    "test-untrained": "test, untrained",
    "four-layer": "training of the four-layer net",
    "test-four-layer": "test, four-layer net",
    "confidence": "measuring of confidences",
}
"""The loops of a run in people's words."""


def op_name(primitive: str) -> str:
    """A primitive in a drawing."""
    return OPS[primitive][0] if primitive in OPS else primitive.replace("_", " ")


def op_meaning(primitive: str) -> str:
    return OPS[primitive][1] if primitive in OPS else ""


def op_class(primitive: str) -> str:
    """The style of a primitive, which has its colour."""
    return f"op op-{primitive}" if primitive in OPS else "op"


def score(found: Mapping[str, float | None] | None) -> str:
    """Mean and half its 95% confidence interval, in percent; `-` where there is none."""
    if not found or found.get("mean") is None:
        return "-"
    return f"{found['mean']:.2f}" if found.get("ci95") is None else f"{found['mean']:.2f} ± {found['ci95']:.2f}"


def large(value: float) -> str:
    """A count that may be large, in three digits and a word where it is."""
    for size, unit in ((1e9, " billion"), (1e6, " million")):
        if value >= size:
            return f"{value / size:.2f}{unit}"
    return f"{value:,.0f}"


def short(value: float) -> str:
    """A count for a narrow place: 13.1k, 1.25M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= size:
            size = 1e3 if unit == "k" else size
            return f"{value / size:.3g}{unit}" if value / size < 999.5 else f"{value / size:,.0f}{unit}"
    return f"{value:,.0f}"


def size(count: float | None) -> str:
    """Bytes for a person."""
    if count is None:
        return "unknown"
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "-"


def plural(count: int, thing: str) -> str:
    """A count with what is counted."""
    return f"{count:,} {thing}{'' if count == 1 else 'es' if thing.endswith('s') else 's'}"
