from __future__ import annotations

from jenga.report.heads import marked, weighted


def test_parts_of_a_text_that_are_labelled_or_found_are_told_apart() -> None:
    text = "Ann met Bob in Rome"
    labelled = [(0, 3, "PER"), (4, 7, "VERB"), (15, 19, "LOC")]
    parts = marked(text, labelled, [(0, 3, "PER"), (8, 11, "PER"), (15, 19, "PER")])
    shown = [
        part if isinstance(part, str) else (part.get("class"), part.text, part.findtext("small")) for part in parts
    ]
    assert shown == [
        ("both", "Ann", "PER"), " ", ("missed", "met", "-VERB"), " ", ("extra", "Bob", "+PER"),
        " in ", ("differs", "Rome", "-LOC, +PER"),
    ]  # fmt: skip


def test_parts_that_overlap_or_end_beyond_what_is_shown_lose_nothing_of_the_text() -> None:
    text = "one two three"
    parts = marked(text, [(0, 7, "A"), (4, 13, "B"), (50, 60, "C")], [(2, 99, "A")])
    assert "".join(part if isinstance(part, str) else part.text or "" for part in parts) == text


def test_the_tokens_that_mattered_are_shaded_by_how_much_and_the_text_stays_whole() -> None:
    text = "a <b> bad day"
    parts = weighted(text, [(6, 9, 1.0), (0, 1, 0.1), (7, 9, 0.5), (40, 50, 1.0)])
    shown = [part if isinstance(part, str) else (part.get("class"), part.text) for part in parts]
    assert shown == [("w1", "a"), " <b> ", ("w4", "bad"), " day"]
