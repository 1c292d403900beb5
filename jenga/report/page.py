"""What pages are made of: a tree of elements, of which nothing is loaded from elsewhere and no text is markup."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Final
from xml.etree.ElementTree import Element

from jenga.tables import is_numeric

STYLE: Final = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
SCRIPT: Final = Path(__file__).with_name("page.js").read_text(encoding="utf-8")
_VOID = frozenset({"img", "link", "meta"})
_UNSHOWN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters, and those that turn the direction of what follows: they could make a page read as other text."""


def hashed(text: str) -> str:
    """Return how a Content-Security-Policy names an inline script or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


POLICY: Final = (
    f"default-src 'none'; img-src data:; style-src {hashed(STYLE)}; script-src {hashed(SCRIPT)}; "
    "base-uri 'none'; form-action 'none'"
)


def written(title: str, body: Sequence[Element]) -> str:
    """Return the page as HTML; what would not be seen of a text is shown as a replacement character."""
    head = node(
        "head",
        node("meta", attributes={"charset": "utf-8"}),
        node("meta", attributes={"http-equiv": "Content-Security-Policy", "content": POLICY}),
        node("meta", attributes={"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        node("meta", attributes={"name": "color-scheme", "content": "light dark"}),
        node("title", title),
        node("link", attributes={"rel": "icon", "href": "data:,"}),
    )
    shown = _UNSHOWN.sub("\N{REPLACEMENT CHARACTER}", _html(head) + _html(node("body", *body)))
    # The policy names both by what they hold, so they are put in as they are.
    page = shown.replace("</head>", f"<style>{STYLE}</style></head>", 1)
    page = page[: -len("</body>")] + f"<script>{SCRIPT}</script></body>"
    return encodable(f'<!DOCTYPE html>\n<html lang="en">{page}</html>\n')


def encodable(text: str) -> str:
    """Return `text` with half characters, which JSON can carry and UTF-8 cannot, replaced by question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _html(element: Element) -> str:
    """Return an element as HTML. ElementTree's own writer leaves ``<`` in attributes as it is."""
    begin = " ".join([element.tag, *(f'{name}="{_quoted(value)}"' for name, value in element.items())])
    if element.tag in _VOID:
        return f"<{begin}>"
    within = "".join(_html(child) + escape(child.tail or "", quote=False) for child in element)
    return f"<{begin}>{escape(element.text or '', quote=False)}{within}</{element.tag}>"


def _quoted(value: str) -> str:
    return escape(value, quote=False).replace('"', "&quot;")


def node(tag: str, *children: Element | str, attributes: Mapping[str, str] | None = None) -> Element:
    """Return an element with its children, in their order."""
    element = Element(tag, dict(attributes or {}))
    for child in children:
        if isinstance(child, Element):
            element.append(child)
        elif len(element):
            element[-1].tail = (element[-1].tail or "") + child
        else:
            element.text = (element.text or "") + child
    return element


def of_class(names: str, tag: str, *children: Element | str) -> Element:
    """Return an element of the classes `names`."""
    return node(tag, *children, attributes={"class": names})


_LONG = 40
"""Characters from which a cell is wide enough to be read, whatever stands beside it."""
Cell = Element | str
"""What stands in a cell of a table: a text, or a ``td`` that is made already."""


def table(rows: Sequence[Sequence[Cell]]) -> Element:
    """Return a table of a header and rows, columns of numbers on the right, that scrolls where it is too wide.

    The page's script sorts it by a click on a header; without it, the rows stand as they are given.
    """
    header, *body = rows
    numeric = [is_numeric([_text(cell) for cell in column]) for _, *column in zip(*rows, strict=True)]

    def line(tag: str, cells: Sequence[Cell]) -> Element:
        drawn = []
        for cell, right in zip(cells, numeric, strict=True):
            made = cell if isinstance(cell, Element) else node(tag, cell, attributes={"dir": "auto"} if cell else {})
            if isinstance(cell, str) and len(cell) > _LONG:
                made.set("class", "long")
            if right:
                made.set("class", f"{made.get('class', '')} number".strip())
                made.attrib.pop("dir", None)
            drawn.append(made)
        return node("tr", *drawn)

    made = node(
        "table",
        node("thead", line("th", header)),
        node("tbody", *(line("td", cells) for cells in body)),
        attributes={"class": "sorted"},
    )
    return of_class("scroll", "div", made)


def facts(pairs: Sequence[tuple[str, str]]) -> Element:
    """Return names with what each is, side by side as far as there is room."""
    return of_class("facts", "dl", *(node("div", node("dt", name), node("dd", value)) for name, value in pairs))


def anchored(name: str, title: str) -> Element:
    """Return the heading of a section that `contents` leads to."""
    return node("h2", title, attributes={"id": name})


def contents(body: Sequence[Element]) -> Element:
    """Return links to the sections of a page."""
    sections = [each for each in body if each.tag == "h2" and each.get("id")]
    return node(
        "nav",
        *(node("a", each.text or "", attributes={"href": f"#{each.get('id')}"}) for each in sections),
        attributes={"aria-label": "Sections"},
    )


def _text(cell: Cell) -> str:
    if isinstance(cell, str):
        return cell
    return cell.get("data-value") or "".join(cell.itertext())
