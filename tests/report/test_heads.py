from __future__ import annotations

from jenga.report.heads import marked


def test_parts_of_a_text_that_are_labelled_or_found_are_told_apart() -> None:
    text = "Ann met Bob in Rome"
    parts = marked(text, [(0, 3, "PER"), (15, 19, "LOC")], [(0, 3, "PER"), (8, 11, "PER"), (15, 19, "PER")])
    shown = [
        part if isinstance(part, str) else (part.get("class"), part.text, part.findtext("small")) for part in parts
    ]
    assert shown == [
        ("both", "Ann", "PER"), " met ", ("extra", "Bob", "+PER"), " in ", ("missed", "Rome", "-LOC, +PER"),
    ]  # fmt: skip


def test_parts_that_overlap_or_end_beyond_what_is_shown_lose_nothing_of_the_text() -> None:
    text = "one two three"
    parts = marked(text, [(0, 7, "A"), (4, 13, "B"), (50, 60, "C")], [(2, 99, "A")])
    assert "".join(part if isinstance(part, str) else part.text or "" for part in parts) == text
