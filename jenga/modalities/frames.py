"""Labels of moments beside the moments that a backbone makes of a row: which of them can be learnt."""

from __future__ import annotations

from dataclasses import replace

from jenga.errors import DataError
from jenga.labels import kind_named
from jenga.labels.column import some_of
from jenga.labels.judge import labelled_rows
from jenga.modalities.backbone import BaseBackbone
from jenga.rows.batches import EncodedSplit
from jenga.rows.split import TRAIN


def learnable(split: EncodedSplit, backbone: BaseBackbone, *, of: str = TRAIN) -> tuple[EncodedSplit, list[str]]:
    """Return rows without the labels that their positions in `backbone` are too few for, and a warning of each head
    that has such. Raises DataError where no other label is left.

    of: the name of their split.
    """
    positions = backbone.frames(split.lengths)
    if positions is None:
        return split, []
    labels, warnings = dict(split.rows.labels), []
    for key in labels:
        space = split.spaces[key]
        kind = kind_named(space.kind)
        labels[key], unfit = kind.fitting(labels[key], positions)
        if not unfit.any():
            continue
        places = [
            f"{name} ({file}:{number}: {frames} frames)"
            for name, file, number, frames, is_unfit in zip(
                split.rows.ids, split.rows.files, split.rows.numbers, positions.tolist(), unfit, strict=True
            )
            if is_unfit
        ]
        what = (
            f"head '{'.'.join(key)}': {len(places)} of {len(split)} {of} rows have more {kind.noun} "
            f"than the encoder makes frames of their clips, and are not learnt: {some_of(places)}"
        )
        if not labelled_rows(space, labels[key]):
            raise DataError(f"{what}. No other row is left; are the clips those of their labels?")
        warnings.append(what)
    if not warnings:
        return split, []
    return replace(split, rows=replace(split.rows, labels=labels)), warnings
