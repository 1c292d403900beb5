"""Columns of texts on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jenga.rows import strings as module
from jenga.rows.strings import Names, Strings, StringWriter, Zipped, coded, hashed, mapped_strings, picked

TEXTS = [f"text {at} " + "é" * (at % 3) for at in range(50)]


@pytest.fixture
def column(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Strings:
    monkeypatch.setattr(module, "_CHUNK_ROWS", 8)
    monkeypatch.setattr(module, "_READ_ROWS", 5)
    writer = StringWriter(tmp_path / "texts.arrow", ["own", "other"])
    for start, stop in ((0, 3), (3, 3), (3, 40), (40, 50)):
        writer.append({"own": TEXTS[start:stop], "other": TEXTS[start:stop]})
    writer.close()
    return mapped_strings(tmp_path / "texts.arrow", digest="d")["own"]


def test_texts_are_read_by_place_slice_and_in_order(column: Strings) -> None:
    assert len(column) == 50
    assert list(column) == TEXTS
    assert [column[at] for at in range(-50, 50)] == TEXTS * 2
    for at in (slice(None), slice(3, 11), slice(7, 3), slice(-9, None, 2), slice(None, None, -1)):
        assert column[at] == TEXTS[at]
    with pytest.raises(IndexError):
        column[50]


def test_texts_at_places_are_those_of_a_list(column: Strings) -> None:
    order = np.random.default_rng(0).permutation(50)
    shuffled, ascending = column.take(order), column.take(np.sort(order[:30]))
    assert list(shuffled) == [TEXTS[at] for at in order]
    assert list(ascending) == [TEXTS[at] for at in sorted(order[:30])]
    assert shuffled[4:20] == [TEXTS[at] for at in order[4:20]]
    assert list(shuffled.take(np.array([3, 1, 1]))) == [TEXTS[order[at]] for at in (3, 1, 1)]
    assert list(column.take(np.zeros(0, np.int64))) == []


def test_a_digest_is_of_the_column_and_the_places(column: Strings) -> None:
    some = column.take(np.array([1, 2]))
    assert column.digest == column.column_digest == some.column_digest == "d/own"
    assert some.digest == column.take(np.array([0, 1, 2])).take(np.array([1, 2])).digest
    assert len({column.digest, some.digest, column.take(np.array([2, 1])).digest}) == 3


def test_few_names_in_many_places_are_coded_as_lists_are() -> None:
    texts = ["b", "a", "b", "c"]
    names = Names(np.array([0, 1, 0, 2], np.int32), ["b", "a", "c"])
    assert list(names) == names[:] == texts
    assert list(names.take(np.array([3, 1]))) == ["c", "a"]
    codes, others = {"a": 0}, {"a": 0}
    assert coded(names, codes).tolist() == coded(texts, others).tolist() == [1, 0, 1, 2]
    assert codes == others


def test_columns_are_picked_from_as_they_are(column: Strings) -> None:
    at = np.array([2, 0])
    assert picked(["a", "b", "c"], at) == ["c", "a"]
    assert picked(np.arange(3), at).tolist() == [2, 0]
    assert list(picked(column, at)) == [TEXTS[2], TEXTS[0]]


def test_zipped_columns_are_those_of_zip(column: Strings) -> None:
    both = Zipped((column, TEXTS[::-1]))
    wanted = list(zip(TEXTS, TEXTS[::-1], strict=True))
    assert list(both) == wanted
    assert both[3:9] == wanted[3:9]
    assert both[7] == wanted[7]
    assert hashed(both).tolist() == [hash(each) for each in wanted]
