"""A row is in one part for all sources that read it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jenga.errors import DataError
from jenga.rows.parse import Rows
from jenga.rows.partition import Share, Stake, check_roles, partition
from jenga.rows.raw import RawRows
from jenga.rows.split import cut

FRACTIONS = {"valid": 0.2, "test": 0.2}
BOTH = ("valid", "test")


def stake(
    name: str, rows: list[tuple[str, int]], strata: list[int] | None = None, wants: tuple[str, ...] = BOTH
) -> Stake:
    parsed = Rows(ids=[name] * len(rows), files=[file for file, _ in rows], numbers=[number for _, number in rows])
    codes = np.full(len(rows), -100) if strata is None else np.array(strata, np.int64)
    return Stake(name, parsed, codes, int(codes.max(initial=-1)) + 1, wants)


def file_of(name: str, count: int) -> list[tuple[str, int]]:
    return [(name, number) for number in range(1, count + 1)]


def parts_of(each: Stake, share: Share) -> dict[tuple[str, int], str]:
    return {
        (each.rows.files[at], each.rows.numbers[at]): part for part, index in share.parts.items() for at in index
    }  # fmt: skip


@st.composite
def stakes(draw: st.DrawFn) -> list[Stake]:
    """Sources that read some of three files, each with rows of its own that it cannot use, and labels of its own."""
    found = []
    for name in "xyz"[: draw(st.integers(1, 3))]:
        files = draw(st.lists(st.sampled_from("abc"), min_size=1, max_size=3))
        rows = [row for file in files for row in file_of(file, 12) if draw(st.integers(0, 5))]
        strata = [draw(st.sampled_from([-100, 0, 1, 2])) for _ in rows]
        found.append(stake(name, rows, strata, draw(st.sampled_from([BOTH, ("valid",), ()]))))
    return found


@settings(max_examples=150, deadline=None)
@given(sources=stakes(), seed=st.integers(0, 100))
def test_a_row_that_judges_one_source_trains_no_other(sources: list[Stake], seed: int) -> None:
    shares = partition(sources, FRACTIONS, seed=seed)
    parts = [parts_of(each, share) for each, share in zip(sources, shares, strict=True)]
    for one, other in itertools.permutations(parts, 2):
        assert all(other.get(row, part) == part for row, part in one.items())
    for each, share, own in zip(sources, shares, parts, strict=True):
        assert set(share.parts) == {"train", *each.wants}
        lost = set(zip(each.rows.files, each.rows.numbers, strict=True)) - own.keys()
        judged = {row for found in parts for row, part in found.items() if part != "train"}
        # What a source does not get judges another, and is told.
        assert lost <= judged
        assert bool(lost) == bool(share.warnings)


@settings(max_examples=100, deadline=None)
@given(strata=st.lists(st.integers(-1, 3), min_size=4, max_size=40), seed=st.integers(0, 100))
def test_a_lone_source_is_cut_class_by_class_over_all_its_files(strata: list[int], seed: int) -> None:
    codes = [-100 if code < 0 else code for code in strata]
    half = len(codes) // 2
    rows = [*file_of("b", half), *file_of("a", len(codes) - half)]
    (share,) = partition([stake("x", rows, codes)], FRACTIONS, seed=seed)
    size = int(len(codes) * 0.2 + 0.5)
    expected = cut(np.array(codes), {"valid": size, "test": size}, seed=seed)
    assert {name: index.tolist() for name, index in share.parts.items()} == {
        name: index.tolist() for name, index in expected.items()
    }


def test_the_parts_of_a_source_do_not_depend_on_what_others_read_label_or_cannot_use() -> None:
    first = stake("x", file_of("a", 40), [number % 4 == 0 for number in range(40)])
    alone = parts_of(first, partition([first], FRACTIONS, seed=3)[0])
    for other in (
        stake("y", file_of("a", 40)),
        stake("y", file_of("a", 40)[5:30], [number % 3 for number in range(25)]),
        stake("y", [*file_of("b", 9), *file_of("a", 40)], [number % 2 for number in range(49)]),
        stake("y", file_of("a", 40), wants=("valid",)),
    ):
        assert parts_of(first, partition([first, other], FRACTIONS, seed=3)[0]) == alone


def test_rows_without_a_label_for_the_first_source_are_cut_by_the_labels_of_the_next() -> None:
    rows = file_of("a", 200)
    first = stake("x", rows, [0] * 100 + [-100] * 100)
    second = stake("y", rows, [-100] * 100 + [0] * 90 + [1] * 10)
    valid = partition([first, second], FRACTIONS, seed=0)[1].parts["valid"]
    assert np.bincount(second.strata[valid][second.strata[valid] >= 0]).tolist() == [18, 2]


def test_a_row_that_stands_twice_is_in_one_part() -> None:
    rows = file_of("a", 30)
    (share,) = partition([stake("x", [*rows, *rows])], FRACTIONS, seed=0)
    assert {name: len(index) for name, index in share.parts.items()} == {"train": 36, "valid": 12, "test": 12}
    for index in share.parts.values():
        assert sorted(index % 30) == sorted([*set(index % 30)] * 2)


def test_rows_that_judge_another_source_alone_are_left_out_and_told() -> None:
    whole, part = stake("whole", file_of("a", 20)), stake("part", file_of("a", 20), wants=("valid",))
    shares = partition([whole, part], FRACTIONS, seed=0)
    assert {name: len(index) for name, index in shares[1].parts.items()} == {"train": 12, "valid": 4}
    assert shares[1].parts["valid"].tolist() == shares[0].parts["valid"].tolist()
    assert shares[0].warnings == []
    assert shares[1].warnings == [
        "part: 4 rows of a are test rows of whole and do not train it; give all of them the same {train, valid, test} "
        "to choose which rows do"
    ]


def test_files_that_no_source_wants_cut_are_whole() -> None:
    first, second = stake("x", file_of("a", 20)), stake("y", [*file_of("a", 20), *file_of("b", 20)], wants=())
    shares = partition([first, second], FRACTIONS, seed=0)
    assert sum(at >= 20 for at in shares[1].parts["train"]) == 20


def test_rows_that_train_one_source_and_judge_another_are_refused_by_name() -> None:
    rows, others = RawRows("a.jsonl"), RawRows("b.jsonl")
    given = [
        {"train": [("a.jsonl", rows)], "test": [("b.jsonl", others)]},
        {"train": [("./b.jsonl", others)], "valid": [("a.jsonl", rows)]},
    ]
    with pytest.raises(DataError) as caught:
        check_roles(["mood", "topic"], given)
    assert str(caught.value).splitlines()[:2] == [
        "the rows of ./b.jsonl, which are those of b.jsonl, train topic and are given as test rows of mood",
        "the rows of a.jsonl train mood and are given as valid rows of topic",
    ]
    assert "the same {train, valid, test}" in str(caught.value)


def test_rows_that_judge_both_or_stand_in_one_source_are_no_clash() -> None:
    rows, others = RawRows("a.jsonl"), RawRows("b.jsonl")
    given = {"train": [("a.jsonl", rows)], "valid": [("b.jsonl", others)], "test": [("b.jsonl", others)]}
    assert check_roles(["x", "y"], [given, given]) == [[], []]
    assert check_roles(["x"], [{"train": [("a.jsonl", rows)], "test": [("a.jsonl", rows)]}]) == [[]]


def test_rows_given_twice_are_told() -> None:
    rows = RawRows("a.jsonl")
    assert check_roles(["x"], [{"train": [("a.jsonl", rows), ("a.jsonl.gz", rows)]}]) == [
        ["x: the rows of a.jsonl, which are those of a.jsonl.gz, are given twice as train rows, and count twice"]
    ]
