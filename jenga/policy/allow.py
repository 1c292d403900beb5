"""Identities that get no alert."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from jenga.policy.match import brief, seconds_of
from jenga.policy.schema import Allowed

Network: TypeAlias = "ipaddress.IPv4Network | ipaddress.IPv6Network"
Address: TypeAlias = "ipaddress.IPv4Address | ipaddress.IPv6Address"

_NUMBERS = re.compile(r"[0-9]+(\.[0-9]+)+\.?")
_PADDED = re.compile(r"(?=.*\b0[0-9])[0-9]{1,3}(\.[0-9]{1,3}){3}")
_BITS_BEFORE_IPV4 = 96


def network_of(text: str) -> Network | None:
    """Return the network or the one address that `text` names, None where it is another text.

    One of IPv4 written as IPv6 is that of IPv4. Raises ValueError, with the fix, for what is written as an address or a
    network and is none, or would let more pass than it says.
    """
    before, slash, behind = text.strip().partition("/")
    address = address_of(before)
    if address is None:
        if _NUMBERS.fullmatch(before) and (slash or _PADDED.fullmatch(before)):
            fix = "write the four numbers, 0 to 255, without leading zeros"
            raise ValueError(f"'{text}' looks like an address and is none; {fix}, or a network such as 10.0.0.0/8")
        return None
    if "%" in before:
        wider = before.partition("%")[0] + slash + behind
        raise ValueError(f"'{text}' has a zone, which is not looked at; write {wider}, which holds for every zone")
    if not slash:
        return ipaddress.ip_network(address)
    network = _of_bits(before, behind)
    if network is None:
        raise ValueError(f"'{text}' is no network: behind '/' stands how many bits of the address count")
    if not behind.isdigit():
        raise ValueError(f"'{text}' has a mask, which may be read in two ways; write {network}")
    if address != network.network_address:
        raise ValueError(f"'{text}' is an address inside a network; write {network}, or the address alone")
    return network


def _of_bits(before: str, behind: str) -> Network | None:
    try:
        network = ipaddress.ip_network(f"{before}/{behind}", strict=False)
    except ValueError:
        return None
    if isinstance(network, ipaddress.IPv6Network) and (mapped := network.network_address.ipv4_mapped) is not None:
        return ipaddress.IPv4Network((mapped, network.prefixlen - _BITS_BEFORE_IPV4))
    return network


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
