"""`jenga refine`: files in, files out, and words for people and machines."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

Invoke = Callable[..., Result]
ROWS: list[dict[str, Any]] = [
    {"ts": 1.7e9 + 2 * at, "proto": ("tcp", "udp")[at % 2], "bytes": at * 10 if at % 5 else None, "uid": f"u{at}x"}
    for at in range(100)
]
SCHEMA = """\
fields:
  - {path: ts, kind: timestamp}
  - {path: proto, kind: categorical}
  - {path: bytes, kind: numeric, log1p: true}
  - {path: port, kind: port, n_buckets: 4}
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row | {"port": at}) + "\n" for at, row in enumerate(ROWS)))
    return path


@pytest.fixture
def schema(tmp_path: Path) -> Path:
    path = tmp_path / "schema.yml"
    path.write_text(SCHEMA)
    return path


@pytest.fixture
def state(invoke: Invoke, data: Path, schema: Path, tmp_path: Path) -> Path:
    path = tmp_path / "state.safetensors"
    result = invoke("refine", "fit", data, "--schema", schema, "-o", path, "--quiet")
    assert result.exit_code == 0, result.stderr
    return path


def document(result: Result) -> Any:
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    return json.loads(result.stdout)


def test_shards_are_fitted_apart_and_counted_together(invoke: Invoke, data: Path, schema: Path, tmp_path: Path) -> None:
    lines = data.read_text().splitlines()
    for at in range(3):
        (tmp_path / f"shard{at}.jsonl").write_text("\n".join(lines[at::3]))
    names = [tmp_path / f"shard{at}.jsonl" for at in range(3)]
    states = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    for given, state in zip((names, [tmp_path / "shard*.jsonl"]), states, strict=True):
        found = document(invoke("refine", "fit", *given, "--shards", "--schema", schema, "-o", state, "--json"))
        assert (found["rows"], found["bad"]) == (100, 0)
    assert states[0].read_bytes() == states[1].read_bytes()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["rows.jsonl", "rows.jsonl"], 2, "Several DATA, and --processes, go with --shards"),
        (["rows.jsonl", "--processes", 2], 2, "go with --shards"),
        (["-", "--shards"], 2, "standard input is no shard"),
        (["no*.jsonl", "--shards"], 3, "no*.jsonl: no file matches the pattern"),
    ],
)
def test_what_is_no_shard_is_told(
    invoke: Invoke, data: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[Any], code: int, words: str
) -> None:
    monkeypatch.chdir(data.parent)
    result = invoke("refine", "fit", *arguments, "-o", "s.safetensors")
    assert (result.exit_code, words in result.stderr) == (code, True), result.stderr


def test_fit_infers_a_schema_writes_it_and_says_what_is_left_out(invoke: Invoke, data: Path, tmp_path: Path) -> None:
    state, schema = tmp_path / "s.safetensors", tmp_path / "s.yml"
    result = invoke("refine", "fit", data, "-o", state, "--write-schema", schema)
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["field", "kind", "columns", "missing", "values"]
    assert any(line.startswith("left out: uid: ") for line in lines)
    assert "columns from 100 rows" in lines[-1]
    again = tmp_path / "again.safetensors"
    found = document(invoke("refine", "fit", data, "--schema", schema, "-o", again, "--json", "--threads", 1))
    assert (found["rows"], found["bad"]) == (100, 0)
    assert {field["field"] for field in found["fields"]} == {"ts", "proto", "bytes", "port"}
    assert again.read_bytes() == state.read_bytes()


@pytest.mark.parametrize("name", ["out.npy", "out.safetensors", "out.parquet"])
def test_transform_writes_the_features_of_the_estimator(
    invoke: Invoke, data: Path, state: Path, tmp_path: Path, name: str
) -> None:
    import pyarrow.parquet
    from safetensors.numpy import load_file

    from jenga.refinery import SecurityRefinery

    output = tmp_path / name
    found = document(invoke("refine", "transform", data, "--state", state, "-o", output, "--json", "--threads", 2))
    wanted = SecurityRefinery.load(state).transform(data)
    assert (found["rows"], found["columns"]) == wanted.shape
    assert found["counters"]["bytes"]["null"] == 20
    if name.endswith("npy"):
        features = np.load(output)
    elif name.endswith("safetensors"):
        features = load_file(output)["features"]
    else:
        table = pyarrow.parquet.read_table(output)
        assert table["row"].to_pylist() == list(range(1, 101))
        features = np.stack([column.to_numpy() for column in table.columns[1:]], axis=1)
    np.testing.assert_array_equal(features, wanted)


