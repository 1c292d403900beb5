import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

Invoke = Callable[..., Result]


def test_runs_own_test_rows_give_the_numbers_of_the_run(invoke: Invoke, run: Path) -> None:
    result = invoke("evaluate", run, "--json", "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    wanted = json.loads((run / "evaluation.json").read_text())["splits"]["test"]
    found = json.loads(result.stdout)
    assert found["metrics"] == wanted["metrics"]
    assert found["rows"] == wanted["rows"]


def test_table_has_a_row_a_head(invoke: Invoke, run: Path) -> None:
    lines = invoke("evaluate", run, "--split", "valid").stdout.splitlines()
    assert lines[0] == f"valid rows of {run}: 6 rows"
    assert [line.split()[:3] for line in lines[1:]] == [
        ["task", "head", "metric"], ["mood", "feeling", "macro_f1"], ["rating", "stars", "mae"], ["certainty:"],
        ["task", "head", "calibration"], ["mood", "feeling", "none"],
    ]  # fmt: skip


def test_other_rows_can_be_given(invoke: Invoke, run: Path, tmp_path: Path) -> None:
    data = tmp_path / "more.csv"
    data.write_text("text,label\nwe are good,good\nit was bad,bad\n")
    result = invoke("evaluate", run, "--data", data)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == f"{data}: 2 rows"
    assert lines[3:4] == ["certainty:"]
    assert lines[2].split()[0] == "mood"


def test_wrong_run_and_wrong_data_have_their_codes(invoke: Invoke, run: Path, tmp_path: Path) -> None:
    assert invoke("evaluate", tmp_path).exit_code == 4
    result = invoke("evaluate", run, "--data", tmp_path / "none.jsonl")
    assert result.exit_code == 3
    assert "none.jsonl: no such file" in result.stderr
