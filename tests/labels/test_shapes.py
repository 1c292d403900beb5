"""Answers of every kind are as their schema says."""

from __future__ import annotations

from typing import Any

import jsonschema
import numpy as np
import pytest
import torch

from jenga.labels import LABEL_KINDS, kind_named
from jenga.labels.base import LabelKind
from jenga.labels.shapes import NUMBER, SHARE, TEXT, list_of, one_of, record
from jenga.types import HeadSpace


def test_a_record_has_its_keys_and_no_others() -> None:
    shape = record({"a": TEXT}, {"b": list_of(NUMBER)})
    jsonschema.validate({"a": "x"}, shape)
    jsonschema.validate({"a": "x", "b": [1, 2.5]}, shape)
    for wrong in ({}, {"a": 1}, {"a": "x", "c": 1}, {"a": "x", "b": ["y"]}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, shape)
    assert "required" not in record({})


def test_names_are_told_once() -> None:
    assert one_of(("a", "b", "a")) == {"type": "string", "enum": ["a", "b"]}
    assert SHARE["maximum"] == 1


LABELS = ("O", "B-x", "I-x")
LOGITS = torch.tensor([[0.1, 2.0, 0.3], [3.0, 0.2, 0.1]])


class OneText:
    """Two rows, of two words each."""

    texts = ("Amina called", "good bye")
    words = ([(0, 5), (6, 12)], [(0, 4), (5, 8)])


def spaced(name: str, size: int = 3) -> HeadSpace:
    return HeadSpace("task", "head", name, size, LABELS[:size])


PREDICTIONS: dict[str, Any] = {
    "class": np.array([1, 0]),
    "items": np.array([[1, 0, 1], [0, 0, 0]]),
    "number": np.array([[1.5, 2.0, 3.0], [0.0, -1.0, 2.0]]),
    "sound_events": [np.array([[0.0, 1.5, 1, 0.75]]), np.zeros((0, 4))],
    "tags": [np.array([1, 2]), np.array([0, 0])],
    "transcript": [np.array([0, 1]), np.array([], np.int64)],
}
"""Of two rows, by the name of the kind."""


@pytest.mark.parametrize("name", sorted({*LABEL_KINDS}))
def test_what_a_kind_decodes_fits_its_shape(name: str) -> None:
    kind, space = kind_named(name), spaced(name)
    assert type(kind).shape is not LabelKind.shape
    jsonschema.Draft202012Validator.check_schema(kind.shape(space))
    rows: Any = OneText()
    if kind.from_text:
        answers: Any = [{"text": "yes"}]
    else:
        logits = [LOGITS, LOGITS] if kind.per_word else list(LOGITS)
        answers = [
            answer
            for probabilities in (False, True)
            for answer in kind.decode(
                space, PREDICTIONS[name], logits, rows, as_words=[True, False], probabilities=probabilities
            )
        ]
    for answer in answers:
        jsonschema.validate(answer, kind.shape(space))
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**answer, "more": 1}, kind.shape(space))


def test_one_number_is_a_value_of_its_own() -> None:
    kind, space = kind_named("number"), spaced("number", 1)
    rows: Any = OneText()
    [answer] = kind.decode(
        space, np.array([[2.5]]), [torch.tensor([2.5])], rows, as_words=[False], probabilities=False
    )  # fmt: skip
    jsonschema.validate(answer, kind.shape(space))
