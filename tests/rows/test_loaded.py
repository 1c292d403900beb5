"""Loaded sources, and how many of their rows may be bad."""

from __future__ import annotations

import pytest

from jenga.errors import DataError
from jenga.modalities.text.columns import TextColumns
from jenga.rows.loaded import LoadedSource, stop_if_many, stop_if_many_bad
from jenga.rows.parse import SourceSpec
from jenga.rows.raw import BadRow, RawRows

SPEC = SourceSpec("source", ("a",), (), (), "id", (), TextColumns(("text",)))


def bad(count: int, file: str = "a") -> list[BadRow]:
    return [BadRow(file, at, "broken", "{") for at in range(1, count + 1)]


def test_as_many_as_are_allowed_may_be_bad() -> None:
    stop_if_many("a", bad(2), 200, 0.01)
    with pytest.raises(DataError, match=r"a: 3 of 200 rows cannot be used; data\.max_bad_fraction allows 0\.01"):
        stop_if_many("a", bad(3), 200, 0.01)


def test_the_first_of_them_are_shown_with_their_places_and_how_labels_were_read() -> None:
    raw = RawRows("a").add_all([{"text": "x"}])
    with pytest.raises(DataError) as error:
        stop_if_many_bad(raw, bad(7), 0.5, fix="Mend them", told=["yes means yes"])
    said = str(error.value)
    assert "a:5: broken" in said
    assert "a:6: broken" not in said
    assert "... and 2 more" in said
    assert "Mend them" in said
    assert said.endswith("yes means yes")


def test_rows_that_turn_out_bad_later_count_with_those_before() -> None:
    source = LoadedSource(SPEC, {}, {}, bad(1), [], {}, {"a": 100, "b": 2})
    source.set_aside([BadRow("a", 50, "no sound", "")], 0.02)
    assert len(source.bad) == 2
    with pytest.raises(DataError, match="a: 3 of 100"):
        source.set_aside([BadRow("a", 51, "no sound", "")], 0.02)
    with pytest.raises(DataError, match="b: 1 of 2"):
        source.set_aside([BadRow("b", 1, "no sound", "")], 0.02)
