"""`jenga push`, and the commands that take what it put to the hub."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result
from hub_server import TOKEN, Hub

Invoke = Callable[..., Result]


def test_a_pushed_model_answers_and_is_judged_by_its_address(
    invoke: Invoke, hub: Hub, run: Path, tmp_path: Path
) -> None:
    pushed = invoke("push", run, "hf://asha/calls", "--private", "--revision", "v1")
    assert pushed.exit_code == 0, pushed.stderr
    assert pushed.stdout.startswith("put to hf://asha/calls@v1: ")
    assert TOKEN not in pushed.output
    (tmp_path / "rows.jsonl").write_text(json.dumps({"text": "we are good", "feeling": "good"}))
    address = "hf://asha/calls@v1"
    answers = [invoke("predict", model, tmp_path / "rows.jsonl") for model in (address, run)]
    assert answers[0].exit_code == 0, answers[0].stderr
    assert answers[0].stdout == answers[1].stdout
    judged = [invoke("evaluate", model, "--data", run.parents[2] / "rows.jsonl", "--json") for model in (address, run)]
    assert judged[0].exit_code == 0, judged[0].stderr
    assert judged[0].stdout == judged[1].stdout
    exported = invoke("export", address, "-o", tmp_path / "here")
    assert exported.exit_code == 0, exported.stderr
    assert (tmp_path / "here" / "jenga.json").read_bytes() == (run / "best" / "jenga.json").read_bytes()


def test_a_dry_run_shows_the_files_and_asks_nothing(invoke: Invoke, hub: Hub, run: Path) -> None:
    result = invoke("push", run, "hf://asha/calls", "--dry-run")
    assert result.exit_code == 0, result.stderr
    *files, last = result.stdout.splitlines()
    assert {"README.md", "best/jenga.json", "best/heads.safetensors"} <= {line.split()[0] for line in files}
    assert last.startswith(f"would put to hf://asha/calls: {len(files)} files, ")
    assert hub.asked == []


def test_what_is_refused_has_its_code(invoke: Invoke, hub: Hub, run: Path, tmp_path: Path) -> None:
    assert invoke("push", run, "asha/calls").exit_code == 2
    assert invoke("push", tmp_path, "hf://asha/calls").exit_code == 4
    assert invoke("predict", "hf://asha", "--text", "a").exit_code == 2
    missing = invoke("predict", "hf://asha/none", "--text", "a")
    assert (missing.exit_code, missing.stdout) == (4, "")
    assert "hf://asha/none: the hub knows no such model" in missing.stderr
    for name, *more in (["predict", "--text", "a"], ["export", "-o", tmp_path / "x"], ["serve"]):
        result = invoke(name, "hf://asha/none", *more, "--trust-remote-code")
        assert result.exit_code == 2
        assert "no code is taken from a hub" in result.stderr
