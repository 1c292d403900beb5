"""What a run tells of how certain its heads are: tables beside those of their metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jenga.tables import number

Head = Mapping[str, Any]
_SCOPE = ("kept", "refused", "auroc")


def interval_words(head: Head, metric: str) -> str:
    """Return between what values a metric of a head lies, a dash where nobody knows."""
    ends = head.get("intervals", {}).get(metric)
    return "-" if ends is None else f"{number(ends[0])} to {number(ends[1])}"


def certainty_table(evaluation: Mapping[str, Any], split: str) -> list[list[str]]:
    """Return a header and a row a head that has probabilities or sets: [] where none of `split` has.

    `evaluation`: the content of evaluation.json.
    """
    heads = [head for head in evaluation["splits"][split]["heads"] if head.get("certainty")]
    told = [head["certainty"] for head in heads]
    if not told:
        return []
    table = [["task", "head"]]
    if any("before" in each for each in told):
        table[0] += ["calibration", "ece", "nll", "brier"]
    if any("conformal" in each for each in told):
        table[0] += ["coverage", "mean size"]
    if any("scope" in each for each in told):
        table[0] += ["in scope kept", "others refused", "auroc of others"]
    for head, each in zip(heads, told, strict=True):
        row = [head["task"], head["head"]]
        if "calibration" in table[0]:
            row += [_method(each), *(_change(each, name) for name in ("ece", "nll", "brier"))]
        if "coverage" in table[0]:
            row += _sets(each.get("conformal"))
        if "in scope kept" in table[0]:
            row += [number(value) if (value := each.get("scope", {}).get(name)) is not None else "-" for name in _SCOPE]
        table.append(row)
    return table


def _method(told: Mapping[str, Any]) -> str:
    if "temperature" in told:
        return f"temperature {number(told['temperature'])}"
    return str(told.get("calibration", "-"))


def _change(told: Mapping[str, Any], name: str) -> str:
    """Return a figure, with what it was before the calibration."""
    if "before" not in told:
        return "-"
    before = number(told["before"][name])
    return f"{number(told['after'][name])} (was {before})" if "after" in told else before


def _sets(conformal: Mapping[str, float] | None) -> list[str]:
    if conformal is None:
        return ["-", "-"]
    return [f"{number(conformal['coverage'])} (of {conformal['wanted']:g})", number(conformal["mean_size"])]
