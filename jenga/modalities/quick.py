"""What quick models read of rows, so that an audit can ask them what each row's label should be."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jenga.detectors.out_of_sample import QuickModel

Row = Sequence[Hashable]
Predict = Callable[[Sequence[Row]], NDArray[np.int64]]


@dataclass
class Quick:
    """M rows as features, and what learns from them.

    `features`: ``(M, F)``. `words`: what they are, in sentences. `names`: of the features, where they mean something to
    people; (). `tokens`: what rows are made of, of which one may be taken away; None. `predictor`: given int64 labels
    ``(M,)``, -100 where missing, and how many there are, returns what answers rows of tokens with labels; None without
    tokens.
    """

    features: NDArray[Any]
    model: QuickModel
    words: str
    names: tuple[str, ...] = ()
    tokens: Sequence[Row] | None = None
    predictor: Callable[[NDArray[np.int64], int], Predict] | None = None
