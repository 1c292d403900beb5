import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from jenga.samples.network import generate_flows

Invoke = Callable[..., Result]


def answers(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_text_gets_one_line_of_json(invoke: Invoke, run: Path) -> None:
    [answer] = answers(invoke("predict", run, "--text", "we are good"))
    assert answer["mood"]["feeling"]["label"] in {"bad", "fine", "good"}
    assert list(answer) == ["id", "mood", "rating"]


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv", "rows.json", "rows.parquet"])
def test_files_of_every_kind_get_the_same_answers(invoke: Invoke, run: Path, tmp_path: Path, name: str) -> None:
    import pandas

    rows = [{"id": "a", "text": "we are good"}, {"id": "b", "text": "it was bad"}]
    path = tmp_path / name
    table = pandas.DataFrame(rows)
    match path.suffix:
        case ".jsonl":
            path.write_text("\n".join(map(json.dumps, rows)))
        case ".json":
            path.write_text(json.dumps(rows))
        case ".csv":
            table.to_csv(path, index=False)
        case ".parquet":
            table.to_parquet(path)
    found = answers(invoke("predict", run, path))
    assert [answer["id"] for answer in found] == ["a", "b"]
    by_text = answers(invoke("predict", run, "--text", "we are good", "--text", "it was bad"))
    assert [{**answer, "id": ""} for answer in found] == [{**answer, "id": ""} for answer in by_text]


@pytest.mark.parametrize(
    ("stdin", "ids"),
    [
        ("we are good\n\nit was bad\n", ["1", "2", "3"]),
        ("we are good\r\nit was bad", ["1", "2"]),
        ('{"id": "x", "text": "good"}\n\n{"text": "bad"}\n', ["x", "3"]),
        ('[{"id": "x", "text": "good"}, {"id": "y", "text": "bad"}]', ["x", "y"]),
        ("\ufeffwe are good", ["1"]),
        ("", []),
    ],
)
def test_standard_input_is_json_or_a_text_a_line(invoke: Invoke, run: Path, stdin: str, ids: list[str]) -> None:
    assert [answer["id"] for answer in answers(invoke("predict", run, "-", stdin=stdin))] == ids


def test_blank_line_keeps_its_place(invoke: Invoke, run: Path) -> None:
    found = answers(invoke("predict", run, "-", stdin="good\n\nbad\n"))
    assert ["error" in answer for answer in found] == [False, True, False]


def test_broken_line_is_an_error_in_its_place_and_told_at_the_end(invoke: Invoke, run: Path) -> None:
    result = invoke("predict", run, "-", stdin='{"text": "good"}\n{"text": \n{"text": "bad"}\n')
    found = answers(result)
    assert ["error" in answer for answer in found] == [False, True, False]
    assert found[1]["id"] == "2"
    assert "warning: 1 of 3 rows cannot be used" in result.stderr


@pytest.mark.parametrize(
    ("stdin", "words"), [(b"caf\xe9\n", "none of the 1 rows can be used"), (b"[1, ", "begins like a JSON list")]
)
def test_standard_input_that_cannot_be_read_ends_with_code_three(
    invoke: Invoke, run: Path, stdin: bytes, words: str
) -> None:
    result = invoke("predict", run, "-", stdin=stdin)
    assert result.exit_code == 3
    assert words in result.stderr


def test_output_file_is_whole_or_not_there(
    invoke: Invoke, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jenga.inference.predictor import Predictor

    path = tmp_path / "out.jsonl"
    result = invoke("predict", run, "--text", "déjà vu", "-o", path)
    assert (result.exit_code, result.stdout) == (0, "")
    assert json.loads(path.read_text(encoding="utf-8"))["id"] == "1"
    before = path.read_text()
    stream = Predictor.stream

    def breaks(self: Predictor, *arguments: Any, **options: Any) -> Any:
        yield from stream(self, *arguments, **options)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Predictor, "stream", breaks)
    assert invoke("predict", run, "--text", "another", "-o", path).exit_code == 4
    assert path.read_text() == before
    assert [each.name for each in tmp_path.iterdir()] == ["out.jsonl"]


def test_probabilities_and_batch_size_reach_the_model(invoke: Invoke, run: Path) -> None:
    [answer] = answers(invoke("predict", run, "--text", "good", "--probabilities", "--batch-size", 1))
    assert list(answer["mood"]["feeling"]["probabilities"]) == ["bad", "fine", "good"]
    assert invoke("predict", run, "--text", "good", "--batch-size", 0).exit_code == 2


def test_processes_answer_a_file_and_no_standard_input(
    invoke: Invoke, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def in_order(start: Any, jobs: Any, **options: Any) -> Any:
        asked.append({**options, "place": options["place"](next(jobs))})
        yield from ()

    monkeypatch.setattr("jenga.inference.processes.in_order", in_order)
    (tmp_path / "rows.jsonl").write_text('{"text": "we are good"}\n' * 3)
    assert answers(invoke("predict", run, tmp_path / "rows.jsonl", "--processes", 3)) == []
    assert asked == [{"processes": 3, "threads": 1, "place": f"{tmp_path / 'rows.jsonl'}, rows 1 to 3"}]
    result = invoke("predict", run, "-", "--processes", 2, stdin="good")
    assert (result.exit_code, "--processes: standard input is answered as it comes" in result.stderr) == (2, True)


def test_ray_writes_parts_to_a_folder(
    invoke: Invoke, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jenga.inference.distributed import Scored

    asked: list[Any] = []

    def score(*arguments: Any, **options: Any) -> Scored:
        asked.append((*arguments, options["concurrency"], options["keep"], options["drivers"]))
        return Scored([Path("a"), Path("b")], 1, 2000, 3, 3)

    monkeypatch.setattr("jenga.inference.distributed.score", score)
    folder = tmp_path / "answers"
    result = invoke(
        "predict", run, "rows.parquet", "--ray", "--processes", 2, "-o", folder, "--keep", "a,b", "--no-drivers"
    )
    assert (result.exit_code, result.stdout) == (0, "")
    assert asked == [("rows.parquet", str(run), str(folder), 2, ["a", "b"], False)]
    assert "3 of 2000 rows cannot be used" in result.stderr
    assert f"{folder}: answers to 2,000 rows in 2 parts, 1 of which were there already" in result.stderr
    for arguments in (["-", "-o", folder], ["rows.parquet"], ["--text", "x", "-o", folder]):
        result = invoke("predict", run, *arguments, "--ray")
        assert (result.exit_code, "--ray: takes FILE and a folder" in result.stderr) == (2, True)
    result = invoke("predict", run, "rows.parquet", "-o", tmp_path)
    assert (result.exit_code, "is a folder; name a file" in result.stderr) == (2, True)


def test_either_a_file_or_texts_must_be_given(invoke: Invoke, run: Path, tmp_path: Path) -> None:
    for arguments in ([], [tmp_path / "x.jsonl", "--text", "good"]):
        result = invoke("predict", run, *arguments)
        assert result.exit_code == 2
        assert "Give FILE" in result.stderr


def test_wrong_run_is_told_with_what_to_give(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("predict", tmp_path, "--text", "good")
    assert result.exit_code == 4
    assert "no trained model here" in result.stderr


def test_half_a_character_in_an_id_is_escaped_and_not_an_error(invoke: Invoke, run: Path) -> None:
    lines = '{"id": "\\ud83d", "text": "good"}\n{"id": "2", "text": "good"}'
    [answer, _] = answers(invoke("predict", run, "-", stdin=lines))
    assert answer["id"] == "\ud83d"


def test_rows_of_which_none_can_be_used_end_with_code_three(invoke: Invoke, run: Path) -> None:
    result = invoke("predict", run, "-", stdin='{"txt": "good"}\n{"text": ""}')
    assert result.exit_code == 3
    assert "none of the 2 rows can be used" in result.stderr
    assert [json.loads(line).keys() for line in result.stdout.splitlines()] == [{"id", "error"}] * 2


def test_a_table_on_standard_input_is_read_as_one(invoke: Invoke, run: Path) -> None:
    result = invoke("predict", run, "-", stdin="id;text\nx;hello, there\ny;good\n")
    assert [answer["id"] for answer in answers(result)] == ["x", "y"]
    assert "is read as a table" in result.stderr


def test_a_dash_for_the_output_is_standard_output(
    invoke: Invoke, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    [answer] = answers(invoke("predict", run, "--text", "good", "-o", "-"))
    assert answer["id"] == "1"
    assert list(tmp_path.iterdir()) == []


def test_a_row_that_was_cut_says_so(invoke: Invoke, run: Path) -> None:
    found = answers(invoke("predict", run, "--text", "good", "--text", "good " * 5000))
    assert [answer.get("truncated") for answer in found] == [None, True]


def test_prediction_loads_neither_mlflow_nor_datasets_and_a_closed_pipe_is_quiet(run: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "we are good"}\n' * 3000)
    code = (
        "import atexit, sys; from jenga.cli.main import main; "
        "heavy = {'mlflow', 'datasets', 'matplotlib'}; "
        "atexit.register(lambda: print(*heavy & set(sys.modules), file=sys.stderr)); main()"
    )
    line = f'{sys.executable} -W ignore -c "{code}" predict {run} {rows} --quiet | head -n 1; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["id"] == "1"
    assert [text for text in done.stderr.splitlines() if "Loading weights" not in text and text] == []


# events


@pytest.mark.parametrize("source", ["file", "array on standard input", "lines on standard input"])
def test_events_are_read_from_files_and_standard_input(
    invoke: Invoke, event_run: Path, tmp_path: Path, source: str
) -> None:
    flows = generate_flows(3, seed=1)
    lines = "\n".join(map(json.dumps, flows))
    (tmp_path / "new.jsonl").write_text(lines)
    stdin = {"file": None, "array on standard input": json.dumps(flows), "lines on standard input": lines}[source]
    path = "-" if stdin else tmp_path / "new.jsonl"
    found = answers(invoke("predict", event_run, path, stdin=stdin))
    assert [answer["id"] for answer in found] == [flow["id"] for flow in flows]
    assert {answer["find"]["threat"]["label"] for answer in found} <= {"0", "1"}


def test_events_that_cannot_be_used_are_answered_and_counted(invoke: Invoke, event_run: Path, tmp_path: Path) -> None:
    path = tmp_path / "new.jsonl"
    path.write_text(json.dumps(generate_flows(1)[0]) + '\n{"id": "x", \n[1]\n')
    result = invoke("predict", event_run, path)
    assert [("error" in answer) for answer in answers(result)] == [False, True, True]
    assert "2 of 3 rows cannot be used" in result.stderr


def test_a_model_of_events_takes_no_texts(invoke: Invoke, event_run: Path) -> None:
    result = invoke("predict", event_run, "--text", "hello")
    assert result.exit_code == 2
    assert "reads no bare texts: give FILE" in result.stderr


# ----------------------------------------------------------------------------------------------------- where answers go


def test_the_input_is_refused_as_output_by_whatever_path(invoke: Invoke, run: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "we are good", "mood": "good"}\n')
    (tmp_path / "link.jsonl").symlink_to(rows)
    os.link(rows, tmp_path / "other.jsonl")
    for output in (rows, tmp_path / "link.jsonl", tmp_path / "other.jsonl"):
        result = invoke("predict", run, rows, "-o", output)
        assert result.exit_code == 2
        assert f"--output: {output} is what is read, which would be lost; name another file" in result.stderr
    assert rows.read_text() == '{"text": "we are good", "mood": "good"}\n'


def test_a_dash_is_standard_output(invoke: Invoke, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    [answer] = answers(invoke("predict", run, "--text", "we are good", "-o", "-"))
    assert list(answer) == ["id", "mood", "rating"]
    assert list(tmp_path.iterdir()) == []


def test_devices_and_links_are_written_to(invoke: Invoke, run: Path, tmp_path: Path) -> None:
    assert invoke("predict", run, "--text", "we are good", "-o", "/dev/null").exit_code == 0
    assert Path("/dev/null").is_char_device()
    (tmp_path / "link").symlink_to("far.jsonl")
    assert invoke("predict", run, "--text", "we are good", "-o", tmp_path / "link").exit_code == 0
    assert (tmp_path / "link").is_symlink()
    assert json.loads((tmp_path / "far.jsonl").read_text())["id"] == "1"


def test_a_full_disk_ends_with_4_and_the_path(invoke: Invoke, run: Path) -> None:
    result = invoke("predict", run, "--text", "we are good", "-o", "/dev/full")
    assert result.exit_code == 4
    assert result.stderr.splitlines()[-1] == (
        "error: /dev/full: cannot be written (No space left on device); free some space there, or name another place"
    )


def test_columns_are_kept_and_drivers_left_out_as_asked(
    invoke: Invoke, event_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jenga.inference.predictor import Predictor

    asked: list[bool] = []
    stream = Predictor.stream

    def seen(self: Predictor, *arguments: Any, **options: Any) -> Any:
        asked.append(options["drivers"])
        return stream(self, *arguments, **options)

    monkeypatch.setattr(Predictor, "stream", seen)
    lines = "\n".join(json.dumps({**flow, "uid": flow["id"]}) for flow in generate_flows(3))
    (tmp_path / "new.jsonl").write_text(lines)
    for path, stdin in ((tmp_path / "new.jsonl", None), ("-", lines)):
        found = answers(invoke("predict", event_run, path, "--keep", "uid,no.such", "--no-drivers", stdin=stdin))
        assert [(each["uid"], each["no.such"]) for each in found] == [(each["id"], None) for each in found]
        answers(invoke("predict", event_run, path, stdin=stdin))
    assert asked == [False, True, False, True]


def test_the_collector_is_as_it_was_behind_the_answers(invoke: Invoke, run: Path) -> None:
    before = gc.get_threshold(), gc.get_freeze_count(), gc.isenabled()
    answers(invoke("predict", run, "--text", "we are good"))
    assert (gc.get_threshold(), gc.get_freeze_count(), gc.isenabled()) == before


def test_more_answers_than_are_written_at_once_are_written_in_their_order(
    invoke: Invoke, event_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "flows.jsonl"
    flows = generate_flows(25)
    file.write_text("".join(f"{json.dumps(flow)}\n" for flow in [*flows[:11], {}, *flows[11:]]))
    whole = invoke("predict", event_run, file)
    monkeypatch.setattr("jenga.inference.written.ROWS_AT_ONCE", 7)
    parts = invoke("predict", event_run, file)
    names = [str(flow["id"]) for flow in flows]
    assert [answer["id"] for answer in answers(whole)] == [*names[:11], "12", *names[11:]]
    assert (parts.stdout, "1 of 26 rows" in parts.stderr) == (whole.stdout, True)


POLICY = """\
time: timestamp
rules:
  - {name: odd, when: {task: find, head: threat, min_probability: 0.0}, identity: [protocol], cooldown_s: 1e9}
"""


def test_a_policy_leaves_the_answers_as_they_are_and_writes_alerts(
    invoke: Invoke, event_run: Path, tmp_path: Path
) -> None:
    flows = generate_flows(60)
    lines = "".join(f"{json.dumps(flow)}\n" for flow in [*flows[:11], {}, *flows[11:]])
    (tmp_path / "flows.jsonl").write_text(lines)
    protocols = list(dict.fromkeys(flow["protocol"] for flow in flows))
    assert 1 < len(protocols) < 60
    for path, stdin in ((tmp_path / "flows.jsonl", None), ("-", lines)):
        for options in ([], ["--keep", "protocol,dst_ip"]):
            for each in tmp_path.glob("alerts*"):
                each.unlink()
            (tmp_path / "policy.yml").write_text(POLICY)
            bare = invoke("predict", event_run, path, *options, stdin=stdin)
            found = invoke("predict", event_run, path, *options, "--policy", tmp_path / "policy.yml", stdin=stdin)
            assert (found.stdout, found.exit_code) == (bare.stdout, 0)
            records = [json.loads(line) for line in (tmp_path / "alerts.jsonl").read_text().splitlines()]
            assert [record["identity"]["protocol"] for record in records] == protocols
            assert {record["decision"] for record in records} == {"alert"}
            first = {flow["protocol"]: flow["id"] for flow in flows[::-1]}
            assert [record["id"] for record in records] == [first[protocol] for protocol in protocols]
            assert records[0]["event_time"] == flows[0]["timestamp"]
    assert invoke("alerts", "verify", tmp_path / "alerts.jsonl").exit_code == 0
    # A second run remembers who had an alert.
    invoke("predict", event_run, tmp_path / "flows.jsonl", "--policy", tmp_path / "policy.yml")
    assert len((tmp_path / "alerts.jsonl").read_text().splitlines()) == len(protocols)


def test_a_policy_reads_fields_of_texts_rows_too(invoke: Invoke, run: Path, tmp_path: Path) -> None:
    rule = "{name: r, when: {task: mood, min_probability: 0.0}, identity: [user.name, 'ips[0]', mood]}"
    (tmp_path / "policy.yml").write_text(f"rules: [{rule}]\n")
    row = {"text": "we are good", "user": {"name": "amina"}, "ips": ["10.0.0.1", "10.0.0.2"], "mood": "x"}
    answers(invoke("predict", run, "-", "--policy", tmp_path / "policy.yml", stdin=json.dumps(row)))
    [record] = map(json.loads, (tmp_path / "alerts.jsonl").read_text().splitlines())
    assert record["identity"] == {"user.name": "amina", "ips[0]": "10.0.0.1", "mood": "x"}


def test_the_log_says_which_model_and_which_policy_decided(invoke: Invoke, run: Path, tmp_path: Path) -> None:
    import hashlib

    policy = tmp_path / "policy.yml"
    policy.write_text("rules: [{name: r, when: {task: mood, min_probability: 0.0}, identity: []}]\n")
    answers(invoke("predict", run, "--text", "we are good", "--policy", policy))
    [record] = map(json.loads, (tmp_path / "alerts.jsonl").read_text().splitlines())
    wanted = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (policy, run / "best" / "manifest.json")]
    assert [record["policy"], record["model"]] == wanted


@pytest.mark.serial
def test_hooks_run_only_where_the_file_and_the_command_say_so(invoke: Invoke, run: Path, tmp_path: Path) -> None:
    hook, policy = tmp_path / "block", tmp_path / "policy.yml"
    hook.write_text("#!/bin/sh\ncat >> given\n")
    hook.chmod(0o755)
    rule = "{name: r, when: {task: mood, min_probability: 0.0}, identity: [], cooldown_s: 0, actions: [block]}"
    arguments = ["predict", run, "--text", "we are good", "--policy", policy]
    policy.write_text(f"rules: [{rule}]\nhooks: {{block: {{run: [./block]}}}}\n")
    result = invoke(*arguments)
    assert "this was a dry run (to act: --act and dry_run: false in the policy)" in result.stderr
    result = invoke(*arguments, "--act")
    assert (result.exit_code, "is for dry runs" in result.stderr) == (2, True)
    policy.write_text(f"dry_run: false\n{policy.read_text()}")
    assert "this was a dry run (to act: --act)" in invoke(*arguments).stderr
    assert not (tmp_path / "given").exists()
    assert invoke(*arguments, "--act").exit_code == 0
    assert json.loads((tmp_path / "given").read_text())["decision"] == "acted"
    told = [json.loads(line)["decision"] for line in (tmp_path / "alerts.jsonl").read_text().splitlines()]
    assert told == ["dry_run", "dry_run", "acted", "hook"]


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (
            "{task: moood, alert: true}",
            "policy.yml:3:18: rules[0].when.task: the model has no task 'moood'; did you mean",
        ),
        ("{task: mood, label: [god]}", "are never 'god'; did you mean 'good'? Labels: bad, fine, good"),
        ("{task: mood, alert: true}", "the answers of mood.feeling hold no alert; they hold: label, probability"),
        ("{task: mood, alrt: true}", "policy.yml:3:24: rules[0].when.alrt: unknown key; did you mean 'alert'?"),
    ],
)
def test_a_policy_that_does_not_fit_the_model_ends_before_any_row_is_read(
    invoke: Invoke, run: Path, tmp_path: Path, rule: str, words: str
) -> None:
    (tmp_path / "policy.yml").write_text(f"rules:\n  - name: r\n    when: {rule}\n    identity: []\n")
    result = invoke("predict", run, "--text", "good", "--policy", tmp_path / "policy.yml")
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr
    assert not (tmp_path / "alerts.jsonl").exists()


def test_the_answers_may_not_be_written_over_the_log(invoke: Invoke, run: Path, tmp_path: Path) -> None:
    (tmp_path / "policy.yml").write_text("rules: [{name: r, when: {task: mood, min_probability: 0}, identity: []}]\n")
    (tmp_path / "alerts.jsonl").write_text("")
    arguments = ["predict", run, "--text", "good", "--policy", tmp_path / "policy.yml"]
    result = invoke(*arguments, "-o", tmp_path / "alerts.jsonl")
    assert (result.exit_code, "name another file" in result.stderr) == (2, True)
    result = invoke("predict", run, "--text", "good", "--act")
    assert (result.exit_code, "--policy" in result.stderr) == (2, True)
