"""Zeek's own logs give the rows that Zeek's JSON gives."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from jenga.refinery import SecurityRefinery
from jenga.refinery.sources import chunks_of
from jenga.refinery.zeek import LogLineError, LogReader, is_log

HEADER = "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n"
CONN = (
    f"{HEADER}#path\tconn\n#open\t2026-03-15-14-50-49\n"
    "#fields\tts\tuid\tid.orig_h\tid.orig_p\tproto\tservice\tduration\torig_bytes\tlocal_orig\ttunnel_parents\n"
    "#types\ttime\tstring\taddr\tport\tenum\tstring\tinterval\tcount\tbool\tset[string]\n"
    "1545403816.962094\tCrDn63\t192.168.1.195\t41040\ttcp\t-\t3.139211\t0\tT\t(empty)\n"
    "1545403817.5\tCabc\tfe80::1\t443\tudp\thttp\t-\t-\tF\tC1,C2\n"
    "#close\t2026-03-15-14-51-49\n"
)
DNS = (
    f"{HEADER}#path\tdns\n#fields\tts\tquery\tanswers\tTTLs\n#types\ttime\tstring\tvector[string]\tvector[interval]\n"
    "1545403818.0\texample.org\t192.0.2.1,a\\x2cb\t60.000000,-\n#close\t2026-03-15-14-51-49\n"
)
CONN_ROWS: list[dict[str, Any]] = [
    {"_path": "conn", "ts": 1545403816.962094, "uid": "CrDn63", "id.orig_h": "192.168.1.195", "id.orig_p": 41040,
     "proto": "tcp", "duration": 3.139211, "orig_bytes": 0, "local_orig": True, "tunnel_parents": []},
    {"_path": "conn", "ts": 1545403817.5, "uid": "Cabc", "id.orig_h": "fe80::1", "id.orig_p": 443, "proto": "udp",
     "service": "http", "local_orig": False, "tunnel_parents": ["C1", "C2"]},
]  # fmt: skip
DNS_ROW = {
    "_path": "dns",
    "ts": 1545403818.0,
    "query": "example.org",
    "answers": ["192.0.2.1", "a,b"],
    "TTLs": [60.0, None],
}


def rows_of(text: str) -> list[dict[str, Any]]:
    reader = LogReader()
    return [row for line in text.split("\n") if (row := reader.row(line.encode())) is not None]


def read(source: Any, chunk_bytes: int = 1 << 20) -> list[tuple[int, dict[str, Any]]]:
    chunks = chunks_of(source, chunk_bytes=chunk_bytes)
    return [
        (int(number), json.loads(chunk.row(at)))  # type: ignore[union-attr]
        for chunk in chunks
        for at, number in enumerate(chunk.numbers)
    ]


def test_cells_have_the_types_of_their_header() -> None:
    found = rows_of(CONN)
    assert found == CONN_ROWS
    assert [type(each) for each in found[0].values()] == [type(each) for each in CONN_ROWS[0].values()]


def test_joined_logs_are_read_each_by_its_own_header() -> None:
    assert rows_of(CONN + DNS + CONN) == [*CONN_ROWS, DNS_ROW, *CONN_ROWS]


@pytest.mark.parametrize("chunk_bytes", [40, 1 << 20])
def test_rows_keep_the_numbers_of_their_lines_in_files_and_bytes(tmp_path: Path, chunk_bytes: int) -> None:
    content = (CONN + DNS).encode()
    (tmp_path / "conn.00:00:00-01:00:00.log.gz").write_bytes(gzip.compress(content))
    expected = list(zip([9, 10, 19], [*CONN_ROWS, DNS_ROW], strict=True))
    for source in (content, b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n"), str(next(tmp_path.iterdir()))):
        assert read(source, chunk_bytes) == expected


def test_a_log_and_its_json_have_the_same_features() -> None:
    fields = [
        {"path": "_path", "kind": "categorical"}, {"path": "ts", "kind": "timestamp"},
        {"path": "id.orig_h", "kind": "ip"}, {"path": "id.orig_p", "kind": "port"},
        {"path": "orig_bytes", "kind": "numeric"}, {"path": "local_orig", "kind": "boolean"},
        {"path": "service", "kind": "categorical"}, {"path": "query", "kind": "text"},
    ]  # fmt: skip
    written = [json.dumps(row) for row in [*CONN_ROWS, DNS_ROW]]
    refinery = SecurityRefinery(schema={"fields": fields}).fit(written)
    refined = refinery.refine((CONN + DNS).encode())
    assert refined.features.tobytes() == refinery.transform(written).tobytes()
    assert not refined.counters.counts[:, 6].any(), "no cell is a number in a text"


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("(empty)", ""), ("\\x2d", "-"), ("a\\x09b", "a\tb"), ("C:\\\\x", "C:\\x"), ("\\xc3\\xa9", "\u00e9"),
        ("\\xff", "\\xff"), ("a\\", "a\\"), ("\\x23x", "#x"), ("", ""),
    ],
)  # fmt: skip
def test_escapes_are_undone_and_a_dash_may_be_meant(cell: str, value: str) -> None:
    assert rows_of(f"{HEADER}#fields\tn\ts\n#types\tcount\tstring\n1\t{cell}") == [{"n": 1, "s": value}]


@pytest.mark.parametrize(
    ("kind", "cell", "value"),
    [
        ("count", "x", "x"), ("bool", "yes", "yes"), ("double", "nan", None), ("time", "2026-01-01", "2026-01-01"),
        ("table[count]", "1,2", [1, 2]), ("set[port]", "-", ...), ("subnet", "10.0.0.0/8", "10.0.0.0/8"),
    ],
)  # fmt: skip
def test_a_cell_of_another_type_is_kept_as_it_stands(kind: str, cell: str, value: Any) -> None:
    [row] = rows_of(f"{HEADER}#fields\tn\ts\n#types\tcount\t{kind}\n1\t{cell}")
    assert row == ({"n": 1} if value is ... else {"n": 1, "s": value})


def test_other_marks_than_the_usual_are_those_of_the_header() -> None:
    text = "#separator |\n#set_separator|;\n#empty_field|EMPTY\n#unset_field|NULL\n#path|x\n"
    text += "#fields|a|b|c\n#types|set[int]|string|int\n"
    assert rows_of(f"{text}1;-2|EMPTY|NULL\nEMPTY|-|3") == [
        {"_path": "x", "a": [1, -2], "b": ""}, {"_path": "x", "a": [], "b": "-", "c": 3}
    ]  # fmt: skip


def test_labels_behind_blanks_as_iot_23_has_them_are_fields_of_their_own() -> None:
    text = (
        f"{HEADER}#fields\tts\ttunnel_parents   label   detailed-label\n#types\ttime\tset[string]   string   string\n"
        "1.0\t(empty)   Malicious   C&C-Heart Beat\n2.0\t-   Benign   -\n"
    )
    assert rows_of(text) == [
        {"ts": 1.0, "tunnel_parents": [], "label": "Malicious", "detailed-label": "C&C-Heart Beat"},
        {"ts": 2.0, "label": "Benign"},
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("#separator \\x09\n1\t2", "no #fields line above it"),
        ("#fields\ta\tb\n1", "1 cells, #fields names 2"),
        ("#fields\ta\ta\n", "#fields names 'a' twice"),
        ("#fields\ta\tb\n#types\tint\n", "#types names 1, #fields 2"),
    ],
)
def test_a_line_that_does_not_fit_its_header_is_refused(text: str, words: str) -> None:
    with pytest.raises(LogLineError, match=words):
        rows_of(text)
    with pytest.raises(LogLineError, match="UTF-8"):
        LogReader().row(b"\xff")


def test_a_ragged_line_is_set_aside_with_its_number_and_place() -> None:
    content = CONN.replace("\n1545403817.5\tCabc", "\n1545403817.5").encode()
    refinery = SecurityRefinery(schema={"fields": [{"path": "orig_bytes", "kind": "numeric"}]}, max_bad_fraction=1.0)
    [record] = refinery.fit(content).quarantine_
    assert (record.number, record.code) == (10, "syntax")
    assert content[record.byte_offset :].startswith(b"1545403817.5\tfe80")
    assert record.raw is not None
    assert record.raw.startswith(b"1545403817.5\tfe80")


def test_only_what_begins_with_a_header_is_a_log() -> None:
    assert is_log(b"\n#separator \\x09\n")
    assert is_log(b"#fields\tts\n")
    assert not is_log(b"# a comment\n")
    assert not is_log(b'{"#separator ": 1}')
