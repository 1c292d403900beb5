"""Which encoder gets which rows. (What comes of it: test_mixed.py.)"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jenga.errors import DataError
from jenga.inference.routing import Router
from jenga.modalities import Encoder
from jenga.modalities.text.columns import TextColumns
from jenga.rows.parse import SourceSpec
from jenga.rows.raw import BadRow, RawRows


class Plain(Encoder):
    """Reads the columns of its specs; what else it does is no matter here."""

    def save(self, folder: Path) -> None:
        """Keep nothing."""


class Odd(Plain):
    """Reads rows with an odd number, whatever their columns."""

    def reads(self, row: Mapping[str, Any], specs: Sequence[SourceSpec]) -> bool:
        return row.get("n", 0) % 2 == 1

    def wanted(self, specs: Sequence[SourceSpec]) -> str:
        return "an odd 'n'"


def spec(name: str, encoder: str, *columns: str) -> SourceSpec:
    return SourceSpec(name, ("x",), (), (), "id", (), TextColumns(columns), encoder=encoder)


def router() -> Router:
    bundle: Any = SimpleNamespace(
        inputs={"words": Plain(), "odd": Odd()},
        specs=[spec("a", "words", "text", "body"), spec("b", "words", "title"), spec("c", "odd", "unread")],
    )
    return Router(bundle)


def raw(*rows: dict[str, Any]) -> RawRows:
    return RawRows("new.jsonl", list(rows), list(range(1, len(rows) + 1)))


def test_a_row_is_read_by_each_encoder_that_finds_something_in_it() -> None:
    made = router()
    assert made.readers({"text": "a"}) == ["words"]
    assert made.readers({"title": "a"}) == ["words"], "whichever of its sources has the column"
    assert made.readers({"n": 3}) == ["odd"]
    assert made.readers({"n": 3, "body": "a"}) == ["words", "odd"]
    assert made.readers({"n": 2, "text": None, "unread": "a"}) == []


def test_rows_keep_their_numbers_and_their_order_and_unreadable_ones_are_nobodys() -> None:
    given = raw({"n": 1}, {"text": "a"}, {"n": 2}, {"n": 3, "text": "b"})
    given.bad.append(BadRow("new.jsonl", 9, "broken", "{"))
    found = dict(router().routed(given))
    assert {name: own.numbers for name, own in found.items()} == {"words": [2, 4], "odd": [1, 4]}
    assert found["words"].rows == [{"text": "a"}, {"n": 3, "text": "b"}]
    assert all(own.bad == [] and own.file == "new.jsonl" for own in found.values())
    assert given.numbers == [1, 2, 3, 4]


def test_what_rows_cost_is_added_up_over_the_encoders() -> None:
    count = router().counter([])
    assert count([raw({"text": "a"}, {"n": 1}), raw()]) == [2 * 2 * Plain.row_cost, 0]


def test_an_encoder_without_rows_is_not_asked() -> None:
    assert [name for name, _ in router().routed(raw({"text": "a"}))] == ["words"]
    assert list(router().routed(raw({"n": 2}))) == []


def test_a_row_of_nobody_is_told_what_is_read() -> None:
    made = router()
    assert made.unread({"text": "a"}) is None
    assert made.unread({"n": 2}) == (
        "the row has nothing that the model reads: words: 'text', 'title'; odd: an odd 'n'"
    )
    made.check(raw({"n": 2}, {"n": 1}))
    made.check(raw())
    with pytest.raises(
        DataError, match=r"new\.jsonl: no row has anything that the model reads: words: 'text', 'title'"
    ):
        made.check(raw({"n": 2}, {"n": 4}))


def test_in_a_session_each_encoder_remembers() -> None:
    made = router()
    session = made.session(["host"])
    assert session.keep == ("host",)
    assert session.told == set()
    assert all(encoder.told == set() for encoder in session.encoders.values())
    assert all(encoder.told is None for encoder in made.encoders.values()), "the router itself stays as it was"
    assert session.readers({"n": 3}) == ["odd"]


def test_it_is_no_part_of_a_model(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="no part of a saved model"):
        router().save(tmp_path)
