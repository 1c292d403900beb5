"""What kinds tell of certainty agrees with how they judge."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import seeds
import torch

from jenga.labels import kind_named
from jenga.labels.base import LabelKind
from jenga.labels.certain import Evidence, mean_defined, ratio
from jenga.labels.judge import head_metrics
from jenga.types import HeadSpace

CLASSES = HeadSpace("t", "h", "class", 4, ("a", "b", "c", "d"))
ITEMS = HeadSpace("t", "h", "items", 3, ("a", "b", "c"))
NUMBERS = HeadSpace("t", "h", "number", 2, ("a", "b"))
TAGS = HeadSpace("t", "h", "tags", 3, ("O", "B-X", "I-X"))
TRANSCRIPTS = HeadSpace("t", "h", "transcript", 3, ("a", "b", "␣"))
SPACES = {"class": CLASSES, "items": ITEMS, "number": NUMBERS, "tags": TAGS, "transcript": TRANSCRIPTS}


def rows_of(kind: str, count: int = 40) -> tuple[Any, Any]:
    """Return predictions and targets, of which some are missing."""
    draw = np.random.default_rng(seeds.derived(kind))
    missing = draw.random(count) < 0.2
    if kind == "class":
        gold = np.where(missing, -100, draw.integers(0, 3, count))
        gold[0] = -200  # a class that no training row has
        return draw.integers(0, 4, count), gold
    if kind == "items":
        items = draw.integers(0, 2, (count, 3)).astype(np.float32)
        items[draw.random((count, 3)) < 0.3] = np.nan
        return draw.integers(0, 2, (count, 3)) == 1, items
    if kind == "number":
        gold = draw.normal(size=(count, 2)) + 1e6
        gold[draw.random((count, 2)) < 0.3] = np.nan
        return gold.round(1) + draw.normal(size=(count, 2)), gold
    lengths = draw.integers(1, 6, count)
    if kind == "transcript":
        said = [
            np.array([0, *draw.integers(0, 3, n)] * (not no), np.int64) for n, no in zip(lengths, missing, strict=True)
        ]
        return [draw.integers(0, 3, n) for n in lengths], said
    tags = [np.full(n, -100) if no else draw.integers(0, 3, n) for n, no in zip(lengths, missing, strict=True)]
    return [draw.integers(0, 3, n) for n in lengths], tags


@pytest.mark.parametrize("kind", SPACES)
def test_metrics_of_sums_are_those_of_the_judge_for_any_rows_drawn_again(kind: str) -> None:
    space, (predictions, targets) = SPACES[kind], rows_of(kind)
    if kind == "number":
        predictions[np.isnan(predictions)] = 1e6
    additive = kind_named(kind).additive(space, predictions, targets)
    assert additive is not None
    labelled = np.flatnonzero(kind_named(kind).labelled(space, targets))
    assert len(additive.cells) == len(labelled)
    draw = np.random.default_rng(seeds.derived(0))
    for rows in (np.arange(len(labelled)), *(draw.integers(0, len(labelled), len(labelled)) for _ in range(20))):
        at = labelled[rows].tolist()
        weights = np.bincount(additive.cells[rows], minlength=additive.parts.shape[0]).astype(float)
        sums = additive.metrics(weights[None] @ additive.parts)
        judged = head_metrics(space, [predictions[i] for i in at], [targets[i] for i in at]
                              if isinstance(targets, list) else targets[at])  # fmt: skip
        agreed = kind_named(kind).agreement(np.array([predictions[i] for i in at]), targets[at]) if kind in (
            "class", "items") else None  # fmt: skip
        judged |= {} if agreed is None else {"kappa": agreed}
        assert judged.keys() - sums.keys() <= {"spearman"}
        for name in sums.keys() & judged.keys():
            assert sums[name][0] == pytest.approx(judged[name], abs=1e-6), name


def test_a_draw_of_one_number_alone_has_no_r2() -> None:
    alone, gold = HeadSpace("t", "h", "number", 1, ("a",)), np.array([[0.1], [0.3], [0.7]])
    additive = kind_named("number").additive(alone, gold + 0.5, gold)
    assert additive is not None
    drawn = np.eye(3)[additive.cells] * 3  # three times the same row
    assert np.isnan(additive.metrics(drawn @ additive.parts)["r2"]).all()
    assert not np.isnan(additive.metrics(np.ones((1, 3)) @ additive.parts)["r2"]).any()


def test_rows_of_a_kind_are_put_together() -> None:
    gold = np.tile([0, 1, 1, 2], 25)
    additive = kind_named("class").additive(CLASSES, np.tile([0, 1, 2, 2], 25), gold)
    assert additive is not None
    assert additive.parts.shape[0] == 4


@pytest.mark.parametrize("kind", ["class", "items"])
def test_the_evidence_is_of_rows_that_have_a_label_of_training(kind: str) -> None:
    space, (_, targets) = SPACES[kind], rows_of(kind)
    logits: Any = torch.randn(len(targets), space.size, generator=seeds.generator(0))
    found = kind_named(kind).evidence(space, logits, targets)
    assert found is not None
    assert found.independent == (kind == "items")
    assert (found.rows == np.flatnonzero(kind_named(kind).known(space, targets))).all()
    np.testing.assert_array_equal(found.gold, np.asarray(targets)[found.rows])
    np.testing.assert_allclose(found.logits, logits.numpy()[found.rows])
    assert kind_named(kind).evidence(space, logits[:, :1], targets) is None, "logits of something else"


def test_the_evidence_of_tags_is_of_words_with_a_token_and_a_known_tag() -> None:
    targets = [np.array([0, -100, 1]), np.array([-100]), np.array([2, 1])]
    logits = [torch.ones(3, 3), torch.ones(1, 3), torch.tensor([[torch.nan] * 3, [1.0, 2.0, 3.0]])]
    found = kind_named("tags").evidence(TAGS, logits, targets)
    assert found is not None
    assert found.gold.tolist() == [0, 1, 1]
    assert found.rows.tolist() == [0, 0, 2]


def test_a_set_holds_the_answer_and_what_is_no_stranger_than_the_limit() -> None:
    logits: Any = torch.tensor([[0.6, 0.3, 0.06, 0.04], [0.25, 0.25, 0.25, 0.25]]).log()
    kind, predictions = kind_named("class"), np.array([0, 0])
    assert kind.plausible(CLASSES, predictions, logits, [0.71]).answers == [{"set": ["a", "b"]}, {"set": ["a"]}]
    found = kind.plausible(CLASSES, predictions, logits, [0.76])
    assert found.answers[1] == {"set": ["a", "b", "c", "d"]}
    assert found.sizes.tolist() == [[2], [4]]
    strange = kind.strangeness(CLASSES, predictions, logits, np.array([1, -200]))
    assert strange is not None
    assert strange[:, 0] == pytest.approx([0.7, np.inf]), "a class of no training row is in no set"
    missing = kind.strangeness(CLASSES, predictions, logits, np.array([0, -100]))
    assert missing is not None
    assert missing[:, 0] == pytest.approx([0.0, np.nan], nan_ok=True)


def test_rows_are_the_less_like_classes_the_lower_their_logits_or_the_likeliest_probability() -> None:
    logits: Any = torch.tensor([[4.0, 4.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
    energy, unsure = (kind_named("class").unlikeness(CLASSES, logits, score) for score in ("energy", "probability"))
    assert energy is not None
    assert unsure is not None
    assert energy == pytest.approx([-np.log(2 * np.exp(4) + 2), -np.log(np.e + 3)])
    assert unsure == pytest.approx([1 - np.exp(4) / (2 * np.exp(4) + 2), 1 - np.e / (np.e + 3)])
    # Energy minds how much there is of any class, 1 - p how sure it is of one.
    assert energy[0] < energy[1]


def test_intervals_lie_around_the_number_by_name_where_there_are_several() -> None:
    kind, numbers = kind_named("number"), np.array([[1.0, 10.0]])
    found = kind.plausible(NUMBERS, numbers, [], [0.5, 2.0])
    assert found.answers == [{"intervals": {"a": [0.5, 1.5], "b": [8.0, 12.0]}}]
    assert found.sizes.tolist() == [[1.0, 4.0]]
    alone = HeadSpace("t", "h", "number", 1, ("a",))
    assert kind.plausible(alone, numbers[:, :1], [], [0.5]).answers == [{"interval": [0.5, 1.5]}]


def test_a_kind_that_knows_nothing_of_certainty_has_none() -> None:
    class Mine(LabelKind):
        settle = infer = reader = labelled = predict = decode = judge = details = majority = None  # type: ignore[assignment]

    kind = Mine()
    assert kind.evidence(CLASSES, [], []) is None
    assert kind.strangeness(CLASSES, [], [], []) is None
    assert kind.unlikeness(CLASSES, [], "energy") is None
    assert kind.additive(CLASSES, [], []) is None
    with pytest.raises(TypeError, match="Mine has no sets of labels"):
        kind.plausible(CLASSES, [], [], [])


def test_the_wanted_answer_is_one_of_classes_or_each_of_items() -> None:
    rows = np.arange(2)
    assert Evidence(np.zeros((2, 3)), np.array([2, 0]), rows).wanted.tolist() == [[0, 0, 1], [1, 0, 0]]
    assert Evidence(np.zeros((2, 1)), np.array([[1.0], [0.0]]), rows).wanted.tolist() == [[1], [0]]


def test_what_is_undefined_does_not_count() -> None:
    values = ratio(np.array([[1.0, 1.0], [2.0, 0.0]]), np.array([[2.0, 0.0], [0.0, 0.0]]))
    assert mean_defined(values) == pytest.approx([0.5, np.nan], nan_ok=True)
