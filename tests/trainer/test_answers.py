"""Answers of tasks that generate, put beside the metrics of a split."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from jenga.modalities.text.columns import TextColumns, Texts
from jenga.rows.batches import Encoded, EncodedSplit, Source
from jenga.rows.parse import Rows
from jenga.trainer.answers import add_answers
from jenga.types import HeadSpace

SPEC = TextColumns(("text",))


class Silent:
    """A task that generates nothing, and needs nothing that does."""

    def generated(self, rows: Rows, generator: Callable[[], Any], *, batch_size: int) -> None:
        return None


class Echo:
    """A task that answers a row with its text, and judges itself."""

    def generated(self, rows: Rows, generator: Callable[[], Any], *, batch_size: int) -> Any:
        made = generator()
        return [{"answer": text, "by": made, "at_once": batch_size} for text in rows.content.texts], {"right": 0.5}


class Unread(Encoded):
    """Answers are of rows, not of what is encoded of them."""

    @property
    def lengths(self) -> Any:
        raise AssertionError

    def inputs(self, index: Sequence[int]) -> Any:
        raise AssertionError


def source_of(*tasks: str) -> Source:
    rows = Rows(
        ids=["1", "2"], content=Texts(["a", "b"]), labels={(name, "text"): np.zeros(2, np.int64) for name in tasks}
    )
    spaces = {(name, "text"): HeadSpace(name, "text", "class", 2, ("x", "y")) for name in tasks}
    return Source("+".join(tasks), tasks, {"test": EncodedSplit("lm", rows, Unread(), spaces)}, SPEC, "words")


def described(*tasks: str) -> dict[str, Any]:
    heads = [{"task": name, "head": "text", "details": {"kept": 1}, "metrics": {"loss": 2.0}} for name in tasks]
    return {"metrics": {"loss": 2.0}, "heads": heads}


def added(source: Source, description: dict[str, Any], split: str = "test", **tasks: Any) -> list[tuple[Any, Any]]:
    """Add answers to `description`, and return what generators were made for: an encoder and how rows are read."""
    made: list[tuple[Any, Any]] = []

    def generator(backbone: Any, content: Any, **_: Any) -> str:
        made.append((backbone, content))
        return "generator"

    runner: Any = SimpleNamespace(
        model=SimpleNamespace(encoders={"words": "backbone", "other": None}, tasks=tasks),
        device=torch.device("cpu"), autocast=contextlib.nullcontext, size_for=dict.fromkeys(tasks, 7).__getitem__,
    )  # fmt: skip
    inputs: Any = {"words": SimpleNamespace(generator=generator), "other": None}
    add_answers(description, runner, inputs, [source], split)
    return made


def test_answers_and_what_comes_of_judging_them_stand_beside_the_metrics() -> None:
    description = described("lm", "mood")
    assert added(source_of("lm", "mood"), description, lm=Echo(), mood=Silent()) == [("backbone", SPEC)]
    head, other = description["heads"]
    answers = [{"answer": text, "by": "generator", "at_once": 7} for text in ("a", "b")]
    assert head["details"] == {"kept": 1, "answers": answers}
    assert head["metrics"] == {"loss": 2.0, "right": 0.5}
    assert description["metrics"] == {"loss": 2.0, "lm_text_right": 0.5}
    assert other == described("mood")["heads"][0]


def test_where_nothing_is_generated_no_generator_is_made() -> None:
    description = described("mood")
    assert added(source_of("mood"), description, mood=Silent()) == []
    assert description == described("mood")


def test_a_split_that_is_not_there_and_a_head_that_was_not_judged_get_no_answers() -> None:
    for split, heads in (("valid", ("lm",)), ("test", ("mood",))):
        description = described(*heads)
        assert added(source_of("lm"), description, split, lm=Echo()) == []
        assert description == described(*heads)
