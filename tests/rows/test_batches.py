"""Rows and their tokens as batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jenga.config.schema import DataConfig
from jenga.labels.column import HeadColumn
from jenga.modalities.text.columns import TextColumns, Texts
from jenga.modalities.text.tokens import EncodedText, encode
from jenga.rows.batches import Encoded, EncodedSplit, rows_of_all
from jenga.rows.load import load_sources
from jenga.rows.parse import Rows, SourceSpec

ROWS = [
    {"id": "r0", "text": "the agent was kind", "pair": "a b", "mood": "good", "flags": [1, None], "price": 3.5,
     "entities": [{"start": 4, "end": 9, "label": "WHO"}]},
    {"id": "r1", "text": "bad", "pair": "b", "mood": None, "flags": None, "price": None, "entities": None},
    {"id": "r2", "text": "agent zzzzz", "pair": "c", "mood": "bad", "flags": [0, 1], "price": -1.0,
     "entities": [{"start": 6, "end": 11, "label": "WHO"}]},
    {"id": "r3", "text": "of", "pair": "d", "mood": "good", "flags": [0, 0], "price": 0.0, "entities": []},
]  # fmt: skip
HEADS = (
    HeadColumn("m", "mood", "class", ("mood",), None, None),
    HeadColumn("i", "flags", "items", ("flags",), None, None),
    HeadColumn("v", "price", "number", ("price",), None, None),
    HeadColumn("n", "tags", "tags", ("entities",), None, None),
)


@pytest.fixture
def split(
    tmp_path: Path, write_rows: Callable[..., str], make_tokenizer: Callable[[str], Any]
) -> Callable[..., EncodedSplit]:
    def make(*, pairs: bool = False, max_length: int = 16, heads: tuple[HeadColumn, ...] = HEADS) -> EncodedSplit:
        path = write_rows(tmp_path / "rows.jsonl", ROWS)
        content = TextColumns(("text",), "pair" if pairs else None)
        spec = SourceSpec("s", (path,), (), (), "id", heads, content)
        (loaded,) = load_sources([spec], data=DataConfig(valid_fraction=0.0, test_fraction=0.0))
        rows = loaded.splits["train"]
        read = rows.content
        assert isinstance(read, Texts)
        encoded = encode(
            read.texts, make_tokenizer("wordpiece"), max_length=max_length, pairs=read.pairs, words=read.words
        )
        return EncodedSplit("s", rows, replace(encoded, pad_token_id=7), loaded.spaces)

    return make


def test_rows_are_padded_on_the_right_to_the_longest_of_them(split: Callable[..., EncodedSplit]) -> None:
    made = split()
    batch = made.batch([1, 0])
    ids, mask = batch.inputs["input_ids"], batch.inputs["attention_mask"]
    lengths, encoded = made.lengths[[1, 0]], made.encoded
    assert isinstance(encoded, EncodedText)
    assert ids.shape == mask.shape == (2, lengths.max())
    assert mask.sum(1).tolist() == lengths.tolist()
    for row, (index, length) in enumerate(zip([1, 0], lengths, strict=True)):
        start = encoded.offsets[index]
        assert ids[row, :length].tolist() == encoded.input_ids[start : start + length].tolist()
        assert ids[row, length:].eq(7).all()
        assert mask[row, :length].eq(1).all()
    assert (ids.dtype, mask.dtype) == (torch.int64, torch.int64)
    assert made.batch([1]).inputs["input_ids"].shape == (1, made.lengths[1]), "no wider than it must be"


def test_a_batch_knows_its_rows(split: Callable[..., EncodedSplit]) -> None:
    batch = split().batch([2, 0])
    assert (batch.sample_ids, batch.rows, batch.source) == (["r2", "r0"], [2, 0], "s")


def test_missing_labels_are_masked_and_never_zero(split: Callable[..., EncodedSplit]) -> None:
    labels = split().batch([0, 1, 2]).labels
    assert labels["m"]["mood"].tolist() == [1, -100, 0]
    flags, price = labels["i"]["flags"], labels["v"]["price"]
    assert flags.isnan().tolist() == [[False, True], [True, True], [False, False]]
    assert flags[2].tolist() == [0.0, 1.0]
    assert price.isnan().flatten().tolist() == [False, True, False]
    assert labels["n"]["tags"][1].eq(-100).all()
    assert (labels["m"]["mood"].dtype, flags.dtype, price.dtype) == (torch.int64, torch.float32, torch.float32)


def test_a_words_tag_stands_on_its_first_token_and_all_else_is_masked(split: Callable[..., EncodedSplit]) -> None:
    made = split()
    tags = made.batch([0, 2, 3]).labels["n"]["tags"]
    names = made.spaces["n", "tags"].labels
    assert names[0] == "O"
    named = [[names[tag] if tag >= 0 else None for tag in row] for row in tags.tolist()]
    # [CLS] the agent was kind [SEP]; [CLS] agent z ##z ##z ##z ##z [SEP]; [CLS] of [SEP]
    length = tags.shape[1]
    expected = [[None, "O", "B-WHO", "O", "O"], [None, "O", "B-WHO"], [None, "O"]]
    assert named == [row + [None] * (length - len(row)) for row in expected]


def test_tags_of_words_that_are_cut_off_are_left_out(split: Callable[..., EncodedSplit]) -> None:
    tags = split(max_length=4).batch([0]).labels["n"]["tags"]
    assert tags.shape == (1, 4)
    assert int((tags != -100).sum()) == 2


def test_pairs_carry_token_types(split: Callable[..., EncodedSplit]) -> None:
    made = split(pairs=True, heads=HEADS[:1])
    inputs = made.batch([0, 1]).inputs
    assert inputs["token_type_ids"].tolist() == [[0] * 6 + [1] * 3, [0] * 5 + [1] * 2 + [0] * 2]
    assert "token_type_ids" not in split(heads=HEADS[:1]).batch([0, 1]).inputs


def test_the_same_rows_give_the_same_batch(split: Callable[..., EncodedSplit]) -> None:
    made = split()
    one, other = made.batch([3, 1]), made.batch([3, 1])
    one.inputs["input_ids"].zero_()
    one.labels["m"]["mood"].zero_()
    assert other.inputs["input_ids"].ne(0).any()
    assert torch.equal(made.batch([3, 1]).labels["m"]["mood"], other.labels["m"]["mood"]), "a batch is a copy"


def test_rows_without_labels_make_batches_without_labels(split: Callable[..., EncodedSplit]) -> None:
    made = split()
    made.rows.labels = {}
    bare = EncodedSplit("s", made.rows, made.encoded, {})
    assert bare.batch(np.arange(2).tolist()).labels == {}


class Packs(Encoded):
    """Four entries, of which each begins with another row; counts how often it is asked what they cost."""

    asked = 0

    @property
    def lengths(self) -> np.ndarray:
        self.asked += 1
        return np.array([3, 1, 2, 1])

    def inputs(self, index: Sequence[int]) -> dict[str, torch.Tensor]:
        raise AssertionError("no batch is made")

    def rows_of(self, index: Sequence[int]) -> list[int]:
        return [2 * at + 1 for at in index]


def test_what_entries_cost_is_asked_for_once() -> None:
    """It may take a pass over all of them, and each batch is cut by it."""
    encoded = Packs()
    made = EncodedSplit("s", Rows(), encoded, {})
    assert made.lengths is made.lengths
    assert (made.lengths.tolist(), encoded.asked) == ([3, 1, 2, 1], 1)


def test_learnt_are_the_entries_that_are_not_left_out() -> None:
    made = EncodedSplit("s", Rows(), Packs(), {})
    assert made.learnt.tolist() == [0, 1, 2, 3]
    made.left_out = frozenset({2, 0})
    assert made.learnt.tolist() == [1, 3]


@pytest.mark.parametrize("at_once", [1, 3, 4, 9])
def test_the_rows_of_all_entries_are_those_of_each(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr("jenga.rows.batches._ENTRIES_AT_ONCE", at_once)
    assert rows_of_all(EncodedSplit("s", Rows(), Packs(), {})).tolist() == [1, 3, 5, 7]
