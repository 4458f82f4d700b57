"""Reports of real runs in a real browser: nothing complains, every figure is drawn, nothing overflows.

AUTOMETA_SCREENSHOTS names a folder that gets pictures of the pages. Where Chromium is missing these tests are skipped;
under CI they fail.
"""

import json
import os
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

import autometa
from tests.report import chromium
from tests.report.observed import observed

RUNS = Path(__file__).with_name("runs")
NAMES = ("omniglot-small", "auto-meta", "observed")
PHONE, DESK = 390, 1280
MISSING = "Chromium is not installed (Debian: apt-get install chromium)"

CHECK = """
(wide => {
  const found = {wrong: [], figures: 0, texts: 0};
  const name = e => `${e.tagName} ${e.getAttribute('class') || ''} ${(e.textContent || '').trim().slice(0, 40)}`;
    document.querySelectorAll('details').forEach(d => { d.open = true; });
  for (const e of document.body.querySelectorAll('*')) {
    if (e.closest('.scroll') && !e.matches('.scroll')) continue;
    const box = e.getBoundingClientRect();
    if (box.right > wide + 0.5 || box.left < -0.5) found.wrong.push(`beyond the page: ${name(e)} ${box.right}`);
  }
  for (const svg of document.querySelectorAll('svg')) {
    const box = svg.getBBox(), place = svg.getBoundingClientRect(), view = svg.viewBox.baseVal;
    found.figures += 1;
    const drawn = box.width > 0 && box.height > 0 && place.width > 0 && place.height > 0;
    if (!drawn) found.wrong.push(`empty: ${name(svg)}`);
    for (const text of svg.querySelectorAll('text')) {
      const b = text.getBBox();
      found.texts += 1;
      if (b.x < -1 || b.y < -2 || b.x + b.width > view.width + 1 || b.y + b.height > view.height + 2)
        found.wrong.push(`label out of its drawing: ${text.textContent} in ${svg.getAttribute('aria-label')}`);
    }
    for (const g of svg.querySelectorAll('g.op')) {
      const body = g.querySelector('rect').getBBox();
      for (const text of g.querySelectorAll('text'))
        if (text.getBBox().width > body.width + 0.5) found.wrong.push(`wider than its box: ${text.textContent}`);
    }
  }
  for (const image of document.images) if (!image.naturalWidth) found.wrong.push(`no picture: ${image.alt}`);
  found.page = document.documentElement.scrollWidth;
  const style = getComputedStyle(document.body);
  found.colours = [style.backgroundColor, style.color];
  return found;
})
"""


def check(browser, width):
    """What is wrong in the page, and what it holds. (A phone widens its window to what overflows, so it is told.)"""
    return browser.evaluate(f"({CHECK.strip()})({width})")


@pytest.fixture(scope="module")
def browser():
    if chromium.program() is None:
        if os.environ.get("CI") == "true":
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    with chromium.browser() as page:
        yield page


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """The report of each run kept here, and of one with all that there is to observe."""
    folder = tmp_path_factory.mktemp("reports")
    made = {}
    for name in NAMES:
        run = shutil.copytree(RUNS / name.replace("observed", "omniglot-small"), folder / name)
        if name == "observed":
            observed(run)
        made[name] = autometa.report(run)
    return made


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESK])
@pytest.mark.parametrize("name", NAMES)
def test_report(browser, reports, name, width, dark):
    browser.visit(reports[name], width, dark)
    before = browser.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert before[0] <= before[1] == width
    keep_screenshot(browser, f"{name}-{width}-{'dark' if dark else 'light'}.png")
    found = check(browser, width)
    assert found["wrong"] == []
    assert found["page"] <= width, "nor with the details open"
    assert found["figures"] == reports[name].read_text().count("<svg ") >= 10 and found["texts"] > 100
    light = sum(int(part) for part in found["colours"][0].strip("rgb()").split(",")) > 384
    assert light is not dark
    assert browser.console == []


def keep_screenshot(browser, name):
    place = os.environ.get("AUTOMETA_SCREENSHOTS")
    if place:
        Path(place).mkdir(parents=True, exist_ok=True)
        browser.screenshot(Path(place) / name)


def test_print_is_light_and_complete(browser, reports):
    browser.visit(reports["omniglot-small"], DESK, dark=True, media="print")
    assert browser.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"
    closed = (
        "[...document.querySelectorAll('details')].filter(d => d.lastElementChild.getBoundingClientRect().height < 5)"
    )
    assert browser.evaluate(f"{closed}.length") == 0, "what is folded on the screen is printed open"


FAULTS = {
    "overflow": ('<p style="width: 2000px">wide</p>', "beyond the page: P"),
    "empty figure": ('<svg viewBox="0 0 9 9" style="--w:9px"></svg>', "empty: svg"),
    "label": (
        '<svg viewBox="0 0 50 9" style="--w:50px"><text y="8">far too long a label</text></svg>',
        "out of its drawing",
    ),
    "picture": ('<img alt="gone" src="data:image/png;base64,AAAA">', "no picture: gone"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_found(browser, reports, tmp_path, fault):
    text, said = FAULTS[fault]
    page = tmp_path / "page.html"
    page.write_text(reports["auto-meta"].read_text().replace("<main>", f"<main>{text}"))
    browser.visit(page, PHONE)
    assert any(said in wrong for wrong in check(browser, PHONE)["wrong"])


@pytest.mark.parametrize(
    "text",
    [
        "<script>document.title = 'ran'</script>",
        '<img src="https://example.org/x.png" alt="">',
        '<p onclick="1" id="x">x</p><iframe src="https://example.org"></iframe>',
    ],
)
def test_the_page_forbids_scripts_and_the_network(browser, reports, tmp_path, text):
    page = tmp_path / "page.html"
    page.write_text(reports["auto-meta"].read_text().replace("<main>", f"<main>{text}"))
    browser.visit(page, PHONE)
    assert browser.evaluate("document.title") != "ran"
    assert any("Content Security Policy" in line for line in browser.console), browser.console


def test_drawings_are_well_formed(reports):
    text = reports["omniglot-small"].read_text()
    drawings = [f"<svg{part.partition('</svg>')[0]}</svg>" for part in text.split("<svg")[1:]]
    assert len(drawings) > 10
    for drawing in drawings:
        ET.fromstring(drawing)
    assert json.dumps(drawings).isprintable()
