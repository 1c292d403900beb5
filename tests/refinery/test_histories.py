"""What entities did before a row: exact, told by rows before alone, bounded, and carried on from the rows fitted on."""

from __future__ import annotations

import json
import math
import random
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jenga.errors import ConfigError, DataError
from jenga.refinery import SecurityRefinery
from jenga.refinery.distributed import RefineBatches
from jenga.refinery.engine import Pace
from jenga.refinery.explain import explain_as_dicts
from jenga.refinery.schema import parse_schema, read_schema
from jenga.refinery.stability import drift

WINDOW_S = 100.0
TELLS = ("events", "distinct", "new", "surprise")
FIELDS = [
    {"path": "ts", "kind": "timestamp", "unit": "s", "inter_arrival": False},
    {"path": "user", "kind": "entity"},
    {"path": "ip", "kind": "ip"},
    {"path": "port", "kind": "port"},
]


def history(tells: str = "events", of: str | None = None, **more: Any) -> dict[str, Any]:
    named = {} if of is None else {"of": of}
    return {"kind": "history", "by": "user", "tells": tells, "window_s": WINDOW_S, **named, **more}


def of_all(of: str = "ip", **more: Any) -> dict[str, Any]:
    histories = [history(each, None if each == "events" else of, **more) for each in TELLS]
    return {"fields": [*FIELDS, *histories]}


def refinery(schema: dict[str, Any] | None = None, **more: Any) -> SecurityRefinery:
    return SecurityRefinery(schema=schema or of_all(), n_threads=1, **more)


def rows(n: int, *, seed: int = 0, late: bool = False, start: float = 1e9) -> list[dict[str, Any]]:
    draw = random.Random(seed)
    made, now = [], start
    for _ in range(n):
        now += draw.expovariate(0.2)
        ts = now - draw.choice([0, 0, 0, 5, 60, 400]) if late else now
        made.append(
            {"ts": ts, "user": draw.choice("abcd"), "ip": f"10.0.0.{draw.randrange(5)}", "port": draw.randrange(3)}
        )
    return made


def expected(events: list[dict[str, Any]], *, of: str = "ip", most: int = 256) -> np.ndarray:
    """Return what is to be told, by looking at all rows before anew."""
    pasts: dict[str, list[tuple[float, Any]]] = defaultdict(list)
    told = []
    for event in events:
        past, ts = pasts[event["user"]], event["ts"]
        latest = max((time for time, _ in past), default=ts)
        if ts < latest - WINDOW_S:
            past.clear()
            latest = ts
        within = [each for each in sorted(past, key=lambda each: each[0])[-most:] if each[0] <= ts]
        values = [value for time, value in within if time > max(ts, latest) - WINDOW_S]
        same = values.count(event[of])
        told.append([len(values), len(set(values)), float(not same), math.log((len(values) + 1) / (same + 1))])
        past.append((ts, event[of]))
    return np.array(told, np.float64)


@pytest.mark.filterwarnings("ignore:.*many rows are earlier")
@pytest.mark.parametrize(("late", "of"), [(False, "ip"), (True, "ip"), (False, "port")])
def test_histories_are_what_a_look_at_all_rows_before_finds(late: bool, of: str) -> None:
    events = rows(600, late=late)
    fitted = refinery(of_all(of)).fit(events)
    found = fitted.refine(events).histories
    assert found is not None
    np.testing.assert_array_equal(found, expected(events, of=of))
    assert found.min(axis=0).tolist() == [0, 0, 0, 0]
    assert (found.max(axis=0)[:2] >= 3).all()


def test_features_are_the_scaled_logarithms_of_what_is_told() -> None:
    events = rows(300)
    fitted = refinery().fit(events)
    compressed = np.log1p(expected(events))
    wanted = (compressed - compressed.mean(axis=0)) / compressed.std(axis=0)
    at = [fitted.feature_names_.index(name) for name in ("user:100s:events", "user:100s:surprise:ip")]
    np.testing.assert_allclose(fitted.transform(events)[:, at], wanted[:, [0, 3]], rtol=1e-5, atol=1e-5)


def test_rows_in_the_reverse_order_of_time_are_told_nothing_of_what_is_later_and_a_warning_says_so() -> None:
    events = rows(200)[::-1]
    with pytest.warns(UserWarning, match="many rows are earlier than one before of the same 'user'"):
        found = refinery().fit(events).refine(events).histories
    assert found is not None
    assert not found[:, :2].any()


def test_nothing_is_told_of_rows_that_follow() -> None:
    events = rows(99, late=True)
    fitted = refinery().fit(events)
    whole, first = fitted.transform(events), fitted.transform(events[:60])
    np.testing.assert_array_equal(whole[:60], first)


