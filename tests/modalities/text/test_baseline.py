from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from jenga.report.baselines import Tfidf, compare, majority
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
        texts=texts,
        pairs=None,
        words=words,
        labels=labels,
    )


@pytest.fixture(scope="module")
def train() -> Rows:
    return make_rows(150, seed=0)


@pytest.fixture(scope="module")
def unseen() -> Rows:
    return make_rows(40, seed=1)


# ------------------------------------------------------------------------------------------------------------- majority


def test_majority_class_ignores_missing_labels() -> None:
    predicted = majority(MOOD, np.array([-100, -100, -100, 2, 2, 0]), np.zeros(4, dtype=np.int64))
    assert predicted.tolist() == [2, 2, 2, 2]


def test_majority_of_items_is_by_item_and_no_where_they_tie() -> None:
    targets = np.array([[1, 1, NAN], [1, 0, NAN], [NAN, NAN, NAN]])
    assert majority(STEPS, targets, np.zeros((2, 3))).tolist() == [[True, False, False]] * 2


def test_majority_of_tags_is_o_for_every_word_whatever_the_order_of_labels() -> None:
    space = HeadSpace("ner", "entities", "tags", 3, ("B-PER", "I-PER", "O"))
    predicted = majority(space, [np.array([0, 0])], [np.zeros(3), np.zeros(0), np.zeros(1)])
    assert [row.tolist() for row in predicted] == [[2, 2, 2], [], [2]]


def test_majority_of_numbers_is_the_mean_of_the_labelled() -> None:
    targets = np.array([[1, NAN], [3, NAN], [NAN, NAN]])
    assert majority(WAIT, targets, np.zeros((2, 2))).tolist() == [[2, 0], [2, 0]]


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.kind)
def test_without_a_training_label_there_is_nothing_to_learn(space: HeadSpace, train: Rows, unseen: Rows) -> None:
    nothing = without_labels(train, space)
    key = space.task, space.head
    with pytest.raises(ValueError, match=f"{space.task}.{space.head}: no labelled training row"):
        majority(space, nothing.labels[key], unseen.labels[key])
    with pytest.raises(ValueError, match=f"{space.task}.{space.head}: no labelled training row"):
        Tfidf(nothing, unseen).predict(space)
    for side in ((nothing, unseen), (train, without_labels(unseen, space))):
        assert compare([space], *side, which=["majority", "tfidf"]) == {"majority": {key: {}}, "tfidf": {key: {}}}


def without_labels(rows: Rows, space: HeadSpace) -> Rows:
    targets = rows.labels[space.task, space.head]
    if space.kind == "tags":
        missing: Any = [np.full(len(row), -100) for row in targets]
    else:
        missing = np.full_like(targets, -100 if space.kind == "class" else NAN)
    return Rows(**{**vars(rows), "labels": {**rows.labels, (space.task, space.head): missing}})


# ---------------------------------------------------------------------------------------------------------------- tfidf


def test_tfidf_learns_what_the_words_tell(train: Rows, unseen: Rows) -> None:
    metrics = compare(SPACES, train, unseen, which=["tfidf"])["tfidf"]
    assert metrics["mood", "label"]["macro_f1"] == 1
    assert metrics["qa", "opening"]["macro_f1"] == 1
    # Names differ between the splits: only the word before and the capital letter tell them.
    assert metrics["ner", "entities"]["f1"] == 1
    assert metrics["wait", "value"]["r2"] > 0.9


def test_tfidf_beats_majority_and_both_are_there_in_the_order_asked(train: Rows, unseen: Rows) -> None:
    results = compare(SPACES, train, unseen, which=["tfidf", "majority"])
    assert list(results) == ["tfidf", "majority"]
    for space in SPACES:
        key = space.task, space.head
        assert results["tfidf"][key] != results["majority"][key]
    assert results["majority"]["ner", "entities"]["f1"] == 0
    assert results["majority"]["wait", "value"]["mae"] > results["tfidf"]["wait", "value"]["mae"]


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.kind)
def test_the_same_rows_give_the_same_answers(space: HeadSpace, train: Rows, unseen: Rows) -> None:
    first, second = (Tfidf(train, unseen).predict(space) for _ in range(2))
    assert all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.kind)
def test_answers_do_not_depend_on_test_labels(space: HeadSpace, train: Rows, unseen: Rows) -> None:
    answers, blind = Tfidf(train, unseen).predict(space), Tfidf(train, without_labels(unseen, space)).predict(space)
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
    compare(SPACES, train, unseen, which=["tfidf"])
    assert fits == [150]


def test_unlabelled_rows_are_not_learnt_as_no(train: Rows, unseen: Rows) -> None:
    answers = train.labels["qa", "opening"].copy()
    answers[answers[:, 0] == 0, 0] = NAN
    rows = Rows(**{**vars(train), "labels": {("qa", "opening"): answers}})
    predicted = Tfidf(rows, unseen).predict(STEPS)
    assert predicted[:, 0].all()  # every labelled answer is yes
    assert not predicted[:, 2].any()  # nothing is known of it


def test_constant_targets_need_no_model(train: Rows, unseen: Rows) -> None:
    tags = [np.zeros_like(row) for row in train.labels["ner", "entities"]]
    labels = {("mood", "label"): np.full(150, 1), ("ner", "entities"): tags}
    rows = Rows(**{**vars(train), "labels": labels})
    assert set(Tfidf(rows, unseen).predict(MOOD).tolist()) == {1}
    assert not any(row.any() for row in Tfidf(rows, unseen).predict(NER))


def test_tags_keep_the_rows_and_words_apart(train: Rows, unseen: Rows) -> None:
    empty = Rows(**{**vars(unseen), "texts": ["", *unseen.texts], "words": [[], *(unseen.words or [])]})
    predicted = Tfidf(train, empty).predict(NER)
    assert [len(row) for row in predicted] == [0, *[len(words) for words in unseen.words or []]]


def test_the_second_text_of_a_pair_is_read(train: Rows, unseen: Rows) -> None:
    def as_pairs(rows: Rows) -> Rows:
        return Rows(**{**vars(rows), "texts": ["same"] * len(rows.texts), "pairs": rows.texts})

    metrics = compare([MOOD], as_pairs(train), as_pairs(unseen), which=["tfidf"])
    assert metrics["tfidf"]["mood", "label"]["macro_f1"] == 1


def test_equal_cases_learnt_once_weigh_as_often_as_they_occur() -> None:
    def rows(words: list[str], tags: list[int]) -> Rows:
        spans = [[(0, len(word))] for word in words]
        return Rows(texts=words, words=spans, labels={("ner", "entities"): [np.array([tag]) for tag in tags]})

    train = rows(["may"] * 10, [1] * 7 + [0] * 3)
    assert Tfidf(train, rows(["may"], [0])).predict(NER)[0].tolist() == [1]
    train = rows(["may"] * 10, [1] * 3 + [0] * 7)
    assert Tfidf(train, rows(["may"], [0])).predict(NER)[0].tolist() == [0]


def test_tags_without_words_are_refused(train: Rows, unseen: Rows) -> None:
    with pytest.raises(ValueError, match="rows with tags need words"):
        Tfidf(Rows(**{**vars(train), "words": None}), unseen).predict(NER)
