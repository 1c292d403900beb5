"""Settings that name files become absolute, each relative to what its mark says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field

from jenga.config.paths import PathMark, absolute, resolved_paths
from jenga.config.strict import Strict

FOLDER, ROWS = Path("/conf"), Path("/rows")


class Inner(Strict):
    rows: Annotated[str | list[str] | None, PathMark.ROWS] = None
    named: Annotated[str | None, PathMark.NAMED] = None
    file: Annotated[Any, PathMark.FILE] = None
    plain: str | None = None


class Outer(Strict):
    one: Inner | None = None
    several: list[Inner] = Field(default_factory=list)


def resolved(**settings: Any) -> dict[str, Any]:
    return resolved_paths(Inner(**settings), folder=FOLDER, data_root=ROWS).model_dump(exclude_unset=True)


@pytest.mark.parametrize(
    ("key", "given", "wanted"),
    [
        ("rows", "a.csv", "/rows/a.csv"),
        ("rows", "/b.csv", "/b.csv"),
        ("rows", ["../a.csv", "hf://owner/name"], ["/a.csv", "hf://owner/name"]),
        ("rows", "jenga/helpline", "jenga/helpline"),
        ("rows", "s3://bucket/rows.csv", "s3://bucket/rows.csv"),
        ("rows", "parts/*.parquet", "/rows/parts/*.parquet"),
        ("named", "owner/name", "owner/name"),
        ("named", "./name", "/conf/name"),
        ("named", "../name", "/name"),
        ("named", "/name", "/name"),
        ("file", "schema.yml", "/conf/schema.yml"),
        ("plain", "./schema.yml", "./schema.yml"),
    ],
)
def test_a_path_is_relative_to_what_its_mark_says(key: str, given: Any, wanted: Any) -> None:
    assert resolved(**{key: given}) == {key: wanted}


def test_what_stands_in_place_of_a_path_is_left_alone() -> None:
    assert resolved(rows=None, file={"fields": ["./a"]}) == {"rows": None, "file": {"fields": ["./a"]}}


def test_blocks_inside_blocks_and_lists_are_resolved_and_the_given_one_stays() -> None:
    given = Outer(one=Inner(file="a"), several=[Inner(rows="b"), Inner()])
    found = resolved_paths(given, folder=FOLDER, data_root=ROWS)
    assert found == Outer(one=Inner(file="/conf/a"), several=[Inner(rows="/rows/b"), Inner()])
    assert given.one == Inner(file="a")


def test_a_block_without_paths_is_the_same_one() -> None:
    block = Inner(plain="x")
    assert resolved_paths(block, folder=FOLDER, data_root=ROWS) is block


def test_a_home_folder_is_filled_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert absolute("~/a", FOLDER) == "/home/me/a"
    assert resolved(named="~/a") == {"named": "/home/me/a"}
