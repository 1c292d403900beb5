"""Cells of tags: one tag a word, or spans of entities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from jenga.errors import DataError, suggest
from jenga.labels.base import Span
from jenga.labels.column import HeadColumn, RowError, near, read_cell, show, some_of
from jenga.labels.entity_forms import Entity, entity_of, is_entity
from jenga.labels.offsets import UNITS, character_offsets
from jenga.labels.schemes import OUTSIDE, are_tags, is_tag, opens_by_inside, repair
from jenga.labels.spaces import sized
from jenga.labels.unseen import may_be_unseen, unseen_code
from jenga.types import IGNORE_INDEX, HeadSpace

_REPAIRED = "{} rows had an I- tag that continues no entity; it was read as B- (IOB1)"
_TYPES_ALONE = "{} rows have types of entities without B- or I-; neighbours of one type are read as one entity"
_WIDENED = "{} entities began or ended inside a word and take in the whole word (partial_words: widen)"


def is_per_word(value: Any) -> bool:
    """Whether a label gives one tag a word, and not spans."""
    return isinstance(value, list) and bool(value) and not is_entity(value[0])


def tag_names(types: Sequence[str]) -> tuple[str, ...]:
    """Return ``O`` and the two tags of each entity type, types sorted."""
    return (OUTSIDE, *(f"{prefix}-{name}" for name in sorted(set(types)) for prefix in "BI"))


def entity_types(names: Sequence[str]) -> tuple[str, ...]:
    """Return the sorted types of `names`, which are tags of any scheme, or types."""
    inside = [name for name in names if name != OUTSIDE]
    tags = are_tags(inside)
    return tuple(sorted({name[2:] if tags else name for name in inside}))


class SpanError(RowError):
    """An entity does not stand where its offsets say.

    `what`: the reason without the advice.
    """

    def __init__(self, what: str, advice: str = "") -> None:
        super().__init__(f"{what}; {advice}" if advice else what)
        self.what = what


class TagReader:
    """Turns the label of a row into int64 tags ``(W,)``; counts what it repairs in `notes`."""

    unseen_do: str = "count as wrong"

    def __init__(self, column: HeadColumn, space: HeadSpace) -> None:
        self.where = column.where
        self.cells = column.cells
        self.index = {name: position for position, name in enumerate(space.labels)}
        self.types = [name[2:] for name in space.labels if name.startswith("B-")]
        # Integer tags count in the order in which the configuration lists the tags.
        self.listed = column.labels if column.labels and OUTSIDE in column.labels else None
        self.may_be_unseen = may_be_unseen(column)
        self.notes: Counter[str] = Counter()
        self.unseen: Counter[str] = Counter()

    def encode(self, value: Any, text: str, words: Sequence[Span]) -> np.ndarray:
        """Return tags int64 ``(W,)`` of the words of `text`; raises RowError."""
        if not isinstance(value, list):
            raise RowError(
                f"{self.where}: {show(value)} is no list; allowed: a list of tags, one a word, or of "
                "{start, end, label}"
            )
        names = self._from_tags(value, words) if is_per_word(value) else self._from_spans(value, text, words)
        return np.array([self._code(name) for name in names], dtype=np.int64)

    def by_space(self, value: Any) -> bool:
        """Return whether a cell has one tag for each word, which then are parted by spaces. Raises RowError."""
        return is_per_word(read_cell(value, self.where))

    def read(self, value: Any, text: str, words: Sequence[Span]) -> np.ndarray:
        """Return tags int64 ``(W,)``, all -100 where the cell holds none. Raises RowError."""
        value = read_cell(value, self.where)
        return self.missing(words) if self.cells.is_missing(value) else self.encode(value, text, words)

    def stack(self, codes: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the tags of each row."""
        return list(codes)

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
        alone = [name in self.types for name in names]
        names = [f"I-{name}" if plain else name for name, plain in zip(names, alone, strict=True)]
        repaired = repair(names)
        if any(alone):
            self.notes[_TYPES_ALONE] += 1
        elif opens_by_inside(names, repaired):
            self.notes[_REPAIRED] += 1
        return repaired

    def _tag_name(self, tag: Any) -> str:
        if isinstance(tag, int) and not isinstance(tag, bool):
            if self.listed is None:
                raise RowError(f"{self.where}: tag {tag} is a number; set the head's `labels` to the tags, in order")
            if not 0 <= tag < len(self.listed):
                raise RowError(f"{self.where}: tag {tag} is beyond the {len(self.listed)} `labels` of the head")
            tag = self.listed[tag]
        known = isinstance(tag, str) and (tag in self.types or (is_tag(tag) and self._may_be(tag[2:])))
        if not known:
            raise RowError(
                f"{self.where}: unknown tag {show(tag)}{near(tag, self.index)} Allowed: {some_of(self.index)}"
            )
        return str(tag)

    def _may_be(self, kind: str) -> bool:
        """Whether words may be of a type; '' is that of ``O``."""
        return not kind or kind in self.types or self.may_be_unseen

    def _code(self, name: str) -> int:
        if name in self.index:
            return self.index[name]
        kind = name[2:]
        if name.startswith("B"):
            self.unseen[f"{show(kind)}{suggest(kind, self.types)}"] += 1
        return unseen_code(kind, inside=name.startswith("I"))

    def _from_spans(self, spans: list[Any], text: str, words: Sequence[Span]) -> list[str]:
        entities = [self._entity(span) for span in spans]
        unit = self.cells.unit
        try:
            names, widened = self._tagged(entities, text, words, unit, widen=self.cells.partial_words == "widen")
        except SpanError as error:
            for other in UNITS:
                if other != unit and not text.isascii() and self._fits(entities, text, words, other):
                    raise RowError(
                        f"{error.what}; the offsets of this row fit if they count {UNITS[other]}: set "
                        f"offset_unit: {other} of the head"
                    ) from None
            raise
        if widened:
            self.notes[_WIDENED] += widened
        return names

    def _fits(self, entities: Sequence[Entity], text: str, words: Sequence[Span], unit: str) -> bool:
        try:
            self._tagged(entities, text, words, unit, widen=False)
        except SpanError:
            return False
        return True

    def _entity(self, span: Any) -> Entity:
        entity = entity_of(span)
        if entity is None:
            raise RowError(
                f"{self.where}: {show(span)} is no entity; allowed: {{start, end, label}}, or a list of the three: "
                "numbers of characters, and an entity type"
            )
        if not entity.label or not self._may_be(entity.label):
            raise RowError(
                f"{self.where}: unknown entity type {show(entity.label)}{near(entity.label, self.types)} "
                f"Allowed: {some_of(self.types)}"
            )
        return entity

    def _tagged(
        self, entities: Sequence[Entity], text: str, words: Sequence[Span], unit: str, *, widen: bool
    ) -> tuple[list[str], int]:
        """Return a tag for each word, and how many entities took in the rest of a word; raises SpanError."""
        names = [OUTSIDE] * len(words)
        previous: tuple[int, int, str] | None = None
        widened = 0
        for start, end, label in sorted(self._placed(entities, text, unit)):
            if previous is not None and start < previous[1]:
                raise SpanError(
                    f"{self.where}: entities {show(text[slice(*previous[:2])])} and {show(text[start:end])} overlap "
                    f"({previous[0]}-{previous[1]} {previous[2]}, {start}-{end} {label})",
                    "keep one of them",
                )
            covered, partial = _covered(words, start, end)
            what = f"{self.where}: the entity {show(text[start:end])} at {start}-{end}"
            if not covered:
                raise SpanError(f"{what} covers no word")
            if partial and not widen:
                raise SpanError(
                    f"{what} begins or ends inside the word {show(text[slice(*partial)])}",
                    "correct its offsets, or set partial_words: widen of the head, which tags the whole word",
                )
            widened += bool(partial)
            if names[covered[0]] != OUTSIDE:
                shared = show(text[slice(*words[covered[0]])])
                raise SpanError(
                    f"{self.where}: two entities share the word {shared}", "an entity is made of whole words"
                )
            names[covered[0]] = f"B-{label}"
            for at in covered[1:]:
                names[at] = f"I-{label}"
            previous = (start, end, label)
        return names, widened

    def _placed(self, entities: Sequence[Entity], text: str, unit: str) -> Iterator[tuple[int, int, str]]:
        """Yield the first character, the one after the last, and the type of each entity; raises SpanError."""
        offsets = character_offsets(text, unit)
        length = len(text) if offsets is None else max(offsets)
        for begins, ends, label, said in entities:
            if not 0 <= begins < ends <= length:
                raise SpanError(
                    f"{self.where}: the span {begins}-{ends} is empty or outside the text of {length} {unit}",
                    "start counts from 0, end is the one after the last",
                )
            if offsets is not None and not {begins, ends} <= offsets.keys():
                raise SpanError(f"{self.where}: the span {begins}-{ends} ({unit}) begins or ends inside a character")
            start, end = (begins, ends) if offsets is None else (offsets[begins], offsets[ends])
            if said not in (None, text[start:end]):
                raise SpanError(
                    f"{self.where}: the entity's text is {show(said)}, but {unit} {begins}-{ends} are "
                    f"{show(text[start:end])}",
                    f"offsets count {unit}",
                )
            yield start, end, label


