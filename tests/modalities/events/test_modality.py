"""Events as features: fitted on the training rows alone, never made of labels and ids."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jenga.config.strict import Strict
from jenga.errors import ConfigError, DataError
from jenga.modalities import BackboneManager, BaseBackbone
from jenga.modalities.base import Prepared
from jenga.modalities.events import settings
from jenga.modalities.events.encoder import EventEncoder
from jenga.modalities.events.modality import EventFields, EventModality
from jenga.rows.content import Cells
from jenga.rows.raw import RawRows
from jenga.run.build import Experiment, build, source_specs
from jenga.run.experiment import load_config

Settings = Callable[..., dict[str, Any]]
SCHEMA = {"fields": [{"path": "bytes_out", "kind": "numeric"}, {"path": "service", "kind": "categorical"}]}


def with_refinery(**refinery: Any) -> dict[str, Any]:
    return {"base_model": "security_mlp_v1", "backbone_type": "sequential", "refinery": refinery}


def refinery_of(experiment: Experiment) -> Any:
    encoder = experiment.bundle.inputs["shared"]
    assert isinstance(encoder, EventEncoder)
    return encoder.refinery


def features(experiment: Experiment, split: str = "train", *, source: int = 0) -> np.ndarray:
    found = experiment.sources[source].splits[split].encoded.features
    assert found is not None
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


@pytest.mark.parametrize(("shared", "n_rows"), [(None, 5), (2, 30)])
def test_intervals_are_found_by_more_rows_where_rows_that_share_a_value_are_counted(
    built: Callable[..., Experiment], flows: Any, monkeypatch: pytest.MonkeyPatch, shared: int | None, n_rows: int
) -> None:
    monkeypatch.setattr(settings, "SAMPLE_ROWS", 5)
    monkeypatch.setattr(settings, "MANY_SAMPLE_ROWS", 30)
    seen: list[int] = []
    of = settings.Pieces.of

    def counted(features: np.ndarray, *given: Any, **more: Any) -> Any:
        seen.append(len(features))
        return of(features, *given, **more)

    monkeypatch.setattr(settings.Pieces, "of", counted)
    built(flows, model=with_refinery(schema=SCHEMA) | {"bins": 4, "values_shared_by": shared})
    assert n_rows / 2 < seen[0] <= n_rows < len(flows)


def test_a_column_that_rows_are_judged_apart_by_stays_a_feature(built: Callable[..., Experiment], flows: Any) -> None:
    plain = built()
    cut = built(evaluation={"slices": ["service"]})
    assert refinery_of(cut).schema_ == refinery_of(plain).schema_
    cells = cut.sources[0].splits["train"].rows.marks["service"]
    assert set(cells) <= {flow["service"] for flow in flows}
    assert len(cells) == len(cut.sources[0].splits["train"])


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
        ("threat[0]", r"'threat\[0\]', which holds the labels of head 'find\.threat'"),
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
    assert len({features(experiment, source=at).shape[1] for at in range(2)}) == 1


def test_tasks_on_the_same_rows_are_one_source_whatever_they_say_of_texts(event_settings: Settings) -> None:
    content = event_settings()
    content["tasks"].append({"name": "size", "type": "regression", "data_path": content["tasks"][0]["data_path"],
                             "heads": [{"name": "bytes", "column": "bytes_in"}]})  # fmt: skip
    assert [spec.name for spec in source_specs(load_config(content))] == ["find+size"]


def test_a_resumed_run_takes_the_refinery_that_it_was_begun_with(built: Callable[..., Experiment], flows: Any) -> None:
    first = refinery_of(built())
    other = refinery_of(built([{**flow, "bytes_out": 1 + flow["bytes_out"]} for flow in flows]))
    assert other.plan_ == first.plan_


@pytest.mark.usefixtures("registries_as_before")
def test_a_registered_backbone_of_events_needs_settings_for_features(
    event_settings: Settings, prepared: Callable[..., Prepared], tmp_path: Path
) -> None:
    class Forest(BaseBackbone):
        modality = "events"

    class Leaves(Strict):
        base_model: str

    def prepare(kind: str) -> Prepared:
        config = load_config(event_settings(model={"base_model": "oak", "backbone_type": kind}))
        return prepared(config, tmp_path)

    BackboneManager.register("forest", config=Leaves)(Forest)
    with pytest.raises(ConfigError, match="'forest' reads features, but is registered without settings for them"):
        prepare("forest")
    # One that brings no settings has those of all models of events.
    BackboneManager.register("grove")(Forest)
    assert prepare("grove").model_config.n_features > 10


# -------------------------------------------------------------------------------------------------------------- content


def test_nothing_is_read_of_an_event_by_itself_and_no_column_is_missed() -> None:
    spec, raw = EventFields(), RawRows("flows.json", [{"a": 1}, {}], [1, 2])
    reader = spec.reader(raw, learning=True, per_word=False)
    content = reader.collect([reader.read(row) for row in raw.rows])
    assert content == Cells()
    assert (spec.found(raw), spec.wanted, spec.given("text")) == (spec, (), None)
    assert content.take(np.array([1])) == type(content).joined([content, content]) == Cells()


def test_an_example_has_a_value_in_each_field_of_its_kind(built: Callable[..., Experiment]) -> None:
    encoder = built(model=with_refinery(schema=SCHEMA)).bundle.inputs["shared"]
    row = EventModality().example([EventFields()], encoder.describe())
    assert row == {"bytes_out": 0, "service": "example"}
    assert not encoder.given([row], []).bad
