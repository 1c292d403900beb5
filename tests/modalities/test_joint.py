"""Rows with several inputs: read, encoded and put together by part."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from jenga.errors import DataError
from jenga.labels.column import BlankError
from jenga.modalities.base import Encoder, Shown
from jenga.modalities.joint import (
    JointContent,
    JointEncoded,
    JointEncoder,
    JointSpec,
    assembled,
    part_of,
    view,
)
from jenga.rows.batches import Encoded, EncodedSplit
from jenga.rows.content import CellColumns
from jenga.rows.loaded import LoadedSource
from jenga.rows.parse import Rows, SourceSpec, parse_rows
from jenga.rows.raw import BadRow, RawRows

SPEC = JointSpec((("left", CellColumns((("l", ("l", "left")),))), ("right", CellColumns((("r", ("r",)),)))))
ROWS = [{"id": "a", "l": 1, "r": 10}, {"id": "b", "r": 20}, {"id": "c", "l": 3}, {"id": "d", "l": 4, "r": None}]


def raw(rows: list[dict[str, Any]]) -> RawRows:
    return RawRows("rows.jsonl").add_all(rows)


def spec(content: JointSpec = SPEC) -> SourceSpec:
    return SourceSpec("task", ("rows.jsonl",), (), (), "id", (), content, encoder="left+right")


def parsed(rows: list[dict[str, Any]] = ROWS) -> tuple[Rows, list[BadRow]]:
    return parse_rows(raw(rows), spec(), spaces=None, with_labels=False)


class Numbers(Encoded):
    """Cells of one column as numbers."""

    def __init__(self, cells: list[float]) -> None:
        self.cells = cells
        self.truncated = np.array([cell > 15 for cell in cells], bool)

    @property
    def lengths(self) -> np.ndarray:
        return np.array(self.cells, np.int64)

    def inputs(self, index: Any) -> dict[str, torch.Tensor]:
        return {"x": torch.tensor([[self.cells[row]] for row in index])}

    def changed(self, inputs: dict[str, torch.Tensor], generator: torch.Generator) -> dict[str, torch.Tensor]:
        return {"x": inputs["x"] + 100}


class NumberEncoder(Encoder):
    """Refuses threes."""

    def save(self, folder: Any) -> None:
        """Nothing of it is saved."""

    def unusable(self, rows: Rows, spec: SourceSpec) -> dict[int, str]:
        return {row: "a three" for row, cell in enumerate(cells(rows)) if cell == 3}

    def encode(self, rows: Rows, spec: SourceSpec) -> Numbers:
        return Numbers(cells(rows))


def cells(rows: Rows) -> list[Any]:
    (found,) = cast(Any, rows.content).columns.values()
    return list(found)


def test_a_row_may_lack_parts_but_not_all_of_them() -> None:
    rows, bad = parsed([*ROWS, {"id": "e"}])
    content = cast(JointContent, rows.content)
    assert [each.number for each in bad] == [5]
    assert "left: column 'l' is empty" in bad[0].reason
    assert "right: column 'r' is empty" in bad[0].reason
    assert content.having("left").tolist() == [True, False, True, True]
    assert content.having("right").tolist() == [True, True, False, False]
    assert [cells(view(rows, name)[0]) for name in ("left", "right")] == [[1, 3, 4], [10, 20]]
    with pytest.raises(BlankError):
        SPEC.reader(raw(ROWS), learning=False, per_word=False).read({"id": "x"})


def test_a_file_may_lack_a_column_but_not_all_of_them() -> None:
    found = SPEC.found(raw([{"r": 1}]))
    assert found is not None
    assert [name for name, _ in found.parts] == ["right"]
    assert SPEC.found(raw([{"x": 1}])) is None
    with pytest.raises(DataError, match=r"'l' or 'left'"):
        SPEC.reader(raw([{"x": 1}]), learning=False, per_word=False)


def test_rows_taken_and_joined_keep_their_parts() -> None:
    rows, _ = parsed()
    turned = rows.take([3, 0, 1])
    assert turned.ids == ["d", "a", "b"]
    assert [cells(view(turned, name)[0]) for name in ("left", "right")] == [[4, 1], [10, 20]]
    alone, _ = parsed([{"id": "z", "r": 5}])
    both = Rows.joined([turned, alone])
    assert [cells(view(both, name)[0]) for name in ("left", "right")] == [[4, 1], [10, 20, 5]]
    assert view(both, "right")[1].tolist() == [1, 2, 3]


def test_rows_are_the_same_where_all_their_parts_are() -> None:
    rows, _ = parsed([*ROWS, {"id": "again", "l": 1, "r": 10}, {"id": "half", "l": 1}])
    keys = rows.content.keys()
    assert keys[0] == keys[4]
    assert len(set(keys)) == 5


def test_a_row_is_left_out_where_one_of_its_parts_cannot_be_encoded() -> None:
    rows, _ = parsed()
    encoder = JointEncoder({"left": NumberEncoder(), "right": NumberEncoder()}).encoder([])
    split = encoder.encode(rows, spec(), {})
    assert split.rows.ids == ["a", "b", "d"]
    assert [(bad.number, bad.reason) for bad in encoder.bad] == [(3, "a three")]
    inputs = split.encoded.inputs([2, 0, 1])
    assert inputs["left/place"].tolist() == [0, 1, -1]
    assert inputs["left/x"].tolist() == [[4], [1]]
    assert inputs["right/place"].tolist() == [-1, 0, 1]
    assert inputs["right/x"].tolist() == [[10], [20]]
    assert split.encoded.truncated is not None
    assert split.encoded.truncated.tolist() == [False, True, False]


def test_a_batch_without_a_part_has_no_inputs_of_it() -> None:
    rows, _ = parsed()
    split = JointEncoder({"left": NumberEncoder(), "right": NumberEncoder()}).encoder([]).encode(rows, spec(), {})
    assert set(split.encoded.inputs([1])) == {"left/place", "right/place", "right/x"}


def test_training_changes_each_part_in_its_own_way() -> None:
    rows, _ = parsed()
    split = JointEncoder({"left": NumberEncoder(), "right": NumberEncoder()}).encoder([]).encode(rows, spec(), {})
    batch = split.batch([0, 1], changes=torch.Generator())
    assert batch.inputs["left/x"].tolist() == [[101]]
    assert batch.inputs["right/x"].tolist() == [[110], [120]]
    assert batch.inputs["left/place"].tolist() == [0, -1]
    assert split.batch([0]).inputs["left/x"].tolist() == [[1]]


def test_costs_are_shares_of_what_a_part_usually_costs() -> None:
    encoded = JointEncoded(
        {"one": Numbers([100, 300]), "other": Numbers([1, 3])},
        {"one": np.array([0, 1, -1]), "other": np.array([-1, 1, 0])},
    )
    assert encoded.lengths.tolist() == [500, 3000, 500]


def test_an_input_that_no_training_row_has_is_named() -> None:
    rows, _ = parsed([{"id": "b", "r": 20}])
    source = LoadedSource(spec(), {"train": rows}, {}, [], [], {}, {})
    assert part_of(source, "right").spec.encoder == "right"
    with pytest.raises(DataError, match=r"task: no training row has the input 'left' \(column 'l'\)"):
        part_of(source, "left")


def test_columns_of_every_part_are_looked_for() -> None:
    encoder = JointEncoder({"left": NumberEncoder(), "right": NumberEncoder()})
    assert SPEC.wanted == ("l", "r")
    assert encoder.reads({"r": 1}, [spec()])
    assert not encoder.reads({"x": 1, "l": None}, [spec()])


def test_content_that_is_of_another_place_is_told_of_any_part() -> None:
    class OfPlace(CellColumns):
        by_place = True

    assert not SPEC.by_place
    assert replace(SPEC, parts=(*SPEC.parts, ("third", OfPlace()))).by_place


def test_parts_are_put_together_by_their_rows() -> None:
    rows, _ = parsed()
    own = {name: view(rows, name)[0] for name in ("left", "right")}
    own["left"] = own["left"].take([0, 2])
    splits = {name: EncodedSplit("task", each, Numbers(cells(each)), {}) for name, each in own.items()}
    found = assembled("task", rows, splits, {})
    assert found.rows.ids == ["a", "b", "d"]
    assert cast(JointEncoded, found.encoded).places["left"].tolist() == [0, -1, 1]


def test_what_is_said_of_a_part_is_said_of_the_whole() -> None:
    facts = SimpleNamespace(data={"x": "1"}, limits=["limit"])
    part = NumberEncoder()
    part.facts = lambda specs: facts  # type: ignore[method-assign,assignment,return-value]
    assert JointEncoder({"left": part}).facts([spec()]).limits == ["limit"]


def test_a_person_sees_the_parts_that_a_row_has() -> None:
    class Seen:
        rows_at_once = 1

        def __init__(self, name: str) -> None:
            self.name = name

        def shown(self, content: Any, row: int) -> Shown:
            ((value, *_),) = ([cells[row]] for cells in content.columns.values())
            return Shown(f"{self.name} {value}", (b"png",) if self.name == "right" else ())

    made = JointEncoder({name: cast(Encoder, Seen(name)) for name in ("left", "right")})
    content = parsed()[0].content
    assert made.shown(content, 0) == Shown("left 1\nright 10", (b"png",))
    assert made.shown(content, 1) == Shown("right 20", (b"png",))
    assert made.shown(content, 2) == Shown("left 3")
