from pathlib import Path

import numpy as np
import pytest

from jenga.audit.pool import TEXT_LENGTH, Asked, Pool, pools
from jenga.labels.base import Question
from jenga.run.build import build
from jenga.run.experiment import load_config


@pytest.fixture
def pool(experiment: Path, tmp_path: Path) -> Pool:
    built = build(load_config(experiment), tmp_path / "work")
    (found,) = pools(built.sources, built.bundle.inputs)
    return found


def test_training_rows_come_first_and_every_part_is_there(pool: Pool) -> None:
    assert pool.parts.tolist() == ["train"] * 240 + ["valid"] * 30
    assert pool.trains.sum() == 240
    assert len(pool.rows) == 270
    assert pool.features is None


def test_a_finding_names_its_row_by_file_and_line(pool: Pool) -> None:
    found = pool.finding("leak", 243, "why", score=0.12345678)
    assert (found.split, Path(found.file or "").name, found.row, found.score) == ("valid", "valid.jsonl", 4, 0.123457)
    assert pool.place(243) == "valid.jsonl:4"
    assert found.text == pool.rows.content.texts[243]


def test_long_texts_are_cut(pool: Pool) -> None:
    texts = pool.rows.content.texts
    assert isinstance(texts, list)
    texts[0] = "x" * 500
    assert len(pool.finding("leak", 0, "why").text) == TEXT_LENGTH


@pytest.mark.parametrize(
    ("question", "answer", "words"),
    [
        (Question("", ("a", "b"), np.array([1])), 1, "b"),
        (Question("wet", ("no", "yes"), np.array([1])), 0, "wet: no"),
        (Question("", ("a", "b"), np.array([1])), -100, None), (Question("n", (), np.array([1.5])), 1.5, "1.5"),
        (Question("n", (), np.array([np.nan])), np.nan, None),
    ],
)  # fmt: skip
def test_answers_are_told_in_words(question: Question, answer: float, words: str | None) -> None:
    assert Asked("t", "h", question).label(answer) == words
