"""Who an alert is about, by the names of its fields."""

from __future__ import annotations

from typing import Any

import pytest

from jenga.policy.parties import KNOWN, Endpoint, Parties, parties_of


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"id.orig_h": "10.0.0.1", "id.orig_p": 4000}, Parties(source=Endpoint("10.0.0.1", "10.0.0.1", 4000))),
        ({"dest_ip": "::FFFF"}, Parties(destination=Endpoint("::FFFF", "::ffff", None))),
        ({"src_ip": "AWS Internal"}, Parties(source=Endpoint("AWS Internal", None, None))),
        ({"winlog.event_data.SourceIp": "10.0.0.1"}, Parties(source=Endpoint("10.0.0.1", "10.0.0.1", None))),
        ({"src_port": 65536, "dest_port": True, "dsport": "x"}, Parties()),
        ({"src_port": "9" * 5000}, Parties()),
        ({"user": {"name": "amina"}, "username": "zuri"}, Parties(user="zuri")),
        ({"hostname": " "}, Parties()),
        ({"user.name": "-", "username": "zuri", "hostname": "N/A"}, Parties(user="zuri")),
        ({"src_port": "00000080"}, Parties(source=Endpoint(None, None, 80))),
        ({"host": "example.com"}, Parties()),
    ],
)
def test_known_names_tell_what_a_value_is(fields: dict[str, Any], found: Parties) -> None:
    assert parties_of(fields) == found


def test_of_several_that_name_the_same_the_identity_counts() -> None:
    assert parties_of({"user": "amina"}, {"user.name": "zuri", "host.name": "db-1"}) == Parties(
        user="amina", host="db-1"
    )


def test_a_name_is_known_for_one_thing_alone() -> None:
    names = [name for names in KNOWN.values() for name in names]
    assert len(names) == len(set(names))
