"""Guessed schemas."""

from __future__ import annotations

import gzip
import hashlib
import json
import warnings
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jenga.errors import DataError
from jenga.refinery.estimator import SecurityRefinery
from jenga.refinery.infer import FIELD_LIMIT, infer_schema, is_heavy_tailed
from jenga.refinery.sample import is_moment
from jenga.refinery.schema import parse_schema

REAL_DATA = Path(__file__).parents[2].parent / "shared" / "data"
COUNT = 100
OTHER = {"always_here": ["x", "y"]}


def guess(**values: Any) -> Any:
    """Return the schema guessed for rows of which each name has a value a row, repeated as needed."""
    rows = [{path: each[at % len(each)] for path, each in (OTHER | values).items()} for at in range(COUNT)]
    return infer_schema([{path: value for path, value in row.items() if value is not ...} for row in rows])


def kind_of(path: str, values: list[Any]) -> str:
    """Return kind (and encoding, where it is not the usual one) of the field guessed for `values`, or the reason."""
    schema = guess(**{path: values})
    places = (path, f"{path}[*]")
    if found := [why for place, why in schema.left_out.items() if place in places]:
        return f"left out: {found[0]}"
    field = next(field for field in schema.fields if field.path in places)
    return field.kind + (":hash" if getattr(field, "encoding", None) == "hash" else "")


DIGESTS = [hashlib.md5(str(at).encode(), usedforsecurity=False).hexdigest() for at in range(COUNT)]


@pytest.mark.parametrize(
    ("path", "values", "kind"),
    [
        ("x", [0, 1], "boolean"),
        ("x", [True, False, None], "boolean"),
        ("x", ["true", "FALSE"], "boolean"),
        ("x", [1, 2, 3], "numeric"),
        ("x", ["1.5", "2", "-3e4"], "numeric"),
        ("x", ["1", "2", *range(50), "n/a"], "numeric"),
        ("id.resp_p", [80, 443, "8080"], "port"),
        ("dst port", [80, 443], "port"),
        ("port", [80, 443, 70000], "numeric"),
        ("x", ["10.0.0.1", "::1", "fe80::1%eth0"], "ip"),
        ("x", ["10.0.0.1", "host"], "categorical"),
        ("when", ["2024-01-02T03:04:05Z", "2024-01-02 03:04:05.123456789+02:00", "2024-01-02"], "timestamp"),
        ("ts", [1.7e9, 1.7e9 + 0.5], "timestamp"),
        ("event_time", [1_700_000_000_000, 1_700_000_000_500], "timestamp"),
        ("duration", [1.7e9, 1.7e9 + 0.5], "numeric"),
        ("status_code", [200, 404, 500], "categorical"),
        ("EventID", [1, 3, 10], "categorical"),
        ("event_id", list(range(COUNT)), "left out: an id by its name"),
        ("proto", ["tcp", "udp"], "categorical"),
        ("mixed", ["a", 1, True, 2.5], "categorical"),
        ("query", [f"host{at}.example.org" for at in range(COUNT)], "text"),
        ("image", [f"C:\\Windows\\{at % 30}.exe" for at in range(COUNT)], "text"),
        ("image", [f"C:\\Windows\\{at % 3}.exe" for at in range(COUNT)], "categorical"),
        ("sport", [str(at) for at in range(COUNT)], "port"),
        ("cmd", [f"run --fast {at}" for at in range(COUNT)], "text"),
        ("user", [f"u{at % 90}" for at in range(COUNT)], "categorical:hash"),
        ("uid", [f"C{at}x" for at in range(COUNT)], "left out: an id by its name"),
        ("x", [f"C{at}x" for at in range(COUNT)], "left out: every value is another one"),
        ("x", DIGESTS, "left out: ids or digests by their look"),
        ("x", [f"SHA1={each},MD5={each}" for each in DIGESTS], "left out: ids or digests by their look"),
        (
            "x",
            ["{5770385f-c22a-43e0-bf4c-06f5698ffbd9}", "5770385f-c22a-43e0-bf4c-06f5698ffbd8"],
            "left out: ids or dig",
        ),
        ("ProcessId", [1, 2, 3], "left out: by its name a number that the system hands out"),
        ("label", ["a", "b"], "left out: a label by its name"),
        ("is_attack", [0, 1], "left out: a label by its name"),
        ("event.attack_cat", ["a", "b"], "left out: a label by its name"),
        ("x", ["same"], "left out: always 'same'"),
        ("x", [None], "left out: null in all 100 rows that were looked at"),
        ("x", [["10.0.0.1"], ["10.0.0.2"]], "left out: a list of addresses; x[0] would read the first one"),
        ("x", [["2026-01-01"], "2026-01-02"], "left out: a list of moments; x[0] would read"),
        ("uids", [[f"C{at}x"] for at in range(COUNT)], "left out: every value is another one"),
        ("tags", [["a", "b"], ["a"], [], "c"], "categorical"),
        ("args", [["-v", f"/x/{at % 90}"] for at in range(COUNT)], "categorical:hash"),
        ("TTLs", [[60, 2.5], [1], [7, 8, 9.5]], "numeric"),
        ("flags", [[True], [False, True]], "categorical"),
        ("ports.dport", [[80, 443], [22]], "categorical"),
        ("labels", [["a"], ["b"]], "left out: a label by its name"),
    ],
)
def test_a_field_is_guessed_by_its_values_then_its_name(path: str, values: list[Any], kind: str) -> None:
    found = kind_of(path, values)
    assert found.startswith(kind) if kind.startswith("left out") else found == kind


