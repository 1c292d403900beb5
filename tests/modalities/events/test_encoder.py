"""Events as features: fitted on the training rows alone, never made of labels and ids."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jenga.errors import ConfigError, DataError, SetupError
from jenga.modalities.events.encoder import EventEncoder
from jenga.run.build import Experiment, build
from jenga.run.experiment import load_config

Settings = Callable[..., dict[str, Any]]
SCHEMA = {"fields": [{"path": "bytes_out", "kind": "numeric"}, {"path": "service", "kind": "categorical"}]}


@pytest.fixture
def built(event_settings: Settings, tmp_path: Path) -> Callable[..., Experiment]:
    def make(rows: Any = None, task: Any = None, **blocks: Any) -> Experiment:
        return build(load_config(event_settings(rows, task, **blocks)), tmp_path / "work")

    return make


def with_refinery(**refinery: Any) -> dict[str, Any]:
    return {"base_model": "security_mlp_v1", "backbone_type": "sequential", "refinery": refinery}


def refinery_of(experiment: Experiment) -> Any:
    inputs = experiment.bundle.inputs
    assert isinstance(inputs, EventEncoder)
    return inputs.refinery


def features(experiment: Experiment, split: str = "train") -> np.ndarray:
    found: np.ndarray = experiment.sources[0].splits[split].encoded.features  # type: ignore[union-attr]
    return found


# ------------------------------------------------------------------------------------------------------------ columns


def test_no_feature_is_made_of_labels_and_ids(built: Callable[..., Experiment], flows: Any) -> None:
    rows = [{**flow, "labels": {"kind": "x"}, "uid": f"u{at}"} for at, flow in enumerate(flows)]
    heads = [{"name": "threat"}, {"name": "loud", "column": "bytes_in"}]
    rows = [{**row, "bytes_in": int(row["bytes_in"] > 500)} for row in rows]
    schema = refinery_of(built(rows, {"heads": heads, "columns": {"id": "uid"}})).schema_
    assert not {"threat", "labels.kind", "bytes_in", "uid"} & {field.path for field in schema.fields}
    assert schema.left_out["bytes_in"] == "labels of the experiment"
    assert "label" in schema.left_out["threat"]
    assert {"bytes_out", "service"} <= {field.path for field in schema.fields}


def test_what_else_is_left_out_is_told(built: Callable[..., Experiment], flows: Any) -> None:
    warnings = built([{**flow, "attack": "scan", "same": 1} for flow in flows]).warnings
    assert any("no feature is made of 'attack': a label by its name" in each for each in warnings)
    assert any("no feature is made of 'same': always 1" in each for each in warnings)
    assert not [each for each in warnings if "'threat'" in each or "'id'" in each]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("threat", r"'threat', which holds the labels of head 'find\.threat'"),
        ("id", "'id', which holds the ids of find"),
    ],
)
def test_a_schema_that_reads_labels_or_ids_is_refused(built: Callable[..., Experiment], path: str, words: str) -> None:
    schema = {"fields": [*SCHEMA["fields"], {"path": path, "kind": "categorical"}]}
    with pytest.raises(ConfigError, match=words):
        built(model=with_refinery(schema=schema))


def test_a_given_schema_is_used_as_it_is(built: Callable[..., Experiment], tmp_path: Path) -> None:
    inline = refinery_of(built(model=with_refinery(schema=SCHEMA)))
    assert [field.path for field in inline.schema_.fields] == ["bytes_out", "service"]
    (tmp_path / "schema.yml").write_text(inline.schema_.to_yaml())
    (tmp_path / "work" / "preset" / "manifest.json").unlink()
    from_file = refinery_of(built(model=with_refinery(schema=str(tmp_path / "schema.yml"))))
    assert from_file.plan_ == inline.plan_


def test_a_preset_is_a_schema_by_name(built: Callable[..., Experiment]) -> None:
    rows = [
        {"duration": at, "protocol_type": "tcp", "service": "http", "src_bytes": at * at, "label": at % 2}
        for at in range(40)
    ]
    experiment = built(rows, model=with_refinery(preset="nsl_kdd"))
    assert refinery_of(experiment).schema_.name == "nsl_kdd"
    assert any("no event has 'flag'" in each for each in experiment.warnings)


def test_an_unknown_preset_is_suggested(built: Callable[..., Experiment]) -> None:
    with pytest.raises(ConfigError, match="preset: unknown 'nsl_kd'; did you mean 'nsl_kdd'"):
        built(model=with_refinery(preset="nsl_kd"))


# -------------------------------------------------------------------------------------------------------------- fitting


def test_the_refinery_is_fitted_on_the_training_rows_alone(built: Callable[..., Experiment], flows: Any) -> None:
    experiment = built(model=with_refinery(schema=SCHEMA))
    rows = experiment.sources[0].splits["train"].rows
    numbers = [flow["bytes_out"] for flow in flows if flow["id"] in set(rows.ids)]
    assert len(numbers) == 160
    column = features(experiment)[:, 0]
    assert column.mean() == pytest.approx(0.0, abs=1e-6)
    assert column[0] == pytest.approx((numbers[0] - np.mean(numbers)) / np.std(numbers), rel=1e-5)
    assert abs(features(experiment, "test")[:, 0].mean()) > 1e-3


def test_rows_that_only_an_unsupervised_task_would_see_never_reach_the_scales(
    built: Callable[..., Experiment], flows: Any
) -> None:
    task = {"type": "anomaly_detection", "mode": "unsupervised", "heads": [{"name": "threat", "num_labels": 2}]}
    experiment = built(None, task, model=with_refinery(schema=SCHEMA))
    split = experiment.sources[0].splits
    assert set(split["train"].rows.labels["find", "threat"]) == {0}
    assert set(split["valid"].rows.labels["find", "threat"]) == {0, 1}
    assert refinery_of(experiment).n_rows_seen_ == len(split["train"])


def test_a_file_without_labels_is_all_normal_for_an_unsupervised_task(
    built: Callable[..., Experiment], flows: Any
) -> None:
    rows = [{key: value for key, value in flow.items() if key != "threat"} for flow in flows]
    task = {"type": "anomaly_detection", "mode": "unsupervised", "heads": [{"name": "threat"}]}
    experiment = built(rows, task)
    assert experiment.bundle.spaces["find", "threat"].labels == ("normal", "anomaly")
    assert len(experiment.sources[0].splits["train"]) == 160
    with pytest.raises(
        DataError, match=r"head 'find\.threat': the rows have no column .* Columns found: id, timestamp"
    ):
        built(rows)


def test_sources_with_different_rows_share_one_refinery(event_settings: Settings, flows: Any, tmp_path: Path) -> None:
    (tmp_path / "more.json").write_text(json.dumps([{**flow, "service": "odd"} for flow in flows[:50]]))
    content = event_settings()
    content["tasks"].append({**content["tasks"][0], "name": "more", "data_path": str(tmp_path / "more.json")})
    experiment = build(load_config(content), tmp_path / "work")
    assert [source.name for source in experiment.sources] == ["find", "more"]
    assert refinery_of(experiment).n_rows_seen_ == 160 + 40
    assert "service=odd" in refinery_of(experiment).feature_names_
    assert len({source.splits["train"].encoded.features.shape[1] for source in experiment.sources}) == 1  # type: ignore[union-attr]


def test_tasks_on_the_same_rows_are_one_source_whatever_they_say_of_texts(event_settings: Settings) -> None:
    content = event_settings()
    content["tasks"].append({"name": "size", "type": "regression", "data_path": content["tasks"][0]["data_path"],
                             "heads": [{"name": "bytes", "column": "bytes_in"}]})  # fmt: skip
    from jenga.run.build import source_specs

    assert [spec.name for spec in source_specs(load_config(content))] == ["find+size"]


def test_a_resumed_run_takes_the_refinery_that_it_was_begun_with(built: Callable[..., Experiment], flows: Any) -> None:
    first = refinery_of(built())
    other = refinery_of(built([{**flow, "bytes_out": 1 + flow["bytes_out"]} for flow in flows]))
    assert other.plan_ == first.plan_


# --------------------------------------------------------------------------------------------------------------- rows


def test_bad_rows_are_listed_and_cost_nothing_else(
    built: Callable[..., Experiment], flows: Any, tmp_path: Path
) -> None:
    lines = [json.dumps(flow) for flow in flows]
    lines[3], lines[5] = '{"id": "x", ', json.dumps({**flows[5], "threat": 9})
    (tmp_path / "lines.jsonl").write_text("\n".join(lines))
    task = {"data_path": str(tmp_path / "lines.jsonl"), "heads": [{"name": "threat", "num_labels": 2}]}
    experiment = built(None, task, data={"max_bad_fraction": 0.02})
    assert [(bad.number, bad.reason.split(" (")[0]) for bad in experiment.bad] == [
        (4, "truncated"), (6, "head 'find.threat': class 9 is not one of 2. Allowed: 0, 1; null where there is none"),
    ]  # fmt: skip
    assert sum(len(split) for split in experiment.sources[0].splits.values()) == 198
    (tmp_path / "lines.jsonl").write_text("\n".join([*lines[:5], "{", *lines[6:]]))
    with pytest.raises(DataError, match=r"2 of 200 rows cannot be used; data\.max_bad_fraction allows 0\.005"):
        built(None, task, data={"max_bad_fraction": 0.005})


def test_rows_without_a_required_field_are_left_out_and_counted(built: Callable[..., Experiment], flows: Any) -> None:
    schema = {"fields": [SCHEMA["fields"][0], {**SCHEMA["fields"][1], "required": True}]}
    lacking = sum(flow["service"] is None for flow in flows)
    assert lacking > 5
    experiment = built(model=with_refinery(schema=schema), data={"max_bad_fraction": 0.9})
    assert len(experiment.bad) == lacking
    assert sum(len(split) for split in experiment.sources[0].splits.values()) == 200 - lacking
    with pytest.raises(DataError, match="rows cannot be used"):
        built(model=with_refinery(schema=schema))


def test_rows_that_stand_in_two_splits_are_told(built: Callable[..., Experiment], flows: Any) -> None:
    rows = [{key: value for key, value in flow.items() if key != "timestamp"} for flow in flows[:20]] * 10
    rows = [{**row, "id": str(at)} for at, row in enumerate(rows)]
    warnings = built(rows).warnings
    assert any(
        "test rows have the same features as a row that is in the training rows too" in each for each in warnings
    )


def test_the_time_since_the_event_before_is_that_of_the_file_whatever_the_split(
    built: Callable[..., Experiment], flows: Any
) -> None:
    schema = {"fields": [{"path": "timestamp", "kind": "timestamp"}]}
    experiment = built(model=with_refinery(schema=schema))
    whole = refinery_of(experiment).refine(flows).features
    for split in experiment.sources[0].splits.values():
        at = [number - 1 for number in split.rows.numbers]
        assert np.array_equal(split.encoded.features, whole[at])  # type: ignore[union-attr]


def test_batches_hold_features_and_labels_of_the_same_rows(built: Callable[..., Experiment], flows: Any) -> None:
    experiment = built(model=with_refinery(schema=SCHEMA))
    batch = experiment.sources[0].splits["train"].batch([5, 2])
    rows = {flow["id"]: flow for flow in flows}
    assert batch.inputs.keys() == {"features"}
    assert batch.inputs["features"].dtype == torch.float32
    assert batch.labels["find"]["threat"].tolist() == [rows[name]["threat"] for name in batch.sample_ids]
    wanted = refinery_of(experiment).transform([rows[name] for name in batch.sample_ids])
    assert np.array_equal(batch.inputs["features"], wanted)


def test_a_card_is_told_the_fields(built: Callable[..., Experiment]) -> None:
    few = built(model=with_refinery(schema=SCHEMA)).bundle.inputs.facts([])
    assert few.data["fields of an event"] == "2: bytes_out, service"
    assert int(few.data["features"]) > 2


def test_of_many_fields_a_card_is_told_the_first(built: Callable[..., Experiment]) -> None:
    rows = [{"threat": at % 2, **{f"f{number:02d}": at * number + at % 3 for number in range(15)}} for at in range(60)]
    many = built(rows, model={"base_model": "security_mlp_v1", "backbone_type": "sequential"}).bundle.inputs.facts([])
    assert many.data["fields of an event"].startswith("15: f00, f01, ")
    assert many.data["fields of an event"].endswith("f11 and 3 more")


def test_a_saved_refinery_that_is_harmed_is_no_fault_of_the_data(
    built: Callable[..., Experiment], tmp_path: Path
) -> None:
    bundle = built().bundle
    bundle.inputs.save(tmp_path)
    file = tmp_path / "refinery.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(SetupError, match=r"refinery.safetensors: .*restore the model's folder"):
        EventEncoder.load(tmp_path, bundle.config)
