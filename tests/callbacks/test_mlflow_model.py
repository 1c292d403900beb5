from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from saved_models import needs_own_code, own_model

import jenga
from jenga.callbacks.mlflow_model import log_model

pytestmark = [
    # MLflow's own use of SQLAlchemy and sqlite
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning"),
]


@pytest.fixture
def run(tmp_path: Path, make_rows: Callable[..., list[dict[str, Any]]], write_rows: Callable[..., str]) -> Path:
    rows = write_rows(tmp_path / "rows.jsonl", make_rows(40))
    config = {
        "model": {"base_model": "jenga/tiny-text"},
        "tasks": [{"name": "mood", "type": "classification", "data_path": rows, "heads": [{"name": "mood"}]}],
        "training": {"max_steps": 1},
        "tracking": {"enabled": False},
        "output_dir": str(tmp_path / "runs"),
    }
    return jenga.train(config).run


def logged(run: Path, tmp_path: Path) -> Any:
    """Log the model of `run` and return it as MLflow loads it; its files lie in artifacts/ under `tmp_path`."""
    import mlflow
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    client = MlflowClient(tracking_uri=uri)
    experiment = client.create_experiment("x", artifact_location=(tmp_path / "artifacts").as_uri())
    run_id = client.create_run(experiment).info.run_id
    mlflow.set_tracking_uri(uri)
    log_model(client, run / "best", run_id=run_id, experiment_id=experiment, step=1)
    (model,) = (tmp_path / "artifacts").rglob("MLmodel")
    return mlflow.pyfunc.load_model(str(model.parent))


def test_the_logged_model_predicts_and_holds_no_pickle(run: Path, tmp_path: Path) -> None:
    import pandas

    loaded = logged(run, tmp_path)
    files = [path for path in (tmp_path / "artifacts").rglob("*") if path.is_file()]
    assert any(path.suffix == ".safetensors" for path in files)
    assert not [path for path in files if path.suffix in (".pkl", ".pickle", ".pt", ".bin")]
    assert loaded.metadata.signature is not None
    (answer,) = loaded.predict(pandas.DataFrame({"text": ["the agent was kind"]}))
    assert answer["mood"]["mood"]["label"] in ("bad", "good")


def test_a_logged_model_of_events_takes_tables_whose_types_drift(
    event_settings: Callable[..., dict[str, Any]], flows: list[dict[str, Any]], tmp_path: Path
) -> None:
    import pandas

    run = jenga.train(event_settings(training={"max_steps": 1})).run
    loaded = logged(run, tmp_path)
    assert {"bytes_out", "id"} <= set(loaded.metadata.signature.inputs.input_names())
    assert "threat" not in loaded.metadata.signature.inputs.input_names()
    wanted = jenga.load(run, device="cpu").predict(flows[:4])
    table = pandas.DataFrame(flows[:4]).drop(columns="threat")
    assert loaded.predict(table) == wanted
    assert loaded.predict(table.assign(bytes_out=table["bytes_out"].astype(str))) == wanted
    assert len(loaded.predict(table[["id", "bytes_out"]])) == 4


@pytest.mark.parametrize("form", ["prompt", "messages"])
def test_a_logged_language_model_answers(form: str, tmp_path: Path, make_gpt2: Callable[..., Path]) -> None:
    import json

    import pandas

    folder = make_gpt2(positions=128)
    (folder / "chat_template.jinja").write_text(
        "{% for each in messages %}{{ each.role }}: {{ each.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    turns = [{"role": "user", "content": "is it good"}, {"role": "assistant", "content": "yes"}]
    row = {"prompt": "is it good", "completion": "yes"} if form == "prompt" else {"messages": turns}
    (tmp_path / "rows.jsonl").write_text((json.dumps(row) + "\n") * 20)
    config = {
        "model": {"name": str(folder)},
        "data": {"path": str(tmp_path / "rows.jsonl"), "max_length": 64},
        "training": {"max_steps": 1},
        "generation": {"rows": 0, "max_new_tokens": 2},
        "tracking": {"enabled": False},
        "output_dir": str(tmp_path / "runs"),
    }
    loaded = logged(jenga.train(config).run, tmp_path)
    given = json.dumps(row[form]) if form == "messages" else row[form]
    (answer,) = loaded.predict(pandas.DataFrame({form: [given]}))
    assert set(answer["lm"]["text"]) == {"text"}


def test_a_model_with_code_of_its_own_is_left_out_with_the_reason(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own_model(run, tmp_path / "own", needs_own_code)
    client = Mock()
    log_model(client, tmp_path / "own", run_id="a", experiment_id="b", step=1)
    assert client.mock_calls == []
    assert "the model is not logged: it needs code of its own (auto_map in config.json)" in caplog.text


def test_a_logged_model_of_pictures_takes_paths_and_bytes_of_a_table(tmp_path: Path) -> None:
    import pandas
    from PIL import Image

    rows = []
    for at in range(40):
        label = "light" if at % 2 else "dark"
        Image.new("RGB", (16, 16), (200 + at, 220, 240) if at % 2 else (at, 20, 40)).save(tmp_path / f"{at}.png")
        rows.append(json.dumps({"image": f"{at}.png", "label": label}))
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    config = {
        "model": {"backbone_type": "vision", "base_model": "jenga/tiny-vision"},
        "tasks": [{"name": "shade", "type": "classification", "data_path": str(tmp_path / "rows.jsonl")}],
        "training": {"max_steps": 10, "batch_size": 8},
        "tracking": {"enabled": False},
        "output_dir": str(tmp_path / "runs"),
    }
    loaded = logged(jenga.train(config, device="cpu").run, tmp_path)
    path = tmp_path / "1.png"
    table = pandas.DataFrame(
        {"image": [str(path), path.read_bytes(), {"bytes": path.read_bytes(), "path": None}, None]}
    )
    *answers, empty = loaded.predict(table)
    assert [answer["shade"]["label"]["label"] for answer in answers] == ["light"] * 3
    assert empty["error"] == "column 'image' is empty"
