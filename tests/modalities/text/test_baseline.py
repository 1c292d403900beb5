"""TF-IDF as a baseline: what it learns of texts, and where there is nothing to learn."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from jenga.modalities.baseline import Baseline
from jenga.modalities.events.features import Features
from jenga.modalities.text.baseline import Tfidf
from jenga.modalities.text.columns import Texts
from jenga.report.baselines import Majority
from jenga.rows.batches import EncodedSplit
from jenga.rows.parse import Rows
from jenga.types import HeadSpace

MOOD = HeadSpace("mood", "label", "class", 3, ("sad", "neutral", "glad"))
STEPS = HeadSpace("qa", "opening", "items", 3, ("greeting", "name", "consent"))
NER = HeadSpace("ner", "entities", "tags", 3, ("O", "B-PER", "I-PER"))
WAIT = HeadSpace("wait", "value", "number", 2, ("minutes", "calls"))
SPACES = (MOOD, STEPS, NER, WAIT)
NAN = float("nan")


def make_rows(count: int, *, seed: int) -> Rows:
    """Return rows whose labels can be read off their words: mood and greeting by a word, a name by its context."""
    rng = np.random.default_rng(seed)
    texts, words, tags = [], [], []
    moods, greeted = rng.integers(0, 3, count), rng.integers(0, 2, count)
    waits = rng.integers(1, 5, count)
    for mood, greeting, wait in zip(moods, greeted, waits, strict=True):
        name = "".join(rng.choice(list("abcdefgh"), 5)).capitalize()
        feeling, number = ("crying", "there", "laughing")[mood], ("one", "two", "three", "four")[wait - 1]
        row = ["hello" if greeting else "so", "Mr", name, "is", feeling, number]
        starts = np.cumsum([0, *[len(word) + 1 for word in row[:-1]]]).tolist()
        texts.append(" ".join(row))
        words.append([(start, start + len(word)) for start, word in zip(starts, row, strict=True)])
        tags.append(np.array([0, 0, 1] + [0] * (len(row) - 3)))
    answers = np.stack([greeted, 1 - greeted, np.full(count, NAN)], axis=1).astype(np.float32)
    numbers = np.stack([waits, 10 - waits], axis=1).astype(np.float32)
    labels: dict[tuple[str, str], Any] = {
        ("mood", "label"): moods.astype(np.int64),
        ("qa", "opening"): answers,
        ("ner", "entities"): tags,
        ("wait", "value"): numbers,
    }
    return Rows(
        ids=[str(i) for i in range(count)],
        files=["rows.jsonl"] * count,
        numbers=list(range(1, count + 1)),
        content=Texts(texts=texts, words=words),
        labels=labels,
    )


@pytest.fixture(scope="module")
def train() -> Rows:
    return make_rows(150, seed=0)


@pytest.fixture(scope="module")
def unseen() -> Rows:
    return make_rows(40, seed=1)


def made(kind: type[Baseline], train: Rows, test: Rows) -> Any:
    """A baseline reads the rows, not what a backbone reads of them."""
    return kind(
        *(EncodedSplit("rows", rows, Features(np.zeros((len(rows), 1), np.float32)), {}) for rows in (train, test))
    )


def metrics_of(
    kind: type[Baseline], spaces: Iterable[HeadSpace], train: Rows, test: Rows
) -> dict[tuple[str, str], dict[str, float]]:
    baseline = made(kind, train, test)
    return {(space.task, space.head): baseline.metrics(space) for space in spaces}


def texts_of(rows: Rows) -> Texts:
    assert isinstance(rows.content, Texts)
    return rows.content


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.kind)
def test_without_a_training_label_there_is_nothing_to_learn(space: HeadSpace, train: Rows, unseen: Rows) -> None:
    nothing = without_labels(train, space)
    for side in ((nothing, unseen), (train, without_labels(unseen, space))):
        assert metrics_of(Tfidf, [space], *side) == {(space.task, space.head): {}}


def without_labels(rows: Rows, space: HeadSpace) -> Rows:
    targets = rows.labels[space.task, space.head]
    if space.kind == "tags":
        missing: Any = [np.full(len(row), -100) for row in targets]
    else:
        missing = np.full_like(targets, -100 if space.kind == "class" else NAN)
    return replace(rows, labels={**rows.labels, (space.task, space.head): missing})


def test_tfidf_learns_what_the_words_tell(train: Rows, unseen: Rows) -> None:
    metrics = metrics_of(Tfidf, SPACES, train, unseen)
    assert metrics["mood", "label"]["macro_f1"] == 1
    assert metrics["qa", "opening"]["macro_f1"] == 1
    # Names differ between the splits: only the word before and the capital letter tell them.
    assert metrics["ner", "entities"]["f1"] == 1
    assert metrics["wait", "value"]["r2"] > 0.9


def test_tfidf_beats_majority(train: Rows, unseen: Rows) -> None:
    tfidf, majority = (metrics_of(kind, SPACES, train, unseen) for kind in (Tfidf, Majority))
    for space in SPACES:
        key = space.task, space.head
        assert tfidf[key] != majority[key]
    assert majority["ner", "entities"]["f1"] == 0
    assert majority["wait", "value"]["mae"] > tfidf["wait", "value"]["mae"]


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.kind)
def test_the_same_rows_give_the_same_answers(space: HeadSpace, train: Rows, unseen: Rows) -> None:
    first, second = (made(Tfidf, train, unseen).predict(space) for _ in range(2))
    assert all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.kind)
def test_answers_do_not_depend_on_test_labels(space: HeadSpace, train: Rows, unseen: Rows) -> None:
    answers, blind = (
        made(Tfidf, train, unseen).predict(space),
        made(Tfidf, train, without_labels(unseen, space)).predict(space),
    )
    assert all(np.array_equal(one, other) for one, other in zip(answers, blind, strict=True))


def test_the_texts_are_vectorised_once_for_all_heads(
    train: Rows, unseen: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    fits, original = [], TfidfVectorizer.fit_transform

    def counted(self: Any, texts: Any, y: Any = None) -> Any:
        fits.append(len(texts))
        return original(self, texts, y)

    monkeypatch.setattr(TfidfVectorizer, "fit_transform", counted)
    metrics_of(Tfidf, SPACES, train, unseen)
    assert fits == [150]


def test_unlabelled_rows_are_not_learnt_as_no(train: Rows, unseen: Rows) -> None:
    answers = train.labels["qa", "opening"].copy()
    answers[answers[:, 0] == 0, 0] = NAN
    rows = replace(train, labels={("qa", "opening"): answers})
    predicted = made(Tfidf, rows, unseen).predict(STEPS)
    assert predicted[:, 0].all()  # every labelled answer is yes
    assert not predicted[:, 2].any()  # nothing is known of it


def test_constant_targets_need_no_model(train: Rows, unseen: Rows) -> None:
    tags = [np.zeros_like(row) for row in train.labels["ner", "entities"]]
    labels = {("mood", "label"): np.full(150, 1), ("ner", "entities"): tags}
    rows = replace(train, labels=labels)
    assert set(made(Tfidf, rows, unseen).predict(MOOD).tolist()) == {1}
    assert not any(row.any() for row in made(Tfidf, rows, unseen).predict(NER))


def test_tags_keep_the_rows_and_words_apart(train: Rows, unseen: Rows) -> None:
    read = texts_of(unseen)
    words = read.words or []
    empty = replace(unseen, content=replace(read, texts=["", *read.texts], words=[[], *words]))
    predicted = made(Tfidf, train, empty).predict(NER)
    assert [len(row) for row in predicted] == [0, *[len(row) for row in words]]


def test_the_second_text_of_a_pair_is_read(train: Rows, unseen: Rows) -> None:
    def as_pairs(rows: Rows) -> Rows:
        return replace(rows, content=Texts(["same"] * len(rows), texts_of(rows).texts))

    metrics = metrics_of(Tfidf, [MOOD], as_pairs(train), as_pairs(unseen))
    assert metrics["mood", "label"]["macro_f1"] == 1


def test_equal_cases_learnt_once_weigh_as_often_as_they_occur() -> None:
    def rows(words: list[str], tags: list[int]) -> Rows:
        spans = [[(0, len(word))] for word in words]
        return Rows(content=Texts(words, words=spans), labels={("ner", "entities"): [np.array([tag]) for tag in tags]})

    train = rows(["may"] * 10, [1] * 7 + [0] * 3)
    assert made(Tfidf, train, rows(["may"], [0])).predict(NER)[0].tolist() == [1]
    train = rows(["may"] * 10, [1] * 3 + [0] * 7)
    assert made(Tfidf, train, rows(["may"], [0])).predict(NER)[0].tolist() == [0]


def test_tags_without_words_are_refused(train: Rows, unseen: Rows) -> None:
    bare = replace(train, content=replace(texts_of(train), words=None))
    with pytest.raises(AssertionError, match="rows with tags have words"):
        made(Tfidf, bare, unseen).predict(NER)
