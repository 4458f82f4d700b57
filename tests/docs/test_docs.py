"""The site builds without a warning and without a network, its examples say what the code does, its pages are found."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from autometa._version import __version__
from tests.registries import restored

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")
ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    """Where parsed pages are kept from one build to the next."""
    return tmp_path_factory.mktemp("doctrees")


def build(builder: str, out: Path, trees: Path) -> tuple[int, str, str]:
    """(status, what was said, warnings) of `sphinx-build -b builder docs out`."""
    application = pytest.importorskip("sphinx.application", reason="pip install '.[docs]'")
    told, warned = io.StringIO(), io.StringIO()
    with restored():
        made = application.Sphinx(DOCS, DOCS, out, trees, builder, status=told, warning=warned)
        made.build()
    return made.statuscode, told.getvalue(), warned.getvalue()


@pytest.fixture
def no_network(monkeypatch):
    import socket

    def refuse(*arguments, **options):
        raise AssertionError(f"the documentation asked for {arguments}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)


def test_the_site_builds(tmp_path, trees, no_network):
    status, told, warned = build("html", tmp_path, trees)
    assert status == 0 and warned == "", warned
    for page in DOCS.glob("*.md"):
        text = (tmp_path / f"{page.stem}.html").read_text(encoding="utf-8")
        title = next(line for line in _text(page).splitlines() if line.startswith("# "))[2:]
        assert title.replace("'", "’") in text
    pages = "".join(path.read_text(encoding="utf-8") for path in tmp_path.glob("*.html"))
    loaded = re.findall(
        r'<(?:script|img|iframe)[^>]* src="(https?:[^"]*)|<link rel="stylesheet"[^>]*href="(http[^"]*)', pages
    )
    assert not loaded, "pages load nothing from elsewhere"
    api = (tmp_path / "api.html").read_text(encoding="utf-8")
    for name in ("autometa.search", "autometa.data.register", "autometa.ops.mixed_op", "MetaNASConfig"):
        assert f'id="{name}' in api or f'.{name}">' in api


def _text(page: Path) -> str:
    """A page's source, that of what it includes."""
    text = page.read_text(encoding="utf-8")
    included = re.search(r"```{include} (\S+)", text)
    return (page.parent / included[1]).read_text(encoding="utf-8") if included else text


def test_its_examples_run(tmp_path, trees):
    status, told, warned = build("doctest", tmp_path, trees)
    output = (tmp_path / "output.txt").read_text(encoding="utf-8")
    assert status == 0, output
    assert int(re.search(r"(\d+) tests?\n", output[output.rindex("Doctest summary") :])[1]) > 50, output


def test_an_example_that_is_wrong_is_found(tmp_path):
    """The build that the test above relies on does fail."""
    application = pytest.importorskip("sphinx.application", reason="pip install '.[docs]'")
    (tmp_path / "index.md").write_text("# Wrong\n\n```{doctest}\n>>> 1 + 1\n3\n```\n")
    about = {"extensions": ["myst_parser", "sphinx.ext.doctest"]}
    made = application.Sphinx(
        tmp_path,
        None,
        tmp_path / "out",
        tmp_path / "trees",
        "doctest",
        about,
        status=io.StringIO(),
        warning=io.StringIO(),
    )
    made.build()
    assert made.statuscode == 1


def test_links_lead_to_files():
    """Relative links of README and pages, with their anchors."""
    for page in (ROOT / "README.md", ROOT / "CHANGELOG.md", *DOCS.glob("*.md")):
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            if "://" in target:
                continue
            path, _, anchor = target.partition("#")
            place = page.parent / path if path else page
            assert place.exists(), f"{page.name} links to {target}"
            if anchor:
                heads = re.findall(r"^#+ (.+)$", place.read_text(encoding="utf-8"), re.MULTILINE)
                assert anchor in {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}, target


def test_one_version_everywhere():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {__version__}\n" in citation
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "## Unreleased" in changelog or f"## [{__version__}]" in changelog


def test_the_citation_is_whole():
    yaml = pytest.importorskip("yaml")
    found = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors", "license"} <= set(found)
    assert {str(r["url"]) for r in found["references"]} == {
        f"https://arxiv.org/abs/{n}" for n in ("1911.11090", "1806.06927", "1803.02999")
    }
