"""Alerts for a SIEM: what the Elastic Common Schema and OCSF demand, of alerts as a policy writes them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from jenga.policy.chain import Sealer, canonical
from jenga.policy.decide import Policy
from jenga.policy.enforce import Enforcer
from jenga.policy.exported import FORMATS, ecs, is_alert, is_whole, ocsf

Load = Callable[..., Policy]
Answer = Callable[..., dict[str, Any]]
RULES = """\
  - {name: flood, when: {task: triage, label: [dos]}, identity: [src_ip, user.name], severity: high, actions: [block]}
  - {name: probes, when: {task: triage, label: [probe]}, identity: []}
"""
MORE = """\
time: ts
keep: [dest_ip, dest_port, host.name, proto, missing]
hooks: {block: {run: [./block]}}
allow: [{fields: {src_ip: 10.9.0.0/16}}]
"""
EVENT = {
    "src_ip": "203.0.113.7", "dest_ip": "fe80::1%eth0", "dest_port": "443", "ts": "2027-01-31T12:00:00.250Z",
    "user": {"name": "amina"}, "host": {"name": "db-1"}, "proto": {"l4": "tcp"}, "password": "sesame",
}  # fmt: skip
REQUIRED = {
    "activity_id": int, "category_uid": int, "class_uid": int, "finding_info": dict, "metadata": dict,
    "severity_id": int, "time": int, "type_uid": int,
}  # fmt: skip
"""Attributes of a Detection Finding that OCSF 1.4.0 requires, of base_event.json, finding.json and its own file."""


@pytest.fixture
def records(policy: Load, answer: Answer) -> list[dict[str, Any]]:
    """The log of a policy: an alert with all, one with nothing, and what was allowed."""
    loaded = policy(MORE, rules=RULES)
    with Enforcer(loaded, model="f" * 64) as guard:
        guard.see(EVENT, answer("dos"))
        guard.see({}, answer("probe"))
        guard.see({**EVENT, "src_ip": "10.9.0.1"}, answer("dos"))
    lines = loaded.file.path(loaded.config.log).read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_what_was_allowed_is_no_alert_and_a_dry_run_is_one(records: list[dict[str, Any]]) -> None:
    assert [(record["decision"], is_alert(record)) for record in records] == [
        ("dry_run", True), ("alert", True), ("allowed", False),
    ]  # fmt: skip
    assert all(is_whole(record) for record in records)


def test_every_alert_has_what_ecs_requires(records: list[dict[str, Any]]) -> None:
    for record in records[:2]:
        found = ecs(record, version="2.0")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", found["@timestamp"])
        assert found["ecs"] == {"version": "8.17.0"}
        event = found["event"]
        assert (event["kind"], event["category"], event["type"]) == ("alert", ["intrusion_detection"], ["info"])
        assert found["rule"]["name"] == record["rule"]


def test_every_alert_has_what_ocsf_requires(records: list[dict[str, Any]]) -> None:
    for record in records[:2]:
        found = ocsf(record, version="2.0")
        assert {name: type(found[name]) for name in REQUIRED} == REQUIRED
        assert (found["category_uid"], found["class_uid"], found["type_uid"]) == (2, 2004, 200401)
        assert isinstance(found["finding_info"]["uid"], str)
        assert found["finding_info"]["title"] == record["rule"]
        assert found["metadata"]["version"] == "1.4.0"
        assert found["metadata"]["product"]["name"] == "Jenga"
        analytics = [found["finding_info"]["analytic"], *found["finding_info"]["related_analytics"]]
        assert [each["type_id"] for each in analytics] == [1, 4]


def test_ecs_names_who_the_alert_is_about_and_keeps_the_rest_below_jenga(records: list[dict[str, Any]]) -> None:
    found = ecs(records[0], version="2.0")
    assert found["@timestamp"] == "2027-01-31T12:00:00.250Z"
    assert found["event"]["created"] == records[0]["time"]
    assert found["source"] == {"address": "203.0.113.7", "ip": "203.0.113.7"}
    assert found["destination"] == {"address": "fe80::1%eth0", "ip": "fe80::1", "port": 443}
    assert (found["user"], found["host"]) == ({"name": "amina"}, {"name": "db-1"})
    assert found["related"] == {"ip": ["203.0.113.7", "fe80::1"], "user": ["amina"], "hosts": ["db-1"]}
    assert (found["event"]["severity"], found["event"]["risk_score"]) == (73, 73)
    assert found["message"] == "flood: src_ip=203.0.113.7, user.name=amina (triage.threat: dos, 0.97)"
    assert found["jenga"] == {
        "decision": "dry_run", "task": "triage", "head": "threat", "label": "dos", "score": 0.97, "suppressed": 0,
        "row": "17", "actions": ["block"], "model": "f" * 64, "identity": ["src_ip=203.0.113.7", "user.name=amina"],
        "event": ["dest_ip=fe80::1%eth0", "dest_port=443", "host.name=db-1", 'proto={"l4":"tcp"}'],
    }  # fmt: skip


def test_ocsf_names_who_the_alert_is_about_and_keeps_the_rest_unmapped(records: list[dict[str, Any]]) -> None:
    found = ocsf(records[0], version="2.0")
    event_time = 1801396800250
    assert (found["start_time"], found["end_time"]) == (event_time, event_time)
    assert found["time"] == found["finding_info"]["created_time"] > 1_700_000_000_000
    assert (found["severity_id"], found["severity"], found["is_alert"]) == (4, "High", True)
    assert found["evidences"] == [
        {
            "src_endpoint": {"ip": "203.0.113.7"},
            "dst_endpoint": {"ip": "fe80::1", "port": 443},
            "actor": {"user": {"name": "amina"}},
            "device": {"hostname": "db-1", "type_id": 0},
        }
    ]
    assert [(each["name"], each["type_id"], each["value"]) for each in found["observables"]] == [
        ("evidences.src_endpoint.ip", 2, "203.0.113.7"), ("evidences.dst_endpoint.ip", 2, "fe80::1"),
        ("evidences.actor.user.name", 4, "amina"), ("evidences.device.hostname", 1, "db-1"),
    ]  # fmt: skip
    assert found["unmapped"]["event"]["proto"] == {"l4": "tcp"}
    assert found["unmapped"]["answer"] == {"label": "dos", "probability": 0.97}


def test_an_alert_about_nobody_has_no_empty_objects(records: list[dict[str, Any]]) -> None:
    assert ecs(records[1], version="2.0").keys() == {
        "@timestamp", "ecs", "message", "event", "rule", "observer", "jenga",
    }  # fmt: skip
    found = ocsf(records[1], version="2.0")
    assert found.keys().isdisjoint({"evidences", "observables", "start_time", "end_time"})
    assert "null" not in json.dumps({**found, "raw_data": ""})


@pytest.mark.parametrize(("form", "path"), [("ecs", ("event", "original")), ("ocsf", ("raw_data",))])
def test_the_record_goes_along_so_that_its_hash_can_be_computed(
    records: list[dict[str, Any]], form: str, path: tuple[str, ...]
) -> None:
    found: Any = FORMATS[form](records[0], version="2.0")
    for name in path:
        found = found[name]
    assert found == canonical(records[0]).decode()
    assert Sealer().hash(json.loads(found)) == records[0]["hash"]


@pytest.mark.parametrize(
    ("severity", "score", "severity_id"), [("low", 21, 2), ("medium", 47, 3), ("high", 73, 4), ("critical", 99, 5)]
)
def test_severities_have_the_numbers_of_the_standards(
    records: list[dict[str, Any]], severity: str, score: int, severity_id: int
) -> None:
    record = {**records[0], "severity": severity}
    assert ecs(record, version="2.0")["event"]["severity"] == score
    found = ocsf(record, version="2.0")
    assert (found["severity_id"], found["severity"]) == (severity_id, severity.capitalize())


@pytest.mark.parametrize(
    "change", [{"hash": None}, {"time": "soon"}, {"severity": "x"}, {"severity": []}, {"identity": ["a"]}]
)
def test_a_record_that_lacks_what_a_siem_needs_is_told_apart(
    records: list[dict[str, Any]], change: dict[str, Any]
) -> None:
    assert not is_whole({**records[0], **change})