def _covered(words: Sequence[Span], start: int, end: int) -> tuple[list[int], Span | None]:
    """Return the words that share a character with a span, by number, and one that it covers in part, if any.

    Blanks that a span takes in beside its words change nothing.
    """
    covered = [at for at, (first, last) in enumerate(words) if first < end and last > start]
    for at in (covered[0], covered[-1]) if covered else ():
        if words[at][0] < start or words[at][1] > end:
            return covered, words[at]
    return covered, None


def tags_of(column: HeadColumn, values: Sequence[Any]) -> tuple[str, ...]:
    """Return ``O`` and the tags of the entity types that `values` hold. Raises DataError where tags are numbers."""
    if column.labels is not None:
        return tag_names(entity_types(column.labels))
    types: set[str] = set()
    alone: set[str] = set()
    for value in values:
        if is_per_word(value):
            if any(isinstance(tag, int) for tag in value):
                raise DataError(
                    f"{column.where}: the tags are numbers; set `labels` of the head to the tags in order, for example "
                    "[O, B-person, I-person]"
                )
            tags = [tag for tag in value if isinstance(tag, str) and tag != OUTSIDE]
            types.update(tag[2:] for tag in tags if is_tag(tag))
            alone.update(tag for tag in tags if tag.strip())
        elif isinstance(value, list):
            entities = map(entity_of, value)
            types.update(entity.label for entity in entities if entity is not None and entity.label)
    # Types stand alone where no tag has a prefix; beside some that have, they are mistakes of their rows.
    types = types or alone
    return sized(column, tag_names(sorted(types))) if types else ()
