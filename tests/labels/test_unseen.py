"""Codes of labels that no training row has."""

from __future__ import annotations

import numpy as np
import pytest

from jenga.labels.cells import CellReading
from jenga.labels.column import HeadColumn
from jenga.labels.unseen import is_unseen, learnable, may_be_unseen, unseen_code, unseen_tag, unseen_warnings


def test_codes_follow_names_and_are_no_other_ones() -> None:
    names = [f"name {at}" for at in range(1000)]
    codes = {unseen_code(name, inside=inside) for name in names for inside in (False, True)}
    assert len(codes) == 2000
    assert is_unseen(list(codes)).all()
    assert not is_unseen([-100, 0, 7]).any()
    assert unseen_code("a") == unseen_code("a")


def test_tags_of_one_type_differ_in_their_prefix_alone() -> None:
    begin, inside = unseen_tag(unseen_code("ORG")), unseen_tag(unseen_code("ORG", inside=True))
    assert (begin[:2], inside[:2]) == ("B-", "I-")
    assert begin[2:] == inside[2:] != unseen_tag(unseen_code("LOC"))[2:]


def test_a_loss_ignores_them() -> None:
    assert learnable(np.array([1, -100, unseen_code("a")])).tolist() == [1, -100, -100]


@pytest.mark.parametrize(
    ("size", "labels", "made_up", "may"),
    [(None, None, False, True), (2, None, False, False), (None, ("a",), False, False), (None, None, True, False)],
)
def test_where_the_configuration_says_what_there_is_other_labels_are_mistakes(
    size: int | None, labels: tuple[str, ...] | None, made_up: bool, may: bool
) -> None:
    column = HeadColumn("t", "h", "class", ("label",), size, labels, open=made_up, cells=CellReading())
    assert may_be_unseen(column) is may


def test_they_are_told_by_head_the_most_frequent_first() -> None:
    wrong, none = "count as wrong", "no score counts them"
    unseen = {("head 't.b'", wrong, '"x"'): 1, ("head 't.a'", none, '"y"'): 2, ("head 't.b'", wrong, '"z"'): 3}
    assert [words.partition(": ")[0] for words in unseen_warnings(unseen)] == ["head 't.a'", "head 't.b'"]
    assert unseen_warnings(unseen)[1].endswith('4 labels of rows to judge are none that a training row has, '
                                               'and count as wrong: 3 "z", 1 "x"')  # fmt: skip
    assert unseen_warnings(unseen)[0].endswith('and no score counts them: 2 "y"')
    assert unseen_warnings({}) == []
