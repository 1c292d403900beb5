"""A small model with a head of every kind, trained for three steps."""

import json
from pathlib import Path
from typing import Any

import pytest

import jenga
from jenga.inference.loading import load
from jenga.inference.predictor import Predictor
from jenga.samples.helpline import generate
from jenga.samples.network import generate_flows

N_ROWS = 60


@pytest.fixture(scope="session")
def rows_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "calls.jsonl"
    rows = [
        {**row, "words": 1000 + len(row["text"].split()), "grade": index % 3}
        for index, row in enumerate(generate(N_ROWS))
    ]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def run(rows_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    config: dict[str, Any] = {
        "project_name": "calls",
        "model": {"base_model": "jenga/tiny-text"},
        "tasks": [
            {
                "name": "QA",
                "type": "qa_scoring",
                "data_path": str(rows_file),
                "heads": [
                    {
                        "name": "closing",
                        "labels": ["summarises_call", "says_goodbye_politely", "gives_reference"],
                        "item_weights": [3, 1, 0],
                    },
                    {"name": "grade", "kind": "class", "num_labels": 3, "column": "grade"},
                ],
            },
            {
                "name": "sentiment",
                "type": "classification",
                "data_path": str(rows_file),
                "columns": {"label": "sentiment"},
                "heads": [{"name": "feeling"}],
            },
            {"name": "names", "type": "ner", "data_path": str(rows_file)},
            {
                "name": "length",
                "type": "regression",
                "data_path": str(rows_file),
                "columns": {"label": "words"},
                "heads": [{"name": "words"}],
            },
        ],
        "data": {"max_length": 64, "cache_dir": str(tmp_path_factory.mktemp("cache"))},
        "training": {"max_steps": 3, "batch_size": 8, "learning_rate": 0.003},
        "tracking": {"enabled": False},
        "output_dir": str(tmp_path_factory.mktemp("runs")),
    }
    return jenga.train(config).run


@pytest.fixture(scope="session")
def predictor(run: Path) -> Predictor:
    return load(run, device="cpu")


@pytest.fixture
def rows(rows_file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in rows_file.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="session")
def event_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run on network flows, with a class, a number and yes/no items."""
    folder = tmp_path_factory.mktemp("flows")
    rows = [{**flow, "odd": [int(flow["dst_port"] % 2), 1]} for flow in generate_flows(200)]
    (folder / "flows.json").write_text(json.dumps(rows), encoding="utf-8")
    task = {"data_path": str(folder / "flows.json")}
    config: dict[str, Any] = {
        "project_name": "flows",
        "model": {"base_model": "security_mlp_v1", "backbone_type": "sequential"},
        "tasks": [
            {**task, "name": "find", "type": "classification", "heads": [{"name": "threat"}]},
            {**task, "name": "size", "type": "regression", "heads": [{"name": "bytes", "column": "bytes_in"}]},
            {**task, "name": "marks", "type": "multi_label_classification", "heads": [{"name": "odd"}]},
        ],
        "training": {"max_steps": 3, "batch_size": 16},
        "tracking": {"enabled": False},
        "output_dir": str(folder / "runs"),
    }
    return jenga.train(config).run


@pytest.fixture(scope="session")
def detector(event_run: Path) -> Predictor:
    return load(event_run, device="cpu")


@pytest.fixture(scope="session")
def flows() -> list[dict[str, Any]]:
    """New flows."""
    return generate_flows(20, seed=1)


@pytest.fixture(scope="session")
def graphs(event_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the graph of `event_run`."""
    pytest.importorskip("onnxruntime")
    from jenga.inference.export import export

    return export(event_run, tmp_path_factory.mktemp("graphs") / "onnx", format="onnx")
