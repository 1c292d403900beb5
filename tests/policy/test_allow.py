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
        ("::ffff:10.0.0.0/104", "10.1.2.3", True),
        ("::ffff:10.0.0.0/104", "::ffff:10.1.2.3", True),
        ("::ffff:10.0.0.0/104", "11.1.2.3", False),
        ("::ffff:0:0/96", "11.1.2.3", True),
        ("::ffff:0:0/96", "::1", False),
        (" 10.0.0.0/8 ", "10.1.2.3", True),
        ("::/0", "2001:db8::1", True),
        ("::/0", "::ffff:10.0.0.1", False),
        ("fe80::/10", "fe80::1%eth0", True),
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


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("10.1.2.3/8", r"write 10\.0\.0\.0/8, or the address alone"),
        ("::ffff:10.1.2.3/104", r"write 10\.0\.0\.0/8, or the address alone"),
        ("10.1.2.3/0", r"write 0\.0\.0\.0/0, or the address alone"),
        ("10.0.0.0/255.0.0.0", r"has a mask, which may be read in two ways; write 10\.0\.0\.0/8"),
        ("10.0.0.0/0.0.0.255", r"write 10\.0\.0\.0/24"),
        ("fe80::1%eth0", r"has a zone, which is not looked at; write fe80::1, which holds for every zone"),
        ("fe80::%eth0/10", r"write fe80::/10, which"),
        ("10.0.0.0/33", "is no network"),
        ("10.0.0.0/", "is no network"),
        ("10.0.0.0/8/8", "is no network"),
        ("010.0.0.0/8", "looks like an address and is none"),
        ("010.0.0.1", "without leading zeros"),
        ("10.0.0/8", "looks like an address and is none"),
        ("10.0.0.256/24", "0 to 255"),
    ],
)
def test_what_is_written_as_a_network_and_is_none_is_refused_with_the_fix(text: str, fix: str) -> None:
    with pytest.raises(ValueError, match=fix):
        network_of(text)


@pytest.mark.parametrize("text", ["a/b", "1/2", "10.0.19045.3803", "1.2.3", "10.0.0.1:80", "[::1]", "10.*", "/", ""])
def test_what_is_no_address_is_a_text(text: str) -> None:
    assert network_of(text) is None
    assert address_of("010.0.0.1") is None