@pytest.mark.parametrize("chunk_bytes", [200, 5000])
def test_chunks_and_the_form_of_rows_change_nothing(tmp_path: Path, chunk_bytes: int) -> None:
    events = rows(200)
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(f"{json.dumps(event)}\n" for event in events))
    wanted = refinery().fit(events).transform(events)
    made = refinery(chunk_bytes=chunk_bytes).fit(file)
    np.testing.assert_array_equal(made.transform(file), wanted)
    parts = [part.features for part in made.stream(str(file))]
    assert len(parts) > 1
    np.testing.assert_array_equal(np.concatenate(parts), wanted)
    import pandas as pd

    np.testing.assert_array_equal(made.transform(pd.DataFrame(events)), wanted)


def test_what_was_fitted_on_is_carried_to_the_rows_that_follow_by_a_saved_state(tmp_path: Path) -> None:
    events = rows(400)
    refinery().fit(events[:250]).save(tmp_path / "state.safetensors")
    loaded = SecurityRefinery.load(tmp_path / "state.safetensors")
    found = loaded.refine(events[250:], pace=loaded.carried()).histories
    np.testing.assert_array_equal(found, expected(events)[250:])
    assert not np.array_equal(found, loaded.refine(events[250:]).histories)
    assert b"10.0.0." not in (tmp_path / "state.safetensors").read_bytes()


def test_rows_that_were_fitted_on_are_not_their_own_past() -> None:
    events = rows(300)
    fitted = refinery().fit(events)
    np.testing.assert_array_equal(fitted.refine(events, pace=fitted.carried()).features, fitted.transform(events))


def test_calls_that_share_a_pace_go_on_and_carry_nothing_into_others() -> None:
    events = rows(90)
    fitted = refinery().fit(events[:30])
    one, other = fitted.carried(), fitted.carried()
    parts = [fitted.refine([event], pace=one).features for event in events[30:]]
    np.testing.assert_array_equal(np.concatenate(parts), fitted.refine(events[30:], pace=other).features)


def test_a_merged_state_carries_nothing() -> None:
    events = rows(100)
    merged = refinery().fit(events[:50]).merge(refinery().fit(events[50:]))
    assert merged.histories_ is None
    assert merged.carried().histories is None


def test_a_state_that_is_fitted_further_goes_on_from_what_it_was_fitted_on() -> None:
    events, schema = rows(200), of_all(window_s=1e6)
    several = refinery(schema).partial_fit(events[:100]).partial_fit(events[100:150])
    whole = refinery(schema).fit(events[:150])
    carried = several.refine(events[150:], pace=several.carried())
    np.testing.assert_array_equal(carried.histories, whole.refine(events[150:], pace=whole.carried()).histories)


def test_rows_that_follow_do_not_drift_for_want_of_a_past() -> None:
    events, schema = rows(8400), of_all(window_s=2000.0)
    found = {each.field: each.verdict for each in drift(refinery(schema).fit(events[:8000]), events[8000:])}
    assert found["user:2000s:events"] != "major"
    assert found["user:2000s:new:ip"] != "major"


def test_batches_that_come_apart_are_refused_where_histories_are_told(tmp_path: Path) -> None:
    refinery().fit(rows(50)).save(tmp_path / "state.safetensors")
    with pytest.raises(ConfigError, match=r"state\.safetensors: 'user:100s:events' tells of the rows before"):
        RefineBatches(tmp_path / "state.safetensors")


def test_histories_that_differ_in_their_memory_alone_are_two() -> None:
    schema = {"fields": [*FIELDS, history(), history(max_events=3)]}
    found = refinery(schema).fit(rows(300)).refine(rows(300))
    assert found.histories is not None
    assert found.histories.max(axis=0).tolist()[1] == 3
    assert found.histories.max(axis=0).tolist()[0] > 3


def test_of_an_entity_the_last_rows_are_remembered() -> None:
    events = rows(300)
    fitted = refinery(of_all(max_events=3)).fit(events)
    np.testing.assert_array_equal(fitted.refine(events).histories, expected(events, most=3))


def test_of_more_entities_the_one_heard_of_longest_ago_is_forgotten_and_a_warning_says_so() -> None:
    events = [{"ts": 1e9 + at, "user": user, "ip": "10.0.0.1", "port": 1} for at, user in enumerate("abacb")]
    schema = {"fields": [*FIELDS, history(max_entities=2)]}
    with pytest.warns(UserWarning, match=r"'user:100s:events': as many 'user' as are remembered \(max_entities: 2\)"):
        found = refinery(schema).fit(events).refine(events).histories
    assert found is not None
    assert found.ravel().tolist() == [0, 0, 1, 0, 0]


