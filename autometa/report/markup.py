"""HTML and SVG as escaped text: whatever is not `Markup` already becomes printable text, so no name or path can
become a tag."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from typing import Any

from autometa.printable import printable_text

VOID = frozenset({"br", "wbr", "col", "img", "meta", "link", "hr"})
_PERCENT = re.compile(r"(\d) %")
_PNG = re.compile(r"data:image/png;base64,[A-Za-z0-9+/]+={0,2}")


class Markup(str):
    """Text that is markup: made by `el` alone, from escaped parts."""

    __slots__ = ()


def el(name: str, /, *children: Any, **attributes: Any) -> Markup:
    """An element.

    Children: `Markup` as it is, None left out, sequences of children one after another, all else escaped. Attributes:
    None and False left out, True without a value, numbers rounded to 2 decimals; `class_` is `class`, `stroke_width`
    is `stroke-width`.
    """
    parts = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")
        parts.append(key if value is True else f'{key}="{html.escape(_attribute(value), quote=True)}"')
    opening = f"<{' '.join(parts)}>"
    return Markup(opening if name in VOID else f"{opening}{join(children)}</{name}>")


def join(children: Iterable[Any]) -> Markup:
    """Children one after another, as `el` puts them."""
    return Markup("".join(_child(child) for child in children))


def _child(child: Any) -> str:
    if child is None:
        return ""
    if isinstance(child, Markup):
        return child
    if isinstance(child, (list, tuple)):
        return join(child)
    return html.escape(_PERCENT.sub("\\1\u00a0%", printable_text(str(child))), quote=False)


def _attribute(value: Any) -> str:
    return number(value) if isinstance(value, float) else printable_text(str(value))


def number(value: float) -> str:
    """At most 2 decimals, no trailing zeros: coordinates of drawings."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def svg(width: float, height: float, title: str, about: str, *children: Any, class_: str = "chart") -> Markup:
    """A drawing of `width` x `height` units, which a reader without eyes gets as `title` and `about`."""
    return el(
        "svg",
        el("title", title),
        el("desc", about),
        *children,
        viewBox=f"0 0 {number(width)} {number(height)}",
        style=f"--w:{number(width)}px",
        role="img",
        aria_label=f"{title}. {about}" if about else title,
        class_=class_,
    )


def breakable(name: str) -> Markup:
    """A name that may be broken behind slashes, underscores and commas."""
    parts = re.split(r"(?<=[/_,\\-])", name)
    return join(joined for part in parts for joined in (part, el("wbr")))


def label(x: float, y: float, words: Any, anchor: str = "start", class_: str | None = None, **more: Any) -> Markup:
    """Text of a drawing with its baseline at y; anchor is start, middle or end."""
    return el("text", words, x=float(x), y=float(y), text_anchor=anchor, class_=class_, **more)


def figure(caption: Any, *drawings: Any, class_: str | None = None) -> Markup:
    """Drawings beside one another under one caption; an even number of large ones is drawn larger on a desk."""
    class_ = class_ or ("pairs" if len(drawings) in (1, 2, 4) else None)
    return el("figure", el("figcaption", caption), el("div", *drawings, class_="drawings"), class_=class_)


def table(head: Sequence[Any], rows: Sequence[Sequence[Any]], right: Sequence[int] = (), about: str = "") -> Markup:
    """A table in a container that scrolls by itself where it is wide; `right` are columns of numbers."""

    def cells(tag: str, row: Sequence[Any], **more: Any) -> list[Markup]:
        return [el(tag, cell, class_=_column(c in right, cell), **more) for c, cell in enumerate(row)]

    body = [el("tr", cells("td", row)) for row in rows]
    top = el("thead", el("tr", cells("th", head, scope="col"))) if any(head) else None
    made = el("table", top, el("tbody", body))
    scroll = el("div", made, class_="scroll", tabindex="0", role="region", aria_label=about or str(head[0]))
    return join([el("p", about, class_="above"), scroll]) if about else scroll


def _column(right: bool, cell: Any) -> str | None:
    if right:
        return "number"
    return "long" if isinstance(cell, str) and not isinstance(cell, Markup) and len(cell) > 26 else None


def details(summary: Any, *children: Any) -> Markup:
    """What is folded away until asked for; printed open."""
    return el("details", el("summary", summary), *children)


def note(*words: Any) -> Markup:
    """A line about what is missing or wrong."""
    return el("p", *words, class_="note")


def aside(*words: Any) -> Markup:
    """A line that explains."""
    return el("p", *words, class_="sub")


class Missing(Markup):
    """What a run did not record, in words that follow "This run did not record"; `gathered` makes one line of all."""

    __slots__ = ()


def gathered(parts: Sequence[Markup]) -> list[Markup]:
    """Parts of a section, what is `Missing` joined in one line at its end."""
    gone = [part for part in parts if isinstance(part, Missing)]
    shown = [part for part in parts if not isinstance(part, Missing)]
    if not gone:
        return shown
    words = ", ".join(gone[:-1]) + (" and " if len(gone) > 1 else "") + gone[-1]
    return [*shown, note(f"This run did not record {words}; runs of this version do once they have finished.")]


def picture(uri: Any, alternative: str, **attributes: Any) -> Markup:
    """A PNG data URI as an image; anything else as its alternative text, since a report loads nothing."""
    if not isinstance(uri, str) or not _PNG.fullmatch(uri):
        return el("span", alternative, class_="missing")
    return el("img", src=uri, alt=alternative, **attributes)
