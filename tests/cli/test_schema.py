import json
from collections.abc import Callable

from click.testing import Result


def test_schema_is_json_schema_with_every_task_type_and_descriptions(invoke: Callable[..., Result]) -> None:
    result = invoke("schema")
    assert result.exit_code == 0
    assert result.stderr == ""
    schema = json.loads(result.stdout)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    long, short = (schema["$defs"][each["$ref"].rpartition("/")[2]] for each in schema["anyOf"])
    assert set(long["required"]) >= {"model", "tasks"}
    assert set(short["required"]) == {"model", "data"}
    for kind in ("classification", "multi_label_classification", "qa_scoring", "ner", "regression"):
        assert f'"{kind}"' in result.stdout
    assert long["properties"]["output_dir"]["description"]


def test_policy_files_have_a_schema_of_their_own(invoke: Callable[..., Result]) -> None:
    schema = json.loads(invoke("schema", "--policy").stdout)
    assert schema["$defs"]["PolicyConfig"]["required"] == ["rules"]
    assert set(schema["$defs"]["Rule"]["properties"]) >= {"when", "identity", "cooldown_s", "actions"}
