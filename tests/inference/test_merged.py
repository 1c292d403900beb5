"""Rows of several callers in one pass."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from near import near

import jenga
from jenga.inference.loading import load
from jenga.inference.merged import kinship, together
from jenga.inference.predictor import Predictor
from jenga.rows.given import LineBatch
from jenga.rows.raw import REQUEST, RawRows
from jenga.samples.network import generate_flows

UNTIMED = [{"kind": "numeric", "path": path} for path in ("bytes_in", "bytes_out", "duration")]


def given(predictor: Predictor, *rows: Any) -> RawRows:
    return predictor.given(list(rows), REQUEST)


def kin(predictor: Predictor, *rows: Any) -> Any:
    raw = given(predictor, *rows)
    return kinship(predictor, raw, predictor.plan(raw))


def test_each_caller_gets_its_own_answers_with_its_own_numbers(predictor: Predictor) -> None:
    raws = [
        given(predictor, "Amina called about her bill", 5, {"id": "x", "text": "thank you"}),
        given(predictor),
        given(predictor, 5, "good bye"),
    ]
    found = together(predictor, raws, predictor.plan(raws[0]))
    assert [[answer["id"] for answer in own] for own in found] == [["1", "2", "x"], [], ["1", "2"]]
    for own, raw in zip(found, raws, strict=True):
        assert own == near(predictor.predict(raw))
    assert "error" in found[0][1]
    assert "error" in found[2][0]


def test_rows_whose_columns_are_read_otherwise_are_no_kin(predictor: Predictor) -> None:
    assert kin(predictor, {"text": "a"}) == kin(predictor, {"text": "b", "other": 1}, {"text": "c"})
    assert kin(predictor, {"tokens": ["a"]}) != kin(predictor, {"text": "a"})
    assert kin(predictor, {"text": ""}) == kin(predictor, {"text": "a"})


def test_rows_that_say_something_of_the_next_one_have_no_kin(detector: Predictor, flows: list[dict[str, Any]]) -> None:
    assert detector.inputs.ordered
    assert kin(detector, *flows) is None


@pytest.mark.parametrize("lines", [False, True])
def test_events_without_a_clock_are_kin_as_mappings_and_as_lines(
    unclocked: Predictor, flows: list[dict[str, Any]], lines: bool
) -> None:
    parts = [flows[:3], flows[3:4], flows[4:9]]
    if lines:
        raws = [
            unclocked.lines(LineBatch([json.dumps(flow).encode() for flow in part], 1, True, file=REQUEST))
            for part in parts
        ]
    else:
        raws = [given(unclocked, *part, {"nothing": 1}) for part in parts]
    plan = unclocked.plan(raws[0])
    assert len({kinship(unclocked, raw, unclocked.plan(raw)) for raw in raws}) == 1
    for own, raw in zip(together(unclocked, raws, plan), raws, strict=True):
        assert own == near(unclocked.predict(raw))
        assert ("error" in own[-1]) is not lines


@pytest.fixture(scope="module")
def unclocked(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    """A session of a model of events whose schema reads no time."""
    folder: Path = tmp_path_factory.mktemp("unclocked")
    (folder / "flows.json").write_text(json.dumps(generate_flows(120)))
    config: dict[str, Any] = {
        "model": {
            "base_model": "security_mlp_v1", "backbone_type": "sequential",
            "refinery": {"schema": {"fields": UNTIMED}},
        },
        "tasks": [
            {"name": "find", "type": "classification", "data_path": str(folder / "flows.json"),
             "heads": [{"name": "threat"}]},
        ],
        "training": {"max_steps": 2, "batch_size": 16}, "tracking": {"enabled": False},
        "output_dir": str(folder / "runs"),
    }  # fmt: skip
    return load(jenga.train(config).run, device="cpu").session()


def test_rows_for_several_backbones_are_kin_where_each_reads_its_own_alike(mixed: Predictor) -> None:
    session = mixed.session()
    event = generate_flows(1, seed=5)[0]
    text, words = {"text": "Amina called about a bill"}, {"text": "thank you"}
    assert kin(session, text, words) == kin(session, words, 7)
    assert kin(session, text) != kin(session, {"bytes_in": 5})
    assert kin(session, event) == kin(session, {"bytes_in": 3, "bytes_out": 2, "duration": 1.0})
    raws = [given(session, text, event), given(session, event, 5, words), given(session, text, event)]
    plans = [session.plan(raw) for raw in raws]
    assert len({kinship(session, raw, plan) for raw, plan in zip(raws, plans, strict=True)}) == 1
    for own, raw in zip(together(session, raws, plans[0]), raws, strict=True):
        assert own == near(mixed.session().predict(raw))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    """A model of texts, and of events whose schema reads no time."""
    folder = tmp_path_factory.mktemp("mixed")
    flows = generate_flows(80)
    texts = [{"text": f"call {at} was {('bad', 'good')[at % 2]}", "mood": ("bad", "good")[at % 2]} for at in range(40)]
    for name, rows in (("texts", texts), ("events", flows)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    mood = {"name": "mood", "type": "classification", "data_path": str(folder / "texts.jsonl"), "backbone": "words"}
    find = {"name": "find", "type": "classification", "data_path": str(folder / "events.jsonl"), "backbone": "flows"}
    config: dict[str, Any] = {
        "model": {"backbones": {
            "words": {"backbone_type": "text", "base_model": "jenga/tiny-text"},
            "flows": {"backbone_type": "sequential", "base_model": "security_mlp_v1",
                      "refinery": {"schema": {"fields": UNTIMED}}},
        }},
        "tasks": [{**mood, "heads": [{"name": "mood"}]}, {**find, "heads": [{"name": "threat"}]}],
        "data": {"max_length": 16}, "training": {"max_steps": 4, "batch_size": 8}, "tracking": {"enabled": False},
        "output_dir": str(folder / "runs"),
    }  # fmt: skip
    return load(jenga.train(config).run, device="cpu")
