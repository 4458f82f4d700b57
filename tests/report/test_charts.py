"""Scales, places of labels, charts: laws, and structure that can be wrong."""

import math
import random
import re
import xml.etree.ElementTree as ET

import pytest

from autometa.report import charts
from autometa.report.charts import Axes, Bar, Dots, Interval, Mark, Series
from autometa.report.placing import spread, spread_within, text_width
from autometa.report.scales import Scale, log_ticks, scale, tick_labels, ticks


@pytest.mark.parametrize("low, high", [(0, 1), (0.31, 0.97), (-3, 12), (81, 96.3), (0, 30000), (1e-4, 7e-4), (5, 5.01)])
def test_ticks_are_round_and_within(low, high):
    found = ticks(low, high, 4)
    assert 2 <= len(found) <= 7 and found == sorted(set(found))
    assert all(low - 1e-9 <= t <= high + 1e-9 for t in found)
    step = found[1] - found[0]
    mantissa = step / 10 ** math.floor(math.log10(step) + 1e-9)
    assert min(abs(mantissa - m) for m in (1, 2, 2.5, 5, 10)) < 1e-6
    assert all(abs(t / step - round(t / step)) < 1e-6 for t in found), "multiples of the step"


def test_labels_of_one_axis_are_alike():
    assert tick_labels([0, 0.25, 0.5]) == ["0.00", "0.25", "0.50"]
    assert tick_labels([0, 500, 1000]) == ["0", "500", "1,000"]
    assert tick_labels([0, 10000, 25000]) == ["0", "10k", "25k"]
    assert tick_labels([0.5e6, 1e6]) == ["0.5M", "1.0M"]
    assert tick_labels([]) == []


def test_log_ticks():
    assert log_ticks(900, 11000, 4) == [1000, 2000, 5000, 10000]
    assert log_ticks(100, 1e6, 4) == [100, 1000, 10000, 100000, 1000000]
    assert log_ticks(5000, 6000, 4)[0] >= 5000, "a short range falls back to even ticks"


@pytest.mark.parametrize("log", [False, True])
def test_scales_hold_all_values_in_order(log):
    values = [3.0, 700.0, 41.0]
    made = scale(values, 10, 200, log=log)
    places = [made(v) for v in sorted(values)]
    assert places == sorted(places) and 10 <= places[0] and places[-1] <= 200
    assert all(10 - 1e-6 <= made(t) <= 200 + 1e-6 for t in made.ticks) and len(made.labels) == len(made.ticks)


def test_scales_of_nothing_and_of_one_value():
    for values in ([], [0.0], [5.0, 5.0]):
        for zero in (False, True):
            made = scale(values, 0, 100, zero=zero)
            assert made.high > made.low and len(made.ticks) >= 2
            assert not zero or made.low <= 0


def test_spread_keeps_gaps_and_moves_least():
    rng = random.Random(0)
    for _ in range(50):
        wanted = [rng.uniform(0, 50) for _ in range(rng.randint(1, 7))]
        weights = [rng.uniform(0.5, 9) for _ in wanted]
        found = spread(wanted, 8.0, weights)
        assert all(b - a >= 8 - 1e-9 for a, b in zip(found, found[1:], strict=False))
        cost = sum(w * (f - x) ** 2 for w, f, x in zip(weights, found, wanted, strict=True))
        for _ in range(40):
            other = [f + rng.gauss(0, 0.5) for f in found]
            if all(b - a >= 8 for a, b in zip(other, other[1:], strict=False)):
                assert cost <= 1e-9 + sum(w * (f - x) ** 2 for w, f, x in zip(weights, other, wanted, strict=True))
    assert spread([0, 20, 40], 8.0) == [0, 20, 40]
    assert spread([], 8.0) == []


def test_spread_within_keeps_to_its_bounds_and_order():
    found = spread_within([99, 98, 5], 12, 0, 100)
    assert found[2] == 5 and found[0] - found[1] >= 12 - 1e-9 and max(found) <= 100
    crowded = spread_within([50] * 20, 12, 0, 100)
    assert min(crowded) == 0 and max(crowded) == 100 and len(set(crowded)) == 20


def parse(markup):
    root = ET.fromstring(markup)
    _, _, width, height = map(float, root.get("viewBox").split())
    return root, width, height


