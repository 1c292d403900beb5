"""What a policy says of scored events, as somebody who embeds it sees it."""

from __future__ import annotations

import doctest
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jenga.policy import decide
from jenga.policy.decide import Policy

Load = Callable[..., Policy]
Answer = Callable[..., dict[str, Any]]


def outcomes(policy: Policy, event: dict[str, Any], answer: dict[str, Any]) -> list[str]:
    return [decision.outcome for decision in policy.decide(event, answer)]


def test_the_example_of_the_docstring_runs(policy: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy("time: ts\n")
    monkeypatch.chdir(tmp_path)
    found = doctest.DocTestFinder().find(decide.Policy, "Policy", globs={"Policy": Policy})
    runner = doctest.DocTestRunner()
    tried = [runner.run(each).attempted for each in found if each.examples]
    assert sum(tried) == 6
    assert runner.failures == 0


def test_each_rule_that_fits_decides_for_itself(policy: Load, answer: Answer) -> None:
    rules = """\
  - {name: any, when: {task: triage, min_probability: 0.5}, identity: [], severity: low, cooldown_s: 0}
  - {name: dos, when: {task: triage, label: [dos]}, identity: [src_ip], severity: critical}
"""
    found = policy(rules=rules).decide({"src_ip": "10.0.0.1"}, answer())
    assert [(each.rule, each.severity, dict(each.identity)) for each in found] == [
        ("any", "low", {}), ("dos", "critical", {"src_ip": "10.0.0.1"}),
    ]  # fmt: skip
    assert [(each.id, each.label, each.score) for each in found] == [("17", "dos", 0.97)] * 2


def test_identity_is_found_nested_in_lists_and_by_whole_path(policy: Load, answer: Answer) -> None:
    rules = "  - {name: r, when: {task: triage, label: [dos]}, identity: ['user.name', 'ips[0]'], cooldown_s: 0}\n"
    loaded = policy(rules=rules)
    for event in (
        {"user": {"name": "amina"}, "ips": ["10.0.0.1", "10.0.0.2"]},
        {"user.name": "amina", "ips[0]": "10.0.0.1"},
    ):
        (decision,) = loaded.decide(event, answer())
        assert dict(decision.identity) == {"user.name": "amina", "ips[0]": "10.0.0.1"}


def test_of_an_alert_the_fields_are_kept_that_the_policy_names(policy: Load, answer: Answer) -> None:
    loaded = policy("keep: [dest_ip, user.name, missing]\n")
    event = {"src_ip": "10.0.0.1", "dest_ip": "10.0.0.2", "user": {"name": "a" * 300}, "password": "sesame"}
    alert, suppressed = (loaded.decide(event, answer())[0] for _ in range(2))
    assert alert.event.keys() == {"dest_ip", "user.name", "missing"}
    assert (alert.event["dest_ip"], alert.event["missing"]) == ("10.0.0.2", None)
    assert len(alert.event["user.name"]) < 400
    assert "(300 characters, sha256" in alert.event["user.name"]
    assert suppressed.event == {}


def test_cooldown_counts_by_the_events_own_time_and_else_by_the_clock(
    policy: Load, answer: Answer, clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    by_event = policy("time: ts\ntime_unit: ms\n")
    times = (0, 59_999, 60_000, 1_000)
    assert [outcomes(by_event, {"src_ip": "a", "ts": at}, answer()) for at in times] == [
        ["alert"], ["suppressed"], ["alert"], ["suppressed"],
    ]  # fmt: skip
    assert by_event.decide({"src_ip": "b", "ts": 5_000}, answer())[0].at == 5.0
    with caplog.at_level(logging.WARNING):
        for row in ("1", "2"):
            (decision,) = by_event.decide({"src_ip": f"c{row}", "ts": "noon"}, answer())
    assert (decision.at, decision.by_event) == (1000.0, False)
    assert [each.getMessage() for each in caplog.records] == [
        "time: an event has 'noon' in 'ts', which is no time; the clock counts for it"
    ]
    by_clock = policy()
    assert outcomes(by_clock, {"src_ip": "a"}, answer()) == ["alert"]
    clock.now += 59.0
    assert outcomes(by_clock, {"src_ip": "a"}, answer()) == ["suppressed"]
    clock.now += 1.0
    assert outcomes(by_clock, {"src_ip": "a"}, answer()) == ["alert"]


def test_a_time_and_an_identity_too_long_to_read_stop_nothing_and_are_named(
    policy: Load, answer: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    loaded = policy("time: ts\n")
    with caplog.at_level(logging.WARNING):
        (decision,) = loaded.decide({"src_ip": 10**5000, "ts": 10**5000}, answer())
    assert (decision.outcome, decision.at, decision.by_event) == ("alert", 1000.0, False)
    assert "in 'ts', which is no time; the clock counts for it" in caplog.text
    assert outcomes(loaded, {"src_ip": 10**5000 + 1}, answer()) == ["alert"]


def test_what_was_suppressed_is_told_by_the_next_alert(policy: Load, answer: Answer, clock: Any) -> None:
    loaded = policy()
    for _ in range(4):
        loaded.decide({"src_ip": "a"}, answer())
    clock.now += 60.0
    (decision,) = loaded.decide({"src_ip": "a"}, answer())
    assert (decision.outcome, decision.suppressed) == ("alert", 3)


def test_who_is_allowed_gets_no_alert_until_that_ends(policy: Load, answer: Answer, clock: Any) -> None:
    allow = "allow:\n  - {fields: {src_ip: 10.0.0.0/8}, until: '1970-01-01T00:20:00Z', reason: scanner}\n"
    loaded = policy(allow)
    event = {"src_ip": "10.1.2.3"}
    (decision,) = loaded.decide(event, answer())
    assert (decision.outcome, decision.reason, decision.actions) == ("allowed", "scanner", ())
    assert outcomes(loaded, event, answer()) == ["suppressed"]
    assert outcomes(loaded, {"src_ip": "11.0.0.1"}, answer()) == ["alert"]
    clock.now = 1200.0
    assert outcomes(loaded, event, answer()) == ["alert"]


def test_an_alert_without_its_whole_identity_runs_nothing_and_is_told_once(
    policy: Load, answer: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    rules = """\
  - {name: r, when: {task: triage, label: [dos]}, identity: [src_ip, user], cooldown_s: 0, actions: [log, block]}
"""
    loaded = policy("hooks: {block: {run: [block]}}\n", rules=rules)
    (whole,) = loaded.decide({"src_ip": "a", "user": "u"}, answer())
    assert (whole.actions, whole.reason) == (("block",), None)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            (decision,) = loaded.decide({"src_ip": "a"}, answer())
    assert (decision.outcome, decision.actions) == ("alert", ())
    assert decision.reason == "the event has no user, so nobody is acted on"
    assert len(caplog.records) == 1


def test_no_more_identities_are_remembered_than_allowed(policy: Load, answer: Answer) -> None:
    loaded = policy("max_identities: 3\n")
    for number in range(10):
        loaded.decide({"src_ip": f"10.0.0.{number}"}, answer())
    assert len(loaded.memory) == 3
    assert loaded.memory.told() == (7, 0)


def test_a_long_identity_is_remembered_and_written_by_its_digest(policy: Load, answer: Answer) -> None:
    rules = "  - {name: r, when: {task: triage, label: [dos]}, identity: [a, b, c], cooldown_s: 60}\n"
    loaded = policy(rules=rules)

    def event(last: int) -> dict[str, Any]:
        wide = {str(key): [str(each) * 200 for each in range(60)] for key in range(60)}
        return {"a": wide | {"59": last}, "b": "x" * 10_000, "c": [1, 2]}

    (decision,) = loaded.decide(event(1), answer())
    assert decision.identity["c"] == [1, 2]
    assert all(len(decision.identity[path]) < 400 for path in "ab")
    assert [outcomes(loaded, event(last), answer()) for last in (1, 2)] == [["suppressed"], ["alert"]]
    assert all(len(key) <= 256 for key, _, _ in loaded.memory.entries())