def test_a_value_that_is_always_the_same_where_it_stands_is_read() -> None:
    assert kind_of("error", ["disk full", ..., ...]) == "categorical"


def test_of_several_timestamps_the_one_that_most_rows_have_is_read() -> None:
    schema = guess(ts=[1.7e9, 1.7e9 + 1], end_time=[1.7e9, ...], start=["2024-01-01", "2024-01-02"])
    assert [field.path for field in schema.fields if field.kind == "timestamp"] == ["ts"]
    assert schema.left_out["end_time"] == "a second timestamp; 'ts' gives hour, weekday and pace already"
    assert "start" in schema.left_out


def test_heavy_tails_are_compressed() -> None:
    sizes, rates = np.random.lognormal(6, 3, 1000), np.random.random(1000)
    assert is_heavy_tailed(sizes)
    assert is_heavy_tailed(-sizes)
    assert not is_heavy_tailed(rates)
    assert not is_heavy_tailed(np.random.normal(1e6, 1, 1000))
    assert not is_heavy_tailed(np.full(9, 0.1))
    assert not is_heavy_tailed(np.array([0.0, 1.7e308, -1.7e308]))
    fields = {field.path: field for field in guess(size=sizes[:COUNT].tolist(), rate=rates[:COUNT].tolist()).fields}
    assert (fields["size"].log1p, fields["rate"].log1p) == (True, False)


def test_nested_fields_get_dotted_paths() -> None:
    rows = [{"http": {"status": {"code": 200 + at % 2}}} for at in range(4)]
    assert [field.path for field in infer_schema(rows, name="web").fields] == ["http.status.code"]


def test_no_usable_row_is_refused_with_the_reasons() -> None:
    with pytest.raises(DataError, match="no row to infer a schema from"):
        infer_schema([])
    with pytest.raises(DataError, match="nothing is left to read: label: a label by its name"):
        infer_schema([{"label": 1}])


def test_hostile_rows_still_give_a_schema_that_reads_back() -> None:
    row = {"é: {": "\ud800", "yes": 10**400, "#": "\0", "a.b": 1, "a": {"b": 2}, "- x": 5e-324, "'": "'", "n": "\x85"}
    schema = infer_schema([row, dict.fromkeys(row, "other")] * 3)
    assert parse_schema(schema.to_yaml(), file="x") == schema


@pytest.mark.skipif(not REAL_DATA.is_dir(), reason="the real rows (../shared/data) are not beside this checkout")
@pytest.mark.parametrize(
    ("file", "kinds", "left_out"),
    [
        (
            "nsl-kdd/KDDTrain+",
            {"duration": "numeric", "protocol_type": "categorical", "service": "categorical", "logged_in": "boolean"},
            {"label"},
        ),
        (
            "zeek/zeek",
            {"_path": "categorical", "ts": "timestamp", "id.orig_h": "ip", "id.resp_p": "port", "qtype": "categorical"},
            {"uid", "_write_ts", "trans_id"},
        ),
        (
            "sysmon/metasploit_sharpdump_lsass_memory_dump",
            {"EventID": "categorical", "Signed": "boolean", "SourcePort": "port", "ImageLoaded": "text"},
            {"Hashes", "ProcessGuid", "ProcessId", "UtcTime", "Hostname"},
        ),
    ],
)
def test_real_rows_are_guessed_as_a_person_would(file: str, kinds: dict[str, str], left_out: set[str]) -> None:
    with gzip.open(REAL_DATA / f"{file}.jsonl.gz") as lines:
        schema = infer_schema(json.loads(line) for line in islice(lines, 0, None, 10))
    found = {field.path: field.kind for field in schema.fields}
    assert {path: found.get(path) for path in kinds} == kinds
    assert left_out <= schema.left_out.keys()
    assert parse_schema(schema.to_yaml(), file="x") == schema


