"""Entities in the forms of the tools that write them."""

from __future__ import annotations

from typing import Any

import pytest

from jenga.labels.entity_forms import Entity, entity_of, is_entity


@pytest.mark.parametrize(
    ("value", "entity"),
    [
        ({"start": 1, "end": 4, "label": " PER "}, Entity(1, 4, "PER")),
        ([1, 4, "PER"], Entity(1, 4, "PER")),
        ({"id": 7, "start_offset": 1, "end_offset": 4, "label": "PER"}, Entity(1, 4, "PER")),
        ({"start": 1, "end": 4, "text": "abc", "labels": ["PER"]}, Entity(1, 4, "PER", "abc")),
        ({"start": 1, "end": 4, "entity_group": "PER", "score": 0.9}, Entity(1, 4, "PER")),
        ({"start": 0, "end": 4, "label": None, "entity": "PER"}, Entity(0, 4, "PER")),
        ({"start": 1, "end": 4, "labels": ["PER", "LOC"]}, None),
        ({"start": "1", "end": 4, "label": "PER"}, None),
        ({"start": True, "end": 4, "label": "PER"}, None),
        ([1, 4], None),
        ("PER", None),
        (None, None),
    ],
)
def test_an_entity_is_read_whoever_wrote_it(value: Any, entity: Entity | None) -> None:
    assert entity_of(value) == entity


def test_tags_are_no_entities() -> None:
    assert [is_entity(value) for value in ("B-PER", 1, [0, 1, "PER"], {})] == [False, False, True, True]
