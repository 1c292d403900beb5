"""Cooldowns that were kept, and which of them the next run believes."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from jenga.errors import SetupError
from jenga.policy.chain import GENESIS, Sealer, canonical
from jenga.policy.decide import key_of
from jenga.policy.log import AlertLog
from jenga.policy.memory import Memory
from jenga.policy.state import State, read_state, remember, state_file, write_state

SEALER = Sealer()
KEY = key_of("flood", {"src_ip": "a"}, allowed=False)


def logged(path: Path, *addresses: str) -> tuple[int, str]:
    """Write an alert for each address, and return where the log ends."""
    with AlertLog(path, SEALER, rotate_bytes=1 << 20) as log:
        for address in addresses:
            log.append({"decision": "alert", "rule": "flood", "identity": {"src_ip": address}, "at": 1000.0})
        return log.sync()


def remembered(path: Path, seq: int) -> list[str]:
    memory = Memory(100)
    remember(memory, path, SEALER, seq=seq)
    return [json.loads(key)[2].get("src_ip") for key, _, _ in memory.entries()]


def kept(path: Path, at: tuple[int, str], *addresses: str) -> None:
    entries = [[key_of("flood", {"src_ip": each}, allowed=False), 1000.0, 0] for each in addresses]
    write_state(path, SEALER, State(*at, entries))


def test_what_was_kept_comes_back_with_the_alerts_since(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.jsonl"
    kept(path, logged(path, "a", "b"), "a", "b", "suppressed")
    assert remembered(path, 2) == ["a", "b", "suppressed"]
    logged(path, "c", "a")
    assert remembered(path, 4) == ["b", "suppressed", "c", "a"]
    assert caplog.text == ""


def test_a_state_without_records_is_believed_by_a_log_without_any(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    kept(path, (0, GENESIS), "x")
    assert remembered(path, 0) == ["x"]


@pytest.mark.parametrize("place", ["ahead", "other", "first"])
def test_the_state_of_another_log_is_told_and_not_believed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    path = tmp_path / "a.jsonl"
    seq, last = logged(path, "a", "b")
    kept(path, {"ahead": (seq + 1, last), "other": (seq, "1" * 64), "first": (0, "1" * 64)}[place], "x")
    with caplog.at_level(logging.WARNING):
        assert remembered(path, 2) == ["a", "b"]
    assert "it is of another log" in caplog.text
    assert "cooldowns are taken from the log alone" in caplog.text


@pytest.mark.parametrize(
    "entries",
    [
        None, {}, [["k", 1.0]], [["k", "1.0", 0]], [["k", 1.0, "0"]], [["k", 1.0, -1]], [["k", True, 0]], [[1, 1.0, 0]],
        [["k", 1.0, 0], 7], [["k", 10**400, 0]],
    ],
)  # fmt: skip
def test_a_state_that_was_sealed_and_is_odd_all_the_same_is_left_out_whole(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, entries: Any
) -> None:
    path = tmp_path / "a.jsonl"
    seq, last = logged(path, "a")
    content = {"seq": seq, "last": last, "entries": entries, "algorithm": "sha256"}
    state_file(path).write_bytes(canonical(content | {"hash": SEALER.hash(content)}))
    with caplog.at_level(logging.WARNING):
        assert remembered(path, 1) == ["a"]
    assert "cooldowns are taken from the log alone" in caplog.text


def sealed(fields: dict[str, Any]) -> bytes:
    return canonical(fields | {"hash": SEALER.hash(fields)}) + b"\n"


def test_records_that_nobody_wrote_make_no_cooldowns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.jsonl"
    logged(path, "a")
    alert = {"decision": "alert", "rule": "flood", "identity": {"src_ip": "x"}, "at": 1.0}
    forged = [
        canonical(alert | {"seq": 2, "hash": "0" * 64}) + b"\n", sealed(alert), sealed(alert | {"seq": "2"}),
        b"no record\n", b'{"at": 1}\n',
    ]  # fmt: skip
    # As they stand they prove to be unharmed, and begin no cooldown.
    odd = [
        sealed({"seq": 3} | alert | change)
        for change in ({"at": "noon"}, {"at": 10**400}, {"rule": 7}, {"identity": 1})
    ]
    path.write_bytes(path.read_bytes() + b"".join(forged + odd))
    with caplog.at_level(logging.WARNING):
        assert remembered(path, 3) == ["a"]
    assert "5 records are not as they were written, and make no cooldowns; see jenga alerts verify" in caplog.text


def test_nobody_else_may_read_the_state_while_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, modes = tmp_path / "a.jsonl", []
    replace = Path.replace

    def seen(staging: Path, target: Path) -> Path:
        modes.append(staging.stat().st_mode & 0o777)
        return replace(staging, target)

    monkeypatch.setattr(Path, "replace", seen)
    for _ in range(2):
        kept(path, (0, GENESIS), "a")
    assert modes == [0o600, 0o600]
    assert state_file(path).stat().st_mode & 0o777 == 0o600
    assert read_state(path, SEALER) == State(0, GENESIS, [[KEY, 1000.0, 0]])


def test_a_state_that_cannot_be_written_says_what_is_lost(tmp_path: Path) -> None:
    with pytest.raises(
        SetupError, match=r"state: cannot be written .*The log has every alert.*kept back since is lost"
    ):
        kept(tmp_path / "no" / "a.jsonl", (0, GENESIS), "a")
