"""The presets: valid, complete, and right on real rows."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from jenga.errors import ConfigError
from jenga.refinery import SecurityRefinery, presets
from jenga.refinery.plan import CompiledPlan, compile_plan
from jenga.refinery.presets import PRESETS, load_preset, preset_text
from jenga.refinery.sample import read_columns
from jenga.refinery.schema import RefinerySchema, parse_schema
from jenga.refinery.statistics import MISMATCH, PRESENT, RawBlock, Statistics

REAL_DATA = Path(__file__).parents[3].parent / "shared" / "data"
REAL = {
    "nsl_kdd": "nsl-kdd/KDDTrain+",
    "zeek": "zeek/zeek",
    "sysmon": "sysmon/metasploit_sharpdump_lsass_memory_dump",
}
needs_real_rows = pytest.mark.skipif(
    not REAL_DATA.is_dir(), reason="the real rows (../shared/data) are not beside this checkout"
)


pytestmark = pytest.mark.filterwarnings("ignore:none of .* rows has the:UserWarning")


def real_rows(name: str) -> list[dict[str, Any]]:
    """Return some 700 rows from all over the file."""
    step = {"nsl_kdd": 180, "zeek": 205, "sysmon": 85}[name]
    with gzip.open(REAL_DATA / f"{REAL[name]}.jsonl.gz") as lines:
        return [json.loads(line) for line in islice(lines, 0, None, step)]


def test_every_file_is_a_preset() -> None:
    assert sorted(path.stem for path in Path(presets.__file__).parent.glob("*.yml")) == list(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_a_schema_that_reads_back_and_says_what_it_leaves_out(name: str) -> None:
    schema = load_preset(name)
    assert schema.name == name
    assert len(schema.fields) >= 40
    assert schema.left_out
    assert preset_text(name).startswith("# ")
    assert parse_schema(schema.to_yaml(), file="x") == schema


@pytest.mark.parametrize("name", PRESETS)
def test_no_preset_reads_a_label_an_id_or_a_raw_address(name: str) -> None:
    last = {path.split(".")[-1].lower() for field in load_preset(name).fields for path in field.all_paths}
    forbidden = {"label", "class", "attack_cat", "difficulty", "uid", "uuid", "flow_id", "md5", "sha1", "sha256", "id"}
    assert not last & forbidden
    assert all(field.prefix_bits == 0 for field in load_preset(name).fields if field.kind == "ip")


def test_an_unknown_preset_is_told_with_the_known_ones() -> None:
    with pytest.raises(
        ConfigError, match=r"unknown 'nsl-kdd'; did you mean 'nsl_kdd'\? Known: cicflowmeter, cloudtrail, ecs,"
    ):
        load_preset("nsl-kdd")


def test_nsl_kdd_reads_the_41_features() -> None:
    kinds = [field.kind for field in load_preset("nsl_kdd").fields]
    assert (kinds.count("numeric"), kinds.count("categorical"), len(kinds)) == (38, 3, 41)


HEADERS = {
    # Zeek 6, of its own scripts; in JSON the same names.
    "conn": "ts uid id.orig_h id.orig_p id.resp_h id.resp_p proto service duration orig_bytes resp_bytes conn_state "
    "local_orig local_resp missed_bytes history orig_pkts orig_ip_bytes resp_pkts resp_ip_bytes tunnel_parents",
    "ssh": "ts uid id.orig_h id.orig_p id.resp_h id.resp_p version auth_success auth_attempts direction client server "
    "cipher_alg mac_alg compression_alg kex_alg host_key_alg host_key",
    "kerberos": "ts uid id.orig_h id.orig_p id.resp_h id.resp_p request_type client service success error_msg from "
    "till cipher forwardable renewable",
    "x509": "ts fingerprint certificate.version certificate.serial certificate.subject certificate.issuer "
    "certificate.not_valid_before certificate.not_valid_after certificate.key_alg certificate.sig_alg "
    "certificate.key_type certificate.key_length certificate.exponent certificate.curve san.dns "
    "basic_constraints.ca basic_constraints.path_len host_cert client_cert",
}


@pytest.mark.parametrize("log", HEADERS)
def test_every_field_of_zeeks_logs_is_read_or_left_out(log: str) -> None:
    schema = load_preset("zeek")
    known = {path for field in schema.fields for path in field.all_paths} | schema.left_out.keys()
    assert {name for name in HEADERS[log].split() if not {name, f"{name}[*]"} & known} == set()


def test_addresses_of_zeek_are_read_by_either_name() -> None:
    known = [{"id.orig_h": "10.0.0.1", "id_orig_p": 80}, {"id": {"resp_p": 53}}]
    refinery = SecurityRefinery(preset="zeek").fit(known)
    rows = [{"id.orig_h": "10.0.0.1", "id.orig_p": 80}, {"id_orig_h": "10.0.0.1", "id_orig_p": 80}]
    one, other = refinery.transform(rows)
    assert one.any()
    assert one.tobytes() == other.tobytes()


CIC_IDS2017 = (
    " Destination Port, Flow Duration, Total Fwd Packets, Total Backward Packets,Total Length of Fwd Packets, "
    "Fwd Header Length, Min Packet Length, CWE Flag Count, Fwd Header Length,Fwd Avg Bytes/Bulk,"
    "Init_Win_bytes_forward, min_seg_size_forward, Label\n"
    "80,1000,2,3,40,32,6,0,32,0,29200,20,BENIGN\n443,7,1,1,0,20,0,1,20,0,-1,20,DDoS\n"
)
CSE_CIC_IDS2018 = (
    "Dst Port,Flow Duration,Tot Fwd Pkts,Tot Bwd Pkts,TotLen Fwd Pkts,Fwd Header Len,Pkt Len Min,CWE Flag Count,"
    "Fwd Byts/b Avg,Init Fwd Win Byts,Fwd Seg Size Min\n80,1000,2,3,40,32,6,0,0,29200,20\n"
    "443,7,1,1,0,20,0,1,0,-1,20\n"
)


def test_the_published_headers_of_cic_data_sets_are_read_as_one(tmp_path: Path) -> None:
    (tmp_path / "2017.csv").write_text(CIC_IDS2017)
    (tmp_path / "2018.csv").write_text(CSE_CIC_IDS2018)
    refinery = SecurityRefinery(preset="cic_ids2017").fit(str(tmp_path / "2017.csv"))
    found = [path for path, count in refinery.counters_.to_dict().items() if count["present"]]
    assert found == [
        "Dst Port", "Flow Duration", "Total Fwd Packet", "Total Bwd packets", "Total Length of Fwd Packet",
        "Fwd Header Length", "Packet Length Min", "CWR Flag Count", "Fwd Bytes/Bulk Avg", "FWD Init Win Bytes",
        "Fwd Seg Size Min",
    ]  # fmt: skip
    paths = [str(tmp_path / name) for name in ("2017.csv", "2018.csv")]
    assert len({refinery.transform(path).tobytes() for path in paths}) == 1


WINDOWS = {"TargetImage": "lsass.exe", "GrantedAccess": "0x1010", "SourceImage": "C:\\x.exe"}
FIREWALL = {
    "SourceAddress": "192.168.2.5", "SourcePort": "65353", "DestAddress": "8.8.8.8", "DestPort": "443",
    "Protocol": "6", "Direction": "%%14593", "Application": "\\device\\x.exe", "LayerName": "%%14611",
}  # fmt: skip


@pytest.mark.parametrize("data", [WINDOWS, FIREWALL])
def test_windows_events_have_the_same_features_in_each_form(data: dict[str, Any]) -> None:
    small = {f"{name[0].lower()}{name[1:]}": value for name, value in data.items()}
    forms = [
        {"EventID": 10, "Channel": "S", **data},
        {"winlog": {"event_id": 10, "channel": "S", "event_data": data}},
        {"event_id": 10, "log_name": "S", "event_data": data},
        {"data": {"win": {"system": {"eventID": "10", "channel": "S"}, "eventdata": small}}},
    ]
    refinery = SecurityRefinery(preset="winlog").fit([*forms, {"EventID": 1}])
    assert len({row.tobytes() for row in refinery.transform(forms)}) == 1
    present = [path for path, count in refinery.counters_.to_dict().items() if count["present"] >= 4]
    assert len(present) == 2 + len(data)
    flat = SecurityRefinery(preset="sysmon").fit([forms[0], {"EventID": 1}])
    assert sum(count["present"] > 0 for count in flat.counters_.to_dict().values()) == 2 + len(data)


def test_a_record_of_cloudtrail_is_read_but_for_who_it_was() -> None:
    identity = {"type": "IAMUser", "arn": "arn:aws:iam::1:user/m", "userName": "m", "invokedBy": "signin.amazonaws.com",
                "sessionContext": {"attributes": {"mfaAuthenticated": "false"}}}  # fmt: skip
    record = {
        "eventVersion": "1.08", "userIdentity": identity, "eventTime": "2026-06-19T00:18:31Z", "awsRegion": "us-east-2",
        "eventSource": "ec2.amazonaws.com", "eventName": "AuthorizeSecurityGroupIngress", "readOnly": False,
        "sourceIPAddress": "203.0.113.64", "userAgent": "aws-cli/2", "eventType": "AwsApiCall", "requestID": "d",
        "requestParameters": {"ipPermissions": {"items": [
            {"ipProtocol": "tcp", "fromPort": 22, "toPort": 22, "ipRanges": {"items": [{"cidrIp": "0.0.0.0/0"}]}}
        ]}},
        "resources": [{"type": "AWS::EC2::SecurityGroup", "ARN": "x"}],
    }  # fmt: skip
    refinery = SecurityRefinery(preset="cloudtrail").fit(json.dumps({"Records": [record, record]}).encode())
    assert sum(count["present"] == 2 for count in refinery.counters_.to_dict().values()) == 17
    # Who it was decides nothing but the time since their event before.
    assert refinery.feature_sources_.count("userIdentity.arn") == 0
    assert "eventTime:inter_arrival" in refinery.feature_names_
    assert not any(count["mismatch"] for count in refinery.counters_.to_dict().values())


def test_winlog_has_the_columns_of_sysmon() -> None:
    flat, nested = load_preset("sysmon").fields, load_preset("winlog").fields
    assert [(field.name, field.kind) for field in nested] == [(field.name, field.kind) for field in flat]


@needs_real_rows
@pytest.mark.parametrize("name", REAL)
def test_every_path_of_the_real_rows_is_read_or_left_out_with_a_reason(name: str) -> None:
    schema = load_preset(name)
    columns, left_out = read_columns(real_rows(name))
    known = {path for field in schema.fields for path in field.all_paths} | schema.left_out.keys()
    unknown = {column.path for column in columns} | left_out.keys()
    unknown = {path for path in unknown if path.removesuffix("[*]") not in known}
    # Windows has hundreds of rare fields of single services.
    assert len(unknown - known) <= (60 if name == "sysmon" else 0), sorted(unknown - known)


@needs_real_rows
@pytest.mark.parametrize("name", REAL)
def test_real_rows_become_finite_features_and_few_values_are_of_another_type(
    name: str,
    raw_block: Callable[[RefinerySchema, Sequence[Any]], RawBlock],
    features: Callable[[CompiledPlan, Sequence[Any]], dict[str, list[float]]],
) -> None:
    schema, rows = load_preset(name), real_rows(name)
    assert len(rows) > 650
    statistics = Statistics(schema)
    statistics.update(raw_block(schema, rows))
    for known in statistics.fields:
        assert known.states[MISMATCH] <= 0.01 * len(rows), known.field.path
    read = [known.field.path for known in statistics.fields if known.states[PRESENT]]
    assert len(read) >= {"nsl_kdd": 41, "zeek": 30, "sysmon": 25}[name]
    found = features(compile_plan(schema, statistics), rows[:50])
    assert len(found) >= len(schema.fields)