def test_standard_input_and_packed_files_do_as_well(invoke: Invoke, data: Path, state: Path, tmp_path: Path) -> None:
    import gzip

    packed = tmp_path / "rows.jsonl.gz"
    packed.write_bytes(gzip.compress(data.read_bytes()))
    outputs = []
    for at, (source, stdin) in enumerate([(data, None), ("-", data.read_bytes()), (packed, None)]):
        output = tmp_path / f"{at}.npy"
        result = invoke("refine", "transform", source, "--state", state, "-o", output, stdin=stdin)
        assert result.exit_code == 0, result.stderr
        assert result.stdout == f"{output}: 100 rows of {np.load(output).shape[1]} columns; no bad rows\n"
        outputs.append(output.read_bytes())
    assert len(set(outputs)) == 1


def test_bad_rows_go_to_their_file_or_end_the_command(invoke: Invoke, data: Path, state: Path, tmp_path: Path) -> None:
    output, bad = tmp_path / "out.npy", tmp_path / "bad.jsonl"
    data.write_text(data.read_text() + '{"bytes": tru}\n[]\n')
    arguments = ["refine", "transform", data, "--state", state, "-o", output, "--quarantine", bad]
    result = invoke(*arguments)
    assert result.exit_code == 3
    assert "2 of 102 rows are bad, more than max_bad_fraction=0.01 allows" in result.stderr
    assert "rows.jsonl:101: bad literal at /bytes" in result.stderr
    assert not output.exists()
    assert len(bad.read_text().splitlines()) == 2
    result = invoke(*arguments, "--max-bad-fraction", 0.5)
    assert result.exit_code == 0, result.stderr
    assert f"2 bad rows in {bad}" in result.stdout
    found = [json.loads(line) for line in bad.read_text().splitlines()]
    assert [(each["number"], each["code"], each["raw"]) for each in found] == [
        (101, "bad_literal", '{"bytes": tru}'), (102, "not_an_object", "[]"),
    ]  # fmt: skip
    assert invoke(*arguments, "--max-bad-fraction", 0.5, "--redact").exit_code == 0
    assert json.loads(bad.read_text().splitlines()[0])["raw"] is None


