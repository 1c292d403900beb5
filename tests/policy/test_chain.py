"""Whatever is done to a log but by its writer is found, at its line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jenga.errors import ConfigError
from jenga.policy.chain import GENESIS, Sealer, canonical, parsed, verify

SECRET = b"0123456789abcdef"
FIELDS: list[dict[str, Any]] = [
    {"decision": "alert", "rule": "flood", "identity": {"src_ip": "10.0.0.1", "user": None}, "score": 0.9, "at": 1.5},
    {"decision": "hook", "hook": "block", "of": 1, "exit": 0, "timed_out": False, "error": None},
    {"decision": "acted", "rule": "flood", "actions": ["block"], "answer": {"label": "dos", "drivers": [1, 2.5]}},
    {"decision": "allowed", "rule": "café \ud83d", "reason": ""},
]


def chain(sealer: Sealer, fields: list[dict[str, Any]] | None = None) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    for seq, each in enumerate(FIELDS if fields is None else fields, start=1):
        previous = records[-1]["hash"] if records else GENESIS
        record = {**each, "seq": seq, "previous": previous, "algorithm": sealer.algorithm, "time": "now"}
        records.append({**record, "hash": sealer.hash(record)})
    return records


def written(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_bytes(b"".join(canonical(each) + b"\n" for each in records))
    return path


def wrong(path: Path, sealer: Sealer, **options: Any) -> list[str]:
    return [str(each) for each in verify([path], sealer, **options).problems]


@pytest.fixture(params=[None, SECRET], ids=["plain", "secret"])
def sealer(request: pytest.FixtureRequest) -> Sealer:
    return Sealer(request.param)


def test_a_log_as_it_was_written_is_whole(tmp_path: Path, sealer: Sealer) -> None:
    records = chain(sealer)
    report = verify([written(tmp_path / "log", records)], sealer, expect_last=records[-1]["hash"])
    assert (report.problems, report.records, report.seq, report.last) == ([], 4, 4, records[-1]["hash"])


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value inside a record, of objects and lists too."""
    found = [path] if path else []
    if isinstance(value, dict):
        found += [each for key, inner in value.items() for each in leaves(inner, (*path, key))]
    if isinstance(value, list):
        found += [each for key, inner in enumerate(value) for each in leaves(inner, (*path, key))]
    return found


def other(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    return f"{value}x" if isinstance(value, str) else "x"


@pytest.mark.parametrize("at", range(len(FIELDS)))
@pytest.mark.parametrize("how", ["change", "remove", "add", "rehash"])
def test_no_field_of_any_record_changes_unseen(tmp_path: Path, sealer: Sealer, at: int, how: str) -> None:
    records = chain(sealer)
    paths = leaves(records[at])
    assert {path[0] for path in paths} >= {"seq", "time", "previous", "algorithm", "hash", "decision"}
    for path in paths:
        changed = json.loads(json.dumps(records))
        holder = changed[at]
        for part in path[:-1]:
            holder = holder[part]
        if how == "remove":
            holder.pop(path[-1])
        elif how == "add" and isinstance(holder, dict):
            holder[f"{path[-1]}2"] = 1
        else:
            holder[path[-1]] = other(holder[path[-1]])
        if how == "rehash" and path[0] != "hash":  # who has no secret, or leaves the next record as it is
            changed[at]["hash"] = Sealer().hash(changed[at])
        found = wrong(written(tmp_path / "log", changed), sealer, head=(4, records[-1]["hash"]))
        assert found, (path, how)
        # A record with a new hash that fits it is found by the next one, which names the old hash.
        places = [f"log:{at + 1}:", *([f"log:{at + 2}:"] if how == "rehash" else [])]
        assert any(place in found[0] for place in places), (path, found)


@settings(max_examples=60)
@given(data=st.data())
def test_no_byte_of_a_log_changes_unseen(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    sealer = Sealer()
    path = written(tmp_path_factory.mktemp("log") / "log", chain(sealer))
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] = data.draw(st.integers(0, 255).filter(lambda byte: byte != content[at]))
    path.write_bytes(content)
    assert wrong(path, sealer)


CHANGES: dict[str, Callable[[list[Any]], list[Any]]] = {
    "first removed": lambda records: records[1:],
    "middle removed": lambda records: [records[0], *records[2:]],
    "moved": lambda records: [records[0], records[2], records[1], records[3]],
    "repeated": lambda records: [*records[:2], records[1], *records[2:]],
    "reversed": lambda records: records[::-1],
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_records_are_not_removed_moved_or_added_unseen(tmp_path: Path, sealer: Sealer, change: Any) -> None:
    assert wrong(written(tmp_path / "log", change(chain(sealer))), sealer)


def test_records_gone_from_the_end_are_seen_by_the_head_or_by_a_hash_kept_elsewhere(
    tmp_path: Path, sealer: Sealer
) -> None:
    records = chain(sealer)
    path = written(tmp_path / "log", records[:-1])
    assert wrong(path, sealer) == []  # nobody can see it without either
    (found,) = wrong(path, sealer, head=(4, records[-1]["hash"]))
    assert "it ends with record 3, and there were 4" in found.replace("the log", "it")
    (found,) = wrong(path, sealer, expect_last=records[-1]["hash"])
    assert "records are gone from the end" in found
    assert wrong(written(path, []), sealer, expect_last=records[-1]["hash"])


def test_older_files_put_away_are_missed_unless_their_last_hash_is_told(tmp_path: Path, sealer: Sealer) -> None:
    records = chain(sealer)
    path = written(tmp_path / "log", records[2:])
    (found,) = wrong(path, sealer)
    assert "begins with record 3" in found
    assert wrong(path, sealer, expect_first=records[1]["hash"]) == []
    assert wrong(path, sealer, expect_first=records[0]["hash"])
    assert wrong(written(path, []), sealer, expect_first=records[0]["hash"])


def test_a_log_written_anew_without_the_secret_is_told_from_one_with_it(tmp_path: Path) -> None:
    (*_, found) = wrong(written(tmp_path / "log", chain(Sealer())), Sealer(SECRET))
    assert "it may be forged" in found
    (*_, found) = wrong(written(tmp_path / "log", chain(Sealer(SECRET))), Sealer())
    assert "give it (--key-file or --key-env)" in found
    (*_, found) = wrong(written(tmp_path / "log", chain(Sealer(SECRET))), Sealer(b"another secret....."))
    assert "another secret was used" in found


def test_a_record_written_in_another_way_is_none() -> None:
    line = canonical({"a": 1, "b": 2}) + b"\n"
    assert parsed(line) == {"a": 1, "b": 2}
    hostile = [b'{"a":1,"a":1,"b":2}\n', b'{"a":1, "b":2}\n', b'{"b":2,"a":1}\n', line[:-1], b"[1]\n", b'{"a":1e999}\n',
               b"[" * 100_000, b'{"a":NaN}\n', b"\xff\n"]  # fmt: skip
    assert [parsed(each) for each in hostile] == [None] * len(hostile)


def test_a_short_secret_is_refused_without_being_shown() -> None:
    with pytest.raises(ConfigError, match="has 5 bytes; allowed: 16 or more") as error:
        Sealer(b"s3cr3")
    assert "s3cr3" not in str(error.value)
