from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from jenga.callbacks.mlflow_form import metric_name, parameters_of, reason_of, training_metrics, write_plots
from jenga.report.draw import Plot
from jenga.report.page import written


def test_reason_is_one_line_without_colours_and_secrets() -> None:
    assert reason_of(ValueError("\x1b[1;33mno route\n to https://a:b@host. \x1b[0m")) == "no route to https://***@host"
    assert reason_of(ValueError()) == "ValueError"
    assert len(reason_of(ValueError("x" * 1000))) == 300


@pytest.mark.parametrize("name", ["eval_QA_loss", "test_a/b.c-d e:f", "train_résumé_loss"])
def test_name_that_mlflow_takes_stays(name: str) -> None:
    assert metric_name(name) == name


@pytest.mark.parametrize("name", ["eval_R&D_loss", "x" * 251, "a[0]"])
def test_name_that_mlflow_refuses_is_changed_into_one_that_it_takes(name: str) -> None:
    from mlflow.utils.validation import _validate_metric_name

    assert metric_name(name) != name
    _validate_metric_name(metric_name(name))


def test_two_names_stay_two() -> None:
    assert metric_name("eval_a&b_loss") != metric_name("eval_a|b_loss")
    assert metric_name("x" * 300) != metric_name("x" * 301)


def test_parameters_are_dotted_by_name_without_secrets_and_unset_keys(make_view: Callable[..., Any]) -> None:
    found = parameters_of(make_view(tracking={"uri": "https://ann:secret@host"}).config)
    assert found["tasks.intent.type"] == "classification"
    assert found["tasks.intent.heads.topic.weight"] == "1.0"
    assert "early_stopping" not in found
    assert not [name for name in found if name.startswith(("tracking", "output_dir"))]
    assert "secret" not in "".join(found.values())


def test_passwords_in_addresses_of_data_are_no_parameters(make_view: Callable[..., Any]) -> None:
    path = "https://ann:secret@host/calls.jsonl"
    task = {"name": "a", "type": "classification", "data_path": {"train": path, "valid": [path, path]}}
    found = parameters_of(make_view(tasks=[task]).config)
    assert found["tasks.a.data_path.train"] == "https://***@host/calls.jsonl"
    assert "secret" not in "".join(found.values())


def test_long_value_is_cut_to_what_mlflow_takes(make_view: Callable[..., Any]) -> None:
    paths = [f"{'x' * 100}{n}.jsonl" for n in range(100)]
    task = {"name": "a", "type": "classification", "data_path": paths}
    value = parameters_of(make_view(tasks=[task]).config)["tasks.a.data_path"]
    assert len(value) == 6000
    assert value.endswith("...")


def test_head_that_got_no_label_in_these_steps_has_no_number() -> None:
    record = {
        "loss": 1.0, "grad_norm": 2.0, "epoch": 0.5, "learning_rate": {"heads": 0.1}, "task_loss": {"a": 1.0},
        "head_loss": {"a": {"h": 1.0}},
    }  # fmt: skip
    assert training_metrics(record) == {
        "train_loss": 1.0, "grad_norm": 2.0, "epoch": 0.5, "learning_rate_heads": 0.1, "train_a_loss": 1.0,
        "train_a_h_loss": 1.0,
    }  # fmt: skip


def test_pictures_of_the_report_become_files(tmp_path: Path) -> None:
    plots = [Plot("Loss <all> / tasks", "step", "loss"), Plot("ROC", "rate", "recall")]
    for plot in plots:
        plot.line([1, 2], [1, 2], style="s0", name="train\n<b>")
    (tmp_path / "report.html").write_text(written("a run", [plot.drawn() for plot in plots]))
    write_plots(tmp_path / "report.html", tmp_path / "plots")
    files = sorted((tmp_path / "plots").iterdir())
    assert [path.name for path in files] == ["01-Loss-lt-all-gt-tasks.svg", "02-ROC.svg"]
    for path in files:
        root = ElementTree.fromstring(path.read_text())
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert root.find("{*}path") is not None
        assert "--c0" in (root.findtext("{*}style") or "")
