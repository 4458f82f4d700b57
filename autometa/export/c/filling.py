"""Templates of C, and what the two ways to normalise put into them where a whole network learns."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources


def template(name: str) -> str:
    return resources.files("autometa.export.c").joinpath("templates", name).read_text(encoding="utf-8")


def filled(text: str, fills: Mapping[str, str]) -> str:
    """With every @NAME@ in place, those inside fills too."""
    for _ in range(2):
        text = re.sub(r"@([A-Z_]+)@", lambda found: fills[found.group(1)], text)
    return text


def kernels(kind: str) -> str:
    """The ops that are the same for every type of values, `float` or `int8_t`."""
    fills = {"T": "float", "SUM": "float", "OF": "", "SCALES": "", "SCALE_O": "", "SCALE_C": ""}
    if kind != "float":
        scales = "\n    const int32_t *multiplier, const int8_t *shift,"
        each = {f"SCALE_{at}": f"multiplier[{at.lower()}], shift[{at.lower()}], " for at in "OC"}
        fills = {"T": kind, "SUM": "int32_t", "OF": "_int8", "SCALES": scales, **each}
    return filled(template("kernels.c"), fills)


BY_BATCH = {
    "NORMALISED": "every normalisation by the statistics of the batch; then the\n"
    " * statistics of all taught pictures are measured, by which questions are answered.",
    "BY": " by the batch",
    "WHOSE": "the moments of x",
    "HOW": "int how, ",
    "LEARNING": "AM_BY_BATCH, ",
    "ASKED": "AM_NORMS, ",
    "MOMENTS": "    float mean[AM_NORM_CHANNELS], variance[AM_NORM_CHANNELS];\n",
    "MEASURED": "\n    float measured, times; /* pictures in the statistics, and copies of the one at hand */",
    "MEASURE": template("measure.c") + "\n",
    "MEASURED_NOW": "    measure(m, labels, ways, most);\n",
    "NORMALISE": template("normalise.c") + "\n",
    "MOMENTS_OF": template("moments.c") + "\n",
    "MOMENTS_DECLARED": "/* Mean and biased variance of each channel. */\n"
    "void am_moments(const float *x, int pixels, int channels, float *mean, float *variance);\n",
    "NORM_BACK": template("norm_back.c") + "\n",
    "OR_MOMENTS": " || !am_finite(m->taught.mean, AM_NORM_CHANNELS)\n"
    "        || !am_finite(m->taught.variance, AM_NORM_CHANNELS)",
    "AND_MOMENTS": " && am_finite(m->taught.mean, AM_NORM_CHANNELS)\n"
    "           && am_finite(m->taught.variance, AM_NORM_CHANNELS)",
    "VARIANCES": "    for (int c = 0; c < AM_NORM_CHANNELS; c++)\n"
    "        if (!(m->taught.variance[c] >= 0.0f))\n            return 0;\n",
    "STILL": "",
    "STATISTICS": "m->taught.",
}
"""By the statistics of the batch, then by those of all taught pictures."""
BY_FROZEN = {
    **dict.fromkeys(BY_BATCH, ""),
    "NORMALISED": "every normalisation by the frozen statistics of training\n"
    " * pictures, in these steps as in answers: no picture depends on those beside it.",
    "WHOSE": "moments not of x",
    "NORM_BACK": template("norm_back_frozen.c") + "\n",
    "STILL": "    const float *mean = am_mean, *variance = am_variance;\n",
    "STATISTICS": "am_",
}
"""By the same statistics in every step and answer."""
