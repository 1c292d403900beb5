"""Which answers fit a rule, whatever their kind, and what of an event is read."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jenga.policy.match import Matcher, plain, seconds_of
from jenga.policy.schema import When

CLASS = {"label": "dos", "probability": 0.9}
ALERT = {"score": 0.7, "alert": True, "threshold": 0.5}
ITEMS = {"says_no": {"value": True, "probability": 0.6}, "shouts": {"value": False, "probability": 0.4}, "score": 0.5}
ENTITIES = {"entities": [{"label": "CARD", "probability": 0.4}, {"label": "CARD", "probability": 0.8}]}
EVENTS = {"events": [{"label": "glass", "probability": 0.7, "start": 0.1, "end": 0.2}]}
NUMBERS = {"values": {"risk": 3.0, "cost": 1.0}}


def fits(found: dict[str, Any], **when: Any) -> tuple[str | None, float | None] | None:
    match = Matcher(When(task="t", head="h", **when)).match({"id": "1", "t": {"h": found}})
    return None if match is None else (match.label, match.number)


@pytest.mark.parametrize(
    ("found", "when", "wanted"),
    [
        (CLASS, {"label": ["dos", "probe"]}, ("dos", 0.9)),
        (CLASS, {"label": ["probe"]}, None),
        (CLASS, {"label": ["dos"], "min_probability": 0.9}, ("dos", 0.9)),
        (CLASS, {"label": ["dos"], "min_probability": 0.91}, None),
        (CLASS, {"min_probability": 0.5}, ("dos", 0.9)),
        (CLASS, {"min_value": 0.0}, None),
        (ALERT, {"alert": True}, (None, 0.7)),
        (ALERT | {"alert": False}, {"alert": True}, None),
        (ALERT | CLASS, {"alert": True, "label": ["dos"]}, ("dos", 0.9)),
        (ALERT | CLASS, {"alert": True}, ("dos", 0.7)),
        (ALERT, {"min_score": 0.7}, (None, 0.7)),
        (ALERT, {"min_score": 0.71}, None),
        (ALERT, {"max_score": 0.69}, None),
        (CLASS, {"min_score": 0.1}, None),
        (ITEMS, {"label": ["shouts", "says_no"]}, ("says_no", 0.6)),
        (ITEMS, {"label": ["shouts"]}, None),
        (ITEMS, {"max_score": 0.5}, (None, 0.5)),
        ({"score": {"value": True, "probability": 0.9}, "score_": 0.2}, {"max_score": 0.3}, (None, 0.2)),
        (ENTITIES, {"label": ["CARD"]}, ("CARD", 0.8)),
        (ENTITIES, {"label": ["CARD"], "min_probability": 0.9}, None),
        ({"entities": []}, {"label": ["CARD"]}, None),
        (EVENTS, {"label": ["glass"], "min_probability": 0.5}, ("glass", 0.7)),
        ({"value": 3.5}, {"min_value": 3.5, "max_value": 4.0}, (None, 3.5)),
        ({"value": 3.5}, {"max_value": 3.0}, None),
        (NUMBERS, {"label": ["risk"], "min_value": 2.0}, ("risk", 3.0)),
        (NUMBERS, {"label": ["cost"], "min_value": 2.0}, None),
        ({"text": "dos"}, {"label": ["dos"]}, None),
    ],
)
def test_conditions_are_met_by_answers_of_every_kind(
    found: dict[str, Any], when: dict[str, Any], wanted: tuple[str | None, float | None] | None
) -> None:
    assert fits(found, **when) == wanted


def test_a_number_that_no_float_holds_fits_no_bound_and_stops_nothing() -> None:
    assert fits({"value": 10**400}, min_value=0.0) is None
    assert fits({"score": 10**400}, min_score=0.0) is None
    assert fits(CLASS | {"probability": 10**400}, label=["dos"]) == ("dos", None)


def test_without_a_head_the_only_one_is_meant_and_of_several_the_task_itself() -> None:
    one = Matcher(When(task="t", label=["dos"]))
    match = one.match({"t": {"h": CLASS}})
    assert match is not None
    assert match.head == "h"
    whole = Matcher(When(task="t", max_score=0.3)).match({"t": {"a": ITEMS, "b": ITEMS, "score": 0.2}})
    assert whole is not None
    assert (whole.head, whole.number) == (None, 0.2)


@pytest.mark.parametrize("answer", [{"id": "1", "error": "no"}, {"t": {"other": CLASS}}, {"t": "text"}, {"t": {}}])
def test_a_row_without_the_answer_fits_nothing(answer: dict[str, Any]) -> None:
    assert Matcher(When(task="t", head="h", label=["dos"])).match(answer) is None


@pytest.mark.parametrize(
    ("value", "unit", "seconds"),
    [
        (12, "s", 12.0),
        (12_000, "ms", 12.0),
        (12_000_000, "us", 12.0),
        (12_000_000_000, "ns", 12.0),
        ("1970-01-01T00:00:12Z", "ms", 12.0),
        ("1970-01-01T02:00:12+02:00", "s", 12.0),
        ("1970-01-01 00:00:12", "s", 12.0),
        ("12", "s", None),
        (True, "s", None),
        (None, "s", None),
        (math.nan, "s", None),
        (10**400, "s", None),
        (-(10**400), "ns", None),
        (10**4000, "ms", None),
        ("9" * 5000, "s", None),
        ("0001-01-01T00:00:00+23:00", "s", -62135679600.0),
    ],
)
def test_a_time_is_a_number_of_its_unit_or_a_text_with_utc_where_no_zone_stands(
    value: Any, unit: str, seconds: float | None
) -> None:
    assert seconds_of(value, unit) == seconds


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=300) | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(anything)
def test_whatever_an_event_holds_becomes_json_that_reads_back_the_same(value: Any) -> None:
    found = plain(value)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


class Unwritten:
    def __str__(self) -> str:
        raise TypeError


def test_values_that_python_does_not_write_are_named_and_stay_apart() -> None:
    nested: Any = 10**5000
    for _ in range(20):
        nested = [nested]
    found = [plain(value) for value in (10**5000, 10**5000 + 1, -(10**5000), nested, {10**5000: 1}, Unwritten())]
    assert found[0] != found[1]
    assert [json.loads(json.dumps(each)) for each in found] == found
    assert found[2].startswith("-0x")
    assert found[5] == "a value of the type Unwritten, which cannot be written"
    assert (plain(2**63), plain(10**300)[:3]) == (str(2**63), "100")


def test_long_texts_are_cut_and_stay_apart() -> None:
    one, other = plain("a" * 1000 + "b"), plain("a" * 1000 + "c")
    assert one != other
    assert len(one) < 400
    assert plain("a" * 256) == "a" * 256
    assert len(plain(list(range(1000)))) == 65
    assert len(plain({str(key): key for key in range(1000)})) == 65
    deep: Any = "x"
    for _ in range(50):
        deep = [deep]
    assert len(json.dumps(plain(deep))) < 500
