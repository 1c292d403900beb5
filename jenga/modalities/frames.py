"""Labels of moments beside the moments that a backbone makes of a row: which of them can be learnt."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from jenga.errors import DataError
from jenga.labels import kind_named
from jenga.labels.base import Mask, Moments
from jenga.labels.column import some_of
from jenga.labels.judge import labelled_rows
from jenga.modalities.backbone import BaseBackbone
from jenga.rows.batches import EncodedSplit
from jenga.rows.split import TRAIN

_TEST = "test"


def learnable(split: EncodedSplit, backbone: BaseBackbone, *, of: str = TRAIN) -> tuple[EncodedSplit, list[str]]:
    """Return rows without the labels that do not fit what `backbone` makes of them, and a warning of each such reason.

    of: the name of their split; rows to judge keep their labels. Raises DataError where no other label of a head is
    left, but in rows that are only judged.
    """
    counts, seconds = backbone.frames(split.lengths), backbone.frame_seconds
    if counts is None or seconds is None or not len(split):
        return split, []
    cut = split.encoded.truncated
    moments = Moments(counts, seconds, np.zeros(len(split), bool) if cut is None else cut)
    labels, warnings = dict(split.rows.labels), []
    for key in labels:
        space = split.spaces[key]
        kept, unfit = kind_named(space.kind).fitting(labels[key], moments)
        told = [_told(split, key, reason, rows, moments, of=of) for reason, rows in unfit.items() if rows.any()]
        if told and of != _TEST and not labelled_rows(space, kept):
            raise DataError(f"{told[0]}. No other row is left; are the clips those of their labels?")
        labels[key] = kept
        warnings += told
    if of != TRAIN or not warnings:
        return split, warnings
    return replace(split, rows=replace(split.rows, labels=labels)), warnings


def _told(split: EncodedSplit, key: tuple[str, str], reason: str, unfit: Mask, moments: Moments, *, of: str) -> str:
    rows, counts, seconds = split.rows, moments.counts, moments.seconds
    places = [
        f"{rows.ids[at]} ({rows.files[at]}:{rows.numbers[at]}: {counts[at]} frames, {counts[at] * seconds:g} s)"
        for at in np.flatnonzero(unfit).tolist()
    ]
    done = "are not learnt" if of == TRAIN else "are judged as they stand"
    return f"head '{'.'.join(key)}': {len(places)} of {len(split)} {of} rows {reason}, and {done}: {some_of(places)}"
