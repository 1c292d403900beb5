"""`jenga alerts` proves a log and lists it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from jenga.policy import Enforcer, Policy
from jenga.policy.log import files_of

Invoke = Callable[..., Result]
POLICY = """\
rules:
  - {name: flood, when: {task: t, head: h, label: [dos]}, identity: [src_ip], severity: high}
  - {name: probe, when: {task: t, head: h, label: [probe]}, identity: [src_ip, user]}
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log of four alerts, in several files."""
    path = tmp_path / "policy.yml"
    path.write_text(f"{POLICY}rotate_mb: 0.0012\n")
    with Enforcer(Policy.load(path)) as guard:
        for number, label in enumerate(["dos", "probe", "dos", "probe"]):
            event = {"src_ip": f"10.0.0.{number}", "user": f"u{number % 2}"}
            guard.see(event, {"id": str(number), "t": {"h": {"label": label, "probability": 0.5}}})
    assert len(files_of(tmp_path / "alerts.jsonl")) > 1
    return tmp_path / "alerts.jsonl"


def last_hash(log: Path) -> str:
    return str(json.loads(log.read_text().splitlines()[-1])["hash"])


def test_a_whole_log_is_told_with_its_last_hash(invoke: Invoke, log: Path) -> None:
    result = invoke("alerts", "verify", log)
    assert (result.exit_code, result.stderr) == (0, "")
    told, last = result.stdout.splitlines()
    assert told.startswith(f"{log}: 4 records, none changed, removed, added or moved; there is no secret, so")
    assert last == f"last hash: {last_hash(log)}"
    found = invoke("alerts", "verify", log, "--json", "--expect-last", last_hash(log).upper())
    assert json.loads(found.stdout) == {"records": 4, "last": last_hash(log), "algorithm": "sha256"}
    proved = invoke("alerts", "verify", log, "--expect-last", last_hash(log)).stdout
    assert proved.startswith(f"{log}: 4 records, none changed, removed, added or moved\n")


def test_a_link_to_a_log_is_proved_and_listed_as_the_log(invoke: Invoke, tmp_path: Path, log: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(log)
    result = invoke("alerts", "verify", link)
    assert (result.exit_code, result.stderr, "4 records" in result.stdout) == (0, "", True)
    assert len(invoke("alerts", "list", link, "--json").stdout.splitlines()) == 4


def test_a_log_that_is_not_as_it_was_ends_with_code_three_and_the_place(invoke: Invoke, log: Path) -> None:
    first = files_of(log)[0]
    first.write_text(first.read_text().replace('"dos"', '"odd"'))
    result = invoke("alerts", "verify", log)
    assert result.exit_code == 3
    assert result.stdout == ""
    assert f"error: {first}:1:1: the record was changed" in result.stderr


def test_records_gone_from_the_end_are_told(invoke: Invoke, log: Path) -> None:
    hash_ = last_hash(log)
    log.unlink()
    result = invoke("alerts", "verify", log)
    assert (result.exit_code, "records are gone from the end" in result.stderr) == (3, True)
    Path(f"{log}.head").unlink()
    result = invoke("alerts", "verify", log)
    assert (result.exit_code, "nobody can tell whether the newest records are gone" in result.stderr) == (0, True)
    assert invoke("alerts", "verify", log, "--expect-last", hash_).exit_code == 3


def test_a_damaged_head_is_told_beside_what_else_is_wrong(invoke: Invoke, log: Path) -> None:
    Path(f"{log}.head").write_text("{")
    result = invoke("alerts", "verify", log)
    assert (result.exit_code, result.stdout) == (3, "")
    assert f"{log}.head: no JSON" in result.stderr
    assert "damaged" in result.stderr
    log.write_text(log.read_text().replace('"probe"', '"odd"'))
    assert "the record was changed" in invoke("alerts", "verify", log).stderr


def test_a_secret_comes_from_a_file_or_the_environment(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "key").write_text("a secret of 16 b\n")
    monkeypatch.setenv("JENGA_LOG_SECRET", "a secret of 16 b")
    (tmp_path / "policy.yml").write_text(f"{POLICY}key_file: key\n")
    with Enforcer(Policy.load(tmp_path / "policy.yml")) as guard:
        guard.see({"src_ip": "a"}, {"id": "1", "t": {"h": {"label": "dos", "probability": 0.5}}})
    log = tmp_path / "alerts.jsonl"
    found = invoke("alerts", "verify", log, "--key-file", tmp_path / "key")
    assert (found.exit_code, "no secret" in found.stdout) == (0, False)
    assert invoke("alerts", "verify", log, "--key-env", "JENGA_LOG_SECRET").exit_code == 0
    result = invoke("alerts", "verify", log)
    assert (result.exit_code, "--key-file or --key-env" in result.stderr) == (3, True)
    assert invoke("alerts", "verify", log, "--key-file", "a", "--key-env", "B").exit_code == 2


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        ([], "0123"),
        (["--rule", "flood"], "02"),
        (["--identity", "src_ip=10.0.0.1"], "1"),
        (["--identity", "10.0.0.2"], "2"),
        (["--identity", "user=u1"], "13"),
        (["--identity", "src_ip=u1"], ""),
        (["--since", "2001-01-01"], "0123"),
        (["--since", "2999-01-01T00:00:00Z"], ""),
        (["--rule", "probe", "--identity", "10.0.0.1"], "1"),
    ],
)
def test_records_are_listed_by_rule_identity_and_time(invoke: Invoke, log: Path, options: list[str], rows: str) -> None:
    result = invoke("alerts", "list", log, "--json", *options)
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines(keepends=True)
    assert "".join(json.loads(line)["id"] for line in lines) == rows
    assert all(line in "".join(file.read_text() for file in files_of(log)) for line in lines)


def test_the_table_has_a_line_a_record(invoke: Invoke, log: Path) -> None:
    header, first, *others = invoke("alerts", "list", log).stdout.splitlines()
    assert header.split() == [
        "seq", "time", "decision", "severity", "rule", "identity", "row", "answer", "score", "suppressed",
    ]  # fmt: skip
    assert first.split()[2:] == ["alert", "high", "flood", "src_ip=10.0.0.0", "0", "dos", "0.5", "0"]
    assert len(others) == 3


def test_what_is_no_record_is_counted_and_left_out(invoke: Invoke, log: Path) -> None:
    with log.open("ab") as file:
        file.write(b"{}x\n")
    result = invoke("alerts", "list", log, "--json")
    assert len(result.stdout.splitlines()) == 4
    assert "1 lines are no records as they were written; see jenga alerts verify" in result.stderr


def test_no_log_and_no_time_are_told(invoke: Invoke, tmp_path: Path, log: Path) -> None:
    for command in ("verify", "list"):
        result = invoke("alerts", command, tmp_path / "none.jsonl")
        assert (result.exit_code, "no such log" in result.stderr) == (3, True)
    result = invoke("alerts", "list", log, "--since", "noon")
    assert (result.exit_code, "'noon' is no time" in result.stderr) == (2, True)


def test_alerts_are_exported_from_all_files_of_a_log(invoke: Invoke, tmp_path: Path, log: Path) -> None:
    result = invoke("alerts", "export", log, "--format", "ecs")
    assert (result.exit_code, result.stderr) == (0, "")
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [each["source"]["ip"] for each in found] == [f"10.0.0.{number}" for number in range(4)]
    out = tmp_path / "out.jsonl"
    assert invoke("alerts", "export", log, "--format", "ocsf", "--rule", "flood", "-o", out).exit_code == 0
    assert [json.loads(line)["finding_info"]["title"] for line in out.read_text().splitlines()] == ["flood"] * 2


def test_an_export_never_replaces_the_log(invoke: Invoke, log: Path) -> None:
    older = files_of(log)[0]
    before = older.read_bytes()
    result = invoke("alerts", "export", log, "--format", "ecs", "-o", older)
    assert (result.exit_code, "is what is read, which would be lost" in result.stderr) == (2, True)
    assert older.read_bytes() == before


def test_what_is_no_whole_record_is_not_exported_and_is_told(invoke: Invoke, tmp_path: Path) -> None:
    log = tmp_path / "alerts.jsonl"
    log.write_text('{"decision":"alert"}\n{"decision": "alert"}\n{"decision":"hook"}\n')
    result = invoke("alerts", "export", log, "--format", "ocsf")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "1 lines are no records as they were written" in result.stderr
    assert "1 alerts lack what a SIEM needs and were left out" in result.stderr


@pytest.mark.slow
def test_an_alert_that_comes_by_a_pipe_is_exported_while_the_pipe_is_open(log: Path) -> None:
    program = "from jenga.cli.main import main; main()"
    command = [sys.executable, "-c", program, "alerts", "export", "-", "--format", "ecs"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for line in log.read_bytes().splitlines(keepends=True):
            process.stdin.write(line)
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["event"]["original"] == line.decode().rstrip("\n")
        process.stdin.close()
        assert process.wait(timeout=30) == 0
