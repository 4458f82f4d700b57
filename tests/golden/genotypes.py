"""The genotypes that the fixtures' tables call by name."""

from __future__ import annotations

from autometa.nas.spaces.genotype import CellGenotype, Genotype

NODES = 3
CONCAT = (2, 3, 4)
IMAGE_SIZE = (28, 28)


def _cell(*nodes) -> CellGenotype:
    return CellGenotype(nodes, CONCAT)


GENOTYPES = {
    "metanas_og_v2": Genotype(
        _cell(
            (("dil_conv_3x3", 0), ("sep_conv_3x3", 1)),
            (("avg_pool_3x3", 0), ("sep_conv_3x3", 1)),
            (("conv_1x5_5x1", 0), ("conv_3x3", 2)),
        ),
        _cell(
            (("skip_connect", 0), ("sep_conv_3x3", 1)),
            (("conv_3x3", 0), ("dil_conv_3x3", 1)),
            (("dil_conv_3x3", 0), ("conv_1x5_5x1", 2)),
        ),
    ),
    "metanas_in_v2": Genotype(
        _cell(
            (("conv_1x5_5x1", 0), ("conv_3x3", 1)),
            (("conv_3x3", 0), ("sep_conv_3x3", 2)),
            (("dil_conv_3x3", 1), ("conv_1x5_5x1", 3)),
        ),
        _cell(
            (("sep_conv_3x3", 0), ("conv_3x3", 1)),
            (("conv_3x3", 0), ("sep_conv_3x3", 2)),
            (("conv_3x3", 0), ("dil_conv_3x3", 1)),
        ),
    ),
    "metanas_v1": Genotype(
        _cell(
            (("conv_3x3", 0), ("conv_3x3", 1)),
            (("conv_1x5_5x1", 0), ("dil_conv_3x3", 2)),
            (("conv_1x5_5x1", 0), ("max_pool_3x3", 3)),
        ),
        _cell(
            (("dil_conv_3x3", 0), ("sep_conv_3x3", 1)),
            (("conv_3x3", 0), ("max_pool_3x3", 1)),
            (("dil_conv_3x3", 2), ("conv_1x5_5x1", 3)),
        ),
    ),
}
