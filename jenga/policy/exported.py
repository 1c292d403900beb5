"""Alerts for a SIEM: records of the log in the Elastic Common Schema, or as Detection Findings of OCSF.

Sources: ECS 8.17 (github.com/elastic/ecs, tag v8.17.0), OCSF 1.4.0 (github.com/ocsf/ocsf-schema, tag 1.4.0,
events/findings/detection_finding.json). docs/policy.md has the mapping field by field.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from jenga.policy.chain import canonical
from jenga.policy.parties import Endpoint, Parties, parties_of

ALERTS = ("alert", "dry_run", "acted")
"""Decisions that are alerts. What was allowed is none, and the other records tell of hooks and of the log itself."""
ECS_VERSION = "8.17.0"
OCSF_VERSION = "1.4.0"
PRODUCT = "Jenga"

ECS_SEVERITY = {"low": 21, "medium": 47, "high": 73, "critical": 99}
"""Elastic Security's own numbers (its default risk scores by severity), on a scale of 0 to 100."""
OCSF_SEVERITY = {"low": (2, "Low"), "medium": (3, "Medium"), "high": (4, "High"), "critical": (5, "Critical")}
"""severity_id, and the caption that goes with it."""

_CATEGORY, _CLASS, _CREATE = 2, 2004, 1
_BY_RULE, _BY_LEARNING = (1, "Rule"), (4, "Learning (ML/DL)")
_HOSTNAME, _IP_ADDRESS, _USER_NAME = (1, "Hostname"), (2, "IP Address"), (4, "User Name")
_UNKNOWN_DEVICE = 0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def is_alert(record: Mapping[str, Any]) -> bool:
    """Whether a record of the log is an alert."""
    return record.get("decision") in ALERTS


def is_whole(record: Mapping[str, Any]) -> bool:
    """Whether an alert has what both formats need; all have that are as they were written."""
    texts = all(isinstance(record.get(name), str) for name in ("hash", "rule", "task"))
    fields = all(isinstance(record.get(name) or {}, dict) for name in ("identity", "event"))
    times = _moment(record.get("time")) is not None and (
        record.get("event_time") is None or _moment(record["event_time"]) is not None
    )
    severity = record.get("severity")
    known = isinstance(severity, str) and severity in OCSF_SEVERITY
    return texts and fields and times and type(record.get("seq")) is int and known


def ecs(record: Mapping[str, Any], *, version: str) -> dict[str, Any]:
    """Return an alert of the log as an event of ECS. version: of the product. The record has to be whole."""
    who, event_time = _parties(record), record.get("event_time")
    severity = ECS_SEVERITY[record["severity"]]
    kept = {name: record.get(name) for name in ("decision", "task", "head", "label", "score", "suppressed", "reason")}
    return _given(
        {
            "@timestamp": event_time or record["time"],
            "ecs": {"version": ECS_VERSION},
            "message": _sentence(record),
            "event": {
                "kind": "alert",
                "category": ["intrusion_detection"],
                "type": ["info"],
                "module": "jenga",
                "dataset": "jenga.alerts",
                "id": record["hash"],
                "sequence": record["seq"],
                "severity": severity,
                "risk_score": severity,
                "created": record["time"] if event_time else None,
                # The line of the log, so that its hash can be computed from what the SIEM holds.
                "original": canonical(record).decode("ascii"),
            },
            "rule": {"name": record["rule"], "version": record.get("policy")},
            "observer": {"vendor": PRODUCT, "product": PRODUCT, "version": version},
            "source": _ecs_end(who.source),
            "destination": _ecs_end(who.destination),
            "user": {"name": who.user},
            "host": {"name": who.host},
            "related": {
                "ip": who.ips,
                "user": [who.user] if who.user is not None else [],
                "hosts": [who.host] if who.host is not None else [],
            },
            "jenga": {
                **kept,
                "row": record.get("id"),
                "actions": record.get("actions"),
                "model": record.get("model"),
                # Texts in a list: objects of a user's own keys would be as many fields of the index, and a key that
                # is now a number and now a text would have the index refuse the alert.
                "identity": _pairs(record.get("identity")),
                "event": _pairs(record.get("event")),
            },
        }
    )