@pytest.mark.parametrize(
    "name",
    [
        "verdict",
        "Attack Type",
        "attackType",
        "is_malware",
        "detailed-label",
        "Label ",
        "threat.name",
        "mitre.technique",
    ],
)
def test_a_name_that_gives_the_answer_away_is_no_feature(name: str) -> None:
    rows = [{name: f"v{row % 3}", "bytes": float(row)} for row in range(60)]
    schema = infer_schema(rows)
    assert [field.path for field in schema.fields] == ["bytes"]
    assert name in schema.left_out


@pytest.mark.parametrize("name", ["TargetImage", "classification_delay", "family_size", "tactical"])
def test_a_name_that_only_sounds_like_an_answer_stays(name: str) -> None:
    rows = [{name: f"v{row % 3}", "bytes": float(row)} for row in range(60)]
    assert name in [field.path for field in infer_schema(rows).fields]


# ------------------------------------------------------------------------------------------------------------- moments

MOMENTS = st.from_regex(
    r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.,][0-9]{1,4})?)?(Z|[+-][0-9]{2}:?[0-9]{2})?)?\Z"
)
PLAUSIBLE = st.builds(
    "{}-{:02}-{:02}{}".format,
    st.sampled_from(["0001", "1970", "2024", "9999"]), st.integers(0, 13), st.integers(0, 32),
    st.sampled_from([
        "", "T23:59", " 01:02:03,5", "T00:00:00.25Z", " 23:59+2359", "T00:00-00:01", "T24:00", "T1:00", "T01:02:",
        "T01:02:03,", "t01:02", "T23:59:60", "Z",
    ]),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(MOMENTS | PLAUSIBLE)
def test_inference_takes_for_a_moment_just_what_the_refinery_reads(text: str) -> None:
    refinery = SecurityRefinery(schema={"fields": [{"path": "x", "kind": "timestamp"}], "missing": []})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read = refinery.fit([{"x": 0}]).raw([{"x": text}]).values("x") != [None]
    assert is_moment(text) == read


@pytest.mark.parametrize("text", ["2026-07-05 19:01:09,820", "2026-07-05T19:01", "2026-07-05 19:01+02:00"])
def test_moments_that_are_inferred_are_read(text: str) -> None:
    rows = [{"ts": text, "n": at} for at in range(60)]
    rows[0]["ts"] = text.replace("05", "06", 1)
    refinery = SecurityRefinery().fit(rows)
    assert {field.path: field.kind for field in refinery.schema_.fields}["ts"] == "timestamp"
    assert refinery.counters_["ts"]["present"] == 60


# --------------------------------------------------------------------------------------------------- words for nothing


@pytest.mark.parametrize("word", ["-", "(empty)", "n/a", "NULL"])
@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([float(at) * 1.5 for at in range(30)], "numeric"), ([at % 2 == 0 for at in range(30)], "boolean"),
        ([f"10.0.0.{at}" for at in range(30)], "ip"), ([f"2024-01-{1 + at:02}" for at in range(30)], "timestamp"),
    ],
)  # fmt: skip
def test_words_for_nothing_change_no_kind_and_count_as_null(word: str, values: list[Any], kind: str) -> None:
    rows = [{"x": word if at % 4 == 0 else value} for at, value in enumerate(values)]
    refinery = SecurityRefinery().fit(rows)
    assert [field.kind for field in refinery.schema_.fields] == [kind]
    assert (refinery.counters_["x"]["null"], refinery.counters_["x"]["mismatch"]) == (8, 0)


def test_a_column_of_words_alone_keeps_them_as_its_values() -> None:
    [field] = infer_schema([{"x": ("-", "none")[at % 2]} for at in range(30)]).fields
    assert field.kind == "categorical"


# ------------------------------------------------------------------------------------------------------ identities, cap


@pytest.mark.parametrize(
    "path",
    ["userIdentity.userName", "userIdentity.arn", "recipientAccountId", "userIdentity.principalId", "requestID",
     "userIdentity.accessKeyId", "user.email", "SubjectUserName", "user_name"],
)  # fmt: skip
def test_who_it_was_is_left_out(path: str) -> None:
    schema = guess(**{path: ["alice", "bob", "carol", "dave"]})
    assert schema.left_out[path] == "an identity by its name: it says who it was, not what was done"


@pytest.mark.parametrize("path", ["userIdentity.type", "eventName", "EventID", "user_agent", "service_name"])
def test_what_was_done_is_read(path: str) -> None:
    assert path in {field.path for field in guess(**{path: ["a", "b", "c", "d"]}).fields}


def test_keys_without_end_make_no_columns_without_end() -> None:
    rows = [{"bytes": at * 1.5, f"k{at}": at, "proto": "ab"[at % 2]} for at in range(600)]
    schema = infer_schema(rows)
    assert len(schema.fields) == FIELD_LIMIT
    assert {"bytes", "proto"} <= {field.path for field in schema.fields}
    last = schema.left_out["k599"]
    assert last.startswith("in 1 of 600 rows, and 256 of 602 fields are in more of them")
