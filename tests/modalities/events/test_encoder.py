"""Events as features: of the rows that are left, lined up with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jenga.errors import DataError, SetupError
from jenga.modalities.events.encoder import EventEncoder
from jenga.modalities.events.modality import EventFields
from jenga.refinery import SecurityRefinery
from jenga.rows.parse import SourceSpec, parse_rows
from jenga.run.build import Experiment

SCHEMA = {"fields": [{"path": "bytes_out", "kind": "numeric"}, {"path": "service", "kind": "categorical"}]}


def with_refinery(**refinery: Any) -> dict[str, Any]:
    return {"base_model": "security_mlp_v1", "backbone_type": "sequential", "refinery": refinery}


def refinery_of(experiment: Experiment) -> Any:
    encoder = experiment.bundle.inputs["shared"]
    assert isinstance(encoder, EventEncoder)
    return encoder.refinery


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
        found = split.encoded.features
        assert found is not None
        assert np.array_equal(found, whole[at])


HISTORY = {"kind": "history", "by": "service", "tells": "events", "window_s": 86400}
OF_SERVICES = {
    "fields": [
        {"path": "timestamp", "kind": "timestamp", "inter_arrival": False},
        {"path": "service", "kind": "entity"},
        HISTORY,
    ]
}


def test_histories_are_those_of_the_file_whatever_the_split(built: Callable[..., Experiment], flows: Any) -> None:
    experiment = built(model=with_refinery(schema=OF_SERVICES))
    whole = refinery_of(experiment).refine(flows)
    assert whole.histories is not None
    assert np.nanmax(whole.histories) > 0
    for split in experiment.sources[0].splits.values():
        at = [number - 1 for number in split.rows.numbers]
        np.testing.assert_array_equal(split.encoded.features, np.asarray(whole.features)[at])


def test_histories_of_a_file_without_training_rows_go_on_from_those(
    built: Callable[..., Experiment], flows: Any, tmp_path: Path
) -> None:
    parts = {"train": flows[:30], "valid": flows[30:45], "test": flows[45:]}
    for name, part in parts.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(part))
    files = {name: str(tmp_path / f"{name}.json") for name in parts}
    experiment = built(task={"data_path": files}, model=with_refinery(schema=OF_SERVICES))
    refinery = refinery_of(experiment)
    features = {name: split.encoded.features for name, split in experiment.sources[0].splits.items()}
    whole = np.asarray(refinery.refine(flows).features)
    np.testing.assert_array_equal(features["train"], whole[:30])
    np.testing.assert_array_equal(features["valid"], whole[30:45])
    follows = refinery.refine(flows[45:], pace=refinery.carried()).features
    np.testing.assert_array_equal(features["test"], follows)


def test_batches_hold_features_and_labels_of_the_same_rows(built: Callable[..., Experiment], flows: Any) -> None:
    experiment = built(model=with_refinery(schema=SCHEMA))
    batch = experiment.sources[0].splits["train"].batch([5, 2])
    rows = {flow["id"]: flow for flow in flows}
    assert batch.inputs.keys() == {"features"}
    assert batch.inputs["features"].dtype == torch.float32
    assert batch.labels["find"]["threat"].tolist() == [rows[name]["threat"] for name in batch.sample_ids]
    wanted = refinery_of(experiment).transform([rows[name] for name in batch.sample_ids])
    assert np.array_equal(batch.inputs["features"], wanted)


def test_a_network_is_told_which_features_are_of_one_field(built: Callable[..., Experiment]) -> None:
    experiment = built(model=with_refinery(schema=SCHEMA))
    refinery = refinery_of(experiment)
    fields = experiment.bundle.model.encoders["shared"].config.fields
    assert [name for name, width in zip(["bytes_out", "service"], fields, strict=True) for _ in range(width)] == (
        refinery.feature_sources_
    )
    assert max(fields) > 1


def test_a_card_is_told_the_fields(built: Callable[..., Experiment]) -> None:
    few = built(model=with_refinery(schema=SCHEMA)).bundle.inputs["shared"].facts([])
    assert few.data["fields of an event"] == "2: bytes_out, service"
    assert int(few.data["features"]) > 2


def test_of_many_fields_a_card_is_told_the_first(built: Callable[..., Experiment]) -> None:
    rows = [{"threat": at % 2, **{f"f{number:02d}": at * number + at % 3 for number in range(15)}} for at in range(60)]
    many = (
        built(rows, model={"base_model": "security_mlp_v1", "backbone_type": "sequential"})
        .bundle.inputs["shared"]
        .facts([])
    )
    assert many.data["fields of an event"].startswith("15: f00, f01, ")
    assert many.data["fields of an event"].endswith("f11 and 3 more")


def test_a_saved_refinery_that_is_harmed_is_no_fault_of_the_data(
    built: Callable[..., Experiment], tmp_path: Path
) -> None:
    bundle = built().bundle
    bundle.inputs["shared"].save(tmp_path)
    file = tmp_path / "refinery.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(SetupError, match=r"refinery.safetensors: .*restore the model's folder"):
        EventEncoder.load(tmp_path, bundle.config)


@pytest.mark.parametrize(
    ("row", "read"),
    [
        ({"net": {"cats": ["x"]}}, True),
        ({"net": {"cats": []}}, False),
        ({"ports": [80]}, True),
        ({"spt": 80}, True),
        ({"text": "a call", "net": {"other": 1}}, False),
        ({"spt": None}, False),
    ],
)
def test_a_row_is_an_event_where_a_field_stands_at_any_of_its_paths(row: dict[str, Any], read: bool) -> None:
    from jenga.refinery import SecurityRefinery
    from jenga.refinery.schema import RefinerySchema

    fields = [{"path": "net.cats[*]", "kind": "categorical"}, {"paths": ["ports[0]", "spt"], "kind": "numeric"}]
    refinery = SecurityRefinery(schema=RefinerySchema.model_validate({"fields": fields}))
    refinery.fit([{"net": {"cats": ["x"]}, "ports": [80]}, {"net": {"cats": ["y"]}, "spt": 81}])
    assert EventEncoder(refinery).reads(row, []) is read


def test_a_session_goes_on_with_each_entity_and_says_once_that_it_knows_too_many(
    caplog: pytest.LogCaptureFixture,
) -> None:
    fields = [{"path": "t", "kind": "timestamp", "by": "u", "max_entities": 3}, {"path": "u", "kind": "entity"}]
    rows = [{"t": 1.7e9 + at**2, "u": f"user-{at % 3}"} for at in range(12)]
    refinery = SecurityRefinery(schema={"fields": fields}).fit(rows)
    encoder = EventEncoder(refinery)
    spec = SourceSpec("x", (), (), (), "id", (), EventFields())

    def encoded(session: EventEncoder, some: list[dict[str, Any]]) -> np.ndarray:
        raw = session.given(some, [spec])
        read, _ = parse_rows(raw, spec, spaces=None, with_labels=False)
        found = session.encoder([raw]).encode(read, spec, {}).encoded.features
        assert found is not None
        return found

    whole = encoded(encoder.session(), rows)
    session = encoder.session()
    caplog.clear()
    parts = [encoded(session, rows[at : at + 2]) for at in range(0, 12, 2)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    # The first rows of the three, and after them one gap that is larger than the one before.
    assert whole[:3, 4].tolist() == [0.0, 0.0, 0.0]
    assert (np.diff(whole[3:, 4]) > 0).all()
    assert caplog.text.count("as many 'u' as are remembered (max_entities: 3)") == 1


def test_a_session_goes_on_from_the_training_rows_and_drivers_tell_of_what_was_before() -> None:
    fields = [{"path": "t", "kind": "timestamp", "inter_arrival": False}, {"path": "u", "kind": "entity"}]
    history = {"kind": "history", "by": "u", "tells": "events", "window_s": 100}
    rows = [{"id": str(at), "t": 1.7e9 + at, "u": f"user-{at % 3}"} for at in range(30)]
    refinery = SecurityRefinery(schema={"fields": [*fields, history]}).fit(rows[:20])
    whole = np.asarray(refinery.refine(rows).features)[20:]
    session, spec = EventEncoder(refinery).session(), SourceSpec("x", (), (), (), "id", (), EventFields())
    for first in (20, 25):
        raw = session.given(rows[first : first + 5], [spec])
        read, _ = parse_rows(raw, spec, spaces=None, with_labels=False)
        found = session.encoder([raw]).encode(read, spec, {}).encoded.features
        np.testing.assert_array_equal(found, whole[first - 20 : first - 15])
        piece = raw.piece(slice(2, 5), [])
        told = session.tell(piece, piece.numbers)(range(3), np.ones((3, refinery.n_features_out_)), 9)
        values = [each["value"] for of_row in told for each in of_row if each["field"] == "u:100s:events"]
        assert values == [at // 3 for at in range(first + 2, first + 5)]


def test_of_an_event_by_itself_it_is_said_that_none_is_known_before(caplog: pytest.LogCaptureFixture) -> None:
    fields = [{"path": "t", "kind": "timestamp", "inter_arrival": False}, {"path": "u", "kind": "entity"}]
    history = {"kind": "history", "by": "u", "tells": "events", "window_s": 100}
    refinery = SecurityRefinery(schema={"fields": [*fields, history]}).fit([{"t": 1, "u": "a"}, {"t": 2, "u": "a"}])
    encoder, spec = EventEncoder(refinery), SourceSpec("x", (), (), (), "id", (), EventFields())
    assert encoder.ordered
    assert encoder.from_bytes() is None
    assert encoder.describe()["fields"] == [["t", "timestamp"], ["u", "entity"]]
    encoder.encoder([encoder.given({"t": 3, "u": "a"}, [spec])])
    assert "'u:100s:events' tells of the events before, and of a single event no other is known" in caplog.text