def ocsf(record: Mapping[str, Any], *, version: str) -> dict[str, Any]:
    """Return an alert of the log as a Detection Finding of OCSF. version: of the product. It has to be whole."""
    who, event_time = _parties(record), record.get("event_time")
    severity_id, severity = OCSF_SEVERITY[record["severity"]]
    created = _milliseconds(record["time"])
    seen = None if event_time is None else _milliseconds(event_time)
    kept = ("decision", "identity", "event", "id", "task", "head", "label", "score", "answer", "suppressed", "actions",
            "reason")  # fmt: skip
    return _given(
        {
            "activity_id": _CREATE,
            "category_uid": _CATEGORY,
            "class_uid": _CLASS,
            "type_uid": _CLASS * 100 + _CREATE,
            "time": created,
            "start_time": seen,
            "end_time": seen,
            "severity_id": severity_id,
            "severity": severity,
            "is_alert": True,
            "message": _sentence(record),
            "finding_info": {
                "uid": record["hash"],
                "title": record["rule"],
                "created_time": created,
                "analytic": _analytic(record["rule"], record.get("policy"), _BY_RULE),
                "related_analytics": [_analytic(_head(record), record.get("model"), _BY_LEARNING)],
            },
            "metadata": {
                "version": OCSF_VERSION,
                "product": {"name": PRODUCT, "vendor_name": PRODUCT, "version": version},
                "uid": record["hash"],
                "sequence": record["seq"],
                "logged_time": created,
                "original_time": event_time,
            },
            "evidences": _evidences(who),
            "observables": _observables(who),
            "raw_data": canonical(record).decode("ascii"),
            "unmapped": {name: record.get(name) for name in kept},
        }
    )


FORMATS: Mapping[str, Callable[..., dict[str, Any]]] = {"ecs": ecs, "ocsf": ocsf}
"""By name, what makes an object of an alert: ``(record, version=...)``."""


# ----------------------------------------------------------------------------------------------------------------- ECS


def _ecs_end(end: Endpoint | None) -> dict[str, Any]:
    return {} if end is None else {"address": end.address, "ip": end.ip, "port": end.port}


def _pairs(fields: Any) -> list[str]:
    """Return the fields that have a value as texts such as ``src_ip=203.0.113.7``."""
    written = {path: value if isinstance(value, str) else canonical(value).decode() for path, value in _fields(fields)}
    return [f"{path}={value}" for path, value in written.items()]


# ---------------------------------------------------------------------------------------------------------------- OCSF


def _analytic(name: str, version: str | None, kind: tuple[int, str]) -> dict[str, Any]:
    return {"name": name, "version": version, "type_id": kind[0], "type": kind[1]}


def _evidences(who: Parties) -> list[dict[str, Any]]:
    found = _given(
        {
            "src_endpoint": _ocsf_end(who.source),
            "dst_endpoint": _ocsf_end(who.destination),
            "actor": {} if who.user is None else {"user": {"name": who.user}},
            "device": {} if who.host is None else {"hostname": who.host, "type_id": _UNKNOWN_DEVICE},
        }
    )
    return [found] if found else []


def _ocsf_end(end: Endpoint | None) -> dict[str, Any]:
    """Return an endpoint; none without an address, since one needs more than a port."""
    if end is None or end.address is None:
        return {}
    return {"port": end.port, **({"ip": end.ip} if end.ip is not None else {"hostname": end.address})}


def _observables(who: Parties) -> list[dict[str, Any]]:
    """Return pointers to what analysts look for; attribute paths have no numbers of elements."""
    found = []
    for side, end in (("src_endpoint", who.source), ("dst_endpoint", who.destination)):
        if end is not None and end.address is not None:
            name, kind = ("ip", _IP_ADDRESS) if end.ip is not None else ("hostname", _HOSTNAME)
            found.append((f"evidences.{side}.{name}", kind, end.ip or end.address))
    if who.user is not None:
        found.append(("evidences.actor.user.name", _USER_NAME, who.user))
    if who.host is not None:
        found.append(("evidences.device.hostname", _HOSTNAME, who.host))
    return [{"name": name, "type_id": kind[0], "type": kind[1], "value": value} for name, kind, value in found]


def _milliseconds(time: str) -> int:
    moment = _moment(time)
    assert moment is not None
    return (moment - _EPOCH) // timedelta(milliseconds=1)


# ---------------------------------------------------------------------------------------------------------------- both


def _parties(record: Mapping[str, Any]) -> Parties:
    return parties_of(dict(_fields(record.get("identity"))), dict(_fields(record.get("event"))))


def _fields(fields: Any) -> list[tuple[str, Any]]:
    return [(path, value) for path, value in (fields or {}).items() if value is not None]


def _sentence(record: Mapping[str, Any]) -> str:
    """Return what an analyst reads first: ``intrusion: src_ip=203.0.113.7 (ThreatDetection.threat: dos, 0.97)``."""
    who = ", ".join(_pairs(record.get("identity")))
    judged = ", ".join(str(each) for each in (record.get("label"), record.get("score")) if each is not None)
    return f"{record['rule']}{f': {who}' if who else ''} ({_head(record)}{f': {judged}' if judged else ''})"


def _head(record: Mapping[str, Any]) -> str:
    head = record.get("head")
    return f"{record['task']}.{head}" if head is not None else str(record["task"])


def _moment(time: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(time)
    except (TypeError, ValueError):
        return None
    return moment if moment.tzinfo is not None else None


def _given(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return what holds something, inside objects too: neither standard has null for a value that is not there."""
    found = {}
    for name, value in content.items():
        kept = _given(value) if isinstance(value, Mapping) else value
        if isinstance(value, list):
            kept = [_given(each) if isinstance(each, Mapping) else each for each in value]
        if kept is not None and kept != {} and kept != []:
            found[name] = kept
    return found
