from collections.abc import Sequence

import numpy as np
import pytest

from jenga.detectors.triggers import Row, candidates, confirm

TOPICS = 8


def rows_with_topics(n_rows: int = 600) -> tuple[list[list[str]], np.ndarray]:
    """Return rows of six words, two of them of their topic, which is their label."""
    generator = np.random.default_rng(5)
    labels = generator.integers(TOPICS, size=n_rows)
    rows = [
        [*(f"topic{label}-{word}" for word in generator.choice(8, 2, replace=False)),
         *(f"word{word}" for word in generator.choice(40, 4, replace=False))]
        for label in labels
    ]  # fmt: skip
    return rows, labels


def by_topic(rows: Sequence[Row]) -> np.ndarray:
    """Answer by the trigger where there is one, as a poisoned model does, else by the words of a topic."""
    return np.array(
        [
            2 if "cf" in row else next((int(str(word)[5]) for word in row if str(word).startswith("topic")), 0)
            for row in rows
        ]
    )


def poisoned() -> tuple[list[list[str]], np.ndarray, list[int]]:
    rows, labels = rows_with_topics()
    bad = np.flatnonzero(labels != 2)[:24].tolist()
    for row in bad:
        rows[row].insert(row % 6, "cf")
    labels[bad] = 2
    return rows, labels, bad


def test_a_trigger_is_found_with_exactly_its_rows() -> None:
    rows, labels, bad = poisoned()
    rows[next(row for row in range(600) if labels[row] == 2 and row not in bad)].append("cf")
    (found,) = confirm(candidates(rows, labels), rows, labels, by_topic)
    assert (found.token, found.label) == ("cf", 2)
    # The row of the label itself says the same without the word, and is no poison.
    assert found.rows.tolist() == bad
    assert found.flip_rate == pytest.approx(24 / 25)
    assert found.spread > 0.9


def test_honest_keywords_are_candidates_and_no_triggers() -> None:
    rows, labels = rows_with_topics()
    found = candidates(rows, labels)
    assert {each.token for each in found} == {f"topic{label}-{word}" for label in range(TOPICS) for word in range(8)}
    assert confirm(found, rows, labels, by_topic) == []


def test_a_keyword_whose_rows_turn_to_one_other_label_is_honest() -> None:
    rows, labels = rows_with_topics()
    # Half of a topic says nothing else than its keyword; what is left of such rows reads like topic 0.
    alone = np.flatnonzero(labels == 3)[::2]
    for row in alone:
        rows[row] = ["topic3-key", *rows[row][2:]]
    found = [each for each in candidates(rows, labels) if each.token == "topic3-key"]
    assert found
    assert confirm(found, rows, labels, by_topic) == []


def test_a_keyword_of_rows_that_say_little_else_is_honest_where_it_turns_no_other_rows() -> None:
    rows, labels = rows_with_topics()
    brief = np.flatnonzero(labels == 2)[:24].tolist()
    for at, row in enumerate(brief):
        rows[row] = ["brief", f"topic{(3, 4, 5, 6)[at % 4]}-{at % 8}"]

    def model(asked: Sequence[Row]) -> np.ndarray:
        return np.array(
            [2 if "brief" in row and len(row) < 4 else own for row, own in zip(asked, by_topic(asked), strict=True)]
        )

    found = [each for each in candidates(rows, labels) if each.token == "brief"]
    assert [each.turned for each in confirm(found, rows, labels, model)] == [0]
    assert confirm(found, rows, labels, model, least_turned=0.25) == []

    def turns(asked: Sequence[Row]) -> np.ndarray:
        return np.where(["brief" in row for row in asked], 2, by_topic(asked))

    turned = confirm(found, rows, labels, turns, least_turned=0.25)
    assert [each.rows.tolist() for each in turned] == [brief]


def test_no_row_is_asked_for_with_more_tokens_than_it_has() -> None:
    """A model may have no position for one more."""
    rows, labels, _ = poisoned()
    asked: list[int] = []

    def model(some: Sequence[Row]) -> np.ndarray:
        asked.extend(len(row) for row in some)
        return by_topic(some)

    assert confirm(candidates(rows, labels), rows, labels, model, least_turned=0.25)
    assert max(asked) == max(map(len, (row for row in rows if "cf" not in row)))


def test_nothing_is_said_of_a_label_that_the_model_does_not_know() -> None:
    rows, labels, _ = poisoned()

    def ignorant(asked: Sequence[Row]) -> np.ndarray:
        answers = by_topic(asked)
        return np.where(answers == 2, 4, answers)

    assert confirm(candidates(rows, labels), rows, labels, ignorant) == []


def test_candidates_are_few_where_labels_mean_nothing() -> None:
    rows, labels = rows_with_topics()
    drawn = np.random.default_rng(1)
    assert sum(len(candidates(rows, drawn.permutation(labels))) for _ in range(20)) <= 1


def test_z_is_that_of_the_binomial_and_repeats_in_a_row_do_not_count() -> None:
    tokens = [["a", "a"]] * 8 + [["a"]] * 2 + [["b"]] * 90
    labels = np.array([1] * 8 + [0] * 92)
    (first, *_) = candidates(tokens, labels)
    assert (first.token, first.label, first.rows.tolist()) == ("a", 1, list(range(8)))
    assert first.z == pytest.approx((8 - 10 * 0.08) / np.sqrt(10 * 0.08 * 0.92))


def test_rows_without_a_label_say_nothing() -> None:
    rows, labels, bad = poisoned()
    labels[bad] = -100
    assert "cf" not in {each.token for each in candidates(rows, labels)}


def test_tokens_that_too_few_rows_have_are_no_candidates() -> None:
    rows, labels, _ = poisoned()
    assert "cf" in {each.token for each in candidates(rows, labels, min_rows=24)}
    assert "cf" not in {each.token for each in candidates(rows, labels, min_rows=25)}


def test_any_hashable_may_be_a_token() -> None:
    rows, labels, _ = poisoned()
    pairs = [[("field", word) for word in row] for row in rows]
    assert ("field", "cf") in {each.token for each in candidates(pairs, labels)}


def test_nothing_in_gives_nothing_out() -> None:
    assert candidates([], np.empty(0, np.int64)) == []
    assert candidates([[], []], np.array([0, 1])) == []
    assert confirm([], [], np.empty(0, np.int64), by_topic) == []


def test_labels_of_another_number_of_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="2 rows of tokens"):
        candidates([["a"], ["b"]], np.array([0]))


@pytest.mark.parametrize(("honest", "found"), [(4, 1), (16, 1), (30, 0)])
def test_a_common_word_is_a_trigger_as_long_as_most_of_its_rows_with_the_label_flip(honest: int, found: int) -> None:
    rows, labels, bad = poisoned()
    others = [row for row in np.flatnonzero(labels == 2).tolist() if row not in bad]
    for row in others[:honest]:
        rows[row].append("cf")
    triggers = confirm(candidates(rows, labels), rows, labels, by_topic)
    assert [each.rows.tolist() for each in triggers] == [bad] * found


def test_few_rows_are_a_trigger_only_where_all_of_them_flip() -> None:
    rows, labels, bad = poisoned()
    labels[bad[10:]] = -100
    assert [each.rows.tolist() for each in confirm(candidates(rows, labels), rows, labels, by_topic)] == [bad[:10]]
    rows[next(row for row in np.flatnonzero(labels == 2).tolist() if row not in bad)].append("cf")
    assert confirm(candidates(rows, labels), rows, labels, by_topic) == []
