"""What pages are made of: a tree of elements, of which nothing is loaded from elsewhere and no text is markup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from xml.etree.ElementTree import Element, tostring

from jenga.report.card import encodable
from jenga.tables import is_numeric

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
STYLE = """
:root { color-scheme: light dark; --line: #d0d7de; --soft: #f4f6f8; --warn: #9a3412; --text: #1f2328; --page: #fff }
@media (prefers-color-scheme: dark) {
  :root { --line: #3d444d; --soft: #1c2128; --warn: #fdba74; --text: #e6edf3; --page: #0d1117 } }
* { box-sizing: border-box }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--page);
  max-width: 75rem; margin: 0 auto; padding: 1rem }
h1 { margin-bottom: 0 } h2 { margin-top: 2rem; border-bottom: 1px solid var(--line) }
.scroll { overflow-x: auto } .warn { color: var(--warn) }
table { border-collapse: collapse; margin: .5rem 0; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .7rem; border-bottom: 1px solid var(--line); text-align: left; max-width: 28rem }
td { overflow-wrap: break-word } th { background: var(--soft); white-space: nowrap }
.held { white-space: pre-line; min-width: 12rem } .held img { min-width: 4rem }
.number { text-align: right; white-space: nowrap }
figure { display: inline-block; margin: .5rem .5rem .5rem 0; max-width: 100%; vertical-align: top; overflow-x: auto }
img { display: block; max-width: 100%; height: auto; background: #fff; border-radius: 6px }
img.wide { max-width: max(100%, 45rem) } td:last-child { min-width: 6rem }
details { border: 1px solid var(--line); border-radius: 6px; padding: .4rem .8rem; margin: .6rem 0 }
summary { cursor: pointer; font-weight: 600 }
pre { overflow-x: auto; background: var(--soft); padding: .8rem; border-radius: 6px }
"""


def written(title: str, body: Sequence[Element]) -> str:
    """Return the page as HTML."""
    page = _page(title, body)
    return encodable("<!DOCTYPE html>\n" + tostring(page, encoding="unicode", method="html") + "\n")


def _page(title: str, body: Sequence[Element]) -> Element:
    head = node(
        "head",
        node("meta", attributes={"charset": "utf-8"}),
        node("meta", attributes={"http-equiv": "Content-Security-Policy", "content": POLICY}),
        node("meta", attributes={"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        node("title", title),
        node("style", STYLE),
    )
    return node("html", head, node("body", *body), attributes={"lang": "en"})


def node(tag: str, *children: Element | str, attributes: Mapping[str, str] | None = None) -> Element:
    """Return an element with its children; a text among them replaces one before it."""
    element = Element(tag, dict(attributes or {}))
    for child in children:
        if isinstance(child, Element):
            element.append(child)
        else:
            element.text = child
    return element


def table(rows: Sequence[Sequence[str]]) -> Element:
    """Return a table of a header and rows, columns of numbers on the right, that scrolls where it is too wide."""
    header, *body = rows
    numeric = [is_numeric(column) for _, *column in zip(*rows, strict=True)]

    def line(tag: str, cells: Sequence[str]) -> Element:
        styles: list[dict[str, str]] = [{"class": "number"} if right else {} for right in numeric]
        return node("tr", *(node(tag, cell, attributes=style) for cell, style in zip(cells, styles, strict=True)))

    drawn = node("table", node("thead", line("th", header)), node("tbody", *(line("td", cells) for cells in body)))
    return node("div", drawn, attributes={"class": "scroll"})
