"""The generated flows: reproducible, in the collector's form, and hard to judge by one field."""

from __future__ import annotations

import ipaddress
import json

import numpy as np
import pytest

from jenga.samples.network import ATTACKS, generate_flows


def test_the_same_seed_gives_the_same_flows_and_a_longer_list_begins_with_the_shorter() -> None:
    assert generate_flows(50) == generate_flows(80)[:50]
    assert generate_flows(50) != generate_flows(50, seed=1)


def test_flows_are_flat_json_objects_in_order_of_time() -> None:
    flows = generate_flows(300)
    assert json.loads(json.dumps(flows, allow_nan=False)) == flows
    assert not any(isinstance(value, (dict, list)) for flow in flows for value in flow.values())
    assert len({tuple(flow) for flow in flows}) == 1
    times = [flow["timestamp"] for flow in flows]
    assert times == sorted(times)
    assert len({flow["id"] for flow in flows}) == 300


def test_values_are_what_their_names_say() -> None:
    for flow in generate_flows(500):
        assert ipaddress.ip_address(flow["src_ip"]) != ipaddress.ip_address(flow["dst_ip"])
        assert 0 < flow["dst_port"] < 65536
        assert flow["protocol"] in ("tcp", "udp", "icmp")
        assert flow["tcp_flags"] is None or flow["protocol"] == "tcp"
        assert (flow["query"] is not None) <= (flow["dst_port"] == 53)
        assert min(flow["bytes_out"], flow["bytes_in"], flow["failed_logins"]) >= 0


def test_some_values_are_null() -> None:
    flows = generate_flows(1000)
    for name in ("service", "duration", "packets", "tcp_flags", "query"):
        assert 0 < sum(flow[name] is None for flow in flows) < 1000, name


def test_about_one_flow_in_six_is_a_threat_and_noise_changes_labels_only() -> None:
    noisy, clean = generate_flows(3000, label_noise=0.1), generate_flows(3000, label_noise=0.0)
    assert 0.13 < np.mean([flow["threat"] for flow in clean]) < 0.23
    changed = [a["threat"] != b["threat"] for a, b in zip(noisy, clean, strict=True)]
    assert 0.07 < np.mean(changed) < 0.13
    assert [{**flow, "threat": 0} for flow in noisy] == [{**flow, "threat": 0} for flow in clean]


@pytest.mark.parametrize("name", ["bytes_out", "bytes_in", "duration", "failed_logins", "dst_port", "src_port"])
def test_no_single_number_gives_the_attacks_away(name: str) -> None:
    from sklearn.metrics import roc_auc_score

    flows = [flow for flow in generate_flows(3000, label_noise=0.0) if flow[name] is not None]
    area = roc_auc_score([flow["threat"] for flow in flows], [flow[name] for flow in flows])
    assert 0.15 < area < 0.85


def test_there_are_several_kinds_of_attack() -> None:
    assert len(ATTACKS) >= 4
