"""Who gets no alert: addresses by network, all else by its exact text, until a time."""

from __future__ import annotations

from typing import Any

import pytest

from jenga.policy.allow import AllowList, address_of, network_of
from jenga.policy.match import brief
from jenga.policy.schema import Allowed


def holds(fields: dict[str, str], identity: dict[str, Any], *, now: float = 0.0, **more: Any) -> bool:
    return AllowList([Allowed(fields=fields, **more)]).entry("flood", identity, now) is not None


@pytest.mark.parametrize(
    ("text", "value", "fits"),
    [
        ("10.0.0.0/8", "10.255.0.1", True),
        ("10.0.0.0/8", "11.0.0.1", False),
        ("10.0.0.0/8", "::ffff:10.1.2.3", True),
        ("10.0.0.0/8", "10.0.0.0/8", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.30", False),
        ("2001:db8::/32", "2001:DB8:0::1", True),
        ("2001:db8::1", "2001:0db8::0001", True),
        ("0.0.0.0/0", "::1", False),
        ("backup", "backup", True),
        ("backup", "Backup", False),
        ("backup", "backup ", False),
        ("back*", "backup", False),
        ("7", 7, True),
        ("x" * 300, brief("x" * 300), True),
        ("x" * 300, brief("x" * 299 + "y"), False),
        ("True", True, False),
        ("None", None, False),
        ("a/b", "a/b", True),
    ],
)
def test_an_address_fits_its_network_and_a_text_itself_alone(text: str, value: Any, fits: bool) -> None:
    assert holds({"who": text}, {"who": value}) is fits


def test_all_fields_of_an_entry_have_to_fit() -> None:
    fields = {"src_ip": "10.0.0.0/8", "user.name": "backup"}
    assert holds(fields, {"src_ip": "10.0.0.1", "user.name": "backup"})
    assert not holds(fields, {"src_ip": "10.0.0.1", "user.name": "root"})
    assert not holds(fields, {"src_ip": "10.0.0.1"})


def test_an_entry_ends_at_its_time_and_holds_for_its_rules_alone() -> None:
    fields, identity = {"who": "a"}, {"who": "a"}
    until = "1970-01-01T00:01:00Z"
    assert holds(fields, identity, now=59.9, until=until)
    assert not holds(fields, identity, now=60.0, until=until)
    assert holds(fields, identity, rules=["flood"])
    assert not holds(fields, identity, rules=["other"])
    assert AllowList([Allowed(fields=fields, until=until), Allowed(fields=fields)]).ended(60.0) == [0]


def test_what_is_written_as_a_network_and_is_none_is_refused_with_the_fix() -> None:
    with pytest.raises(ValueError, match=r"write 10\.0\.0\.0/8, or the address alone"):
        network_of("10.1.2.3/8")
    with pytest.raises(ValueError, match="is no network"):
        network_of("10.0.0.0/33")
    assert network_of("a/b") is None
    assert address_of("010.0.0.1") is None
