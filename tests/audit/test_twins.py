from audit_rows import pool_of

from jenga.audit.twins import twins

LONG = "the committee will meet again on thursday to settle what is still open about the budget of the coming year"


def found(texts: list[str], labels: list[int], parts: list[str]) -> dict[tuple[str, int | None], str]:
    findings, told = twins(pool_of(texts, labels, parts, ("a", "b")))
    assert told == []
    return {(each.kind, each.row): each.reason for each in findings}


def test_a_judged_row_that_trains_is_a_leak_however_it_is_written() -> None:
    assert found(["Hello there!", "other", "hello  there"], [0, 1, 0], ["train", "train", "test"]) == {
        ("leak", 3): "the same as the training row train.jsonl:1"
    }


def test_of_equal_rows_of_a_part_all_but_the_first_are_duplicates() -> None:
    assert found(["x y", "X y", "z", "x, y"], [0] * 4, ["train"] * 4) == {
        ("duplicate", 2): "the same as train.jsonl:1", ("duplicate", 4): "the same as train.jsonl:1",
    }  # fmt: skip


def test_equal_rows_with_different_labels_contradict_one_another_all_of_them() -> None:
    conflicts = found(["x y", "x y", "x y"], [0, 1, -100], ["train", "train", "train"])
    assert {key for key in conflicts if key[0] == "conflict"} == {("conflict", 1), ("conflict", 2)}
    assert conflicts["conflict", 1] == "the same as train.jsonl:2; labelled a, b"


def test_a_large_group_of_equal_rows_is_gone_through_once() -> None:
    rows = 20_000
    conflicts = found(["n/a"] * rows, [0] * (rows - 1) + [1], ["train"] * rows)
    assert conflicts["conflict", 7] == f"the same as train.jsonl:{rows}; labelled a, b"
    assert conflicts["conflict", rows] == "the same as train.jsonl:1; labelled a, b"


def test_nearly_equal_rows_are_told_once_and_apart_from_equal_ones() -> None:
    texts = [LONG, f"{LONG} x", LONG, "something else"]
    assert found(texts, [0] * 4, ["train", "valid", "valid", "valid"]) == {
        ("leak", 3): "the same as the training row train.jsonl:1",
        ("near_leak", 2): "nearly the same as the training row train.jsonl:1",
    }


def test_rows_of_which_nothing_is_known_are_told_as_not_looked_at() -> None:
    pool = pool_of(["a"], [0], ["train"], ("a",))
    pool.rows.content = type("Blank", (), {"keys": lambda self: (), "texts": ()})()
    assert twins(pool) == ([], ["topic: duplicates and leaks were not looked for: what rows hold is not known"])
