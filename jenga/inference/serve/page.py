"""The page on which a person tries the models: one file, with nothing loaded from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from pathlib import Path

from starlette.responses import HTMLResponse, Response


def page() -> Response:
    """Return the page. Its policy forbids all that is not in it, so that no text could become a program."""
    text, policy = _read()
    headers = {
        "Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }  # fmt: skip
    return HTMLResponse(text, headers=headers)


@cache
def _read() -> tuple[str, str]:
    text = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    script, style = (_hash(re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)) for tag in ("script", "style"))
    rules = f"default-src 'none'; script-src {script}; style-src {style}; img-src data:; connect-src 'self'"
    return text, f"{rules}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def _hash(parts: list[str]) -> str:
    return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(each.encode()).digest()).decode()}'" for each in parts)
