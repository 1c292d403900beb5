"""Rows with one of each thing that an audit finds."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jenga.audit.pool import Asked, Pool
from jenga.labels.base import Question
from jenga.modalities import Encoder
from jenga.modalities.text.columns import TextColumns, Texts
from jenga.rows.batches import Source
from jenga.rows.parse import Rows

TOPICS = {
    "weather": ["rain", "sun", "cloud", "wind", "storm", "snow", "fog", "heat"],
    "music": ["song", "band", "album", "guitar", "drum", "singer", "choir", "tune"],
    "food": ["bread", "soup", "rice", "salad", "fish", "cake", "cheese", "tea"],
}
N_ROWS = 240
CONFIG = """\
project_name: small
model: {base_model: jenga/tiny-text}
tasks:
  - name: topic
    type: classification
    data_path: {train: train.jsonl, valid: valid.jsonl}
    columns: {label: topic}
    heads: [{name: topic}]
data: {max_length: 16}
tracking: {enabled: false}
"""
WRONG, TWICE, SAME, LEAKED = 7, 60, 5, 3
"""Of the training rows: one with a wrong label, one that is row `SAME` again. Valid row `LEAKED` is training row 9."""


def topical(number: int) -> dict[str, Any]:
    """Return a row whose label follows from its words."""
    drawn = random.Random(number)
    topic = list(TOPICS)[number % 3]
    words = [*drawn.sample(TOPICS[topic], 4), *drawn.choices(["the", "a", "my", "some", "this", "here", "now"], k=3)]
    return {"text": " ".join([*words, f"n{drawn.randrange(100, 999)}"]), "topic": topic}


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_experiment(folder: Path) -> Path:
    """Write a configuration and its rows, with what is wrong at the places above, and return the former."""
    train = [topical(number) for number in range(N_ROWS)]
    train[WRONG]["topic"] = "food"
    train[TWICE] = {**train[SAME], "text": train[SAME]["text"].upper() + "!"}
    valid = [topical(number + N_ROWS) for number in range(30)]
    valid[LEAKED] = train[9]
    write(folder / "train.jsonl", train)
    write(folder / "valid.jsonl", valid)
    (folder / "small.yml").write_text(CONFIG, encoding="utf-8")
    return folder / "small.yml"


def pool_of(texts: Sequence[str], labels: Sequence[int], parts: Sequence[str], names: tuple[str, ...]) -> Pool:
    """Return rows with a class each, in the order of their parts; -100 is a missing class."""
    answers = np.array(labels, np.int64)
    rows = Rows(
        [f"r{row}" for row in range(len(texts))], [f"{part}.jsonl" for part in parts], list(range(1, len(texts) + 1)),
        Texts(list(texts)), {("topic", "label"): answers},
    )  # fmt: skip
    asked = Asked("topic", "label", Question("", names, answers))
    return Pool(
        Source("topic", ("topic",), {}, TextColumns(("text",))), Shows(), [], rows, np.array(parts), [asked], []
    )


class Shows(Encoder):
    """Shows a row's text, as every encoder does."""

    def save(self, folder: Path) -> None:
        raise AssertionError("nothing is saved")
