"""One BIO tag for each word: a list of int64 ``(W,)``, all -100 for a row without labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from jenga.labels.base import LABEL_KINDS, Answers, Encoding, Errors, LabelKind, Mask, Reader, Texts
from jenga.labels.cells import MISSING
from jenga.labels.certain import Additive, Evidence, Floats, ratio
from jenga.labels.classes import ClassHead, balanced_weights
from jenga.labels.column import HeadColumn
from jenga.labels.forms import readable, with_missing
from jenga.labels.metric import Metric
from jenga.labels.schemes import OUTSIDE, repair
from jenga.labels.shapes import SHARE, TEXT, Shape, list_of, record
from jenga.labels.tables import per_label, rounded
from jenga.labels.tag_cells import TagReader, tags_of
from jenga.labels.unseen import is_unseen, learnable, unseen_tag
from jenga.types import IGNORE_INDEX, HeadSpace

Entity = tuple[int, int, str]
"""Its first word, the word after its last, and its type."""


class TagHead(ClassHead):
    """BIO tags; `labels` lists entity types or the tags themselves, `num_labels` counts tags."""

    offset_unit: Literal["characters", "utf16", "bytes"] = Field(
        "characters",
        description="What start and end of an entity count: characters (Python), utf16 (JavaScript, Java, C#), bytes.",
    )
    partial_words: Literal["refuse", "widen"] = Field(
        "refuse",
        description="A row with an entity that begins or ends inside a word is set aside (refuse), or the entity takes "
        "in the whole word (widen).",
    )

    def _sizes(self, labels: list[str]) -> tuple[int, ...]:
        return (len(labels), 2 * len(labels) + 1)


@LABEL_KINDS.register("tags")
class Tags(LabelKind):
    """Entities of a text, as a tag of each word."""

    block = TagHead
    metrics = (Metric("f1"), Metric("precision"), Metric("recall"), Metric("token_accuracy"))
    hub_task = "token-classification"
    loss = "ce"
    noun = "tags"
    per_word = True

    def columns(self, head: str) -> tuple[str, ...]:
        """Return the columns of tags by word and of entities, as spaCy and Prodigy call them too."""
        return ("ner_tags", "entities", "spans")

    def settle(self, column: HeadColumn, cells: Sequence[Any]) -> tuple[HeadColumn, list[str]]:
        """Take the usual words for a missing label."""
        return replace(column, cells=with_missing(column, MISSING)), []

    def infer(self, column: HeadColumn, values: Sequence[Any], *, max_bad_fraction: float) -> tuple[str, ...]:
        """Return ``O`` and two tags for each entity type."""
        return tags_of(column, readable(values))

    def reader(self, column: HeadColumn, space: HeadSpace) -> Reader:
        """Return what reads tags and spans."""
        return TagReader(column, space)

    def labelled(self, space: HeadSpace, targets: Any) -> Mask:
        """Return which rows have a tag."""
        return np.array([bool(np.any(np.asarray(row) != IGNORE_INDEX)) for row in targets], dtype=bool)

    def known(self, space: HeadSpace, targets: Any) -> Mask:
        """Return which rows have a tag that training rows have."""
        return np.array([bool(np.any(np.asarray(row) >= 0)) for row in targets], dtype=bool)

    def counts(self, space: HeadSpace, targets: Any) -> NDArray[np.int64]:
        """Return the words of each tag."""
        codes = np.concatenate([np.empty(0, np.int64), *targets])
        return np.bincount(codes[codes >= 0], minlength=space.size)

    def balanced(self, space: HeadSpace, targets: Any) -> dict[str, list[float]]:
        """Return ``class_weight``: words over K times the words of the tag."""
        return {"class_weight": balanced_weights(self.counts(space, targets))}

    def expected(self, space: HeadSpace) -> Mask:
        """Return True for the tags that begin an entity; the others come with its words, or without any."""
        return np.array([label != OUTSIDE and not label.startswith("I-") for label in space.labels])

    def names(self, space: HeadSpace) -> Sequence[str]:
        """Return the entity types."""
        return [label[2:] for label in space.labels if label.startswith("B-")]

    def batches(self, targets: Any, encoding: Encoding) -> Callable[[Sequence[int]], torch.Tensor]:
        """Lay each word's tag on its first token, int64 ``(B, T)``; every other token is ignored.

        So is a tag that no training row has.
        """
        tokens = encoding.tokens
        if tokens is None:
            raise TypeError("words have tags, but the rows are no texts")
        laid = tokens.spread([learnable(row) for row in targets], IGNORE_INDEX)
        return lambda index: tokens.padded(laid, index, IGNORE_INDEX)

    def predict(self, logits: torch.Tensor, threshold: NDArray[np.float64] | float) -> NDArray[Any]:
        """Return the likeliest tag of each word of a row, int64 ``(W,)``, ``O`` where its logits are NaN."""
        return np.where(logits.isnan().any(-1).numpy(), 0, logits.argmax(-1).numpy())

    def conditions(self, space: HeadSpace) -> frozenset[str]:
        """Return that rules may ask for labels and how probable they are."""
        return frozenset({"label", "probability"})

    def decode(
        self, space: HeadSpace, predictions: Any, logits: Sequence[torch.Tensor], rows: Texts, *,
        as_words: Sequence[bool], probabilities: bool,
    ) -> Answers:  # fmt: skip
        """Return ``entities`` of each row, and its ``tags`` where it was given as words.

        The probability of an entity is that of its least certain word.
        """
        assert rows.words is not None
        answers: Answers = []
        for tags, own, text, words, by_word in zip(predictions, logits, rows.texts, rows.words, as_words, strict=True):
            shares = own.double().softmax(-1).numpy()
            entities = []
            for first, last, label in sorted(spans(tags, space.labels)):
                start, end = words[first][0], words[last - 1][1]
                least = min(shares[word, tags[word]] for word in range(first, last))
                entities.append(
                    {"start": start, "end": end, "label": label, "text": text[start:end], "probability": rounded(least)}
                )
            answer: dict[str, Any] = {"entities": entities}
            if by_word:
                answer["tags"] = repair([space.labels[tag] for tag in tags])
            answers.append(answer)
        return answers

    def shape(self, space: HeadSpace) -> Shape:
        """Return that of an answer."""
        place = {"type": "integer", "minimum": 0}
        entity = {"start": place, "end": place, "label": TEXT, "text": TEXT, "probability": SHARE}
        return record({"entities": list_of(record(entity))}, {"tags": list_of(TEXT)})

    def evidence(self, space: HeadSpace, logits: Sequence[torch.Tensor], targets: Any) -> Evidence | None:
        """Return the logits of the words with a tag that training rows have and a token of their own."""
        gold = np.concatenate([np.empty(0, np.int64), *map(np.asarray, targets)])
        if not len(gold) or logits[0].shape[-1:] != (space.size,):
            return None
        by_word = torch.cat(list(logits)).double().numpy()
        rows = np.repeat(np.arange(len(targets)), [len(row) for row in targets])
        known = (gold >= 0) & ~np.isnan(by_word).any(1)
        return Evidence(by_word, gold, rows).take(known) if known.any() else None

    def additive(self, space: HeadSpace, predictions: Any, targets: Any) -> Additive:
        """Return what `judge` does, by the spans and the words of each row."""
        statistics = []
        for row, (predicted, gold) in enumerate(zip(predictions, targets, strict=True)):
            known = np.asarray(gold) != IGNORE_INDEX
            if known.any():
                spans_of = _span_counts(space, predictions[row : row + 1], targets[row : row + 1])
                counted = [spans_of[name].total() for name in ("hits", "false_alarms", "misses")]
                right = (np.asarray(predicted) == np.asarray(gold))[known].sum()
                statistics.append([*counted, int(right), int(known.sum())])
        return Additive.of_rows(np.array(statistics, np.float64), _of_sums)

    def judge(self, space: HeadSpace, predictions: Any, targets: Any) -> dict[str, float]:
        """Return F1, precision and recall of spans, and the accuracy of labelled words.

        A span counts when its type and both borders are right (micro average). Without any span in targets or
        predictions only ``token_accuracy`` is defined.
        """
        gold = np.concatenate([np.asarray(row) for row in targets])
        known = gold != IGNORE_INDEX
        predicted = np.concatenate([np.asarray(row) for row in predictions])
        metrics = {"token_accuracy": float(np.mean(predicted[known] == gold[known]))}
        counts = _span_counts(space, predictions, targets)
        hits, false_alarms, misses = (counts[name].total() for name in ("hits", "false_alarms", "misses"))
        if hits + false_alarms + misses:
            metrics["f1"] = 2 * hits / (2 * hits + false_alarms + misses)
            metrics["precision"] = hits / max(hits + false_alarms, 1)
            metrics["recall"] = hits / max(hits + misses, 1)
        return metrics

    def details(self, space: HeadSpace, predictions: Any, targets: Any) -> dict[str, Any]:
        """Return ``per_label``, by entity type, and ``warnings``."""
        counts = _span_counts(space, predictions, targets)
        kinds = sorted({label.partition("-")[2] for label in space.labels} - {""})
        hits, false_alarms, misses = (
            np.array([counts[name][kind] for kind in kinds], dtype=np.int64)
            for name in ("hits", "false_alarms", "misses")
        )
        warnings = []
        missed, wanted = counts["misses"].total(), counts["hits"].total() + counts["misses"].total()
        if unseen := missed - int(misses.sum()):
            warnings.append(f"{unseen} of {wanted} entities are of types that no training row has, and count as missed")
        elif not wanted:
            warnings.append("no entity in the labelled rows")
        if wanted and not (hits + false_alarms).any():
            warnings.append("predicts no entity")
        return {"per_label": per_label(kinds, hits, false_alarms, misses), "warnings": warnings}

    def errors(self, space: HeadSpace, predictions: Any, targets: Any, logits: Sequence[torch.Tensor]) -> Errors:
        """Return how many entities of each row are missed, or found where there are none."""
        pairs = [_span_counts(space, [found], [gold]) for found, gold in zip(predictions, targets, strict=True)]
        wrong = [each["false_alarms"].total() + each["misses"].total() for each in pairs]
        return Errors("wrong entities", np.array(wrong, np.float64))

    def spans(self, space: HeadSpace, labels: Any, rows: Texts) -> list[list[tuple[int, int, str]]]:
        """Return each row's entities."""
        assert rows.words is not None
        return [
            [(words[first][0], words[last - 1][1], kind) for first, last, kind in sorted(spans(tags, space.labels))]
            for tags, words in zip(labels, rows.words, strict=True)
        ]

    def written(self, space: HeadSpace, labels: Any, rows: Texts) -> list[str]:
        """Return the words of each entity with its type; "-" where there is none."""
        assert rows.words is not None
        found = []
        for tags, text, words in zip(labels, rows.texts, rows.words, strict=True):
            entities = sorted(spans(tags, space.labels))
            shown = [f"{text[words[first][0] : words[last - 1][1]]} ({kind})" for first, last, kind in entities]
            found.append("; ".join(shown) or "-")
        return found

    def distilled(
        self, student: torch.Tensor, teacher: torch.Tensor,
        divergence: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    ) -> torch.Tensor:  # fmt: skip
        """Return the mean divergence over rows, in each over its words; a token that begins none has NaN."""
        words = ~teacher.isnan().any(-1)
        found = torch.where(words, divergence(student, teacher.nan_to_num()), 0.0)
        return (found.sum(1) / words.sum(1).clamp_min(1)).mean()

    def majority(self, space: HeadSpace, train: Any, test: Any) -> list[NDArray[np.int64]]:
        """Return ``O`` for every word."""
        return [np.full(len(words), space.labels.index(OUTSIDE)) for words in test]


