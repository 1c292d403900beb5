"""Sound that tests make up."""

from __future__ import annotations

import numpy as np
import seeds

RATE = 16_000


def tone(hertz: float, seconds: float, *, rate: int = RATE, loud: float = 0.5) -> np.ndarray:
    """Return a tone with a little noise, float32."""
    at = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(seeds.derived(f"{hertz} {seconds}")).normal(0, 0.01, len(at))
    return (loud * np.sin(2 * np.pi * hertz * at) + noise).astype(np.float32)
