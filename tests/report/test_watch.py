from __future__ import annotations

import http.client
import json
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from jenga.errors import DataError
from jenga.report import watch
from jenga.report.page import hashed
from jenga.report.runs import RunLine, run_line
from jenga.report.watch import Watched, host_allowed, names_of, page, serve

HOSTILE = "<script>alert(1)</script>\u202e'\""


def make(folder: Path, name: str, *steps: int) -> Path:
    run = folder / name
    run.mkdir(parents=True)
    tasks = [{"name": "QA", "heads": [{"name": "a"}, {"name": "a_b"}]}]
    given = {"tasks": tasks, "training": {"epochs": 3, "max_steps": None}}
    (run / "run.json").write_text(json.dumps({"status": "finished", "given": given}))
    append(run, *steps)
    return run


def append(run: Path, *steps: int) -> None:
    with (run / "metrics.jsonl").open("a") as file:
        file.writelines(json.dumps({"event": "train", "step": step, "loss": 1.0}) + "\n" for step in steps)


def steps_of(found: dict[str, Any]) -> list[int]:
    return [record["step"] for record in found["records"]]


def test_a_log_is_told_from_where_the_last_answer_ended(tmp_path: Path) -> None:
    run = make(tmp_path, "p/r", 1, 2)
    watched = Watched(tmp_path)
    ((key,),) = ([each["id"] for each in watched.runs()["runs"]],)
    first = watched.log(key, 0)
    assert (steps_of(first), first["more"]) == ([1, 2], False)
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"event": "train", "st')
    again = watched.log(key, first["next"])
    assert (steps_of(again), again["next"]) == ([], first["next"]), "half a line waits for its end"
    with (run / "metrics.jsonl").open("a") as file:
        file.write('ep": 3}\nno JSON\n{"event": "train", "step": NaN}\n')
    append(run, 4)
    assert steps_of(watched.log(key, again["next"])) == [3, 4]


def test_a_log_that_was_cut_back_is_read_anew(tmp_path: Path) -> None:
    run = make(tmp_path, "r", 1, 2, 3)
    watched = Watched(run)
    (key,) = [each["id"] for each in watched.runs()["runs"]]
    end = watched.log(key, 0)["next"]
    text = (run / "metrics.jsonl").read_text()
    (run / "metrics.jsonl").write_text(text[: len(text) // 3])
    assert watched.log(key, end) == {"reset": True}
    (run / "metrics.jsonl").write_text("x" * 5 + text)
    assert watched.log(key, end) == {"reset": True}, "nor is the middle of a line a place to go on from"


def test_a_long_log_is_told_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "CHUNK", 200)
    watched = Watched(make(tmp_path, "r", *range(50)))
    (key,) = [each["id"] for each in watched.runs()["runs"]]
    start, steps, more = 0, [], True
    while more:
        found = watched.log(key, start)
        steps += steps_of(found)
        start, more = found["next"], found["more"]
    assert steps == list(range(50))


def test_heads_come_with_the_longest_name_first_so_that_no_metric_is_taken_for_another_heads(tmp_path: Path) -> None:
    (run,) = Watched(make(tmp_path, "r", 1)).runs()["runs"]
    assert run["heads"] == [("QA", "a_b"), ("QA", "a")]
    assert str(tmp_path) not in json.dumps(run)


def test_a_run_that_is_harmed_is_listed(tmp_path: Path) -> None:
    run = make(tmp_path, "r", 1)
    (run / "run.json").write_text('{"given": {"tasks": 3}}')
    assert [each["heads"] for each in Watched(tmp_path).runs()["runs"]] == [[]]
    with pytest.raises(DataError, match="no such folder"):
        Watched(tmp_path / "gone")


def test_a_run_is_read_again_where_its_files_changed_or_it_trains_and_its_log_needs_no_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def counted(run: Path, *, within: Path) -> RunLine:
        read.append(run.name)
        return run_line(run, within=within)

    monkeypatch.setattr(watch, "run_line", counted)
    ended, trains = make(tmp_path, "ended", 1), make(tmp_path, "trains", 1)
    (trains / "run.json").write_text('{"status": "running"}')
    watched = Watched(tmp_path)
    first = watched.runs()
    assert sorted(read) == ["ended", "trains"]
    assert watched.runs() == first
    assert read[2:] == ["trains"], "that its process is gone shows in no file"
    append(ended, 2)
    assert {each["name"]: each["steps"] for each in watched.runs()["runs"]} == {"ended": 2, "trains": 1}
    (key,) = [each["id"] for each in first["runs"] if each["name"] == "ended"]
    monkeypatch.setattr(watch, "find_runs", lambda folder: [])
    assert steps_of(watched.log(key, 0)) == [1, 2]
    shutil.rmtree(ended)
    with pytest.raises(KeyError):
        watched.log(key, 0)


@pytest.mark.parametrize(
    ("given", "allowed"),
    [
        (["127.0.0.1:8010"], True), (["localhost"], True), (["LocalHost:1"], True), (["[::1]:8010"], True),
        (["192.168.0.7:8010"], True), (["box.lan:8010"], True), (["evil.example:8010"], False), ([], False),
        (["127.0.0.1.evil.example"], False), (["localhost.evil.example:80"], False), (["localhost", "evil"], False),
        (["evil.example@localhost"], False), (["::1"], False), ([""], False), (["[localhost"], False),
    ],
)  # fmt: skip
def test_a_foreign_name_is_not_answered(given: list[str], allowed: bool) -> None:
    assert host_allowed(given, {"localhost", "box.lan"}) == allowed


def test_at_all_addresses_the_machine_is_asked_by_its_own_name_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "Box")
    for host in ("0.0.0.0", "::"):
        assert host_allowed(["box:8010"], names_of(host))
    assert not host_allowed(["box:8010"], names_of("127.0.0.1"))


