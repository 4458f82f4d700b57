"""`strokes`: alphabets of pen strokes drawn from a seed, so that everything runs without a download.

An alphabet has a style: the points where strokes begin and end, how many strokes, which kinds, how bent. A
character is a few strokes in that style; a drawing is the character written once more by an unsteady hand.
Random numbers are Philox integers and the arithmetic is elementwise float64 and integers, so the same
seed gives the same pixels everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from autometa.data.errors import DataError
from autometa.data.images import Recipe
from autometa.data.pen import draw_strokes
from autometa.data.splits import STREAM_STROKES, Split
from autometa.data.store import ClassEntry, ImageStore, cached_store, write_store
from autometa.ops.philox import bounded, philox_uint32

KINDS = ("line", "arc", "wave", "hook", "loop", "dash")
DRAWING = 2  # goes up when the same seed is drawn otherwise
MAX_STROKES = 4
MARGIN = 0.1
POINTS = 7  # control points of a stroke: two cubic Bezier curves that share one
_STYLE, _CHARACTER, _DRAWING = range(3)
_ATTEMPTS = 32
_DRAFT_SIZE = 10


@dataclass(frozen=True)
class StrokesConfig:
    """Which alphabets are drawn: counts, image size and seed. Smaller sets are parts of larger ones."""

    alphabets: int = 40
    characters: int = 20
    drawings: int = 20
    size: int = 28
    seed: int = 0

    def __post_init__(self):
        for name, least, most in (
            ("alphabets", 3, 1000),
            ("characters", 1, 60),
            ("drawings", 1, 1000),
            ("size", 4, 256),
            ("seed", 0, 2**32 - 1),
        ):
            value = getattr(self, name)
            if not least <= value <= most:
                raise DataError(f"strokes need {name} in {least} .. {most}, got {value}")

    @property
    def label(self) -> str:
        counts = f"{self.alphabets}x{self.characters}x{self.drawings}"
        return f"{counts}-{self.size}-seed{self.seed}-drawing{DRAWING}"

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"Strokes{alphabet:03d}" for alphabet in range(self.alphabets))

    @property
    def parts(self) -> tuple[str, ...]:
        """Part of each alphabet: the last fifth is test, the tenth before it val, the others train."""
        test, val = max(1, round(self.alphabets / 5)), max(1, round(self.alphabets / 10))
        return ("train",) * (self.alphabets - test - val) + ("val",) * val + ("test",) * test


@dataclass(frozen=True)
class Hand:
    """How unsteady the hand is; lengths in units of the image's height, `turn` in radians.

    Chosen so that the nearest neighbour in pixels is right in about 60% of 5-way 1-shot tasks at 28x28.
    """

    point_noise: float = 0.035
    stroke_noise: float = 0.038
    turn: float = 0.28
    shear: float = 0.28
    stretch: float = 0.22
    shift: float = 0.045
    pen: tuple[float, float] = (0.02, 0.032)


class _Dice:
    """Random numbers of one item of the data set, in order."""

    def __init__(self, seed: int, item: int):
        self._numbers = iter(philox_uint32(seed, STREAM_STROKES, item, np.arange(256)))

    def below(self, limit: int) -> int:
        return int(bounded(next(self._numbers), limit))

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * (int(next(self._numbers)) / 2**32)

    def weighted(self, weights: list[int]) -> int:
        drawn = self.below(sum(weights))
        for index, weight in enumerate(weights):
            drawn -= weight
            if drawn < 0:
                return index
        raise AssertionError("a drawn number lies below the sum of the weights")


@dataclass(frozen=True)
class _Style:
    anchors: tuple[tuple[float, float], ...]
    stroke_weights: list[int]
    kind_weights: list[int]
    bend: float
    connected: int


def _item(purpose: int, alphabet: int, character: int = 0, rest: int = 0) -> int:
    return purpose << 56 | alphabet << 40 | character << 24 | rest


def _style(seed: int, alphabet: int) -> _Style:
    dice = _Dice(seed, _item(_STYLE, alphabet))
    rows = 3 + dice.below(2)
    heights = [0.16 + 0.68 * row / (rows - 1) for row in range(rows)]
    grid = [(0.22 + 0.28 * column, height) for height in heights for column in range(3)]
    for _ in range(2 + dice.below(3)):
        grid.pop(dice.below(len(grid)))
    anchors = tuple((x + dice.uniform(-0.06, 0.06), y + dice.uniform(-0.06, 0.06)) for x, y in grid)
    few = dice.below(3)
    stroke_weights = [(2, 5, 3, 0), (0, 4, 5, 2), (0, 1, 4, 5)][few]
    kind_weights = [1 + dice.below(8) for _ in KINDS]
    kind_weights[KINDS.index("dash")] = dice.below(3)
    kind_weights[dice.below(3)] += 8
    return _Style(anchors, list(stroke_weights), kind_weights, dice.uniform(0.25, 0.6), 30 + dice.below(60))


def _character(style: _Style, dice: _Dice) -> np.ndarray:
    """Control points float64 `[strokes, POINTS, 2]` of 1 to MAX_STROKES strokes, within the unit square."""
    strokes = []
    end = dice.below(len(style.anchors))
    for _ in range(1 + dice.weighted(style.stroke_weights)):
        begin = end if dice.below(100) < style.connected else dice.below(len(style.anchors))
        end = (begin + 1 + dice.below(len(style.anchors) - 1)) % len(style.anchors)
        kind = KINDS[dice.weighted(style.kind_weights)]
        bend = style.bend * dice.uniform(0.6, 1.2) * (1 if dice.below(2) else -1)
        strokes.append(_stroke(kind, style.anchors[begin], style.anchors[end], bend))
    return _fit(np.stack(strokes))


def _fit(points: np.ndarray) -> np.ndarray:
    """Shrink a character that is too large, and move it inside."""
    low, high = points.min(axis=(0, 1)), points.max(axis=(0, 1))
    points = low + (points - low) * min(1.0, (1 - 2 * MARGIN) / float((high - low).max()))
    high = points.max(axis=(0, 1))
    return points + np.maximum(MARGIN - low, 0) - np.maximum(high - (1 - MARGIN), 0)


def _stroke(kind: str, begin: tuple[float, float], end: tuple[float, float], bend: float) -> np.ndarray:
    """Control points `[POINTS, 2]` of one stroke; `bend` is sideways, in units of the stroke's length."""
    start, along = np.array(begin), np.array(end) - np.array(begin)
    side = np.array([-along[1], along[0]]) * bend
    t = np.arange(POINTS)[:, None] / (POINTS - 1)
    if kind == "loop":
        there = np.array([0, 0, 1, 1, 1, 0, 0])[:, None]
        out = np.array([0, 1, 1, 0, -1, -1, 0])[:, None]
        return start + along * there + side * out
    if kind == "dash":
        return start + along * 0.3 * t
    out = {
        "line": 0 * t,
        "arc": 5 * t * (1 - t),
        "wave": 12 * t * (1 - t) * (1 - 2 * t),
        "hook": 2 * np.minimum(t, 1 - t),
    }[kind]
    return start + along * t + side * out


