"""What the pages promise: Python that runs, links that lead somewhere, a notebook that trains."""

from __future__ import annotations

import contextlib
import io
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
LINKED = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md"), *REPOSITORY.glob("benchmarks/*.md"),
                 *REPOSITORY.glob("csrc/*.md")])  # fmt: skip


def test_the_pages_have_blocks() -> None:
    assert {place.split(":")[0] for place, _ in BLOCKS} == set(PAGES)
    assert len(BLOCKS) >= 4


@pytest.mark.parametrize(("place", "code"), BLOCKS, ids=[place for place, _ in BLOCKS])
def test_a_block_of_a_page_runs_as_it_stands(place: str, code: str) -> None:
    exec(compile(code, place, "exec"), {"__name__": "__page__"})


def test_the_tutorials_experiment_is_valid_over_the_rows_that_it_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jenga.rows.readers import read_rows
    from jenga.run.experiment import load_config

    page = (REPOSITORY / "docs" / "tutorial.md").read_text(encoding="utf-8")
    block = dict(re.findall(r"^```(\w+)\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL))
    monkeypatch.chdir(tmp_path)
    exec(compile(block["python"], "docs/tutorial.md", "exec"), {"__name__": "__page__"})
    Path("messages.yml").write_text(block["yaml"], encoding="utf-8")
    config = load_config("messages.yml")
    rows = read_rows(str(tmp_path / "messages.csv")).rows
    assert len(rows) == 1000
    columns = {head.column for task in config.tasks for head in task.heads}
    assert columns <= rows[0].keys()


# --------------------------------------------------------------------------------------------------------------- links


def without_code(page: Path) -> str:
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`(?!\])", "", text)


def links(page: Path) -> Iterator[str]:
    """Yield where the links of a page lead, those to other sites aside."""
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page)):
        if not re.match(r"[a-z]+:", target):
            yield target


def anchors(page: Path) -> set[str]:
    """Return the addresses of a page's headings."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", title.lower()).strip()) for title in titles}


@pytest.mark.parametrize("page", LINKED, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    for target in links(page):
        file, _, heading = target.partition("#")
        there = (page.parent / file).resolve() if file else page
        assert there.exists(), f"{page.name} links to {target}"
        assert there.is_relative_to(REPOSITORY), f"{page.name} links to {target}"
        if heading:
            assert heading in anchors(there), f"{page.name} links to {target}"
        if page.parent.name == "docs":
            # The site has this folder alone.
            assert there.is_relative_to(page.parent), f"{page.name} links to {target}, which is not in docs/"


def test_links_are_found() -> None:
    found = [target for page in LINKED for target in links(page)]
    assert len(found) > 100
    assert {"training.md#faults", "docs/kernels.md"} <= set(found)


def navigated(entries: Any) -> Iterator[str]:
    for entry in entries.values() if isinstance(entries, dict) else entries:
        if isinstance(entry, str):
            yield entry
        else:
            yield from navigated(entry)


def test_the_site_has_every_page_once() -> None:
    site = tomllib.loads((REPOSITORY / "zensical.toml").read_text(encoding="utf-8"))["project"]
    there = sorted(page.name for page in (REPOSITORY / site["docs_dir"]).glob("*.md"))
    assert sorted(navigated(site["nav"])) == there


# ------------------------------------------------------------------------------------------------------------ notebook

NOTEBOOK = REPOSITORY / "docs" / "quickstart.ipynb"


def cells(kind: str) -> list[dict[str, Any]]:
    whole = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    return [cell for cell in whole["cells"] if cell["cell_type"] == kind]


def test_the_notebook_is_kept_without_what_it_printed() -> None:
    code = cells("code")
    assert len(code) >= 4
    assert [cell["outputs"] for cell in code] == [[]] * len(code)
    assert {cell["execution_count"] for cell in code} == {None}
    assert code[0]["metadata"] == {"tags": ["parameters"]}


@pytest.mark.slow
def test_the_notebook_runs_from_its_first_cell_to_its_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(NOTEBOOK.parent)
    quick = [
        "training.max_steps=3",
        f"output_dir={tmp_path}",
        "tracking.enabled=false",
        "evaluation.baselines=[majority]",
    ]
    seen: dict[str, Any] = {"__name__": "__notebook__"}
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        for at, cell in enumerate(cells("code")):
            exec(compile("".join(cell["source"]), f"{NOTEBOOK.name}, code cell {at + 1}", "exec"), seen)
            if cell["metadata"].get("tags") == ["parameters"]:
                seen["overrides"] = quick
    assert said.getvalue().count("macro_f1") >= 7
    assert "majority" in said.getvalue()
    assert seen["answer"]["sentiment"]


# ----------------------------------------------------------------------------------------------------------- container


def test_the_image_is_made_of_what_its_context_lets_through() -> None:
    steps = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
    copied = set(" ".join(re.findall(r"^COPY (?!--from)(.*) \S+$", steps, flags=re.MULTILINE)).split())
    ignored = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignored
    assert copied == {line.removeprefix("!") for line in ignored if line.startswith("!")}
    assert all((REPOSITORY / name).exists() for name in copied)