def test_a_page_that_is_closed_while_it_is_answered_is_no_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(error: Exception) -> str:
        try:
            raise error
        except type(error):
            server.handle_error(cast(socket.socket, None), ("127.0.0.1", 1))
        return capsys.readouterr().err

    with serve(tmp_path, "127.0.0.1", 0) as server:
        assert told(BrokenPipeError()) == told(ConnectionResetError()) == ""
        assert "ValueError: ours" in told(ValueError("ours"))


def test_a_page_is_served_at_once_without_what_trains() -> None:
    program = "import sys; from jenga.report import watch; print({'torch', 'numpy', 'pydantic'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.fixture
def address(tmp_path: Path) -> Iterator[tuple[str, int]]:
    make(tmp_path / "runs", f"p{HOSTILE.replace('/', '-')}", 1, 2)
    (tmp_path / "secret").write_text("secret")
    server = serve(tmp_path / "runs", "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield "127.0.0.1", int(server.server_address[1])
    server.shutdown()
    thread.join()
    server.server_close()


def ask(address: tuple[str, int], path: str, method: str = "GET", **headers: str) -> tuple[int, Any, bytes]:
    connection = http.client.HTTPConnection(*address, timeout=10)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, answer.headers, content


def test_the_page_the_runs_and_their_logs_are_answered_and_nothing_else(address: tuple[str, int]) -> None:
    status, headers, content = ask(address, "/")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert headers["Content-Security-Policy"] == page()[1]
    status, headers, content = ask(address, "/runs")
    (run,) = json.loads(content)["runs"]
    assert run["name"].startswith("p<script>"), "as JSON; the page shows it as text"
    assert headers["X-Content-Type-Options"] == "nosniff"
    status, _, content = ask(address, f"/log?run={run['id']}&from=0")
    assert (status, steps_of(json.loads(content))) == (200, [1, 2])
    for path in ("/secret", "/../secret", "/%2e%2e/secret", "//etc/passwd", "/log/../../secret", "/runs/", "/x" * 2000):
        assert ask(address, path)[0] == 404, path
    for query in ("", "run=..%2F..%2Fsecret&from=0", f"run={run['id']}&from=-1", f"run={run['id']}", "run=%00&from=0"):
        assert ask(address, f"/log?{query}")[0] == 400, query
    assert ask(address, f"/log?run={'0' * 16}&from=0")[0] == 404
    assert ask(address, f"/log?run={run['id']}&from={10**14}")[2] == b'{"reset": true}'
    assert ask(address, "/runs", method="POST")[0] == 501


def test_a_page_whose_name_was_made_to_point_here_is_refused(address: tuple[str, int]) -> None:
    status, _, content = ask(address, "/runs", Host=f"evil.example:{address[1]}")
    assert (status, b"runs" in content) == (421, False)


def test_the_policy_allows_the_pages_own_style_and_script_and_its_own_server() -> None:
    text, policy = page()
    (script,) = re.findall("<script>(.*?)</script>", text, re.DOTALL)
    assert f"script-src {hashed(script)};" in policy
    assert all(hashed(style) in policy for style in re.findall("<style>(.*?)</style>", text, re.DOTALL))
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|https?://(?!www\.w3\.org)", text)
    assert not re.search(r"<[^>]+ (style|on\w+)=", text), "the policy would refuse it"
