from __future__ import annotations

import re
from pathlib import Path

import pytest

from jenga.report.page import POLICY, SCRIPT, STYLE, contents, hashed, node, table, written

HOSTILE = (
    "</p><script>alert(1)</script>",
    "\"' onmouseover=alert(1) x='",
    "</style><img src=x onerror=alert(1)>",
    "]]><!-- &lt;b&gt;",
    "javascript:alert(1)",
    "\u202egnp.exe\u2066\u200f",
    "nul\x00bell\x07esc\x1b[31m\x9b",
    "w" * 5000,
    "\ud800 half",
    "👩‍👩‍👧‍👦 العربية 中文",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_texts_are_never_markup(text: str) -> None:
    body = [node("h2", text, attributes={"id": text}), node("p", text), table([[text], [text]])]
    page = written(text, [contents(body), *body])
    page.encode("utf-8")
    assert page.startswith("<!DOCTYPE html>\n<html")
    assert page.count("<script") == page.count("</script>") == page.count("<style>") == 1
    assert "<img" not in page
    assert "onmouseover=" not in re.sub(r'="[^"]*"', "", "".join(re.findall("<[^>]*>", page)))
    assert not set(page) & set("\x00\x07\x1b\x9b\u202e\u2066"), "what is not seen may not turn what is read"


def test_a_word_that_means_something_is_kept_in_its_script() -> None:
    assert "👩‍👩‍👧‍👦 العربية 中文" in written("t", [node("p", HOSTILE[-1])])
    assert "one\ntwo\tthree" in written("t", [node("p", "one\ntwo\tthree")])


def test_the_policy_allows_the_pages_own_style_and_script_and_nothing_else() -> None:
    page = written("t", [])
    (script,), (style,) = (
        re.findall("<script>(.*?)</script>", page, re.S),
        re.findall("<style>(.*?)</style>", page, re.S),
    )
    assert POLICY.startswith("default-src 'none'; img-src data:;")
    assert f"script-src {hashed(script)};" in POLICY
    assert f"style-src {hashed(style)};" in POLICY
    assert "unsafe" not in POLICY
    assert not re.search(r"url\(|@import|https?:|innerHTML|eval\(|fetch\(", STYLE + SCRIPT)


def test_no_element_has_a_style_or_a_script_of_its_own_which_the_policy_would_refuse() -> None:
    for path in Path(__file__).parents[2].glob("jenga/**/*.py"):
        if "report" in path.parts or path.name == "page.py":
            assert not re.search(r"\"(style|on[a-z]+)\":", path.read_text(encoding="utf-8")), path


def test_columns_of_numbers_stand_on_the_right() -> None:
    (header, row) = table([["name", "count"], ["7 of 9", "1,200.5"]]).iter("tr")
    assert [cell.get("class") for cell in (*header, *row)] == [None, "number", None, "number"]


def test_texts_beside_a_child_stand_in_their_order() -> None:
    made = node("p", "one ", node("b", "two"), " three", " four")
    assert "".join(made.itertext()) == "one two three four"
