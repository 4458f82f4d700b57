"""`--max-params` and `--max-macs`: read, made room for, refused where nothing fits."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace

from autometa.algorithms.metanas import MetaNASConfig
from autometa.algorithms.train import ReptileConfig
from autometa.api.numbers import LARGEST
from autometa.errors import InputError
from autometa.models.model import AnyConfig
from autometa.nas.one_shot.size_limits import Limits, smallest, typical
from autometa.nas.spaces.blocks import level_one
from autometa.train.network import Network

UNITS = {"": 1, "k": 1_000, "m": 1_000_000, "b": 1_000_000_000, "g": 1_000_000_000}
LEAST_CHANNELS = 4
"""Of a search network that is made smaller for a budget, while fewer cells can do instead."""


def parse_count(text: str | int | None, option: str) -> int | None:
    """50000, 50k, 2M, 1.5m -> a whole number. Raises `InputError` for anything else, naming the option."""
    if text is None:
        return None
    match = re.fullmatch(
        r"(\d{1,18}(?:\.\d+)?)\s*([kmbg]?)", str(text).strip().lower().replace(",", "").replace("_", "")
    )
    count = int(float(match[1]) * UNITS[match[2]]) if match else 0
    if not 1 <= count <= LARGEST:
        raise InputError(f"{option} must be a number such as 50000, 50k or 2M, not {text}")
    return count


def limits_of(max_params: str | int | None, max_macs: str | int | None) -> dict[str, int]:
    """The settings that these options are."""
    found = {
        "max_params": parse_count(max_params, "--max-params"),
        "max_macs": parse_count(max_macs, "--max-macs"),
    }
    return {name: count for name, count in found.items() if count is not None}


def with_room(config: AnyConfig, shape: tuple[int, int, int], given: Collection[str]) -> tuple[AnyConfig, str | None]:
    """A search whose network leaves room for a typical cell within its limits, by fewer channels, then fewer cells; and
    what was changed, in a sentence. given: settings that stay as they are.

    Where even the least has no such room, the first that can be pruned to the limits at all.
    """
    if not isinstance(config, MetaNASConfig) or not config.limits:
        return config, None
    tried = list(_smaller(config, given))
    for size in (typical, smallest):
        for made in tried:
            if config.limits.hold(size(made.build(shape))):
                return made, _changed(config, made)
    return config, None


def _smaller(config: MetaNASConfig, given: Collection[str]):
    """The config, then with fewer and fewer channels, then the same with fewer cells."""
    fixed_cells = bool({"cells", "reductions"} & set(given))
    for cells in [config.cells] if fixed_cells else range(config.cells, 0, -1):
        reductions = tuple(r for r in config.reductions if r < cells) or ((0,) if config.reductions else ())
        least = min(LEAST_CHANNELS, config.channels) if cells > 1 and not fixed_cells else 2
        for channels in [config.channels] if "channels" in given else range(config.channels, least - 1, -1):
            yield replace(config, cells=cells, reductions=reductions, channels=channels)


def _changed(old: MetaNASConfig, new: MetaNASConfig) -> str | None:
    if old == new:
        return None
    cells = f" and {new.cells} cells instead of {old.cells}" if new.cells != old.cells else ""
    return f"to make room within {new.limits}: {new.channels} channels instead of {old.channels}{cells}"


def check_size(config: AnyConfig, network: Network, shape: tuple[int, int, int]) -> None:
    """Raise `InputError` where no network of this run can keep to its limits, naming the smallest."""
    limits = Limits(config.max_params, config.max_macs)
    if not limits:
        return
    if isinstance(config, ReptileConfig):
        size, what = (network.layout.count(), network.macs()), f"{config.network} has"
        hint = "choose fewer --filters" if config.filters != 2 else "choose another network"
    elif isinstance(config, MetaNASConfig):
        size, what = smallest(network), "the smallest network that this search can be pruned to has"
        hint = "allow more, or fewer --channels and --cells"
    else:
        fits = config.fits(shape)
        cells = list(level_one())
        if any(fits(cell) for cell in cells):
            return
        size, what = min(fits.size(cell) for cell in cells), "the smallest cell of the space makes a network of"
        hint = "allow more, or fewer --macro.filters and --final.filters"
    if not limits.hold(size):
        raise InputError(f"{what} {size[0]:,} weights and {size[1]:,} MACs, the limit is {limits}; {hint}")
