"""Kinds of labels: how each is found in rows, read, laid in batches, judged, written as answers, given a baseline."""

from jenga.labels import classes, items, numbers, sound_events, tags, tokens, transcripts
from jenga.labels.base import LABEL_KINDS, LabelKind, kind_named

__all__ = [
    "LABEL_KINDS", "LabelKind", "classes", "items", "kind_named", "numbers", "sound_events", "tags", "tokens",
    "transcripts",
]  # fmt: skip