@pytest.mark.filterwarnings("always:.*the array is not closed")
def test_array_that_is_cut_short_is_told(invoke: Invoke, state: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.json"
    cut.write_text(json.dumps([row | {"port": 1} for row in ROWS])[:-30])
    result = invoke("refine", "transform", cut, "--state", state, "-o", tmp_path / "x.npy", "--max-bad-fraction", 0.5)
    assert result.exit_code == 0, result.stderr
    assert "cut.json: the array is not closed; was it cut short?" in result.stderr
    assert "99 rows of" in result.stdout
    assert "1 bad row left out" in result.stdout


def test_inspect_shows_a_state_or_what_data_would_give(invoke: Invoke, data: Path, schema: Path, state: Path) -> None:
    result = invoke("refine", "inspect", state)
    assert result.exit_code == 0, result.stderr
    assert "proto  categorical  3        0.0%     2: tcp, udp" in result.stdout
    found = document(invoke("refine", "inspect", state, "--json"))
    assert [field["missing_rate"] for field in found["fields"]] == [0.0, 0.0, 0.2, 0.0]
    assert found["collisions"] == []
    of_data = document(invoke("refine", "inspect", data, "--schema", schema, "--json"))
    assert of_data["fields"] == found["fields"]
    [port] = of_data["collisions"]
    assert (port["field"], port["n_tokens"], port["n_buckets"]) == ("port", 100, 4)
    shown = invoke("refine", "inspect", "-", "--schema", schema, stdin=data.read_bytes())
    assert "port: 100 tokens in 4 buckets; 100 share one" in shown.stdout


def test_diff_shows_drift_and_ends_well(invoke: Invoke, data: Path, schema: Path, state: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text("".join(json.dumps(row | {"proto": "icmp", "port": 22}) + "\n" for row in ROWS))
    found = document(invoke("refine", "diff", state, other, "--json"))
    by_field = {each["field"]: each for each in found}
    assert by_field["proto"]["verdict"] == "major"
    assert by_field["proto"]["unknown_rate"] == 1.0
    assert by_field["bytes"]["psi"] < 0.01
    assert document(invoke("refine", "diff", data, other, "--schema", schema, "--json")) == found
    result = invoke("refine", "diff", state, other)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0].split()[:4] == ["field", "kind", "PSI", "KS"]
    assert "have an unknown value" in result.stdout
    for level, path, code in (("major", other, 6), ("moderate", other, 6), ("major", data, 0), ("moderate", data, 0)):
        assert invoke("refine", "diff", state, path, "--fail-on", level).exit_code == code


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["transform", "rows.jsonl", "--state", "no.safetensors", "-o", "x.npy"], 4, "no.safetensors: no such file"),
        (["transform", "nope.jsonl", "--state", "state.safetensors", "-o", "x.npy"], 3, "nope.jsonl: no such file"),
        (["transform", "rows.jsonl", "--state", "state.safetensors", "-o", "x.csv"], 2, "Allowed: .npy"),
        (["transform", "rows.jsonl", "--state", "rows.jsonl", "-o", "x.npy"], 3, "no fitted state of a refinery"),
        (["fit", "rows.jsonl", "-o", "state.bin"], 2, "a state is called .safetensors"),
        (["fit", "rows.jsonl", "-o", "s.safetensors", "--preset", "zeek", "--schema", "schema.yml"], 2, "not both"),
        (["fit", "rows.jsonl", "-o", "s.safetensors", "--preset", "zeke"], 2, "did you mean 'zeek'?"),
        (["fit", "empty.jsonl", "-o", "s.safetensors"], 3, "no row"),
        (["fit", "bad.jsonl", "-o", "s.safetensors"], 3, "all 2 rows are bad\n  bad.jsonl:1: "),
        (["fit", "laid_out.json", "-o", "s.safetensors"], 3, "over several lines: write one object a line"),
        (["fit", "laid_out.json", "-o", "s.safetensors", "--preset", "zeek"], 3, "JSON laid out over several lines"),
        (["transform", "laid_out.json", "--state", "state.safetensors", "-o", "x.npy"], 3, "laid out over several"),
        (["transform", "other.json", "--state", "state.safetensors", "-o", "x.npy"], 3, "(did you mean 'ports'?)"),
        (["transform", "other.json", "--state", "state.safetensors", "-o", "x.npy"], 3, "Found: ports, name. Rename"),
        (["fit", "other.json", "--schema", "schema.yml", "-o", "s.safetensors"], 3, "all 2 rows have none of the"),
        (["diff", "state.safetensors", "other.json"], 3, "other.json: all 2 rows have none of the fields"),
        (["transform", "wrap.json", "--state", "state.safetensors", "-o", "x.npy"], 3, "rows seem to be in 'flows'"),
        (["transform", "rows.jsonl", "--state", "state.safetensors", "-o", "no/x.npy"], 2, "there is no folder no for"),
        (
            ["transform", "rows.jsonl", "--state", "state.safetensors", "-o", "x.npy", "--quarantine", "no/q.jsonl"],
            2,
            "there is no folder no for q.jsonl",
        ),
        (["inspect", "state.safetensors", "--preset", "zeek"], 2, "A state holds its schema"),
        (["fit", "rows.jsonl", "-o", "no/such/s.safetensors", "--preset", "zeek"], 2, "there is no folder no/such"),
    ],
)
def test_mistakes_are_told_in_one_block_with_their_code(
    invoke: Invoke, state: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, words: str
) -> None:
    (state.parent / "empty.jsonl").touch()
    (state.parent / "bad.jsonl").write_text("{\n[]\n")
    (state.parent / "laid_out.json").write_text(json.dumps(ROWS[0], indent=2))
    (state.parent / "other.json").write_text('[{"ports": 1, "name": 2}, {"ports": 1}]')
    (state.parent / "wrap.json").write_text(json.dumps({"flows": ROWS}))
    monkeypatch.chdir(state.parent)
    before = sorted(each.name for each in state.parent.iterdir())
    result = invoke("refine", *arguments)
    assert result.exit_code == code
    assert words in result.stderr
    assert "Traceback" not in result.stderr
    assert sorted(each.name for each in state.parent.iterdir()) == before


