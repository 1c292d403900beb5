"""Drift is found where values changed, and only there."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import seeds
from scipy import stats

from jenga.errors import ConfigError
from jenga.refinery import sketches
from jenga.refinery.estimator import SecurityRefinery
from jenga.refinery.stability import drift, drift_table, is_state, population_stability

Rows = list[dict[str, Any]]
SCHEMA = {
    "fields": [
        {"path": "n", "kind": "numeric"}, {"path": "c", "kind": "categorical"}, {"path": "p", "kind": "port"},
        {"path": "i", "kind": "ip"}, {"path": "s", "kind": "text"}, {"path": "t", "kind": "timestamp"},
        {"path": "b", "kind": "boolean"}, {"path": "h", "kind": "categorical", "encoding": "hash"},
    ]
}  # fmt: skip


def make(count: int, seed: int, **changes: Callable[[int, np.random.Generator], Any]) -> Rows:
    rng = np.random.default_rng(seeds.derived(seed))
    usual: dict[str, Callable[[int, np.random.Generator], Any]] = {
        "n": lambda at, rng: float(rng.normal()), "c": lambda at, rng: "abc"[rng.integers(3)],
        "p": lambda at, rng: int(rng.choice([22, 80, 443])), "i": lambda at, rng: f"10.0.0.{rng.integers(50)}",
        "s": lambda at, rng: "x" * int(rng.integers(5, 20)), "t": lambda at, rng: 1.7e9 + at * 2 + float(rng.random()),
        "b": lambda at, rng: bool(rng.integers(2)), "h": lambda at, rng: f"v{rng.integers(40)}",
    }  # fmt: skip
    return [{name: value(at, rng) for name, value in {**usual, **changes}.items()} for at in range(count)]


@pytest.fixture(scope="module")
def before() -> SecurityRefinery:
    return SecurityRefinery(schema=SCHEMA).fit(make(4000, 0))


def test_rows_of_the_same_kind_do_not_drift(before: SecurityRefinery) -> None:
    found = drift(before, make(4000, 1))
    assert {each.field for each in found} == {"n", "c", "p", "i", "s", "t", "b", "h"}
    assert {each.verdict for each in found} == {"none"}


@pytest.mark.filterwarnings("ignore:.*values are of another type")
@pytest.mark.parametrize(
    ("field", "change", "words"),
    [
        ("n", lambda at, rng: float(rng.normal(1.5)), "PSI"),
        ("c", lambda at, rng: "abcd"[rng.integers(4)], "have an unknown value"),
        ("p", lambda at, rng: int(rng.integers(1024, 60_000)), "PSI"),
        ("i", lambda at, rng: "192.168.1.1", "PSI"),
        ("s", lambda at, rng: "x" * int(rng.integers(40, 60)), "PSI"),
        ("t", lambda at, rng: 1.7e9 + at * 60, "PSI"),
        ("b", lambda at, rng: True, "PSI"),
        ("h", lambda at, rng: f"w{rng.integers(4)}", "PSI"),
        ("n", lambda at, rng: None if at % 2 else float(rng.normal()), "missing rate up by 50.0%"),
        ("n", lambda at, rng: "text", "missing rate up by 100.0%"),
    ],
)
def test_field_that_changed_comes_first_with_a_reason(
    before: SecurityRefinery, field: str, change: Callable[[int, np.random.Generator], Any], words: str
) -> None:
    found = drift(before, make(4000, 1, **{field: change}))
    assert (found[0].field, found[0].verdict) == (field, "major")
    assert words in found[0].words
    assert {each.verdict for each in found[1:]} == {"none"}
    assert found == sorted(found, key=lambda each: -each.psi)


@pytest.mark.filterwarnings("ignore:.*values are of another type")
def test_rates_tell_missing_mismatching_and_unknown_values(before: SecurityRefinery) -> None:
    rows = make(2000, 1, n=lambda at, rng: ("x", None, 1.0, 2.0)[at % 4], c=lambda at, rng: "ad"[at % 2])
    found = {each.field: each for each in drift(before, rows)}
    assert (found["n"].missing_before, found["n"].missing_after) == (0.0, 0.5)
    assert (found["n"].mismatch_before, found["n"].mismatch_after) == (0.0, 0.25)
    assert found["c"].unknown_rate == 0.5
    assert found["h"].unknown_rate is None
    assert json.dumps([each.to_dict() for each in found.values()])


@pytest.mark.parametrize("limit", [sketches.DISTINCT_LIMIT, 500])
def test_ks_is_the_distance_of_the_distributions(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(seeds.derived(0))
    old, new = rng.normal(size=3000), rng.normal(0.4, 1.2, size=400)
    monkeypatch.setattr(sketches, "DISTINCT_LIMIT", limit)
    schema = {"fields": [{"path": "n", "kind": "numeric"}]}
    before = SecurityRefinery(schema=schema).fit([{"n": value} for value in old])
    [found] = drift(before, [{"n": value} for value in new])
    assert before.statistics_["n"].numbers is not None
    assert before.statistics_["n"].numbers.exact == (limit > 3000)
    # Numbers that are cut to 0.1% may change their order with near ones.
    assert found.ks == pytest.approx(stats.ks_2samp(old, new).statistic, abs=1e-12 if limit > 3000 else 2e-2)


def test_psi_is_zero_for_equal_shares_and_finite_for_empty_bins() -> None:
    assert population_stability(np.array([10, 30]), np.array([10, 30])) == 0.0
    assert population_stability(np.array([10_000, 30_000]), np.array([100, 300])) < 1e-4
    assert 1.0 < population_stability(np.array([100, 0]), np.array([0, 100])) < 100.0
    known = population_stability(np.array([500_000, 500_000]), np.array([600_000, 400_000]))
    assert known == pytest.approx(0.1 * np.log(1.2) - 0.1 * np.log(0.8), rel=1e-4)


def test_few_rows_are_no_drift(before: SecurityRefinery) -> None:
    found = drift(before, make(20, 1))
    assert {each.verdict for each in found} <= {"too few rows", "none"}
    assert "by chance" in found[0].words


def test_states_are_compared_like_rows_and_must_have_the_same_fields(before: SecurityRefinery) -> None:
    rows = make(500, 1)
    state = SecurityRefinery(schema=SCHEMA).fit(rows)
    assert drift(before, state) == drift(before, rows)
    with pytest.raises(ConfigError, match="different fields"):
        drift(before, SecurityRefinery(schema={"fields": SCHEMA["fields"][:2]}).fit(rows))
    table = drift_table(drift(before, state))
    assert len({len(row) for row in table}) == 1
    assert (is_state("a.safetensors"), is_state("a.jsonl")) == (True, False)


def test_entities_drift_where_fewer_rows_name_one_and_not_where_others_do() -> None:
    schema = {"fields": [{"path": "t", "kind": "timestamp", "by": "u"}, {"path": "u", "kind": "entity"}]}
    before = SecurityRefinery(schema=schema).fit(make(4000, 0, u=lambda at, rng: f"user-{at % 7}"))
    others = make(4000, 1, u=lambda at, rng: f"other-{at % 7}")
    nobody = make(4000, 1, u=lambda at, rng: f"user-{at % 7}" if at % 2 else None)
    for rows, wanted in ((others, "none"), (nobody, "major")):
        found = next(each for each in drift(before, rows) if each.field == "u")
        assert (found.kind, found.verdict) == ("entity", wanted)
