"""`jenga report`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from jenga.cli.main import jenga


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    table: dict[str, Any] = {
        "matrix": [[0.9, 0.1], [0.5, 0.8]],
        "summary": {"final": 0.65, "forgetting": 0.4, "backward_transfer": -0.4, "forward_transfer": None},
    }
    stages = [{"name": "one"}, {"name": "two"}]
    content = {"stages": stages, "metric": "accuracy", "greater_is_better": True, **table, "baselines": {}}
    (folder / "continual.json").write_text(json.dumps(content))
    (folder / "run.json").write_text(json.dumps({"given": {"project_name": "digits"}}))
    return folder


def test_it_prints_the_matrix_and_the_figures_and_draws_them(run: Path) -> None:
    found = CliRunner().invoke(jenga, ["report", "continual", str(run)])
    assert found.exit_code == 0, found.output
    assert "digits: accuracy after each stage" in found.output
    assert ["two", "0.500", "0.800"] in [line.split() for line in found.output.splitlines()]
    assert ["digits", "1", "0.650", "0.400", "-0.400"] in [line.split() for line in found.output.splitlines()]
    assert (run / "continual.png").read_bytes().startswith(b"\x89PNG")


def test_json_and_another_place_for_the_figure(run: Path, tmp_path: Path) -> None:
    place = tmp_path / "other.png"
    found = CliRunner().invoke(jenga, ["report", "continual", str(run), str(run), "--json", "-o", str(place)])
    content = json.loads(found.output)
    assert content["groups"] == [
        {
            "name": "digits", "runs": 2, "matrix": [[0.9, 0.1], [0.5, 0.8]], "final": [0.65, 0.65],
            "forgetting": [0.4, 0.4], "backward_transfer": [-0.4, -0.4], "forward_transfer": [],
        }
    ]  # fmt: skip
    assert place.exists()
    assert not (run / "continual.png").exists()


def test_what_is_no_run_in_stages_ends_with_the_code_of_data(tmp_path: Path) -> None:
    found = CliRunner().invoke(jenga, ["report", "continual", str(tmp_path)])
    assert found.exit_code == 3
    assert "continual.json is not there" in found.output


def test_a_training_in_stages_ends_with_their_table(invoke: Any, tmp_path: Path) -> None:
    rows = [{"x": at % 2 + 0.01 * at, "part": at // 2 % 2, "way": "lr"[at % 2]} for at in range(40)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "steps.yml").write_text(
        """\
model: {base_model: mlp, hidden_sizes: [4], backbone_type: sequential}
tasks: [{name: go, type: classification, data_path: rows.jsonl, heads: [{name: way}]}]
stages: [{name: first, where: {part: 0}}, {name: then, where: {part: 1}, epochs: 2}]
data: {test_fraction: 0.3}
training: {epochs: 1, batch_size: 8}
tracking: {enabled: false}
"""
    )
    found = invoke("train", tmp_path / "steps.yml")
    assert found.exit_code == 0, found.output
    lines = [line.split() for line in found.stdout.splitlines()]
    at = lines.index(["stages:"])
    assert lines[at + 1] == ["run", "runs", "final", "forgetting", "backward", "transfer", "forward", "transfer"]
    assert [line[:2] for line in lines[at + 2 : at + 4]] == [["steps", "1"], ["prototypes", "1"]]
    assert "epochs by stage: first 1, then 2" in found.stderr
    card, page = (Path(lines[-1][1]) / name for name in ("README.md", "report.html"))
    assert "last step" in card.read_text()
    assert "best step" not in page.read_text()
