"""How far the values of one set of rows lie from those of another, field by field."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from jenga.detectors.drift import CHANCE_PSI, MAJOR_PSI, MODERATE_PSI, N_BINS, chance, population_stability
from jenga.errors import ConfigError
from jenga.refinery.sketches import TokenBuckets, TokenCounts, ValueCounts, cut
from jenga.refinery.statistics import MISMATCH, FieldStatistics

if TYPE_CHECKING:
    from jenga.refinery.estimator import SecurityRefinery

MAJOR_RATE = 0.1
"""Change of the missing or unknown rate that counts as major drift; a fifth of it as moderate."""
MODERATE_RATE = 0.02
N_CATEGORIES = 20
N_GROUPS = 32

Verdict = Literal["none", "moderate", "major", "too few rows"]


@dataclass(frozen=True)
class FieldDrift:
    """How one field differs.

    `psi`: population stability index over deciles, categories or hash groups of the rows before, missing values a bin
    of their own. `ks`: Kolmogorov-Smirnov distance of numbers (of text: their lengths; of timestamps: the seconds
    between rows), None without numbers on both sides. Rates are shares of rows; `unknown_rate`: of the rows after, with
    a value that was never seen before (of sets, the share of such values), None where they are not kept. `words` say
    what `verdict` rests on.
    """

    field: str
    kind: str
    psi: float
    ks: float | None
    missing_before: float
    missing_after: float
    mismatch_before: float
    mismatch_after: float
    unknown_rate: float | None
    verdict: Verdict
    words: str

    def to_dict(self) -> dict[str, Any]:
        """Return the drift as JSON can hold it."""
        return asdict(self)


def drift(before: SecurityRefinery, after: Any) -> list[FieldDrift]:
    """Compare what `before` was fitted on with `after`: another fitted refinery, or rows as `fit` takes them.

    Rows are taken to follow those of `before`, whose histories go on; those of two states began with nothing each. The
    fields that differ most come first. Raises ConfigError when the two refineries have different fields.
    """
    from sklearn.base import clone

    from jenga.refinery.estimator import SecurityRefinery

    if not isinstance(after, SecurityRefinery):
        after = clone(before).set_params(preset=None, schema=before.schema_).fit_behind(before, after)
    ours, theirs = before.statistics_.fields, after.statistics_.fields
    if [_identity(each) for each in ours] != [_identity(each) for each in theirs]:
        raise ConfigError("drift: the two states have different fields; compare states of one schema, or give the rows")
    found = [_field_drift(old, new) for old, new in zip(ours, theirs, strict=True)]
    return sorted(found, key=lambda each: (-each.psi, -(each.ks or 0.0), each.field))


def is_state(path: str | os.PathLike[str]) -> bool:
    """Whether a path is called like a fitted state (.safetensors), not like data."""
    return os.fspath(path).endswith(".safetensors")


def _identity(known: FieldStatistics) -> tuple[str, str]:
    return known.field.path, known.field.kind


def _field_drift(old: FieldStatistics, new: FieldStatistics) -> FieldDrift:
    counts_old, counts_new = _binned(old, new)
    psi = population_stability(counts_old, counts_new)
    by_chance = chance(counts_old, counts_new, old.n, new.n)
    unknown = _unknown_rate(old, new)
    verdict, words = _judged(psi, by_chance, new.missing_rate - old.missing_rate, unknown)
    return FieldDrift(
        old.field.path, old.field.kind, psi, _distance(old.numbers, new.numbers), old.missing_rate, new.missing_rate,
        _mismatch_rate(old), _mismatch_rate(new), unknown, verdict, words,
    )  # fmt: skip


def _judged(psi: float, by_chance: float, missing: float, unknown: float | None) -> tuple[Verdict, str]:
    if by_chance > CHANCE_PSI:
        return "too few rows", f"so few rows give a PSI of about {by_chance:.2g} by chance"
    for verdict, least_psi, least_rate in (("major", MAJOR_PSI, MAJOR_RATE), ("moderate", MODERATE_PSI, MODERATE_RATE)):
        reasons = []
        if psi > least_psi:
            reasons.append(f"PSI {psi:.3g} > {least_psi:g}")
        if abs(missing) > least_rate:
            reasons.append(f"missing rate {'up' if missing > 0 else 'down'} by {abs(missing):.1%}")
        if unknown is not None and unknown > least_rate:
            reasons.append(f"{unknown:.1%} of rows have an unknown value")
        if reasons:
            return verdict, ", ".join(reasons)  # type: ignore[return-value]
    return "none", f"PSI {psi:.3g}"


def _binned(old: FieldStatistics, new: FieldStatistics) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows by bin before and after; the last bin holds the rows without the value."""
    if old.numbers is not None and new.numbers is not None:
        is_category = old.field.kind in ("boolean", "port")
        before, after = (_by_value if is_category else _by_decile)(old.numbers, new.numbers)
    elif old.field.kind == "entity":
        # Who they are is not kept: all that can drift is whether a row names anybody.
        before, after = (np.array([each.n - each.n_missing]) for each in (old, new))
    else:
        before, after = _by_token(old.tokens, new.tokens)
    return np.append(before, old.n_missing), np.append(after, new.n_missing)


