"""Tags are judged by the entities that they make."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import seeds

from jenga.labels import kind_named
from jenga.labels.judge import head_details, head_metrics
from jenga.labels.tags import spans
from jenga.labels.unseen import unseen_code
from jenga.types import HeadSpace

NER = HeadSpace("ner", "entities", "tags", 5, ("O", "B-PER", "I-PER", "B-LOC", "I-LOC"))


def strict_json(details: dict[str, Any]) -> str:
    return json.dumps(details, allow_nan=False)


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("", set()),
        ("O O", set()),
        ("B-PER I-PER O", {(0, 2, "PER")}),
        ("B-PER B-PER", {(0, 1, "PER"), (1, 2, "PER")}),
        ("O I-PER I-PER", {(1, 3, "PER")}),
        ("B-PER I-LOC", {(0, 1, "PER"), (1, 2, "LOC")}),
        ("O B-LOC I-LOC", {(1, 3, "LOC")}),
        ("B-LOC O I-LOC", {(0, 1, "LOC"), (2, 3, "LOC")}),
    ],
)
def test_spans_of_bio_tags(tags: str, expected: set[tuple[int, int, str]]) -> None:
    names = tags.split()
    assert spans(names, NER.labels) == expected
    assert spans([NER.labels.index(name) for name in names], NER.labels) == expected


def test_spans_keep_the_whole_type_when_it_has_a_hyphen() -> None:
    assert spans(["B-well-being", "I-well-being"], ()) == {(0, 2, "well-being")}


def test_an_unlabelled_word_ends_a_span() -> None:
    assert spans(np.array([1, -100, 2]), NER.labels) == {(0, 1, "PER"), (2, 3, "PER")}


def test_spans_give_back_the_entities_that_the_tags_were_written_from() -> None:
    rng = np.random.default_rng(seeds.derived(0))
    found = 0
    for _ in range(200):
        tags, wanted, word = [0] * 20, set(), 0
        while word < 18:
            length, kind = int(rng.integers(1, 4)), int(rng.integers(0, 3))
            if kind:
                tags[word : word + length] = [2 * kind - 1] + [2 * kind] * (length - 1)
                wanted.add((word, word + length, ("", "PER", "LOC")[kind]))
            word += length
        assert spans(tags, NER.labels) == wanted
        found += len(wanted)
    assert found > 500


def test_a_span_counts_only_with_both_borders_and_its_type() -> None:
    gold = [np.array([1, 2, 0, 3]), np.array([3, 4, 0, 0])]
    predicted = [np.array([1, 2, 0, 1]), np.array([3, 0, 0, 0])]
    metrics = head_metrics(NER, predicted, gold)
    # One of three predicted spans is right, and one of three labelled ones is found; 6 of 8 words are right.
    assert metrics == pytest.approx({"f1": 1 / 3, "precision": 1 / 3, "recall": 1 / 3, "token_accuracy": 6 / 8})


def test_unlabelled_words_and_rows_do_not_count() -> None:
    gold = [np.array([1, -100]), np.array([-100, -100])]
    predicted = [np.array([1, 3]), np.array([1, 3])]
    assert head_metrics(NER, predicted, gold) == {"f1": 1, "precision": 1, "recall": 1, "token_accuracy": 1}


def test_without_any_span_only_token_accuracy_is_defined() -> None:
    assert head_metrics(NER, [np.array([0, 0])], [np.array([0, 0])]) == {"token_accuracy": 1.0}


def test_entities_never_found_score_zero_and_are_noticed() -> None:
    gold, predicted = [np.array([1, 2, 0])], [np.array([0, 0, 0])]
    metrics = head_metrics(NER, predicted, gold)
    assert (metrics["f1"], metrics["precision"], metrics["recall"]) == (0, 0, 0)
    assert head_details(NER, predicted, gold)["warnings"] == ["predicts no entity"]


def test_tags_details_have_a_row_for_every_type() -> None:
    details = head_details(NER, [np.array([1, 0, 3])], [np.array([1, 0, 1])])
    assert details["per_label"] == [
        {"label": "LOC", "precision": 0.0, "recall": None, "f1": 0.0, "support": 0},
        {"label": "PER", "precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "support": 2},
    ]
    strict_json(details)


def test_entities_of_a_type_that_training_rows_lack_count_as_missed_and_are_told() -> None:
    org, inside, event = unseen_code("ORG"), unseen_code("ORG", inside=True), unseen_code("EVENT")
    gold = [np.array([1, 2, 0, org, inside]), np.array([org, event, 0, -100])]
    predicted = [np.array([1, 2, 0, 3, 0]), np.array([0, 0, 0, 0])]
    metrics = head_metrics(NER, predicted, gold)
    # Of four entities one is found, of two predicted one is right; 4 of 8 words.
    assert metrics == pytest.approx({"f1": 2 / 6, "precision": 1 / 2, "recall": 1 / 4, "token_accuracy": 4 / 8})
    details = head_details(NER, predicted, gold)
    assert details["warnings"] == ["3 of 4 entities are of types that no training row has, and count as missed"]
    assert [row["support"] for row in details["per_label"]] == [0, 1]
    strict_json(details)
    kind = kind_named("tags")
    assert kind.counts(NER, gold).tolist() == [2, 1, 1, 0, 0]
    assert kind.known(NER, [np.array([org]), np.array([0]), np.array([-100])]).tolist() == [False, True, False]
    assert kind.labelled(NER, [np.array([org]), np.array([0]), np.array([-100])]).tolist() == [True, True, False]


def test_a_tag_that_training_rows_lack_gives_no_loss() -> None:
    laid: list[Any] = []
    tokens = SimpleNamespace(spread=lambda by_word, fill: laid.extend(by_word), padded=None)
    kind_named("tags").batches([np.array([1, unseen_code("ORG"), -100])], SimpleNamespace(tokens=tokens))
    assert [row.tolist() for row in laid] == [[1, -100, -100]]


def test_the_majority_of_tags_is_o_for_every_word_whatever_the_order_of_labels() -> None:
    space = HeadSpace("ner", "entities", "tags", 3, ("B-PER", "I-PER", "O"))
    answers = kind_named("tags").majority(space, [np.array([0, 0])], [np.zeros(3), np.zeros(0), np.zeros(1)])
    assert [row.tolist() for row in answers] == [[2, 2, 2], [], [2]]


def test_an_error_counts_entities_that_are_missed_or_are_none() -> None:
    kind = kind_named("tags")
    targets = [np.array([1, 2, 0, 3]), np.array([0, 1]), np.array([-100, -100])]
    predictions = [np.array([1, 2, 0, 0]), np.array([0, 3]), np.array([1, 0])]
    found = kind.errors(NER, predictions, targets, ())
    assert found is not None
    assert found.sizes.tolist() == [1, 2, 0]
    rows = SimpleNamespace(
        texts=["Amina Njoki visits Thika", "hi Ann", "to be"],
        words=[[(0, 5), (6, 11), (12, 18), (19, 24)], [(0, 2), (3, 6)], [(0, 2), (3, 5)]],
    )
    assert kind.written(NER, targets, rows) == ["Amina Njoki (PER); Thika (LOC)", "Ann (PER)", "-"]


def test_entities_are_told_by_their_characters() -> None:
    rows = SimpleNamespace(texts=["Ann met Bob"], words=[[(0, 3), (4, 7), (8, 11)]])
    found = kind_named("tags").spans(NER, [np.array([NER.labels.index("B-PER"), 0, NER.labels.index("I-PER")])], rows)
    assert found == [[(0, 3, "PER"), (8, 11, "PER")]]
    assert kind_named("class").spans(NER, np.array([0]), rows) is None
