"""Several files as one. (Folders, patterns and saved data sets as rows: test_readers.py.)"""

from __future__ import annotations

import pytest

from jenga.errors import DataError
from jenga.rows.folders import checked, joined
from jenga.rows.raw import RawRows


def test_rows_of_parts_are_numbered_throughout_and_say_how_they_were_read() -> None:
    def read(name: str) -> RawRows:
        raw = RawRows(name, [{"a": name}], [5], told=[f"{name} told"], table=name == "y")
        raw.refuse(2, "broken", "?")
        return raw

    whole = joined("f", ["x", "y"], read)
    assert whole.rows == [{"a": "x"}, {"a": "y"}]
    assert whole.numbers == [2, 4]
    assert [str(bad) for bad in whole.bad] == ["f:1: x:2: broken", "f:3: y:2: broken"]
    assert (whole.told, whole.table) == (["x told", "y told"], True)


def test_files_of_one_kind_are_taken_as_they_are() -> None:
    assert checked("f", ["a.csv", "b.csv.gz"]) == ["a.csv", "b.csv.gz"]
    for files in ([], ["a.csv", "b.json"]):
        with pytest.raises(DataError, match=r"^f: "):
            checked("f", files)
