"""A policy at work: what is written, what is done, and what a second run remembers."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jenga.errors import ConfigError, SetupError
from jenga.policy.chain import Sealer, verify
from jenga.policy.decide import Policy
from jenga.policy.enforce import Enforcer, secret
from jenga.policy.log import AlertLog, files_of, read_head
from jenga.policy.state import state_file

Load = Callable[..., Policy]
Answer = Callable[..., dict[str, Any]]
BLOCK = """\
  - name: flood
    when: {task: triage, label: [dos]}
    identity: [src_ip]
    cooldown_s: 60
    actions: [block]
"""
HOOK = "hooks: {block: {run: [./block]}}\n"


def records(policy: Policy) -> list[dict[str, Any]]:
    path = policy.file.path(policy.config.log)
    return [json.loads(line) for file in files_of(path) for line in file.read_text().splitlines()]


def told(policy: Policy) -> list[str]:
    return [record["decision"] for record in records(policy)]


def program(folder: Path, body: str) -> None:
    path = folder / "block"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def test_an_alert_is_on_record_with_all_that_it_came_from(policy: Load, answer: Answer) -> None:
    loaded = policy("time: ts\n")
    event = {"src_ip": "10.0.0.1", "ts": "2027-01-31T12:00:00Z", "password": "sesame"}
    with Enforcer(loaded, model="f" * 64) as guard:
        for label in ("dos", "dos", "normal"):
            guard.see(event, answer(label))
        guard.flush()
    (record,) = records(loaded)
    wanted = {
        "decision": "alert", "rule": "flood", "severity": "medium", "identity": {"src_ip": "10.0.0.1"}, "id": "17",
        "task": "triage", "head": "threat", "label": "dos", "score": 0.97, "event_time": "2027-01-31T12:00:00.000Z",
        "answer": {"label": "dos", "probability": 0.97}, "suppressed": 0, "actions": [], "model": "f" * 64,
        "policy": loaded.file.digest, "seq": 1, "reason": None,
    }  # fmt: skip
    assert {key: record[key] for key in wanted} == wanted
    assert "sesame" not in json.dumps(record)
    assert guard.counts == {"alert": 1, "suppressed": 1}
    path = loaded.file.path("alerts.jsonl")
    assert verify([path], Sealer(), head=read_head(path)).problems == []


@pytest.mark.parametrize(("in_file", "given"), [(False, False), (True, False)])
def test_a_dry_run_does_nothing_and_says_what_it_would_have_done(
    policy: Load, answer: Answer, tmp_path: Path, caplog: pytest.LogCaptureFixture, in_file: bool, given: bool
) -> None:
    program(tmp_path, "touch done")
    loaded = policy(HOOK + (f"dry_run: {str(not in_file).lower()}\n"), rules=BLOCK)
    with caplog.at_level(logging.WARNING), Enforcer(loaded, act=given) as guard:
        guard.see({"src_ip": "a"}, answer())
    time.sleep(0.05)
    assert not (tmp_path / "done").exists()
    assert told(loaded) == ["dry_run"]
    assert records(loaded)[0]["actions"] == ["block"]
    assert "1 alerts would have run hooks; this was a dry run" in caplog.text


def test_to_act_the_file_has_to_allow_it_too(policy: Load) -> None:
    with pytest.raises(ConfigError, match=r"policy\.yml is for dry runs; write `dry_run: false`"):
        Enforcer(policy(HOOK, rules=BLOCK), act=True)


def test_to_act_every_hook_needs_its_program(policy: Load, tmp_path: Path) -> None:
    loaded = policy(HOOK + "dry_run: false\n", rules=BLOCK)
    with pytest.raises(ConfigError, match=r"policy\.yml:7:23: hooks\.block\.run\[0\]: './block' is no program"):
        Enforcer(loaded, act=True)


@pytest.mark.serial
def test_an_alert_is_acted_on_once_a_cooldown_and_the_exit_is_on_record(
    policy: Load, answer: Answer, tmp_path: Path
) -> None:
    program(tmp_path, 'cat >> given; grep -q \'"decision":"acted"\' alerts.jsonl || exit 9; exit 4')
    loaded = policy(HOOK + "dry_run: false\n", rules=BLOCK)
    with Enforcer(loaded, act=True) as guard:
        for address in ("a", "a", "b"):
            guard.see({"src_ip": address}, answer())
    given = [json.loads(line) for line in (tmp_path / "given").read_text().splitlines()]
    alerts = [record for record in records(loaded) if record["decision"] == "acted"]
    assert [alert["identity"]["src_ip"] for alert in alerts] == ["a", "b"]
    assert given == alerts
    hooks = [record for record in records(loaded) if record["decision"] == "hook"]
    # 9 would say that the alert was not on record before its hook ran.
    assert [(each["of"], each["exit"], each["timed_out"]) for each in hooks] == [
        (alert["seq"], 4, False) for alert in alerts
    ]
    assert guard.counts == {"acted": 2, "suppressed": 1, "failed": 2}


@pytest.mark.serial
def test_a_hook_that_hangs_stalls_no_scoring_and_is_killed_while_nothing_comes(
    policy: Load, answer: Answer, tmp_path: Path
) -> None:
    program(tmp_path, "sleep 60")
    loaded = policy("hooks: {block: {run: [./block], timeout_s: 0.5}}\ndry_run: false\n", rules=BLOCK)
    with Enforcer(loaded, act=True) as guard:
        began = time.monotonic()
        guard.see({"src_ip": "a"}, answer())
        guard.flush()
        assert time.monotonic() - began < 0.4
        due = time.monotonic() + 5
        while told(loaded) != ["acted", "hook"] and time.monotonic() < due:
            time.sleep(0.02)
        assert told(loaded) == ["acted", "hook"]
    assert records(loaded)[1]["timed_out"] is True


@pytest.mark.serial
def test_runs_beyond_the_limit_are_dropped_on_record(
    policy: Load, answer: Answer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    program(tmp_path, "echo x >> done")
    loaded = policy("hooks: {block: {run: [./block], max_per_minute: 2}}\ndry_run: false\n", rules=BLOCK)
    with caplog.at_level(logging.WARNING), Enforcer(loaded, act=True) as guard:
        for number in range(4):
            guard.see({"src_ip": str(number)}, answer())
    assert (tmp_path / "done").read_text().count("x") == 2
    dropped = [record for record in records(loaded) if record["decision"] == "dropped"]
    assert [each["reason"] for each in dropped] == ["more than 2 in a minute (max_per_minute)"] * 2
    assert "2 runs of hooks were dropped" in caplog.text


def test_a_second_run_goes_on_with_the_cooldowns_and_counts_of_the_first(
    policy: Load, answer: Answer, clock: Any
) -> None:
    for _ in range(3):
        with Enforcer(policy()) as guard:
            guard.see({"src_ip": "a"}, answer())
    assert told(policy()) == ["alert"]
    clock.now += 60.0
    with Enforcer(policy()) as guard:
        guard.see({"src_ip": "a"}, answer())
    assert [record["suppressed"] for record in records(policy())] == [0, 2]
    assert state_file(guard.policy.file.path("alerts.jsonl")).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("state", [None, "harmed", "old"])
def test_cooldowns_that_were_not_kept_are_taken_from_the_log(
    policy: Load, answer: Answer, caplog: pytest.LogCaptureFixture, state: str | None
) -> None:
    loaded = policy()
    path = state_file(loaded.file.path("alerts.jsonl"))
    with Enforcer(loaded) as guard:
        guard.see({"src_ip": "a"}, answer())
    old = path.read_bytes()
    with Enforcer(policy()) as guard:
        guard.see({"src_ip": "b"}, answer())
    if state is None:
        path.unlink()
    else:
        path.write_bytes(old if state == "old" else path.read_bytes().replace(b"1000.0", b"9e9999"))
    with caplog.at_level(logging.WARNING), Enforcer(policy()) as guard:
        for address in ("a", "b"):
            guard.see({"src_ip": address}, answer())
    assert told(loaded) == ["alert", "alert"]
    assert ("cooldowns are taken from the log alone" in caplog.text) is (state == "harmed")


KILLED = """
import sys, time
from jenga.policy import Enforcer, Policy

