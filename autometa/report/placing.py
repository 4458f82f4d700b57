"""Positions along a line: as near to where they are wanted as a smallest distance allows."""

from __future__ import annotations

from collections.abc import Sequence


def spread(
    wanted: Sequence[float], gaps: Sequence[float] | float, weights: Sequence[float] | None = None
) -> list[float]:
    """Positions in the given order, each at least its gap after the one before, with least weighted sum of squared
    shifts.

    gaps: between neighbours, one number or `len(wanted) - 1` of them; weights: 1 each where None. Taking the gaps off
    makes it isotonic regression, solved by pooling neighbours that are out of order.
    """
    if isinstance(gaps, (int, float)):
        gaps = [float(gaps)] * max(len(wanted) - 1, 0)
    offsets = [0.0]
    for gap in gaps:
        offsets.append(offsets[-1] + gap)
    pools: list[tuple[float, float, int]] = []
    for k, value in enumerate(wanted):
        pools.append((value - offsets[k], 1.0 if weights is None else weights[k], 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (mean, weight, count), (before, more, many) = pools.pop(), pools.pop()
            total = weight + more
            pools.append(((before * more + mean * weight) / total, total, count + many))
    levels = [mean for mean, _, count in pools for _ in range(count)]
    return [level + offset for level, offset in zip(levels, offsets, strict=False)]


def spread_within(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """`spread` of positions in any order, kept within low to high where they fit; returned in the order given."""
    order = sorted(range(len(wanted)), key=lambda k: (wanted[k], k))
    places = spread([wanted[k] for k in order], gap)
    count = len(places)
    fits = gap * (count - 1) <= high - low
    for k in range(count):
        least, most = low + gap * k, high - gap * (count - 1 - k)
        places[k] = min(max(places[k], least), most) if fits else low + (high - low) * k / (count - 1)
    found = [0.0] * len(wanted)
    for k, place in zip(order, places, strict=True):
        found[k] = place
    return found


def text_width(words: str, size: float = 11.0) -> float:
    """About how wide a label will be, in DejaVu Sans, which is among the widest that systems have."""
    narrow = sum(c in "ijlI.,:;|!'()[] ftr/-" for c in words)
    wide = sum(c in "mwMW%@—×±→−+=<>" or ord(c) > 0x2E80 for c in words)
    return size * (0.63 * len(words) - 0.27 * narrow + 0.25 * wide)
