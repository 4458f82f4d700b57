"""Charts as SVG: axes with round ticks, lines labelled at their ends, points, bars, intervals.

All are drawn for about the width of a phone, so that their text is as large there as on a desk.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from autometa.report.markup import Markup, el, label, number, svg
from autometa.report.placing import spread_within, text_width
from autometa.report.scales import Scale, round_step, scale

WIDTH, HEIGHT = 344.0, 208.0
MOST_POINTS = 220
Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """A line: its name, which is written at its end, points from left to right, style; `band` is (x, low, high)."""

    name: str
    points: Sequence[Point]
    class_: str = "first"
    band: Sequence[tuple[float, float, float]] = ()
    weight: str = ""


@dataclass(frozen=True)
class Mark:
    """An upright line at x with words beside its top; a level one at y where `level`."""

    at: float
    words: str
    level: bool = False


@dataclass(frozen=True)
class Axes:
    """What a chart says of its axes. `low` and `high`: bounds of y where data do not decide; zero: y begins at 0."""

    x: str = ""
    y: str = ""
    low: float | None = None
    high: float | None = None
    zero: bool = False
    log_x: bool = False
    log_y: bool = False
    wanted_x: int = 5
    wanted_y: int = 4
    whole_x: bool = False
    """Ticks at whole numbers alone."""


@dataclass(frozen=True)
class Frame:
    """A plotting area and its scales."""

    width: float
    height: float
    x: Scale
    y: Scale
    axes: Axes = field(default_factory=Axes)

    @classmethod
    def around(
        cls,
        xs: Sequence[float],
        ys: Sequence[float],
        axes: Axes,
        width: float,
        height: float,
        right: float = 10.0,
        marked: bool = False,
    ) -> Frame:
        """Scales that hold all values; `right`: room for words behind the last point, `marked`: for words above."""
        top, bottom = (20.0 if axes.y or marked else 7.0), (34.0 if axes.x else 20.0)
        ys = [*ys, *(bound for bound in (axes.low, axes.high) if bound is not None)]
        y = scale(ys, height - bottom, top, log=axes.log_y, zero=axes.zero, wanted=axes.wanted_y)
        left = 6.0 + max(text_width(words, 10.5) for words in y.labels)
        low, high = (min(xs), max(xs)) if xs else (0.0, 1.0)
        if axes.log_x:
            x = scale(xs, left, width - right, log=True, wanted=axes.wanted_x)
        else:
            high = high if high > low else low + 1.0
            step = round_step(high - low, axes.wanted_x)
            beyond = math.ceil(high / step - 1e-9) * step
            high = beyond if beyond - high < 0.02 * (high - low) else high
            x = Scale(low, high, left, width - right, wanted=axes.wanted_x)
        return cls(width, height, x, y, axes)

    def draw(self) -> list[Markup]:
        """Grid, ticks and titles of the axes."""
        made, bottom = [], self.y.start
        for value, words in zip(self.y.ticks, self.y.labels, strict=True):
            y = self.y(value)
            made.append(el("line", x1=self.x.start, x2=self.x.end, y1=y, y2=y, class_="grid"))
            made.append(label(self.x.start - 5, y + 3.6, words, "end", "tick"))
        values, words = self.x.ticks, self.x.labels
        if self.axes.whole_x:
            kept = [k for k, value in enumerate(values) if value == round(value)]
            values, words = [values[k] for k in kept], [f"{values[k]:,.0f}" for k in kept]
        for value, text in zip(values, words, strict=True):
            x, half = self.x(value), text_width(text, 10.5) / 2
            made.append(el("line", x1=x, x2=x, y1=bottom, y2=bottom + 4, class_="base"))
            middle = min(max(x, half), self.width - half)
            made.append(label(middle, bottom + 15, text, "middle", "tick"))
        made.append(el("line", x1=self.x.start, x2=self.x.end, y1=bottom, y2=bottom, class_="base"))
        if self.axes.y:
            made.append(label(0, 10, self.axes.y, "start", "axis"))
        if self.axes.x:
            made.append(label(self.x.end, bottom + 29, self.axes.x, "end", "axis"))
        return made

    def at(self, point: Point) -> Point:
        return self.x(point[0]), self.y(point[1])

    def marks(self, marks: Sequence[Mark]) -> list[Markup | None]:
        made = []
        for mark in marks:
            if mark.level:
                y = self.y(mark.at)
                made.append(el("line", x1=self.x.start, x2=self.x.end, y1=y, y2=y, class_="mark"))
                made.append(label(self.x.start + 3, y - 4, mark.words, "start", "axis"))
                continue
            x, half = self.x(mark.at), text_width(mark.words, 10.5) / 2
            taken = text_width(self.axes.y, 10.5) + 8 if self.axes.y else 0.0
            made.append(el("line", x1=x, x2=x, y1=self.y.end - 5, y2=self.y.start, class_="mark"))
            middle = min(max(x, taken + half), self.width - half)
            made.append(label(middle, 10, mark.words, "middle", "axis") if mark.words else None)
        return made


def lines(
    title: str,
    series: Sequence[Series],
    axes: Axes,
    marks: Sequence[Mark] = (),
    width: float = WIDTH,
    height: float = HEIGHT,
    about: str = "",
) -> Markup:
    """Lines over a common x, each labelled at its end."""
    series = [one for one in series if one.points]
    points = [point for one in series for point in one.points]
    spans = [bound for one in series for _, *bounds in one.band for bound in bounds]
    named = [one for one in series if one.name]
    room = 8.0 + max((text_width(one.name) for one in named), default=2.0)
    levels = [mark.at for mark in marks if mark.level]
    ys = [y for _, y in points] + spans + levels
    marked = any(mark.words and not mark.level for mark in marks)
    frame = Frame.around([x for x, _ in points], ys, axes, width, height, room, marked)
    parts = [*frame.draw(), *frame.marks(marks)]
    for one in series:
        parts += _line(one, frame)
    ends = [frame.at(one.points[-1]) for one in named]
    places = spread_within([y for _, y in ends], 12.5, frame.y.end, frame.y.start)
    for one, (x, _), y in zip(named, ends, places, strict=True):
        parts.append(label(x + 5, y + 3.8, one.name, "start", f"of {one.class_}"))
    return svg(width, height, title, about or _ends(series), *parts)


def _line(one: Series, frame: Frame) -> list[Markup]:
    parts = []
    if one.band:
        upper = [frame.at((x, high)) for x, _, high in one.band]
        lower = [frame.at((x, low)) for x, low, _ in reversed(one.band)]
        parts.append(el("path", d=f"{path([*upper, *lower])}Z", class_=f"band {one.class_}"))
    if len(one.points) == 1:
        x, y = frame.at(one.points[0])
        return [*parts, el("circle", cx=x, cy=y, r=2.5, class_=f"dot {one.class_}")]
    d = path([frame.at(point) for point in one.points])
    return [*parts, el("path", d=d, class_=f"line {one.weight} {one.class_}".replace("  ", " "))]


def path(points: Sequence[Point]) -> str:
    """Straight lines through points."""
    return "M" + "L".join(f"{number(round(x, 1))} {number(round(y, 1))}" for x, y in points)


def _ends(series: Sequence[Series]) -> str:
    told = [f"{one.name or 'the line'} from {one.points[0][1]:.3g} to {one.points[-1][1]:.3g}" for one in series]
    return f"{'; '.join(told)}." if told else ""


def picked(one: Series, most: int) -> Series:
    """Every so many points, the first and the last among them, where there are more than `most`."""
    every = math.ceil((len(one.points) - 1) / max(most - 1, 1))
    if every < 2:
        return one
    kept = [*one.points[:-1:every], one.points[-1]]
    return replace(one, points=kept)


def thinned(one: Series, most: int = MOST_POINTS) -> Series:
    """The means of neighbouring points where there are more than `most`, with their range as the band."""
    size = math.ceil(len(one.points) / most)
    if size < 2:
        return one
    buckets = [one.points[k : k + size] for k in range(0, len(one.points), size)]
    means = [(sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in buckets]
    ranges = [(m[0], min(y for _, y in part), max(y for _, y in part)) for m, part in zip(means, buckets, strict=True)]
    return replace(one, points=means, band=ranges)


def smoothed(one: Series, window: int = 9) -> Series:
    """The running mean of so many neighbours, in front of a band of their range; short series as they are."""
    points = one.points
    if len(points) < 3 * window:
        return one
    half, means, ranges = window // 2, [], []
    for k, (x, _) in enumerate(points):
        near = [y for _, y in points[max(0, k - half) : k + half + 1]]
        means.append((x, sum(near) / len(near)))
        ranges.append((x, min(near), max(near)))
    return replace(one, points=means, band=ranges)


@dataclass(frozen=True)
class Interval:
    """A row of `intervals`: its name, mean, half width (None: unknown) and style; no mean: a heading."""

    name: str
    mean: float | None = None
    half: float | None = None
    class_: str = "first"


def intervals(
    title: str, rows: Sequence[Interval], axes: Axes, mark: Mark | None = None, width: float = WIDTH
) -> Markup:
    """Means with their intervals, one below the other, named at the left and told at the right."""
    known = [row for row in rows if row.mean is not None]
    told = {id(row): f"{row.mean:.2f}" + ("" if row.half is None else f" ± {row.half:.2f}") for row in known}
    left = 10.0 + max(text_width(row.name) for row in known)
    right = 22.0 + max(text_width(text) for text in told.values())
    ends = [row.mean + sign * (row.half or 0.0) for row in known for sign in (-1, 1)]
    ends += [mark.at] if mark else []
    step, top = 19.0, 18.0 if mark else 6.0
    bottom = top + step * len(rows)
    x = scale(ends, left, width - right, wanted=4)
    parts = []
    for value, words in zip(x.ticks, x.labels, strict=True):
        parts.append(el("line", x1=x(value), x2=x(value), y1=top, y2=bottom, class_="grid"))
        parts.append(label(x(value), bottom + 13, words, "middle", "tick"))
    if mark:
        at = x(mark.at)
        parts.append(el("line", x1=at, x2=at, y1=top - 4, y2=bottom, class_="mark"))
        half = text_width(mark.words, 10.5) / 2
        parts.append(label(max(at, half), top - 8, mark.words, "middle", "axis"))
    for k, row in enumerate(rows):
        y = top + step * (k + 0.5)
        if row.mean is None:
            parts.append(label(0, y + 4.5, row.name, "start", "head"))
            continue
        parts.append(label(left - 10, y + 3.8, row.name, "end"))
        if row.half is not None:
            low, high = x(row.mean - row.half), x(row.mean + row.half)
            parts.append(el("line", x1=low, x2=high, y1=y, y2=y, class_=f"whisker {row.class_}"))
        parts.append(el("circle", cx=x(row.mean), cy=y, r=3.6, class_=f"dot {row.class_}"))
        parts.append(label(width, y + 3.8, told[id(row)], "end"))
    parts.append(label(x.end, bottom + 27, axes.x, "end", "axis"))
    about = "; ".join(f"{row.name} {told[id(row)]}" for row in known)
    return svg(width, bottom + 31, title, about, *parts)


@dataclass(frozen=True)
class Bar:
    """A row of `bars`: what it stands for, its length, the words behind it, its style."""

    name: str
    length: float
    words: str
    class_: str = "first"


def bars(title: str, rows: Sequence[Bar], width: float = WIDTH) -> Markup:
    """Lengths from 0, one below the other, each with its name and its number: no axis is needed."""
    left = 8.0 + max(text_width(row.name) for row in rows)
    right = 8.0 + max(text_width(row.words) for row in rows)
    longest = max((row.length for row in rows), default=0.0) or 1.0
    step, parts = 20.0, []
    for k, row in enumerate(rows):
        middle, long = step * (k + 0.5), (width - left - right) * row.length / longest
        parts.append(label(left - 8, middle + 3.8, row.name, "end"))
        parts.append(el("rect", x=left, y=middle - 5.5, width=max(long, 0.8), height=11.0, class_=f"bar {row.class_}"))
        parts.append(label(left + long + 6, middle + 3.8, row.words))
    return svg(width, step * len(rows), title, "; ".join(f"{row.name}: {row.words}" for row in rows), *parts)


def columns(title: str, counts: Sequence[tuple[str, int]], highest: int, x: str, width: float = 150.0) -> Markup:
    """Counts as upright bars, their numbers above them; `highest` is common to charts to be compared."""
    height, top, bottom = 118.0, 16.0, 84.0
    step, parts = width / max(len(counts), 1), []
    for k, (name, count) in enumerate(counts):
        middle, high = step * (k + 0.5), (bottom - top) * count / max(highest, 1)
        wide = min(step * 0.7, 26.0)
        if count:
            parts.append(el("rect", x=middle - wide / 2, y=bottom - high, width=wide, height=high, class_="bar first"))
        parts.append(label(middle, bottom - high - 4, f"{count:,}", "middle", "tick"))
        parts.append(label(middle, bottom + 14, name, "middle", "tick"))
    parts.append(el("line", x1=0.0, x2=width, y1=bottom, y2=bottom, class_="base"))
    parts.append(label(width, bottom + 29, x, "end", "axis"))
    about = ", ".join(f"{name}: {count}" for name, count in counts)
    return svg(width, height, title, about, *parts)


@dataclass(frozen=True)
class Dots:
    """Points of one style; `said` are their titles, shown where a pointer rests on them."""

    points: Sequence[Point]
    class_: str = "first faint"
    said: Sequence[str] = ()
    radius: float = 2.4


def scatter(
    title: str,
    groups: Sequence[Dots],
    axes: Axes,
    about: str,
    joined: Sequence[Point] = (),
    named: Sequence[tuple[Point, str]] = (),
    same: bool = False,
    width: float = WIDTH,
    height: float = HEIGHT,
) -> Markup:
    """Points; `joined` by a line of steps; `named` ones with words; `same`: both axes alike, with a diagonal."""
    points = [*(point for group in groups for point in group.points), *joined, *(point for point, _ in named)]
    xs, ys = [x for x, _ in points], [y for _, y in points]
    xs, ys = ([*xs, *ys], [*xs, *ys]) if same else (xs, ys)
    frame = Frame.around(xs, ys, axes, width, height, 12.0)
    if same:
        frame = replace(frame, x=Scale(frame.y.low, frame.y.high, frame.x.start, frame.x.end, wanted=axes.wanted_x))
    elif not axes.log_x:
        margin = 0.04 * (frame.x.high - frame.x.low)
        frame = replace(frame, x=replace(frame.x, low=frame.x.low - margin, high=frame.x.high + margin))
    parts = frame.draw()
    if same:
        ends = [frame.at((frame.y.low, frame.y.low)), frame.at((frame.y.high, frame.y.high))]
        parts.append(el("path", d=path(ends), class_="mark"))
    for group in groups:
        said = [*group.said, *[None] * (len(group.points) - len(group.said))]
        for point, words in zip(group.points, said, strict=True):
            x, y = frame.at(point)
            tip = el("title", words) if words else None
            parts.append(
                el("circle", tip, cx=round(x, 1), cy=round(y, 1), r=group.radius, class_=f"dot {group.class_}")
            )
    if joined:
        stairs = [joined[0]]
        for (x, y), (_, before) in zip(joined[1:], joined, strict=False):
            stairs += [(x, before), (x, y)]
        parts.append(el("path", d=path([frame.at(point) for point in stairs]), class_="line second"))
    for point, words in named:
        x, y = frame.at(point)
        wide = text_width(words)
        parts.append(el("circle", cx=x, cy=y, r=4.0, class_="hollow second"))
        parts.append(label(min(max(x, wide / 2), width - wide / 2), max(y - 9, 10), words, "middle", "of second"))
    return svg(width, height, title, about, *parts)
