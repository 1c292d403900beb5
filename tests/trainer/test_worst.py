"""The rows with the worst answers, as a report is to show them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from jenga.labels import kind_named
from jenga.labels.base import Errors
from jenga.modalities import Encoder
from jenga.modalities.base import Shown
from jenga.modalities.text.columns import TextColumns, Texts
from jenga.rows.batches import Encoded, EncodedSplit, Source
from jenga.rows.parse import Rows
from jenga.trainer import worst
from jenga.trainer.evaluate import SplitResult
from jenga.trainer.worst import TEXT_LENGTH, add_worst, rows_apart, worst_rows
from jenga.types import HeadSpace

SPACE = HeadSpace("mood", "label", "class", 2, ("glad", "sad"))
KEY = ("mood", "label")


class Task:
    """Says its labels by their names."""

    def written(self, space: HeadSpace, predictions: Any, targets: Any, rows: Any) -> list[tuple[str, str]]:
        assert len(rows.texts) == len(predictions)
        return [(space.labels[gold], space.labels[own]) for own, gold in zip(predictions, targets, strict=True)]


class Drawn:
    """Shows a row as its text, and as a picture where that is asked for."""

    def __init__(self, picture: bool) -> None:
        self.picture = picture

    def shown(self, content: Any, row: int) -> Shown:
        text = content.texts[row]
        return Shown(text, (text.encode(),) if self.picture else ())


class Unread(Encoded):
    """What is shown is of rows, not of what is encoded of them."""

    @property
    def lengths(self) -> Any:
        raise AssertionError

    def inputs(self, index: Sequence[int]) -> Any:
        raise AssertionError


def described(sizes: list[float], *, most: int, run: Path, picture: bool = False) -> Any:
    texts = [letter * 2000 for letter in "abcd"]
    rows = Rows(ids=list("wxyz"), content=Texts(texts), labels={KEY: np.array([0, 1, 0, 1])})
    source = Source(
        "calls/a", ("mood",), {"test": EncodedSplit("s", rows, Unread(), {KEY: SPACE})}, TextColumns(("text",)), "words"
    )
    result = SplitResult(
        predictions={KEY: np.array([1, 0, 1, 0])}, targets={KEY: rows.labels[KEY]}, spaces={KEY: SPACE}
    )
    if sizes:
        result.errors[KEY] = Errors("loss", np.array(sizes))
    head: dict[str, Any] = {"task": "mood", "head": "label", "details": {"kept": 1}}
    untold = SimpleNamespace(embeddings=None)
    model = SimpleNamespace(tasks={"mood": Task()}, encoder_of=lambda task: untold)
    runner = SimpleNamespace(model=model, device=torch.device("cpu"), autocast=nullcontext, size_for=lambda task: 32)
    add_worst(
        {"heads": [head]}, cast(Any, runner), result, {"words": cast(Encoder, Drawn(picture))}, [source], "test",
        most=most, run=run,
    )  # fmt: skip
    return head["details"]


def test_the_worst_come_first_and_what_is_right_does_not_come(tmp_path: Path) -> None:
    assert worst_rows(Errors("loss", np.array([0.5, 0.0, 2.0, 0.5])), 9) == [2, 0, 3]
    assert worst_rows(Errors("loss", np.array([0.5, 0.0, 2.0, 0.5])), 1) == [2]
    details = described([0.5, 0.0, 2.0, 0.25], most=2, run=tmp_path)
    assert details["kept"] == 1
    assert details["worst"]["error"] == "loss"
    first, second = details["worst"]["rows"]
    assert first == {
        "id": "y", "error": 2.0, "expected": "glad", "answer": "sad", "text": "c" * TEXT_LENGTH, "pictures": []
    }  # fmt: skip
    assert second["id"] == "w"
    assert not list(tmp_path.iterdir())


def test_pictures_lie_beside_in_the_run(tmp_path: Path) -> None:
    (row,) = described([0.0, 0.0, 2.0, 0.0], most=5, run=tmp_path, picture=True)["worst"]["rows"]
    (name,) = row["pictures"]
    assert (tmp_path / name).read_bytes() == b"c" * 2000
    assert (tmp_path / name).parent.parent == tmp_path


def test_a_head_whose_answers_are_all_right_has_none_and_one_without_errors_says_nothing(tmp_path: Path) -> None:
    assert described([0.0] * 4, most=5, run=tmp_path)["worst"]["rows"] == []
    assert "worst" not in described([], most=5, run=tmp_path)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory.\nTried"), RuntimeError("no kernel")])
def test_where_a_pass_with_gradients_fails_the_rows_are_shown_unshaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: RuntimeError
) -> None:
    def fails(*arguments: Any, batch_size: int, **options: Any) -> None:
        assert batch_size == 8, "of the 32 of an evaluation"
        raise error

    monkeypatch.setattr(worst, "mattered", fails)
    (row,) = described([0.0, 0.0, 2.0, 0.0], most=5, run=tmp_path)["worst"]["rows"]
    assert (row["id"], "mattered" in row) == ("y", False)
    (record,) = caplog.records
    assert "mood.label: what its worst answers rest on cannot be told" in record.getMessage()
    assert "Tried" not in record.getMessage()


def test_rows_are_told_apart_by_right_and_wrong_and_not_by_how_far_numbers_are_off() -> None:
    price = HeadSpace("price", "value", "number", 1, ("value",))
    keys, targets = (KEY, ("price", "value")), np.array([0.0, 1.0])
    result = SplitResult(targets=dict.fromkeys(keys, targets), spaces=dict(zip(keys, (SPACE, price), strict=True)))
    off = kind_named(price.kind).errors(price, np.array([0.1, 0.9]), targets, [])
    assert off is not None
    result.errors = {KEY: Errors("loss", np.array([0.0, 0.5])), keys[1]: off}
    assert rows_apart(result) == {"mood": {"label": {"rows": 2, "error": "loss", "wrong": {"at": [1], "sizes": [0.5]}}}}
