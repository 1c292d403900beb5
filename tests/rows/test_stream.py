"""Training rows as they come."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from jenga.errors import DataError
from jenga.labels.column import HeadColumn
from jenga.modalities.text.columns import TextColumns
from jenga.rows import stream as module
from jenga.rows.parse import SourceSpec
from jenga.rows.raw import RawRows, Refuse
from jenga.rows.stream import Stream, StreamSampler
from jenga.types import HeadSpace

HEAD = HeadColumn("task", "label", "class", ("label",), None, ("a", "b"))
SPEC = SourceSpec("source", ("one", "two"), (), (), "id", (HEAD,), TextColumns(("text",)))
SPACES = {HEAD.key: HeadSpace("task", "label", "class", 2, ("a", "b"))}


def rows_of(name: str, count: int) -> list[dict[str, Any]]:
    return [{"id": f"{name}{at}", "text": f"text {name} {at}", "label": "ab"[at % 2]} for at in range(1, count + 1)]


def reading(rows: list[Any], read: list[int] | None = None) -> Callable[[Refuse], Iterator[tuple[int, Any]]]:
    def run(refuse: Refuse) -> Iterator[tuple[int, Any]]:
        for number, row in enumerate(rows, start=1):
            if read is not None:
                read.append(number)
            if row is None:
                refuse(number, "broken", "{")
            else:
                yield number, row

    return run


def stream(
    *files: list[Any], seed: int = 0, buffer: int = 8, without: Any = (), bad: float = 0.0, read: Any = None
) -> Stream:
    names = ("one", "two")[: len(files)]
    held = [RawRows(name).add_all([row for row in rows if row][:5]) for name, rows in zip(names, files, strict=True)]
    return Stream(
        [(raw, reading(rows, read)) for raw, rows in zip(held, files, strict=True)], SPEC, SPACES,
        without=frozenset(without), seed=seed, max_bad_fraction=bad, buffer_rows=buffer,
    )  # fmt: skip


def ids(found: Stream, places: Any) -> list[str]:
    return list(found.rows(list(places)).ids)


def test_each_pass_has_every_row_once_in_another_order() -> None:
    files = rows_of("x", 30), rows_of("y", 20)
    seen = ids(stream(*files), range(150))
    passes = [seen[start : start + 50] for start in (0, 50, 100)]
    wanted = Counter(row["id"] for rows in files for row in rows)
    assert all(Counter(each) == wanted for each in passes)
    assert len(set(map(tuple, passes))) == 3
    assert passes[0] != [row["id"] for rows in files for row in rows]
    assert ids(stream(*files, seed=1), range(50)) != passes[0]
    in_order = [[row["id"] for row in each] for each in (files[0], [*files[1], *files[0][:10]])]
    assert ids(stream(*files, buffer=1), range(30)) in in_order


def test_files_come_in_another_order_in_each_pass() -> None:
    seen = ids(stream(rows_of("x", 10), rows_of("y", 10), buffer=1), range(160))
    assert {seen[start][0] for start in range(0, 160, 20)} == {"x", "y"}


def test_rows_of_a_place_are_the_same_however_they_are_asked_for() -> None:
    files = rows_of("x", 40), rows_of("y", 15)
    whole = stream(*files).rows(range(200))
    for asked in ([7, 3, 5], range(190, 200), [60, 2, 61], [0]):
        found = stream(*files).rows(list(asked))
        assert list(found.ids) == [whole.ids[at] for at in asked]
        assert found.labels[HEAD.key].tolist() == whole.labels[HEAD.key][list(asked)].tolist()
        assert list(found.content.texts) == [whole.content.texts[at] for at in asked]
    one = stream(*files)
    assert [name for start in range(0, 200, 5) for name in ids(one, range(start, start + 5))] == list(whole.ids)
    # Back to the beginning, as after a rollback.
    assert ids(one, range(5)) == list(whole.ids)[:5]


def test_few_rows_are_held_and_those_just_passed_are_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RECENT", 16)
    read: list[int] = []
    found = stream(rows_of("x", 2000), read=read)
    ids(found, range(100, 108))
    assert len(found._recent) <= 16
    before = len(read)
    ids(found, [100, 107, 103])
    assert len(read) == before <= 1024, "no more of the file than the places and the buffer need"


def test_a_fork_reads_its_own_way() -> None:
    found = stream(rows_of("x", 2000))
    wanted = ids(stream(rows_of("x", 2000)), range(40))
    ids(found, range(8))
    before = found._coming
    found._process = -1  # as in a child, whose number is another
    assert ids(found, range(8, 40)) == wanted[8:]
    assert found._coming is not before


def test_a_turn_wider_than_what_is_remembered_has_all_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RECENT", 16)
    places = range(0, 200, 8)
    whole = ids(stream(rows_of("x", 300)), range(200))
    assert ids(stream(rows_of("x", 300)), places) == [whole[at] for at in places]


def test_rows_that_judge_are_left_out() -> None:
    left_out = {("one", number) for number in range(1, 11)}
    seen = ids(stream(rows_of("x", 30), without=left_out), range(60))
    assert Counter(seen) == {f"x{at}": 3 for at in range(11, 31)}


def test_bad_rows_train_nothing_and_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    rows: list[Any] = rows_of("x", 30)
    rows[4], rows[9] = None, {"text": "x", "label": "z"}
    with caplog.at_level(logging.WARNING):
        seen = ids(stream(rows, bad=0.1), range(84))
    assert Counter(seen) == {f"x{at}": 3 for at in range(1, 31) if at not in (5, 10)}
    (told,) = [record.getMessage() for record in caplog.records]
    assert told.startswith("one: 2 of 30 rows cannot be used and train nothing, such as one:")


def test_too_many_bad_rows_stop_the_run() -> None:
    rows: list[Any] = [*rows_of("x", 30), *[None] * 10]
    with pytest.raises(DataError, match=r"data\.max_bad_fraction allows 0\.1"):
        ids(stream(rows, bad=0.1), range(200))
    with pytest.raises(DataError, match="none of the files has a row"):
        ids(stream(rows_of("x", 5), without={("one", number) for number in range(1, 6)}), [0])


def test_streams_take_turns_of_the_rows_that_come_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_EPOCH_TURNS", 4)
    sampler = StreamSampler({"a": 4, "b": 2})
    assert sampler.turns_in(3) == 4
    turns = [(turn.source, turn.rows) for epoch in (0, 1) for turn in sampler.epoch(epoch)]
    assert turns[:4] == [("a", [0, 1, 2, 3]), ("b", [0, 1]), ("a", [4, 5, 6, 7]), ("b", [2, 3])]
    assert turns[4:6] == [("a", [8, 9, 10, 11]), ("b", [4, 5])]
    assert [len(turn.rows) for turn in sampler.one_of_each_size(9)] == [4, 2]
    assert np.isin(turns[-1][1], range(6, 8)).all()