with Enforcer(Policy.load(sys.argv[1])) as guard:
    for number in range(5):
        answer = {"id": "1", "triage": {"threat": {"label": "dos", "probability": 1.0}}}
        guard.see({"src_ip": f"10.0.0.{number}"}, answer)
    guard.flush()
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.mark.serial
def test_after_a_kill_nobody_gets_a_second_alert_within_the_cooldown(tmp_path: Path, policy: Load) -> None:
    loaded = policy(rules="  - {name: r, when: {task: triage, label: [dos]}, identity: [src_ip], cooldown_s: 3600}\n")
    for _ in range(2):
        run = subprocess.Popen([sys.executable, "-P", "-c", KILLED, loaded.file.document.file], stdout=subprocess.PIPE)
        assert run.stdout is not None
        assert run.stdout.readline() == b"ready\n"
        run.send_signal(signal.SIGKILL)
        run.wait()
        run.stdout.close()
    assert told(loaded) == ["alert"] * 5
    assert not state_file(loaded.file.path("alerts.jsonl")).exists()


def test_identities_that_were_forgotten_are_on_record(
    policy: Load, answer: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    loaded = policy("max_identities: 2\n")
    with caplog.at_level(logging.WARNING), Enforcer(loaded) as guard:
        for number in (1, 1, 2, 3):
            guard.see({"src_ip": str(number)}, answer())
        guard.flush()
    assert told(loaded) == ["alert"] * 3 + ["forgotten"]
    assert (records(loaded)[-1]["identities"], records(loaded)[-1]["suppressed"]) == (1, 1)
    assert "1 identities were forgotten" in caplog.text


def test_a_log_with_a_secret_is_proved_with_it_and_never_tells_it(
    policy: Load, answer: Answer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("JENGA_LOG_SECRET", "correct horse battery")
    loaded = policy("key_env: JENGA_LOG_SECRET\n")
    with caplog.at_level(logging.DEBUG), Enforcer(loaded) as guard:
        guard.see({"src_ip": "a"}, answer())
    path = loaded.file.path("alerts.jsonl")
    assert verify([path], Sealer(b"correct horse battery"), head=read_head(path)).problems == []
    assert verify([path], Sealer()).problems
    everything = "".join(each.read_text() for each in tmp_path.iterdir()) + caplog.text
    assert "correct horse" not in everything
    (tmp_path / "key").write_text("correct horse battery\n")
    with Enforcer(policy("key_file: key\n")) as guard:
        guard.see({"src_ip": "a"}, answer())
    assert told(loaded) == ["alert"]
    with pytest.raises(SetupError, match="or the secret is another one"), Enforcer(policy()):
        pass


def test_a_secret_that_is_not_there_is_told(policy: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JENGA_LOG_SECRET", raising=False)
    with pytest.raises(SetupError, match="the environment has no JENGA_LOG_SECRET"):
        Enforcer(policy("key_env: JENGA_LOG_SECRET\n"))
    with pytest.raises(SetupError, match="the secret of the log cannot be read"):
        secret(key_file="/no/such/file", key_env=None)


def test_two_policies_cannot_write_one_log(policy: Load) -> None:
    with (
        Enforcer(policy()),
        pytest.raises(SetupError, match=r"alerts\.jsonl: another process writes this log"),
        Enforcer(policy()),
    ):
        pass


def test_an_allowed_identity_is_on_record_once_a_cooldown_and_runs_nothing(
    policy: Load, answer: Answer, tmp_path: Path
) -> None:
    program(tmp_path, "touch done")
    allow = "allow: [{fields: {src_ip: 10.0.0.0/8}, reason: scanner}]\ndry_run: false\n"
    loaded = policy(HOOK + allow, rules=BLOCK)
    with Enforcer(loaded, act=True) as guard:
        for _ in range(3):
            guard.see({"src_ip": "10.0.0.1"}, answer())
    assert [(each["decision"], each["reason"]) for each in records(loaded)] == [("allowed", "scanner")]
    assert not (tmp_path / "done").exists()


def test_an_entry_of_the_past_is_warned_of(policy: Load, caplog: pytest.LogCaptureFixture) -> None:
    loaded = policy("allow: [{fields: {src_ip: a}, until: 2001-01-01}]\n")
    with caplog.at_level(logging.WARNING), Enforcer(loaded):
        pass
    assert "allow[0] has ended and holds no longer" in caplog.text


def test_a_log_that_cannot_be_written_ends_the_run(
    policy: Load, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with Enforcer(policy()) as guard:
        monkeypatch.setattr(os, "write", full)
        with pytest.raises(SetupError, match="cannot be written"):
            guard.see({"src_ip": "a"}, answer())
        monkeypatch.undo()


def test_a_state_that_cannot_be_kept_hides_no_other_error(
    policy: Load, answer: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    loaded = policy()
    state_file(loaded.file.path("alerts.jsonl")).mkdir()
    with pytest.raises(SetupError, match="The log has every alert"), Enforcer(policy()):
        pass
    with caplog.at_level(logging.WARNING), pytest.raises(KeyError), Enforcer(loaded):
        raise KeyError
    assert "The log has every alert" in caplog.text


def test_an_answer_too_long_is_left_out_of_the_record(policy: Load) -> None:
    rules = "  - {name: r, when: {task: t, head: h, label: [CARD]}, identity: []}\n"
    loaded = policy(rules=rules)
    entities = [
        {"start": at, "end": at + 1, "label": "CARD", "text": "x" * 200, "probability": 0.5} for at in range(60)
    ]
    with Enforcer(loaded) as guard:
        guard.see({}, {"id": "1", "t": {"h": {"entities": entities}}})
    (record,) = records(loaded)
    assert (record["answer"], record["label"], record["score"]) == (None, "CARD", 0.5)


def test_the_state_is_kept_now_and_then_while_a_run_goes_on(
    policy: Load, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = policy()
    path = state_file(loaded.file.path("alerts.jsonl"))
    with Enforcer(loaded) as guard:
        guard.see({"src_ip": "a"}, answer())
        guard.flush()
        assert not path.exists()
        later = time.monotonic() + 31
        monkeypatch.setattr("jenga.policy.enforce.time", type("Time", (), {"monotonic": lambda: later}))
        guard.flush()
        assert json.loads(path.read_bytes())["seq"] == 1


def test_a_log_of_another_writer_is_read_with_what_it_mended(policy: Load, answer: Answer) -> None:
    loaded = policy()
    path = loaded.file.path("alerts.jsonl")
    with Enforcer(loaded) as guard:
        guard.see({"src_ip": "a"}, answer())
    with path.open("ab") as file:
        file.write(b'{"decision":"al')
    with Enforcer(policy()) as guard:
        guard.see({"src_ip": "a"}, answer())
    assert told(loaded) == ["alert", "mended"]
    with AlertLog(path, Sealer(), rotate_bytes=1 << 20) as log:
        assert log.seq == 2