def check_labels(markup):
    """Every label lies within the drawing."""
    root, width, height = parse(markup)
    for text in root.iter("text"):
        x, y, wide = float(text.get("x")), float(text.get("y")), text_width(text.text, 10.5)
        left = x - wide * {"start": 0, "middle": 0.5, "end": 1}[text.get("text-anchor")]
        assert -0.5 <= left and left + wide <= width + 1.5, (text.text, left, left + wide, width)
        assert 7 <= y <= height + 0.5, (text.text, y, height)
    return root


def line(n=30, name="", slope=0.1):
    return Series(name, [(10 * k, 1 + slope * k + 0.1 * (k % 3)) for k in range(n)])


def test_lines():
    both = [line(name="first step"), line(name="last step", slope=0.1001), Series("nothing", [])]
    drawn = charts.lines("Loss", both, Axes("meta-iteration", "loss", zero=True), [Mark(100, "architecture moves")])
    root = check_labels(drawn)
    texts = {t.text: float(t.get("y")) for t in root.iter("text")}
    assert abs(texts["first step"] - texts["last step"]) >= 12, "labels of lines that end together stand apart"
    assert "nothing" not in texts and "architecture moves" in texts
    assert root.get("role") == "img" and root.find("title").text == "Loss" and "first step" in root.find("desc").text
    paths = [p.get("d") for p in root.iter("path")]
    assert len(paths) == 2 and all(len(re.findall("[ML]", d)) == 30 for d in paths)


def test_lines_of_one_point_and_of_none():
    root = check_labels(charts.lines("one", [Series("", [(0, 0.5)])], Axes()))
    assert len(list(root.iter("circle"))) == 1
    check_labels(charts.lines("none", [], Axes("x", "y")))


def test_thinned_keeps_mean_and_range():
    one = line(1000)
    thin = charts.thinned(one, 100)
    assert len(thin.points) == 100 and len(thin.band) == 100
    assert sum(y for _, y in thin.points) / 100 == pytest.approx(sum(y for _, y in one.points) / 1000)
    assert min(low for _, low, _ in thin.band) == min(y for _, y in one.points)
    assert charts.thinned(line(50), 100) == line(50)


def test_smoothed_stays_within_its_band():
    for (_, y), (_, low, high) in zip(*(lambda s: (s.points, s.band))(charts.smoothed(line(60))), strict=True):
        assert low <= y <= high
    assert charts.smoothed(line(10)) == line(10)


def test_bars_are_as_long_as_their_numbers():
    root = check_labels(
        charts.bars("t", [Bar("a", 2.0, "2s"), Bar("a longer name", 8.0, "8s"), Bar("none", 0.0, "0s")])
    )
    widths = [float(r.get("width")) for r in root.iter("rect")]
    assert widths[1] == pytest.approx(4 * widths[0], rel=1e-2) and 0 < widths[2] < 1


def test_intervals_stand_where_they_say():
    rows = [Interval("heading"), Interval("pruned", 80.0, 5.0), Interval("rival", 60.0, None, "third")]
    root = check_labels(charts.intervals("t", rows, Axes(x="accuracy, %"), Mark(20.0, "chance 20 %")))
    (whisker,) = [e for e in root.iter("line") if "whisker" in e.get("class")]
    dots = [float(c.get("cx")) for c in root.iter("circle")]
    assert float(whisker.get("x1")) < dots[0] < float(whisker.get("x2"))
    assert dots[0] - float(whisker.get("x1")) == pytest.approx((dots[0] - dots[1]) / 4, abs=0.1)
    assert "80.00 ± 5.00" in [t.text for t in root.iter("text")]


def test_columns_and_scatter():
    root = check_labels(charts.columns("t", [("1", 55), ("2", 0), ("3", 11)], 55, "depth"))
    heights = [float(r.get("height")) for r in root.iter("rect")]
    assert len(heights) == 2 and heights[0] == pytest.approx(5 * heights[1], rel=1e-2)
    dots = Dots([(1000, 50.0), (20000, 80.0)], said=["0c0m: 50 %", "1c1m: 80 %"])
    drawn = charts.scatter("t", [dots], Axes("parameters", "%", log_x=True), "two", joined=dots.points)
    root = check_labels(drawn)
    assert [c.find("title").text for c in root.iter("circle")] == ["0c0m: 50\u00a0%", "1c1m: 80\u00a0%"]
    same = check_labels(charts.scatter("t", [Dots([(70, 60), (75, 80)])], Axes("predicted", "measured"), "", same=True))
    assert any("mark" in p.get("class") for p in same.iter("path")), "the diagonal"


def test_scale_is_a_line():
    assert Scale(0, 10, 100, 0)(5) == 50
