import tracemalloc

import numpy as np
import pytest

from jenga.detectors.duplicates import exact_twins, near_twins, normalised

LONG = "the committee will meet again on thursday to settle what is still open about the budget of the coming year"


@pytest.mark.parametrize(
    ("one", "other"), [("Hello,  World!", "hello world"), ("ﬁne", "FINE"), (("A b", "C."), ("a  b", "c"))]
)
def test_case_marks_and_blanks_make_no_difference(one: object, other: object) -> None:
    assert normalised(one) == normalised(other)


@pytest.mark.parametrize(("one", "other"), [("?", "!"), ("no. 1", "no. 2"), ("स", "से"), ("good 😀", "good 😡"), (1, 2)])
def test_what_differs_in_more_stays_apart(one: object, other: object) -> None:
    assert normalised(one) != normalised(other)


def test_equal_rows_are_one_group_named_by_its_first() -> None:
    twins = exact_twins(["a", "b", "a", "c", "b", "a"])
    assert twins.groups.tolist() == [0, 1, 0, 3, 1, 0]
    assert twins.several.tolist() == [True, True, True, False, True, True]


def test_nearly_equal_texts_meet_and_merely_like_ones_do_not() -> None:
    texts = [LONG, "something else entirely", LONG + " x", "a third thing", LONG.replace("thursday", "friday morning")]
    assert near_twins(texts).groups.tolist() == [0, 1, 0, 3, 4]
    assert near_twins(texts, similarity=0.7).groups.tolist() == [0, 1, 0, 3, 0]


def test_every_near_pair_of_many_rows_is_found() -> None:
    generator = np.random.default_rng(2)
    words = [f"w{number:03d}" for number in range(500)]
    texts = [" ".join(generator.choice(words, 30)) for _ in range(400)]
    texts += [text + " w000" for text in texts[:200]]
    groups = near_twins(texts).groups
    assert (groups[400:] == np.arange(200)).all()
    assert (groups[:400] == np.arange(400)).all()


def test_twins_meet_also_where_many_texts_before_them_are_somewhat_like_both() -> None:
    words = [f"word{number:03d}" for number in range(40)]
    generator = np.random.default_rng(3)

    def with_changes(count: int) -> str:
        changed = set(generator.choice(60, count, replace=False).tolist())
        drawn = ["".join(generator.choice(list("bcfghjklmnpqstvxyz"), 7)) for _ in words]
        return " ".join(drawn[at] if at in changed else word for at, word in enumerate(words))

    texts = [*(with_changes(5) for _ in range(100)), " ".join(words), with_changes(1)]
    assert near_twins(texts).groups.tolist() == [*range(101), 100]


@pytest.mark.parametrize("at_once", [1, 100, 10_000])
def test_pieces_of_any_size_find_the_same(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    texts = [LONG[at:] + LONG[:at] for at in range(0, 100, 5)] + ["", LONG + " x", "a"] + [LONG[:60]] * 3
    wanted = near_twins(texts, similarity=0.8).groups.tolist()
    assert len(set(wanted)) not in (1, len(texts))
    monkeypatch.setattr("jenga.detectors.duplicates._RUNS_AT_ONCE", at_once)
    assert near_twins(texts, similarity=0.8).groups.tolist() == wanted


def test_memory_is_that_of_the_runs_also_where_long_texts_are_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jenga.detectors.duplicates._RUNS_AT_ONCE", 2**13)
    long = "".join(np.random.default_rng(0).choice(list("abcdefghijklmnop"), 5_000))
    texts = [f"{long} {number}" for number in range(40)]
    near_twins(texts[:2])
    tracemalloc.start()
    try:
        assert near_twins(texts).groups.tolist() == [0] * 40
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 25 * sum(map(len, texts))  # 14, and twice as much in the vectoriser where it grows


@pytest.mark.parametrize("texts", [[], ["one"], ["", ""], ["", "a"]])
def test_few_and_blank_texts_are_no_twins(texts: list[str]) -> None:
    assert near_twins(texts).groups.tolist() == list(range(len(texts)))
