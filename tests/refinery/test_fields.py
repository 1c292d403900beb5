"""Each kind of field by itself; what fields must be together is the schema's."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from jenga.refinery.fields import KINDS, NumericField, TimestampField


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "history"])
def test_each_kind_needs_no_more_than_a_path(kind: str) -> None:
    field = KINDS[kind].model_validate({"path": "a", "kind": kind})
    assert (field.name, field.kind, field.indicator, field.required) == ("a", kind, None, False)
    assert KINDS[kind](path="a") == field


def test_only_a_time_between_rows_is_counted_by_entity() -> None:
    assert TimestampField(path="t", by="u").max_entities == 65_536
    with pytest.raises(ValidationError, match="set inter_arrival, or leave it out"):
        TimestampField(path="t", by="u", inter_arrival=False)


def test_one_number_or_many_go_with_their_path() -> None:
    assert NumericField(path="a[*]", reduce="sum").is_set
    assert NumericField(paths=["b", "a"]).all_paths == ["b", "a"]
    with pytest.raises(ValidationError, match="makes them one"):
        NumericField(path="a[*]")
