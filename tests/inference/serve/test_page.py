"""The page on which a model is tried."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable

import httpx
import pytest

from jenga.inference.serve.app import Service
from jenga.inference.serve.page import page


@pytest.fixture(scope="module")
def text() -> str:
    return bytes(page().body).decode()


def test_the_page_is_served_and_loads_nothing_from_elsewhere(
    calls: Service, ask: Callable[..., httpx.Response], text: str
) -> None:
    found = ask(calls, "GET", "/")
    assert found.headers["content-type"] == "text/html; charset=utf-8"
    assert found.text == text
    assert re.findall(r"(?:https?:)?//[\w.]+", text) == []
    assert re.findall(r'(?:src|href)="(?!data:)', text) == []
    policy = found.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy
    assert "img-src data:" in policy, "the empty icon, of which a browser would complain, or ask for another"
    assert "unsafe" not in policy


def test_the_policy_allows_the_pages_own_script_and_style_alone(text: str) -> None:
    policy = page().headers["content-security-policy"]
    for tag in ("script", "style"):
        [own] = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert " style=" not in text
    assert not re.findall(r"\son\w+=", text)


def test_what_people_write_never_becomes_markup(text: str) -> None:
    assert "textContent" in text
    assert not re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", text)


def test_it_has_both_colour_schemes_and_a_width_that_follows_the_window(text: str) -> None:
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text
    assert not re.findall(r"(?<!max-)width:\s*\d{3,}px", text)
