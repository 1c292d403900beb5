"""Thresholds and calibrations fitted to other rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import jenga
from jenga.errors import ConfigError, DataError
from jenga.inference.loading import load
from jenga.inference.predictor import Predictor
from jenga.inference.recalibrated import recalibrate
from jenga.samples.helpline import generate
from jenga.samples.network import generate_flows

AT_A_COST = [
    "evaluation.thresholds.objective=cost",
    "evaluation.thresholds.costs={false_negative: 1000, false_positive: 0.001}",
]


@pytest.fixture(scope="module")
def other_rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Calls whose quality is labelled and nothing else."""
    path = tmp_path_factory.mktemp("other") / "rows.jsonl"
    kept = ("id", "text", "labels")
    path.write_text("".join(json.dumps({key: row[key] for key in kept}) + "\n" for row in generate(150, seed=5)))
    return path


def test_heads_with_labels_are_fitted_and_all_else_stays(
    run: Path, predictor: Predictor, other_rows: Path, tmp_path: Path
) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    found = recalibrate(run, str(other_rows), tmp_path / "new", device="cpu", overrides=AT_A_COST)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    new = load(found.folder, device="cpu")
    old_state, new_state = predictor.model.state_dict(), new.model.state_dict()
    assert all(torch.equal(old_state[name], new_state[name]) for name in old_state)

    closing = ("QA", "closing")
    # A no costs next to nothing and a missed yes a fortune, so none is missed.
    labelled = [json.loads(line) for line in other_rows.read_text().splitlines()]
    items = ("summarises_call", "says_goodbye_politely", "gives_reference")

    def missed(model: Predictor) -> int:
        answers = model.predict([{"text": row["text"]} for row in labelled])
        pairs = [
            (row["labels"]["closing"], found["QA"]["closing"]) for row, found in zip(labelled, answers, strict=True)
        ]
        return sum(truth[at] == 1 and not said[item]["value"] for truth, said in pairs for at, item in enumerate(items))

    assert missed(new) == 0 < missed(predictor)
    assert new.bundle.certainty[closing].calibration is not None
    assert set(found.kept) == set(new.bundle.spaces) - {closing}
    for key in found.kept:
        assert new.bundle.certainty.get(key) == predictor.bundle.certainty.get(key)
        assert np.array_equal(new.bundle.thresholds.get(key, []), predictor.bundle.thresholds.get(key, []))
    assert found.before["rows"] == found.after["rows"] == 150
    assert new.bundle.config.evaluation.thresholds.objective == "cost"


def test_thresholds_of_heads_without_a_label_stay(run: Path, predictor: Predictor, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"text": row["text"], "sentiment": row["sentiment"]}) + "\n"
                            for row in generate(120, seed=5)))  # fmt: skip
    found = recalibrate(run, str(path), tmp_path / "new", device="cpu")
    closing = ("QA", "closing")
    assert closing in found.kept
    thresholds = load(found.folder, device="cpu").bundle.thresholds
    assert len(thresholds[closing]) == 3
    assert np.array_equal(thresholds[closing], predictor.bundle.thresholds[closing])


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["training.epochs=3"], "--set training.epochs=3: only what is fitted here can be set"),
        (["evaluation.thresholdsx=3"], "only what is fitted here can be set, under evaluation.thresholds"),
        (["evaluation.calibration=often"], "unknown 'often'. Known: auto, none"),
    ],
)
def test_settings_of_other_things_are_refused(
    overrides: list[str], words: str, run: Path, other_rows: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        recalibrate(run, str(other_rows), tmp_path / "new", overrides=overrides, device="cpu")
    assert words in str(caught.value)
    assert not (tmp_path / "new").exists()


def test_nothing_that_is_there_is_written_over(run: Path, other_rows: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is there already; name a folder that is not"):
        recalibrate(run, str(other_rows), tmp_path, device="cpu")
    with pytest.raises(ConfigError, match="lies in the model's own folder"):
        recalibrate(run, str(other_rows), run / "best" / "new", device="cpu")


def test_rows_without_a_label_fit_nothing(run: Path, tmp_path: Path) -> None:
    (tmp_path / "bare.jsonl").write_text('{"text": "Agent: hello"}\n')
    with pytest.raises(DataError, match="no row has a label"):
        recalibrate(run, str(tmp_path / "bare.jsonl"), tmp_path / "new", device="cpu")
    assert not (tmp_path / "new").exists()


def test_graphs_are_refused(graphs: Path, other_rows: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds graphs; recalibrate the run"):
        recalibrate(graphs, str(other_rows), tmp_path / "new", device="cpu")
    assert not (tmp_path / "new").exists()


def test_an_anomaly_head_without_a_label_stays_beside_one_with(tmp_path: Path) -> None:
    rows = [{**flow, "a": flow["threat"], "b": flow["threat"]} for flow in generate_flows(200)]
    (tmp_path / "both.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for row in rows:
        del row["b"]
    (tmp_path / "one.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config: dict[str, Any] = {
        "model": {"base_model": "security_mlp_v1", "backbone_type": "sequential"},
        "tasks": [{"name": "t", "type": "anomaly_detection", "data_path": str(tmp_path / "both.jsonl"),
                   "heads": [{"name": name, "column": name, "num_labels": 2} for name in "ab"]}],
        "training": {"max_steps": 5}, "tracking": {"enabled": False}, "evaluation": {"baselines": []},
        "output_dir": str(tmp_path / "runs"),
    }  # fmt: skip
    run = jenga.train(config, device="cpu").run
    found = recalibrate(run, str(tmp_path / "one.jsonl"), tmp_path / "new", device="cpu")
    assert found.kept == [("t", "b")]
    old, new = (dict(load(each, device="cpu").model.state_dict()) for each in (run, found.folder))
    assert {name for name in old if not torch.equal(old[name], new[name])} != set()


def test_alerts_begin_where_the_other_rows_say(tmp_path: Path) -> None:
    """Traffic that has grown since: alerts come for much of it until they are fitted anew."""

    def written(name: str, grown: int, seed: int) -> str:
        numbers = ("bytes_in", "bytes_out", "packets", "duration")
        rows = [{**flow, **{name: (flow[name] or 0) * grown for name in numbers}}
                for flow in generate_flows(300, seed=seed) if flow["threat"] == 0]  # fmt: skip
        (tmp_path / name).write_text("".join(json.dumps({**row, "label": 0}) + "\n" for row in rows))
        return str(tmp_path / name)

    config: dict[str, Any] = {
        "model": {"base_model": "security_mlp_v1", "backbone_type": "sequential"},
        "tasks": [{"name": "odd", "type": "anomaly_detection", "data_path": written("then.jsonl", 1, 0),
                   "mode": "unsupervised", "heads": [{"name": "odd", "column": "label", "target_fpr": 0.05}]}],
        "training": {"max_steps": 30}, "tracking": {"enabled": False}, "evaluation": {"baselines": []},
        "output_dir": str(tmp_path / "runs"),
    }  # fmt: skip
    run = jenga.train(config, device="cpu").run
    now = written("now.jsonl", 10_000, 1)

    def alerts(folder: Path) -> float:
        rows = [json.loads(line) for line in Path(now).read_text().splitlines()]
        return float(np.mean([row["odd"]["odd"]["alert"] for row in load(folder, device="cpu").predict(rows)]))

    assert alerts(run) > 0.2
    fitted = recalibrate(run, now, tmp_path / "new", device="cpu").folder
    assert alerts(fitted) == pytest.approx(0.05, abs=0.02)