def spans(tags: Sequence[int] | Sequence[str] | NDArray[np.int64], labels: Sequence[str]) -> set[Entity]:
    """Return the (first word, word after the last, type) of every entity in one row of BIO tags.

    `tags` are ids into `labels` or names. An ``I-`` that continues nothing (after ``O``, or after another type) opens
    a new span, as the CoNLL scorer has it. An id outside `labels` (-100: unlabelled) counts as ``O``, but for one of a
    tag that no training row has, which is of a type of its own.
    """
    found: set[Entity] = set()
    start, kind = 0, ""
    for word, tag in enumerate([*tags, "O"]):
        name = tag if isinstance(tag, str) else _name_of(int(tag), labels)
        prefix, _, name_kind = name.partition("-")
        if kind and not (prefix == "I" and name_kind == kind):
            found.add((start, word, kind))
            kind = ""
        if name_kind and not kind:
            start, kind = word, name_kind
    return found


def _of_sums(sums: Floats) -> dict[str, Floats]:
    """Return the metrics of sums ``(B, 5)``: hits, false alarms, misses, right words, words."""
    hits, false_alarms, misses, right, words = sums.T
    some = np.where(hits + false_alarms + misses > 0, 1.0, np.nan)
    return {
        "f1": ratio(2 * hits, 2 * hits + false_alarms + misses),
        "precision": some * hits / np.maximum(hits + false_alarms, 1),
        "recall": some * hits / np.maximum(hits + misses, 1),
        "token_accuracy": ratio(right, words),
    }


def _name_of(tag: int, labels: Sequence[str]) -> str:
    if is_unseen(tag):
        return unseen_tag(tag)
    return labels[tag] if 0 <= tag < len(labels) else OUTSIDE


def _span_counts(space: HeadSpace, predictions: Any, targets: Any) -> dict[str, Counter[str]]:
    counts: dict[str, Counter[str]] = {"hits": Counter(), "false_alarms": Counter(), "misses": Counter()}
    for predicted, gold in zip(predictions, targets, strict=True):
        gold = np.asarray(gold)
        predicted = np.where(gold == IGNORE_INDEX, IGNORE_INDEX, np.asarray(predicted))
        found, wanted = spans(predicted.tolist(), space.labels), spans(gold.tolist(), space.labels)
        counts["hits"].update(kind for *_, kind in found & wanted)
        counts["false_alarms"].update(kind for *_, kind in found - wanted)
        counts["misses"].update(kind for *_, kind in wanted - found)
    return counts
