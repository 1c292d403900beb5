"""Tables of certainty show what was told, and nothing where nothing was."""

from __future__ import annotations

from typing import Any

from jenga.report.certainty import certainty_table, interval_words

BEFORE, AFTER = {"ece": 0.12, "nll": 0.9, "brier": 0.4}, {"ece": 0.04, "nll": 0.7, "brier": 0.35}


def evaluation(*told: dict[str, Any]) -> dict[str, Any]:
    heads = [{"task": "t", "head": f"h{at}", "certainty": each} for at, each in enumerate(told)]
    return {"splits": {"test": {"heads": heads}}}


def test_a_head_shows_its_figures_before_and_after_its_calibration() -> None:
    told = {"calibration": "temperature", "temperature": 1.8, "before": BEFORE, "after": AFTER}
    assert certainty_table(evaluation(told, {"calibration": "none", "before": BEFORE}), "test") == [
        ["task", "head", "calibration", "ece", "nll", "brier"],
        ["t", "h0", "temperature 1.800", "0.040 (was 0.120)", "0.700 (was 0.900)", "0.350 (was 0.400)"],
        ["t", "h1", "none", "0.120", "0.900", "0.400"],
    ]


def test_sets_are_shown_where_some_head_has_them() -> None:
    sets = {"conformal": {"wanted": 0.9, "coverage": 0.914, "mean_size": 1.3}}
    assert certainty_table(evaluation({"calibration": "none", "before": BEFORE}, sets), "test") == [
        ["task", "head", "calibration", "ece", "nll", "brier", "coverage", "mean size"],
        ["t", "h0", "none", "0.120", "0.900", "0.400", "-", "-"],
        ["t", "h1", "-", "-", "-", "-", "0.914 (of 0.9)", "1.300"],
    ]


def test_scopes_are_shown_with_what_they_tell_apart_where_other_rows_are_there() -> None:
    both = {"kept": 0.95, "outside": 100, "refused": 0.7, "auroc": 0.93, "fpr_at_95_tpr": 0.3}
    assert certainty_table(evaluation({"scope": both}, {"scope": {"kept": 0.9}}, {"before": BEFORE}), "test")[1:] == [
        ["t", "h0", "-", "-", "-", "-", "0.950", "0.700", "0.930"],
        ["t", "h1", "-", "-", "-", "-", "0.900", "-", "-"],
        ["t", "h2", "-", "0.120", "0.900", "0.400", "-", "-", "-"],
    ]


def test_a_run_without_any_has_no_table() -> None:
    assert certainty_table(evaluation({}), "test") == []


def test_an_interval_is_told_in_words() -> None:
    assert interval_words({"intervals": {"f1": [0.1, 0.25]}}, "f1") == "0.100 to 0.250"
    assert interval_words({"intervals": {"f1": [0.1, 0.25]}}, "recall") == "-"
    assert interval_words({}, "f1") == "-"