@pytest.mark.serial
def test_interrupt_leaves_nothing_half_written(state: Path, data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    arguments = ["refine", "transform", "-", "--state", str(state), "-o", str(folder / "x.npy"), "--quarantine",
                 str(folder / "q.jsonl")]  # fmt: skip
    # What is started in the background of a shell ignores interrupts, and so would this.
    listen = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{listen}; from jenga.cli.main import main; main()"
    with subprocess.Popen(
        [sys.executable, "-P", "-c", code, *arguments], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(data.read_text())
        process.stdin.flush()
        deadline = time.monotonic() + 180  # a busy machine imports slowly
        while not any(folder.iterdir()) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert [each.name for each in folder.iterdir()] != []
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(timeout=60) == 130
        assert process.stderr.read().strip() == "error: interrupted"
    assert list(folder.iterdir()) == []


def test_help_names_the_four_commands_in_order_and_loads_no_torch() -> None:
    code = "import sys; from jenga.cli.main import jenga; " \
           "jenga(['refine', '--help'], standalone_mode=False); print('torch' in sys.modules)"  # fmt: skip
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    places = [done.stdout.index(f"\n  {name} ") for name in ("fit", "transform", "inspect", "diff")]
    assert places == sorted(places)
    assert done.stdout.strip().endswith("False")


def test_what_is_read_is_no_place_for_what_is_written(
    invoke: Invoke, data: Path, state: Path, schema: Path, tmp_path: Path
) -> None:
    before = {path: path.read_bytes() for path in (data, state, schema)}
    out = tmp_path / "out.parquet"
    for command, option in (
        (("transform", data, "--state", state, "-o", state), "--output"),
        (("transform", data, "--state", state, "-o", out, "--quarantine", data), "--quarantine"),
        (("transform", data, "--state", state, "-o", out, "--quarantine", out), "--quarantine"),
        (("fit", data, "--schema", schema, "-o", tmp_path / "new.safetensors", "--write-schema", schema),
         "--write-schema"),
    ):  # fmt: skip
        result = invoke("refine", *command)
        assert result.exit_code == 2
        assert f"{option}: " in result.stderr
        assert "name another file" in result.stderr
    assert {path: path.read_bytes() for path in before} == before
    assert (
        "--quarantine: standard output is for"
        in invoke("refine", "transform", data, "--state", state, "-o", out, "--quarantine", "-").stderr
    )


def test_a_list_of_rows_is_named_wherever_data_is_read(invoke: Invoke, schema: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text(json.dumps({"a": {"b": [{**row, "port": 1} for row in ROWS]}}, indent=1))
    state, out = tmp_path / "s.safetensors", tmp_path / "f.parquet"
    named = (tmp_path / "rows.json", "--records", "a.b")
    fitted = document(invoke("refine", "fit", *named, "--schema", schema, "-o", state, "--json", "--quiet"))
    assert fitted["rows"] == len(ROWS)
    told = document(invoke("refine", "transform", *named, "--state", state, "-o", out, "--json", "--quiet"))
    assert told["rows"] == len(ROWS)
    assert document(invoke("refine", "inspect", *named, "--schema", schema, "--json", "--quiet"))["rows"] == len(ROWS)
    assert {each["verdict"] for each in document(invoke("refine", "diff", state, *named, "--json", "--quiet"))} <= {
        "none", "too few rows"
    }  # fmt: skip
