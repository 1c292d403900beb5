"""From the logits of a head to logits whose probabilities are as often right as they say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, cast

import numpy as np
import torch

from jenga.certainty.scores import probabilities
from jenga.labels.certain import Evidence, Floats

Method = Literal["none", "temperature", "isotonic", "vector"]
MOST = 20_000
"""Things that a fit looks at, evenly spread; two parameters a class are known well enough by these."""
FEWEST = 100
"""Labelled rows without which one number is drawn by chance rather than learnt."""
_FEWEST_ISOTONIC = 1000
"""Fewer rows, and a step function follows their noise (Niculescu-Mizil & Caruana 2005, section 5)."""
_ROWS_OF_A_CLASS = 20
_MOST_LOGITS = 1 << 24
"""Of which a temperature, one number, is fitted: with 10,000 classes 1,677 rows, whose terms take 128 MiB each."""
_KNOTS = 256


@dataclass(frozen=True)
class Calibration:
    """A map of logits ``(..., K)`` to logits of the same shape, fitted to validation rows.

    `scale` and `shift`: one number or K, ``scale * logit + shift``. `knots`: of isotonic, the places and values of each
    class's probabilities, between which lines lead. `independent`: each of the K has a probability of its own.
    """

    method: Method
    independent: bool
    scale: list[float] = field(default_factory=list)
    shift: list[float] = field(default_factory=list)
    knots: list[tuple[list[float], list[float]]] = field(default_factory=list)

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        """Return calibrated logits, float64: rounded to float32, two that differ could become equal."""
        exact = logits.double()
        if self.knots:
            return torch.from_numpy(self._isotonic(exact.numpy()))
        found = exact * torch.tensor(self.scale, dtype=torch.float64)
        return found + torch.tensor(self.shift, dtype=torch.float64) if self.shift else found

    def apply_rows(self, rows: torch.Tensor | Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
        """Return the calibrated logits of rows, ``(M, K)`` or one ``(W, K)`` each."""
        if isinstance(rows, torch.Tensor):
            return cast(Sequence[torch.Tensor], self.apply(rows))
        if not rows:
            return rows
        if rows[0].ndim == 1:
            return list(self.apply(torch.stack(list(rows))))
        return list(self.apply(torch.cat(list(rows))).split([len(row) for row in rows]))

    def check(self, size: int) -> None:
        """Raise ValueError where it was not fitted to a head of `size` labels."""
        parts = [len(each) for each in (self.scale, self.shift, self.knots) if each]
        if not parts or any(count not in (1, size) for count in parts) or len(self.knots) not in (0, size):
            raise ValueError(
                f"a calibration ({self.method}) of {parts or 'no'} numbers is for no head of {size} labels"
            )
        for places, values in self.knots:
            if len(places) != len(values) or not len(places) or np.any(np.diff(places) < 0):
                raise ValueError("a calibration (isotonic) whose places do not rise, or have not one value each")

    def _isotonic(self, logits: Floats) -> Floats:
        shares = probabilities(logits.reshape(-1, logits.shape[-1]), independent=self.independent)
        for own, (places, values) in zip(shares.T, self.knots, strict=True):
            own[:] = np.interp(own, places, values)
        if not self.independent:
            shares /= shares.sum(1, keepdims=True)
        found = np.log(shares) - np.log1p(-shares) if self.independent else np.log(shares)
        return found.reshape(logits.shape)


def too_few(method: Method, evidence: Evidence) -> int | None:
    """Return how many labelled rows `method` needs, where the evidence has fewer; None where there are enough."""
    wanted = FEWEST
    if method == "isotonic":
        wanted = _FEWEST_ISOTONIC
    if method == "vector":
        wanted = max(FEWEST, _ROWS_OF_A_CLASS * evidence.logits.shape[1])
    return wanted if len(np.unique(evidence.rows)) < wanted else None


def fit(method: Method, evidence: Evidence) -> Calibration:
    """Return the calibration by `method`, which is not ``none``, that makes the labels of `evidence` likeliest.

    - ``temperature``: one factor of all logits (Guo et al. 2017, section 4.2); no order of labels changes.
    - ``vector``: a factor and a shift for each class (section 4.2 too).
    - ``isotonic``: a rising function of each class's probability (Zadrozny & Elkan 2002), divided by their sum.

    Factors and shifts are held near 1 and 0 by a normal prior of deviation 1 on them (of factors: on their logarithm).
    It weighs as much as the log-likelihood of one row or so, and keeps a factor finite where no row is wrong.
    """
    most = MOST if method != "temperature" else min(MOST, max(FEWEST, _MOST_LOGITS // evidence.logits.shape[1]))
    if len(evidence.rows) > most:
        evidence = evidence.take(np.linspace(0, len(evidence.rows) - 1, most).astype(np.int64))
    if method == "isotonic":
        return Calibration(method, evidence.independent, knots=_knots(evidence))
    scale, shift = _fit_lines(evidence, each=method == "vector")
    return Calibration(method, evidence.independent, scale=scale.tolist(), shift=shift.tolist())


def _fit_lines(evidence: Evidence, *, each: bool) -> tuple[Floats, Floats]:
    """Return factors and shifts, of each class or one factor of all, by L-BFGS."""
    from scipy.optimize import minimize

    logits, size = evidence.logits, evidence.logits.shape[1] if each else 1
    known = ~np.isnan(evidence.wanted)
    wanted = np.where(known, evidence.wanted, 0.0)

    def loss(parameters: Floats) -> tuple[float, Floats]:
        scale, shift = np.exp(parameters[:size]), parameters[size:]
        moved = logits * scale + (shift if each else 0.0)
        if evidence.independent:
            terms = np.where(known, np.logaddexp(0.0, moved) - wanted * moved, 0.0)
        else:
            highest = moved.max(1, keepdims=True)
            terms = highest + np.log(np.exp(moved - highest).sum(1, keepdims=True)) - (wanted * moved).sum(1)[:, None]
        excess = np.where(known, probabilities(moved, independent=evidence.independent) - wanted, 0.0)
        by_class = (excess * logits).sum(0)
        slopes = (by_class if each else by_class.sum(keepdims=True)) * scale
        gradient = np.append(slopes, excess.sum(0) if each else []) + parameters
        return float(terms.sum() + 0.5 * (parameters**2).sum()) / len(logits), gradient / len(logits)

    found = minimize(loss, np.zeros(2 * size if each else 1), jac=True, method="L-BFGS-B").x
    return np.exp(found[:size]), found[size:]


def _knots(evidence: Evidence) -> list[tuple[list[float], list[float]]]:
    shares = probabilities(evidence.logits, independent=evidence.independent)
    found = []
    for own, hits in zip(shares.T, evidence.wanted.T, strict=True):
        known = ~np.isnan(hits)
        found.append(_rising(own[known], hits[known]))
    return found


def _rising(shares: Floats, hits: Floats) -> tuple[list[float], list[float]]:
    """Return the corners of the rising function of `shares` ``(N,)`` nearest to `hits`; the identity without any."""
    from sklearn.isotonic import IsotonicRegression

    if not len(shares):
        return [0.0, 1.0], [1e-6, 1 - 1e-6]
    # No number of rows proves a share of exactly 0 or 1.
    least = 0.5 / (len(shares) + 1)
    model = IsotonicRegression(y_min=least, y_max=1 - least, out_of_bounds="clip").fit(shares, hits)
    places, values = model.X_thresholds_, model.y_thresholds_
    if len(places) > _KNOTS:
        kept = np.unique(np.linspace(0, len(places) - 1, _KNOTS).round().astype(np.int64))
        places, values = places[kept], values[kept]
    return places.tolist(), values.tolist()
