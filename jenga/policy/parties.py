"""Who an alert is about, as far as the names of its fields say so: addresses, ports, a user, a host."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_MOST_PORTS = 65535
_NOBODY = frozenset({"", "-", "?", "(empty)", "n/a", "nil", "none", "null"})
"""Texts by which programs say that there is none."""


def _windows(name: str) -> tuple[str, ...]:
    """Return where a datum of a Windows event stands: flat, in Winlogbeat's two forms, and in Wazuh's."""
    wazuh = f"data.win.eventdata.{name[0].lower()}{name[1:]}"
    return name, f"winlog.event_data.{name}", f"event_data.{name}", wazuh


KNOWN: Mapping[str, tuple[str, ...]] = {
    "source_address": (
        "source.ip", "source.address", "client.ip", "src_endpoint.ip", "src_ip", "srcip", "src_addr", "source_ip",
        "id.orig_h", "id_orig_h", "sourceIPAddress", "Source IP", "Src IP",
        *_windows("SourceIp"), *_windows("SourceAddress"), *_windows("IpAddress"),
    ),
    "source_port": (
        "source.port", "client.port", "src_endpoint.port", "src_port", "sport", "source_port", "id.orig_p",
        "id_orig_p", "Source Port", "Src Port", *_windows("SourcePort"), *_windows("IpPort"),
    ),
    "destination_address": (
        "destination.ip", "destination.address", "server.ip", "dst_endpoint.ip", "dst_ip", "dest_ip", "dstip",
        "dst_addr", "destination_ip", "id.resp_h", "id_resp_h", "Destination IP", "Dst IP",
        *_windows("DestinationIp"), *_windows("DestAddress"),
    ),
    "destination_port": (
        "destination.port", "server.port", "dst_endpoint.port", "dst_port", "dest_port", "dsport", "destination_port",
        "id.resp_p", "id_resp_p", "Destination Port", "Dst Port", *_windows("DestinationPort"), *_windows("DestPort"),
    ),
    "user": (
        "user.name", "user", "username", "user_name", "actor.user.name", "userIdentity.userName", "UserName",
        *_windows("User"),
    ),
    "host": (
        "host.name", "host.hostname", "hostname", "host_name", "device.hostname", "winlog.computer_name",
        "computer_name", "Hostname", "Computer", "data.win.system.computer",
    ),
}  # fmt: skip
"""Paths of fields by what they hold. A bare ``host`` is none: it is a header to Zeek, and the sensor to Suricata."""

_PART_OF = {path: part for part, paths in KNOWN.items() for path in paths}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One side of a connection. `address`: as the event has it; `ip`: the same, where it is one, without a zone."""

    address: str | None = None
    ip: str | None = None
    port: int | None = None


@dataclass(frozen=True, slots=True)
class Parties:
    """Who an alert is about; None for what no known field says."""

    source: Endpoint | None = None
    destination: Endpoint | None = None
    user: str | None = None
    host: str | None = None

    @property
    def ips(self) -> list[str]:
        """The addresses of both sides, each once."""
        ends = (self.source, self.destination)
        return list(dict.fromkeys(end.ip for end in ends if end is not None and end.ip is not None))


def parties_of(*fields: Mapping[str, Any]) -> Parties:
    """Return who is named in `fields`, values by path; of several that name the same part the first one counts."""
    found: dict[str, Any] = {}
    for path, value in _values(fields):
        part = _PART_OF.get(path)
        if part is not None and part not in found and (held := _held(part, value)) is not None:
            found[part] = held
    return Parties(_end(found, "source"), _end(found, "destination"), found.get("user"), found.get("host"))


def _values(fields: tuple[Mapping[str, Any], ...]) -> Iterator[tuple[str, Any]]:
    for mapping in fields:
        yield from mapping.items()


def _held(part: str, value: Any) -> str | int | None:
    """Return a value as its part holds it; None where it is none of the kind, which a SIEM would refuse."""
    if not part.endswith("_port"):
        return value if isinstance(value, str) and value.strip().lower() not in _NOBODY else None
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int((value.lstrip("0") or "0")[: len(str(_MOST_PORTS)) + 1])
    is_port = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_PORTS
    return value if is_port else None


def _end(found: Mapping[str, Any], side: str) -> Endpoint | None:
    address, port = found.get(f"{side}_address"), found.get(f"{side}_port")
    return None if address is None and port is None else Endpoint(address, _ip(address), port)


def _ip(address: str | None) -> str | None:
    try:
        # A zone names an interface of the machine that saw the event, and no field for addresses takes it.
        return None if address is None else str(ipaddress.ip_address(address.strip().partition("%")[0]))
    except ValueError:
        return None
