"""The document that says what the addresses take and give."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import jenga
from jenga.inference.serve.app import Service
from jenga.inference.serve.schema import answer_shape, openapi
from jenga.samples.network import generate_flows


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if "$ref" in value else set()
        return own.union(*map(references, value.values()))
    return set().union(*map(references, value)) if isinstance(value, list) else set()


def test_every_model_has_an_address_and_an_answer_of_its_own(
    serving: Callable[..., Service], run: Path, event_run: Path
) -> None:
    service = serving(f"our-calls={run}", f"flows={event_run}")
    document = openapi(service.models.all, secured=False)
    assert {"/predict", "/models/our-calls/predict", "/models/flows/predict"} <= document["paths"].keys()
    assert "/v1/completions" not in document["paths"]
    for reference in references(document):
        assert reference.removeprefix("#/components/schemas/") in document["components"]["schemas"]
    for shape in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(shape)
    names = [
        post["post"]["operationId"] for post in document["paths"].values() if "operationId" in post.get("post", {})
    ]
    assert len(names) == len(set(names)) == 3
    answer = document["components"]["schemas"]["Answer_our-calls"]
    assert list(answer["properties"]) == ["id", "truncated", "QA", "sentiment", "names", "length", "error"]
    assert answer["properties"]["sentiment"]["properties"]["feeling"]["properties"]["label"]["enum"]


def test_a_language_model_has_addresses_of_openais_form(talker: Service) -> None:
    document = openapi(talker.models.all, secured=False)
    assert {"/v1/models", "/v1/chat/completions", "/v1/completions"} <= document["paths"].keys()
    assert references(document) >= {"#/components/schemas/ChatError", "#/components/schemas/Usage"}


@pytest.mark.parametrize("mode", ["supervised", "unsupervised"])
def test_alerts_with_their_drivers_are_as_their_shape_says(
    tmp_path: Path, serving: Callable[..., Service], mode: str, without_report: None
) -> None:
    (tmp_path / "flows.json").write_text(json.dumps(generate_flows(200)))
    task = {"name": "find", "type": "anomaly_detection", "data_path": str(tmp_path / "flows.json"), "mode": mode}
    config: dict[str, Any] = {
        "model": {"base_model": "security_mlp_v1", "backbone_type": "sequential"},
        "tasks": [{**task, "heads": [{"name": "threat"}]}],
        "training": {"max_steps": 5, "batch_size": 32}, "tracking": {"enabled": False}, "output_dir": str(tmp_path),
    }  # fmt: skip
    served = serving(f"flows={jenga.train(config).run}").models.first
    answers = served.predictor.predict(generate_flows(200, seed=2), probabilities=True)
    assert any("drivers" in answer["find"]["threat"] for answer in answers)
    for answer in answers:
        jsonschema.validate(answer, answer_shape(served))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(
            {"id": "1", "find": {"threat": {"score": 2, "alert": True, "threshold": 0.5}}}, answer_shape(served)
        )
