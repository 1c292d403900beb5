"""Tags of every scheme as IOB2."""

from __future__ import annotations

import numpy as np
import pytest
import seeds

from jenga.labels.schemes import are_tags, is_tag, opens_by_inside, repair
from jenga.labels.tags import spans


@pytest.mark.parametrize(
    ("tags", "read"),
    [
        ("I-PER I-PER B-PER I-PER", "B-PER I-PER B-PER I-PER"),  # IOB1
        ("B-PER I-PER O I-LOC", "B-PER I-PER O B-LOC"),
        ("B-PER I-PER E-PER S-PER S-PER O", "B-PER I-PER I-PER B-PER B-PER O"),  # BIOES
        ("B-PER I-PER L-PER U-PER U-PER O", "B-PER I-PER I-PER B-PER B-PER O"),  # BILOU
        ("B-PER M-PER E-PER W-PER", "B-PER I-PER I-PER B-PER"),  # BMEWO
        (
            "I-PER E-PER I-PER E-PER",
            "B-PER I-PER B-PER I-PER",
        ),  # IOE
        ("E-PER", "B-PER"),
        ("B-PER E-LOC", "B-PER B-LOC"),
    ],
)
def test_tags_of_a_scheme_as_iob2(tags: str, read: str) -> None:
    assert repair(tags.split()) == read.split()


def test_every_scheme_gives_the_same_entities() -> None:
    rng = np.random.default_rng(seeds.derived(0))
    marks = {"BIOES": "BIES", "BILOU": "BILU", "BMEWO": "BMEW"}
    for _ in range(100):
        wanted, written = set(), {name: [] for name in marks}  # type: ignore[var-annotated]
        at = 0
        while at < 12:
            length, kind = int(rng.integers(1, 4)), ("O", "PER", "LOC")[rng.integers(0, 3)]
            for name, (first, inner, last, alone) in marks.items():
                prefixes = [alone] if length == 1 else [first, *[inner] * (length - 2), last]
                written[name] += ["O"] * length if kind == "O" else [f"{prefix}-{kind}" for prefix in prefixes]
            if kind != "O":
                wanted.add((at, at + length, kind))
            at += length
        assert all(spans(repair(tags), ()) == wanted for tags in written.values())


def test_a_type_may_look_like_a_tag() -> None:
    assert are_tags(["O", "B-PER", "E-PER"])
    assert not are_tags(["E-mail", "S-Bahn"])
    assert not are_tags(["B-PER", "PER"])
    assert not are_tags(["O"])
    assert [is_tag(name) for name in ("O", "S-PER", "B-", "X-PER", "PER")] == [True, True, False, False, False]


def test_a_word_that_continues_nothing_is_noticed_but_a_scheme_is_not() -> None:
    for tags, noticed in (("O I-PER", True), ("B-PER I-PER", False), ("B-PER E-PER S-PER", False), ("E-PER", True)):
        assert opens_by_inside(tags.split(), repair(tags.split())) is noticed
