"""Labels of rows to judge that no training row has: they train nothing, and count as wrong.

Such a label stands in its column as a code of its own, below every other: the same name gives the same code, in
whatever file it stands, so that two such classes stay two.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jenga.labels.column import HeadColumn, some_of
from jenga.types import IGNORE_INDEX

_FIRST = -1000


def may_be_unseen(column: HeadColumn) -> bool:
    """Whether labels that no training row has may stand in rows: where the configuration lists or counts none."""
    return column.labels is None and column.size is None and not column.open


def unseen_code(name: str, *, inside: bool = False) -> int:
    """Return the code of a label that no training row has; inside: of a word of an entity behind its first."""
    return _FIRST - 2 * zlib.crc32(name.encode(errors="surrogatepass")) - inside


def is_unseen(codes: Any) -> NDArray[np.bool_]:
    """Return which codes are of labels that no training row has."""
    found: NDArray[np.bool_] = np.asarray(codes) <= _FIRST
    return found


def unseen_tag(code: int) -> str:
    """Return the tag of a code that `is_unseen`: of a type that is the same for all words of one type only."""
    kind, inside = divmod(_FIRST - code, 2)
    return f"{'I' if inside else 'B'}-{kind}"


def learnable(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return codes as a loss takes them: those of labels that no training row has are ignored."""
    return np.where(is_unseen(codes), IGNORE_INDEX, codes)


def unseen_warnings(unseen: Mapping[tuple[str, str, str], int]) -> list[str]:
    """Return a sentence for each head of the labels that no training row has.

    Given by head, what such labels do to its scores, and the label in words.
    """
    heads: dict[tuple[str, str], Counter[str]] = {}
    for (where, do, label), count in unseen.items():
        heads.setdefault((where, do), Counter())[label] += count
    return [
        f"{where}: {counts.total()} labels of rows to judge are none that a training row has, and {do}: "
        + some_of(f"{count} {label}" for label, count in counts.most_common())
        for (where, do), counts in sorted(heads.items())
    ]
