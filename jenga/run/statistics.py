"""What the rows of a run are, in figures: how long they are, and how often each label occurs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from jenga.labels import kind_named
from jenga.rows.batches import EncodedSplit, Source

MAX_LABELS = 100
"""Labels of a head that are counted, the most frequent ones in the training rows."""
_SHARES = {"min": 0.0, "median": 0.5, "p95": 0.95, "max": 1.0}


def statistics(sources: Sequence[Source]) -> dict[str, list[dict[str, Any]]]:
    """Return ``lengths``, a line a split of a source, and ``labels``, one a label of a head, ready for JSON."""
    lengths = [
        {"source": source.name, "split": split, "rows": len(part.rows), "unit": part.encoded.unit, **_lengths(part)}
        for source in sources
        for split, part in source.splits.items()
        if len(part)
    ]
    return {"lengths": lengths, "labels": [line for source in sources for line in _labels(source)]}


def _lengths(part: EncodedSplit) -> dict[str, float]:
    found = np.quantile(part.lengths, list(_SHARES.values()), method="higher").tolist()
    cut = part.encoded.truncated
    return dict(zip(_SHARES, found, strict=True)) | {"cut": 0 if cut is None else int(cut.sum())}


def _labels(source: Source) -> list[dict[str, Any]]:
    lines = []
    for key, space in next(iter(source.splits.values())).spaces.items():
        kind = kind_named(space.kind)
        counts = {
            split: found
            for split, part in source.splits.items()
            if key in part.rows.labels and (found := kind.counts(space, part.rows.labels[key])) is not None
        }
        if not counts:
            continue
        first = next(iter(counts.values()))
        for at in np.argsort(-first, kind="stable")[:MAX_LABELS].tolist():
            own = {split: int(found[at]) for split, found in counts.items()}
            lines.append({"task": space.task, "head": space.head, "label": space.labels[at], "counts": own})
    return lines