def test_a_row_that_names_nobody_or_lacks_the_value_is_told_nothing() -> None:
    events: list[dict[str, Any]] = [{"ts": 1e9 + at, "user": "a", "ip": "10.0.0.1", "port": 1} for at in range(5)]
    for event, name in zip(events[1:], ("user", "ts", "ip"), strict=False):
        del event[name]
    events[4]["user"] = " - "
    found = refinery().fit(events).refine(events)
    assert found.histories is not None
    told = ~np.isnan(found.histories)
    assert told.tolist() == [[True] * 4, [False] * 4, [False] * 4, [True, False, False, False], [False] * 4]
    assert found.counters["user:100s:events"]["absent"] == 3


def test_what_an_event_has_at_the_path_of_a_history_is_not_read() -> None:
    events = [{**event, "user:100s:events": 99, "user:100s:new:ip": "x"} for event in rows(60)]
    fitted = refinery().fit(events)
    np.testing.assert_array_equal(fitted.refine(events).histories, expected(events))
    assert fitted.counters_["user:100s:new:ip"]["mismatch"] == 0


def test_a_bad_row_that_keeps_its_place_is_told_nothing_and_counts_for_nobody() -> None:
    events: list[Any] = rows(40)
    fitted = refinery(on_bad="missing", max_bad_fraction=1.0).fit(events)
    given = [*map(json.dumps, events[:20]), "{", *map(json.dumps, events[20:])]
    found = np.delete(fitted.transform([row.encode() for row in given]), 20, axis=0)
    np.testing.assert_array_equal(found, fitted.transform(events))


def test_drivers_name_what_was_told() -> None:
    events = rows(80)
    fitted = refinery().fit(events)
    refined = fitted.refine(events)
    assert refined.histories is not None
    own = refined.histories[70:]
    told = explain_as_dicts(fitted, events[70:], np.ones((10, fitted.n_features_out_)), top=99, histories=own)
    of_row = {each["field"]: each for each in told[3]}
    assert of_row["user:100s:events"]["value"] == own[3, 0]
    assert 0 <= of_row["user:100s:events"]["quantile"] <= 1
    assert of_row["user:100s:surprise:ip"]["value"] == own[3, 3]


def test_histories_drift_as_numbers_do() -> None:
    calm, busy = rows(2000), [{**event, "ts": 1e9 + at / 10} for at, event in enumerate(rows(2000, seed=1))]
    found = {each.field: each for each in drift(refinery().fit(calm), busy)}
    assert found["user:100s:events"].verdict == "major"
    assert found["user:100s:events"].ks == pytest.approx(1.0, abs=0.1)


def test_a_state_whose_histories_are_harmed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted = refinery().fit(rows(50))
    assert fitted.histories_ is not None
    arrays = fitted.histories_.to_arrays()
    monkeypatch.setattr(fitted.histories_, "to_arrays", lambda: {**arrays, "0.times": np.zeros(3)})
    fitted.save(tmp_path / "state.safetensors")
    with pytest.raises(DataError, match="its content does not fit together"):
        SecurityRefinery.load(tmp_path / "state.safetensors")


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ([history("new")], "tells: new goes with `of`"),
        ([history("events", "ip")], "tells: events goes without `of`"),
        ([history("new", "nowhere")], "of: 'nowhere', of 'user:100s:new:nowhere', is the path of no field"),
        ([history(by="nobody")], "by: 'nobody', of 'nobody:100s:events', is the path of no field of kind"),
        ([history(time="ip")], "time: 'ip' is none; fields of kind timestamp: ts"),
        ([history(), {"path": "ts2", "kind": "timestamp"}], "no time is named; fields of kind timestamp: ts, ts2"),
        ([history(path="user")], "a history stands nowhere in an event; leave path out"),
        ([history(required=True)], "no row has a history of its own"),
        ([history(), history()], "path 'user:100s:events' is given twice"),
    ],
)
def test_mistakes_of_a_schema_are_told(fields: list[dict[str, Any]], wanted: str) -> None:
    with pytest.raises(ConfigError) as error:
        read_schema({"fields": [*FIELDS, *fields]})
    assert wanted in str(error.value)


def test_a_schema_is_written_without_paths_of_histories_and_read_back() -> None:
    schema = read_schema({"fields": [*FIELDS, history("new", "ip", name="new_ip")]})
    written = schema.to_yaml()
    assert "path" not in written.splitlines()[-1]
    assert "kind: history" in written.splitlines()[-1]
    assert parse_schema(written, file="x.yml") == schema


def test_a_time_far_ahead_spoils_no_more_than_the_rows_until_the_next_one() -> None:
    events = [{"ts": 1e9 + at, "user": "a", "ip": "10.0.0.1", "port": 1} for at in range(6)]
    events[2]["ts"] = 4e9
    found = refinery({"fields": [*FIELDS, history()]}).fit(events).refine(events, pace=Pace()).histories
    assert found is not None
    assert found.ravel().tolist() == [0, 1, 0, 0, 1, 2]
