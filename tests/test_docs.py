"""The Python of the pages that promise to run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("registries_as_before")

REPOSITORY = Path(__file__).parents[1]
PAGES = ("docs/kernels.md", "docs/accelerate.md", "docs/extending.md")
"""Pages whose blocks need nothing but themselves; those of the others name files that a reader has."""

BLOCKS = [
    (f"{page}:{content.count(chr(10), 0, block.start()) + 2}", block.group(1))
    for page in PAGES
    for content in [(REPOSITORY / page).read_text(encoding="utf-8")]
    for block in re.finditer(r"^```python\n(.*?)^```$", content, flags=re.MULTILINE | re.DOTALL)
]


def test_the_pages_have_blocks() -> None:
    assert {place.split(":")[0] for place, _ in BLOCKS} == set(PAGES)
    assert len(BLOCKS) >= 4


@pytest.mark.parametrize(("place", "code"), BLOCKS, ids=[place for place, _ in BLOCKS])
def test_a_block_of_a_page_runs_as_it_stands(place: str, code: str) -> None:
    exec(compile(code, place, "exec"), {"__name__": "__page__"})
