"""Words of a text, and one BIO tag a word from tags or from entity spans (Ramshaw and Marcus 1995)."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from jenga.data.labels import HeadColumn, RowError, near, show, some_of
from jenga.types import IGNORE_INDEX, HeadSpace

Span = tuple[int, int]
OUTSIDE = "O"
# Han and kana are written without spaces: each character is a word, lest an entity be a part of one.
_UNSPACED = "\u3005-\u3007\u3041-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_ASCII_WORD = re.compile(r"\w+|[^\w\s]")


@cache
def _word() -> re.Pattern[str]:
    # Python's \w leaves out combining marks, which Yoruba, Hindi or Arabic words hold, and joiners inside words.
    marks = "".join(chr(code) for code in range(0x20000) if unicodedata.category(chr(code)).startswith("M"))
    inner = f"{re.escape(marks)}\u200c\u200d\U000e0100-\U000e01ef"
    return re.compile(rf"[{_UNSPACED}][{inner}]*|[^\W{_UNSPACED}](?:[^\W{_UNSPACED}]|[{inner}])*|[^\w\s][{inner}]*")


def split_words(text: str) -> list[Span]:
    """Return the character spans of the words of `text`: runs of letters, digits and ``_``, or one other mark.

    Apostrophes and hyphens stand alone, so that the entity in ``Otieno's`` or ``Nairobi-based`` is whole words.
    """
    return [match.span() for match in (_ASCII_WORD if text.isascii() else _word()).finditer(text)]


def words_by_space(text: str) -> list[Span]:
    """Return the character spans of the words of ``text.split()``."""
    return [match.span() for match in re.finditer(r"\S+", text)]


def is_per_word(value: Any) -> bool:
    """Whether a label gives one tag a word, and not spans."""
    return isinstance(value, list) and bool(value) and not isinstance(value[0], dict)


def tag_names(types: Sequence[str]) -> tuple[str, ...]:
    """Return ``O`` and the two tags of each entity type, types sorted."""
    return (OUTSIDE, *(f"{prefix}-{name}" for name in sorted(set(types)) for prefix in "BI"))


def entity_types(names: Sequence[str]) -> tuple[str, ...]:
    """Return the sorted types of `names`: tags if each but ``O`` begins with ``B-`` or ``I-``, else types."""
    inside = [name for name in names if name != OUTSIDE]
    tags = all(name[:2] in ("B-", "I-") for name in inside)
    return tuple(sorted({name[2:] if tags else name for name in inside}))


class TagLabels:
    """Turns the label of a row into int64 tags ``(W,)``; counts what it repairs in `notes`."""

    def __init__(self, column: HeadColumn, space: HeadSpace) -> None:
        self.where = column.where
        self.index = {name: position for position, name in enumerate(space.labels)}
        self.types = [name[2:] for name in space.labels if name.startswith("B-")]
        # Integer tags count in the order in which the configuration lists the tags.
        self.listed = column.labels if column.labels and OUTSIDE in column.labels else None
        self.notes: Counter[str] = Counter()

    def encode(self, value: Any, text: str, words: Sequence[Span]) -> np.ndarray:
        """Return tags int64 ``(W,)`` of the words of `text`; raises RowError."""
        if not isinstance(value, list):
            raise RowError(
                f"{self.where}: {show(value)} is no list; allowed: a list of tags, one a word, or of "
                "{start, end, label}"
            )
        names = self._from_tags(value, words) if is_per_word(value) else self._from_spans(value, text, words)
        return np.array([self.index[name] for name in names], dtype=np.int64)

    def missing(self, words: Sequence[Span]) -> np.ndarray:
        """Return the tags of a row without labels: int64 ``(W,)``, all -100."""
        return np.full(len(words), IGNORE_INDEX, dtype=np.int64)

    def _from_tags(self, tags: list[Any], words: Sequence[Span]) -> list[str]:
        if len(tags) != len(words):
            raise RowError(
                f"{self.where}: {len(tags)} tags for {len(words)} words; give one tag a word, with the words as a list "
                "(columns.tokens) or parted by spaces"
            )
        names = [self._tag_name(tag) for tag in tags]
        repaired = repair(names)
        if repaired != names:
            self.notes["repaired"] += 1
        return repaired

    def _tag_name(self, tag: Any) -> str:
        if isinstance(tag, int) and not isinstance(tag, bool):
            if self.listed is None:
                raise RowError(f"{self.where}: tag {tag} is a number; set the head's `labels` to the tags, in order")
            if not 0 <= tag < len(self.listed):
                raise RowError(f"{self.where}: tag {tag} is beyond the {len(self.listed)} `labels` of the head")
            tag = self.listed[tag]
        if not isinstance(tag, str) or tag not in self.index:
            raise RowError(
                f"{self.where}: unknown tag {show(tag)}{near(tag, self.index)} Allowed: {some_of(self.index)}"
            )
        return tag

    def _from_spans(self, spans: list[Any], text: str, words: Sequence[Span]) -> list[str]:
        names = [OUTSIDE] * len(words)
        previous: tuple[Span, str] | None = None
        widened = 0
        for start, end, label in sorted(self._span(span, text) for span in spans):
            if previous is not None and start < previous[0][1]:
                raise RowError(
                    f"{self.where}: entities {show(text[slice(*previous[0])])} and {show(text[start:end])} overlap "
                    f"({previous[0][0]}-{previous[0][1]} {previous[1]}, {start}-{end} {label}); keep one of them"
                )
            covered = [at for at, (first, last) in enumerate(words) if first < end and last > start]
            if not covered:
                raise RowError(f"{self.where}: the entity at {start}-{end} covers no word")
            if words[covered[0]][0] < start or words[covered[-1]][1] > end:
                widened += 1
            if any(names[at] != OUTSIDE for at in covered):
                raise RowError(
                    f"{self.where}: two entities share the word {show(text[slice(*words[covered[0]])])}; "
                    "an entity is made of whole words"
                )
            names[covered[0]] = f"B-{label}"
            for at in covered[1:]:
                names[at] = f"I-{label}"
            previous = (start, end), label
        self.notes["widened"] += widened
        return names

    def _span(self, span: Any, text: str) -> tuple[int, int, str]:
        fields = span if isinstance(span, dict) else {}
        start, end, label = (fields.get(key) for key in ("start", "end", "label"))
        if type(start) is not int or type(end) is not int or not isinstance(label, str):
            raise RowError(
                f"{self.where}: {show(span)} is no entity; allowed: {{start, end, label}}, with numbers of characters "
                "and an entity type"
            )
        if label not in self.types:
            raise RowError(
                f"{self.where}: unknown entity type {show(label)}{near(label, self.types)} "
                f"Allowed: {some_of(self.types)}"
            )
        if not 0 <= start < end <= len(text):
            raise RowError(
                f"{self.where}: the span {start}-{end} is empty or outside the text of {len(text)} characters; "
                "start counts from 0, end is the character after the last"
            )
        if span.get("text") not in (None, text[start:end]):
            raise RowError(
                f"{self.where}: the entity's text is {show(span['text'])}, but characters {start}-{end} are "
                f"{show(text[start:end])}; offsets count characters, not bytes or words"
            )
        return start, end, label


def repair(names: Sequence[str]) -> list[str]:
    """Return IOB2 tags: an ``I-x`` that continues no ``x`` opens one (Tjong Kim Sang and Veenstra 1999, IOB1)."""
    fixed: list[str] = []
    for name in names:
        continues = bool(fixed) and fixed[-1] != OUTSIDE and fixed[-1][2:] == name[2:]
        fixed.append(f"B-{name[2:]}" if name.startswith("I-") and not continues else name)
    return fixed
