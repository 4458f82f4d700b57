"""Text never becomes markup; colours can be told apart."""

import itertools
import re

import numpy as np
import pytest

from autometa.ops.primitives import PRIMITIVES
from autometa.report.markup import Markup, Missing, el, figure, gathered, note, picture, svg, table
from autometa.report.words import OPS, short
from autometa.report.writing import STYLE

EVIL = """<script>alert("x")</script>' onload='&amp;"""


def test_text_and_attributes_are_escaped():
    made = el("p", EVIL, el("b", EVIL), [EVIL, None], title=EVIL, class_="x", hidden=True, id=None)
    assert "<script" not in made and made.count("&lt;script&gt;") == 4
    assert made.startswith('<p title="&lt;script&gt;alert(&quot;x&quot;)') and ' class="x" hidden>' in made
    assert "&#x27; onload" in made, "an attribute cannot be left"
    assert el("p", Markup("<b>x</b>")) == "<p><b>x</b></p>"
    assert el("br") == "<br>" and el("rect", stroke_width=1.50, x=-0.0) == '<rect stroke-width="1.5" x="0"></rect>'


@pytest.mark.parametrize("make", [lambda t: table([t], [[t]], about=t), lambda t: svg(9, 9, t, t), note, figure])
def test_pieces_are_escaped(make):
    assert "<script" not in make(EVIL) and "&lt;script" in make(EVIL)


def test_pictures_are_png_data_or_nothing():
    uri = "data:image/png;base64,iVBORw0KGgo="
    assert f'src="{uri}"' in picture(uri, "a cat")
    other = ("https://example.org/x.png", "javascript:alert(1)", "data:image/svg+xml;base64,AAAA", uri + '"', None, 3)
    for bad in other:
        assert picture(bad, "a cat") == '<span class="missing">a cat</span>'


def test_what_is_missing_is_told_in_one_line():
    parts = [el("p", "one"), Missing("its memory"), el("p", "two"), Missing("its pruning")]
    found = gathered(parts)
    assert found[:2] == [el("p", "one"), el("p", "two")] and len(found) == 3
    assert "did not record its memory and its pruning;" in found[2]


def test_numbers_are_short():
    assert [short(n) for n in (0, 999, 9999, 13149, 159749, 1248208, 2.5e9)] == [
        "0", "999", "9,999", "13.1k", "160k", "1.25M", "2.5G",
    ]  # fmt: skip


def test_every_primitive_has_a_name_and_a_colour():
    style = STYLE.read_text(encoding="utf-8")
    assert set(OPS) == set(PRIMITIVES)
    assert [name for name in OPS if f".op-{name} " not in style and f".op-{name}," not in style] == []


def schemes():
    """Colours by name of light, dark and print."""
    style = STYLE.read_text(encoding="utf-8")
    blocks = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    found = [dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", block)) for block in blocks]
    assert len(found) == 3 and len({frozenset(f) for f in found}) == 1, "each scheme sets the same colours"
    return found


def linear(colour):
    c = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def contrast(a, b):
    """Of WCAG 2.1."""
    dark, light = sorted(float(linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (a, b))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [0, 1, 2], ids=["light", "dark", "print"])
def test_contrast(scheme):
    c = schemes()[scheme]
    for name in ("ink", "muted", "first", "second", "third", "good", "bad"):
        assert contrast(c[name], c["paper"]) >= 4.5, name
    assert min(contrast(c[name], c["panel"]) for name in ("ink", "muted")) >= 4.5
    for name in [n for n in c if n.startswith("op-")] + ["way"]:
        assert contrast(c[name], c["paper"]) >= (2.4 if name == "way" else 3), name


EYES = {
    "all cones": np.eye(3),
    "no long ones": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no middle ones": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "no short ones": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
"""Linear RGB as colour-blind eyes see it (Machado, Oliveira and Fernandes 2009, severity 1)."""
TO_XYZ = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]]


def lab(rgb):
    """CIELAB of linear RGB under D65."""
    xyz = TO_XYZ @ np.clip(rgb, 0, 1) / [0.95047, 1, 1.08883]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("eyes", EYES)
@pytest.mark.parametrize("scheme", [0, 1, 2], ids=["light", "dark", "print"])
def test_colours_of_operations_can_be_told_apart(scheme, eyes):
    c = schemes()[scheme]
    seen = {name: lab(EYES[eyes] @ linear(c[name])) for name in c if name.startswith("op-")}
    assert len(seen) == 7
    nearest = min((float(np.linalg.norm(seen[a] - seen[b])), a, b) for a, b in itertools.combinations(seen, 2))
    assert nearest[0] >= 20, nearest