def _by_decile(old: ValueCounts, new: ValueCounts) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    if not len(old.values):
        return np.array([0]), np.array([new.n])
    edges = np.unique(old.quantiles(np.linspace(0, 1, N_BINS + 1)[1:-1]))
    return old.histogram(edges), new.histogram(edges)


def _by_value(old: ValueCounts, new: ValueCounts) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return _by_top(
        dict(zip(old.values.tolist(), old.counts.tolist(), strict=True)),
        dict(zip(new.values.tolist(), new.counts.tolist(), strict=True)),
    )


def _by_token(old: Any, new: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    if isinstance(old, TokenCounts):
        return _by_top(old.counts, new.counts)
    assert isinstance(old, TokenBuckets)
    return old.counts.reshape(-1, N_GROUPS).sum(axis=0), new.counts.reshape(-1, N_GROUPS).sum(axis=0)


def _by_top(old: dict[Any, int], new: dict[Any, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count the most frequent values before one by one, and all others together."""
    top = sorted(old, key=lambda value: (-old[value], value))[:N_CATEGORIES]
    before, after = ([counts.get(value, 0) for value in top] for counts in (old, new))
    before.append(sum(old.values()) - sum(before))
    after.append(sum(new.values()) - sum(after))
    return np.array(before), np.array(after)


def _distance(old: ValueCounts | None, new: ValueCounts | None) -> float | None:
    """Return the largest difference of the two cumulative shares."""
    if old is None or new is None or not len(old.values) or not len(new.values):
        return None
    sides = [(each.values if old.exact == new.exact else cut(each.values), each.counts) for each in (old, new)]
    points = np.union1d(sides[0][0], sides[1][0])
    shares = []
    for values, counts in sides:
        order = np.argsort(values, kind="stable")
        sums = np.concatenate([[0], np.cumsum(counts[order])])
        shares.append(sums[np.searchsorted(values[order], points, side="right")] / sums[-1])
    return float(np.abs(shares[0] - shares[1]).max())


def _mismatch_rate(known: FieldStatistics) -> float:
    return float(known.states[MISMATCH]) / known.n if known.n else 0.0


def _unknown_rate(old: FieldStatistics, new: FieldStatistics) -> float | None:
    if not isinstance(old.tokens, TokenCounts) or not isinstance(new.tokens, TokenCounts) or not new.n:
        return None
    # A set may hold several values, or none.
    n_values = max(new.tokens.n, 1) if new.field.is_set else new.n
    return sum(count for token, count in new.tokens.counts.items() if token not in old.tokens.counts) / n_values


def drift_table(found: Sequence[FieldDrift]) -> list[list[str]]:
    """Return header and rows for people."""
    header = ["field", "kind", "PSI", "KS", "missing", "mismatch", "unknown", "drift", "why"]
    rows = [
        [
            each.field, each.kind, f"{each.psi:.3f}", "-" if each.ks is None else f"{each.ks:.3f}",
            _change(each.missing_before, each.missing_after), _change(each.mismatch_before, each.mismatch_after),
            "-" if each.unknown_rate is None else f"{each.unknown_rate:.1%}", each.verdict, each.words,
        ]
        for each in found
    ]  # fmt: skip
    return [header, *rows]


def _change(before: float, after: float) -> str:
    return f"{after:.1%}" if before == after else f"{before:.1%} -> {after:.1%}"
