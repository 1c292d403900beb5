"""The addresses of OpenAI's form, as OpenAPI; answers are held against it in test_chat.py."""

from __future__ import annotations

import jsonschema
import pytest

from jenga.inference.serve.chat_schema import paths, schemas


def test_bodies_name_a_model_that_generates() -> None:
    asked = paths(["small", "large"])["/v1/completions"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    jsonschema.validate({"model": "large", "prompt": "a", "temperature": 0.5}, asked)
    for wrong in ({"model": "other", "prompt": "a"}, {"model": "small"}, {"model": "small", "prompt": "a", "n": 2}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, asked)


def test_all_schemas_are_schemas() -> None:
    assert set(schemas()) == {"ChatError", "Usage"}
    for shape in schemas().values():
        jsonschema.Draft202012Validator.check_schema(shape)
