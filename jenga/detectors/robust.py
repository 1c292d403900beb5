"""How far numbers lie apart, whatever the few that lie far away: the median absolute deviation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MAD_TO_SD = 1.4826
"""Standard deviations of a normal distribution in its median absolute deviation."""


def deviation(values: NDArray[Any]) -> float:
    """Return the standard deviation of numbers, at least one, as their median absolute deviation tells it."""
    return float(MAD_TO_SD * np.median(np.abs(values - np.median(values))))
