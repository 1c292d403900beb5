"""What a policy file may hold, and what it says of itself."""

from __future__ import annotations

import json

from jenga.policy.load import json_schema
from jenga.policy.schema import PolicyConfig, When


def test_every_key_is_explained() -> None:
    schema = json_schema()
    blocks = {name: block["properties"] for name, block in schema["$defs"].items()}
    assert set(blocks) == {"PolicyConfig", "Rule", "When", "Hook", "Allowed"}
    assert [f"{name}.{key}" for name, keys in blocks.items() for key in keys if not keys[key].get("description")] == []
    assert json.loads(json.dumps(schema)) == schema


def test_nothing_is_done_unless_the_file_says_so() -> None:
    config = PolicyConfig(rules=[{"name": "r", "when": {"task": "t", "alert": True}, "identity": []}])
    assert (config.dry_run, config.rules[0].actions, config.hooks) == (True, [], {})


def test_conditions_name_what_they_ask_of_an_answer() -> None:
    assert When(task="t").asks == []
    when = When(task="t", label=["a"], alert=True, min_probability=0.5, max_score=1.0, min_value=0.0)
    assert {what for what, _ in when.asks} == {"label", "alert", "probability", "score", "value"}
    assert {key for _, key in when.asks} == {"label", "alert", "min_probability", "max_score", "min_value"}