def alphabet_characters(config: StrokesConfig, alphabet: int) -> list[np.ndarray]:
    """Control points of each character of an alphabet, float64 `[strokes, POINTS, 2]`.

    A character that is tiny, or nearly covers an earlier one of its alphabet, is drawn anew.
    """
    style, found, drafts = _style(config.seed, alphabet), [], []
    for character in range(config.characters):
        for attempt in range(_ATTEMPTS):
            points = _character(style, _Dice(config.seed, _item(_CHARACTER, alphabet, character, attempt)))
            draft = draw_strokes(points[None], np.array([0.06]), _DRAFT_SIZE)[0].astype(np.int64)
            if np.ptp(points, axis=(0, 1)).max() > 0.4 and not any(_alike(draft, other) for other in drafts):
                break
        found.append(points)
        drafts.append(draft)
    return found


def _alike(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two drafts share more than three quarters of their ink."""
    shared, either = np.minimum(first, second).sum(), np.maximum(first, second).sum()
    return bool(4 * shared > 3 * either)


def write_drawings(config: StrokesConfig, alphabet: int, characters: list[np.ndarray], hand: Hand) -> np.ndarray:
    """uint8 `[characters * drawings, size, size]`, ink 255: every character written `drawings` times."""
    count, drawings = len(characters), config.drawings
    items = [_item(_DRAWING, alphabet, char, rest) for char in range(count) for rest in range(drawings)]
    strokes, points = MAX_STROKES, POINTS
    noises = 2 * strokes * (points + 1)
    numbers = philox_uint32(config.seed, STREAM_STROKES, np.array(items)[:, None], np.arange(7 + 4 * noises))
    uniform = numbers / 2**32
    spread = (uniform[:, 7:].reshape(len(items), 4, noises).sum(axis=1) - 2) * 1.7320508  # variance 1
    noise = spread.reshape(len(items), strokes, points + 1, 2)
    # a character with fewer strokes writes its first ones again, in the same place
    place = np.array([[k % len(char) for k in range(strokes)] for char in characters])
    moved = np.repeat([char[row] for char, row in zip(characters, place, strict=True)], drawings, axis=0)
    moved = moved + hand.point_noise * noise[:, :, :points] + hand.stroke_noise * noise[:, :, points:]
    moved = np.take_along_axis(moved, np.repeat(place, drawings, axis=0)[:, :, None, None], axis=1)
    low, high = hand.pen
    pen = low + (high - low) * uniform[:, 6]
    return draw_strokes(_affine(moved, 2 * uniform[:, :6] - 1, hand), pen, config.size)


def _affine(points: np.ndarray, dice: np.ndarray, hand: Hand) -> np.ndarray:
    """Turn, shear, stretch and shift each drawing; dice `[n, 6]` in -1 .. 1.

    The turn is the rational form of a rotation: no sine, whose last bit differs between machines.
    """
    turn, shear, wide, high, right, down = (dice[:, k, None, None] for k in range(6))
    half = hand.turn * turn / 2
    cosine, sine = (1 - half * half) / (1 + half * half), 2 * half / (1 + half * half)
    x, y = points[..., 0] - 0.5, points[..., 1] - 0.5
    x, y = (x + hand.shear * shear * y) * (1 + hand.stretch * wide), y * (1 + hand.stretch * high)
    x, y = cosine * x - sine * y + hand.shift * right, sine * x + cosine * y + hand.shift * down
    return np.stack((x + 0.5, y + 0.5), axis=-1)


def _images(config: StrokesConfig, hand: Hand) -> Iterator[np.ndarray]:
    for alphabet in range(config.alphabets):
        yield from write_drawings(config, alphabet, alphabet_characters(config, alphabet), hand)[:, None]


def open_strokes(config: StrokesConfig | None = None) -> ImageStore:
    """The store of these alphabets, drawn on first use."""
    config = config or StrokesConfig()
    recipe = Recipe(channels=1, size=config.size, filter="box", polarity="inverted")
    classes = [
        ClassEntry(f"{group}/character{character:02d}", group, part, config.drawings)
        for group, part in zip(config.names, config.parts, strict=True)
        for character in range(1, config.characters + 1)
    ]
    return cached_store(
        "strokes", config.label, lambda path: write_store(path, "strokes", recipe, classes, _images(config, Hand()))
    )


def load(detail: str, size: int, seed: int, **_: object) -> tuple[ImageStore, Split]:
    """characters that autometa draws itself

    detail: `AxCxD` for A alphabets of C characters with D drawings each. Raises `DataError` where it is no such.
    """
    counts = detail.split("x") if detail else []
    if detail and (len(counts) != 3 or not all(count.isdecimal() for count in counts)):
        raise DataError(f"strokes:{detail} is not of the form strokes:40x20x20 (40 alphabets of 20 x 20)")
    store = open_strokes(StrokesConfig(*map(int, counts), size=size, seed=seed))
    return store, strokes_split(store)


def strokes_split(store: ImageStore) -> Split:
    """Whole alphabets as train, val and test, no rotations (many characters look the same turned)."""
    parts = np.array(store.parts)
    train, val, test = (np.flatnonzero(parts == part).astype(np.int64) for part in ("train", "val", "test"))
    return Split("alphabets", train, val, test)
