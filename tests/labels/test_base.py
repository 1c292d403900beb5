"""What holds for every kind of label."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jenga import registry
from jenga.labels import LABEL_KINDS, kind_named
from jenga.labels.class_cells import ClassReader
from jenga.labels.column import HeadColumn, RowError
from jenga.labels.item_cells import ItemReader
from jenga.labels.numbers import NumberReader, Numbers
from jenga.labels.unseen import is_unseen
from jenga.types import HeadSpace


def encoder(kind: str, labels: tuple[str, ...], *, configured: bool = False) -> Any:
    column = HeadColumn("task", "head", kind, ("label",), None, labels if configured else None)
    space = HeadSpace("task", "head", kind, len(labels), labels)
    return {"class": ClassReader, "items": ItemReader, "number": NumberReader}[kind](column, space)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from(["a", "b", "0", "[1", "[1, 0]"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, max_size=3),
    max_leaves=8,
)


def test_stacks_have_the_promised_shapes_and_types_even_when_empty() -> None:
    for kind, shape, dtype in (("class", (), np.int64), ("items", (2,), np.float32), ("number", (2,), np.float32)):
        head = encoder(kind, ("a", "b"))  # type: ignore[arg-type]
        for rows in (0, 3):
            array = head.stack([head.missing] * rows)
            assert (array.shape, array.dtype) == ((rows, *shape), dtype)
    assert encoder("class", ("a",)).missing == -100


@settings(max_examples=300, deadline=None)
@given(value=JSON, kind=st.sampled_from(["class", "items", "number"]))
def test_any_json_is_encoded_or_refused(value: Any, kind: str) -> None:
    head = encoder(kind, ("a", "b"))
    if head.is_missing(value):
        return
    try:
        code = head.encode(value)
    except RowError as error:
        str(error).encode()
        return
    assert np.asarray(code).shape == (() if kind == "class" else (2,))
    assert kind != "class" or code in (0, 1) or is_unseen(code)
    assert kind == "class" or not np.isinf(code).any()


def test_kinds_of_installed_packages_are_found(monkeypatch: pytest.MonkeyPatch, registries_as_before: None) -> None:
    class Own(Numbers):
        pass

    def entry_points(*, group: str) -> list[Any]:
        return [SimpleNamespace(name="own", load=lambda: Own)] if group == "jenga.label_kinds" else []

    monkeypatch.setattr(registry, "entry_points", entry_points)
    monkeypatch.setattr(LABEL_KINDS, "_entry_points_loaded", False)
    assert isinstance(kind_named("own"), Own)


def test_labels_of_parts_of_a_row_answer_no_question_of_the_row() -> None:
    assert kind_named("tags").questions(HeadSpace("t", "h", "tags", 1, ("O",)), [[0, 0]]) == []


def test_what_stands_for_an_answer_grows_as_the_answer_gets_surer_and_has_a_gradient() -> None:
    unsure = torch.tensor([[0.2, 0.1], [0.5, -0.5]], requires_grad=True)
    for kind in ("class", "items"):
        said, surer = (kind_named(kind).said(logits) for logits in (unsure, 3 * unsure))
        assert said is not None
        assert surer is not None
        assert (surer > said).all()
        (gradient,) = torch.autograd.grad(said.sum(), unsure)
        assert gradient.abs().sum() > 0
    number = kind_named("number").said(unsure)
    assert number is not None
    assert number.tolist() == pytest.approx([0.3, 0.0], abs=1e-6)
    assert kind_named("tags").said(unsure) is None
