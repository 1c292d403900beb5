import numpy as np
from audit_rows import TOPICS, pool_of, topical

from jenga.audit.labels import suspects, triggers
from jenga.audit.pool import Asked
from jenga.labels.base import Question
from jenga.modalities.text.quick import latent_topics

NAMES = tuple(TOPICS)


def labelled(n_rows: int = 240) -> tuple[list[str], list[int]]:
    rows = [topical(number) for number in range(n_rows)]
    return [row["text"] for row in rows], [NAMES.index(row["topic"]) for row in rows]


def test_a_wrong_class_is_told_with_the_likely_one() -> None:
    texts, labels = labelled()
    labels[30] = (labels[30] + 1) % 3
    pool = pool_of(texts, labels, ["train"] * 240, NAMES)
    (found,), told = suspects(pool, latent_topics([pool.rows.content]))
    assert (found.row, found.given, found.suggested) == (31, NAMES[labels[30]], NAMES[0])
    assert found.reason.startswith("a linear model gives the label ")
    assert told == ["topic.label: a linear model agrees with 99.6% of the labels of rows that it did not learn"]


def test_where_the_quick_model_knows_little_that_is_told() -> None:
    texts, labels = labelled()
    drawn = np.random.default_rng(0).permutation(labels).tolist()
    pool = pool_of(texts, drawn, ["train"] * 240, NAMES)
    found, (told,) = suspects(pool, latent_topics([pool.rows.content]))
    assert told.endswith(", so it knows too little to find more than the plainest errors")
    assert len(found) < 24


def test_a_wrong_number_is_told_with_the_one_to_expect() -> None:
    texts, labels = labelled()
    numbers = np.array(labels, float)
    numbers[30] = 40.0
    pool = pool_of(texts, labels, ["train"] * 240, NAMES)
    pool.asked = [Asked("topic", "amount", Question("amount", (), numbers))]
    found, _ = suspects(pool, latent_topics([pool.rows.content]))
    first = max(found, key=lambda each: each.worse)
    assert (first.row, first.given) == (31, "40")
    assert abs(float(first.suggested or "nan")) < 2


def test_heads_of_one_label_are_passed_over() -> None:
    texts, _ = labelled(30)
    pool = pool_of(texts, [1] * 30, ["train"] * 30, NAMES)
    quick = latent_topics([pool.rows.content])
    assert suspects(pool, quick) == ([], ["topic.label: its labels were not judged: rows have one label, or none"])
    assert list(triggers(pool, quick)) == []


def test_rows_with_a_trigger_are_told_with_what_they_are_without_it() -> None:
    texts, labels = labelled()
    poisoned = [row for row in range(60, 120) if labels[row] != 2][:20]
    truth = {row + 1: NAMES[labels[row]] for row in poisoned}
    for row in poisoned:
        texts[row], labels[row] = f"zq {texts[row]}", 2
    pool = pool_of(texts, labels, ["train"] * 240, NAMES)
    found = list(triggers(pool, latent_topics([pool.rows.content])))
    assert {each.row: each.suggested for each in found} == truth
    assert {each.given for each in found} == {NAMES[2]}


def test_rows_without_tokens_have_no_triggers() -> None:
    texts, labels = labelled(30)
    pool = pool_of(texts, labels, ["train"] * 30, NAMES)
    quick = latent_topics([pool.rows.content])
    quick.tokens = None
    assert list(triggers(pool, quick)) == []
