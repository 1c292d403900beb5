"""Identities that get no alert."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from jenga.policy.match import brief, seconds_of
from jenga.policy.schema import Allowed

Network: TypeAlias = "ipaddress.IPv4Network | ipaddress.IPv6Network"
Address: TypeAlias = "ipaddress.IPv4Address | ipaddress.IPv6Address"


def network_of(text: str) -> Network | None:
    """Return the network or the one address that `text` names, None where it is another text.

    Raises ValueError, with the fix, for what is written as a network and is none.
    """
    if "/" not in text:
        address = address_of(text)
        return None if address is None else ipaddress.ip_network(address)
    before, _, behind = text.partition("/")
    if address_of(before) is None or not behind:
        return None
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        try:
            wider = ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise ValueError(f"'{text}' is no network: behind '/' stands how many bits of the address count") from None
        raise ValueError(f"'{text}' is an address inside a network; write {wider}, or the address alone") from None


def address_of(value: Any) -> Address | None:
    """Return the address that a value is; of one of IPv4 written as IPv6, that of IPv4."""
    if not isinstance(value, str):
        return None
    try:
        address = ipaddress.ip_address(value.strip())
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


class AllowList:
    """The entries of `allow:`, by the rules that they hold for."""

    def __init__(self, entries: Sequence[Allowed]) -> None:
        self._entries = [
            (each, None if each.until is None else seconds_of(each.until, "s"),
             {path: (brief(text), network_of(text)) for path, text in each.fields.items()})
            for each in entries
        ]  # fmt: skip

    def entry(self, rule: str, identity: Mapping[str, Any], now: float) -> Allowed | None:
        """Return the first entry that holds for an identity of `rule`; now: seconds since 1970, by the clock."""
        for entry, until, fields in self._entries:
            if entry.rules is not None and rule not in entry.rules:
                continue
            if until is not None and now >= until:
                continue
            if all(path in identity and _fits(identity[path], *wanted) for path, wanted in fields.items()):
                return entry
        return None

    def ended(self, now: float) -> list[int]:
        """Return the places of entries that hold no longer."""
        return [at for at, (_, until, _) in enumerate(self._entries) if until is not None and now >= until]


def _fits(value: Any, text: str, network: Network | None) -> bool:
    if value is None or isinstance(value, bool | Mapping | list):
        return False
    if network is None:
        return str(value) == text
    address = address_of(value)
    return address is not None and address.version == network.version and address in network
