"""Writing a configuration: read back equal, by YAML 1.1 readers too; its digest; its JSON Schema."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from jenga.config.load import load_text
from jenga.config.render import computed, config_digest, differences, json_schema, to_yaml
from jenga.config.schema import ExperimentConfig
from jenga.config.yaml12 import read_document

Schema = type[ExperimentConfig]

SMALL = """\
model: {base_model: m}
tasks:
  - {name: a, type: classification, data_path: a.jsonl}
"""
FULL = """\
project_name: 'no'
model: {base_model: ./m, pooling: cls, dropout: 0.2}
data_root: /rows
tasks:
  - name: intent
    type: single_label_classification
    data_path: {train: [a.csv, b.csv], test: hf://clinc}
    columns: {text: 'on', label: '2026-01-31'}
    weight: 0.5
    heads:
      - name: '1'
        labels: ['yes', '012', '2e-5', '1:30', '~', 'null', ' padded ', "two\\nlines"]
        class_weight: balanced
  - name: QA
    type: qa_scoring
    data_path: jenga/helpline
    heads: [{name: opening, kind: class, num_labels: 3, item_weights: [0, 1.5, 1e-7]}]
training: {learning_rate: 2e-5, max_grad_norm: null, weight_decay: 1e22, seed: 0o17}
evaluation: {thresholds: tuned}
early_stopping: {patience: 2}
callbacks: {echo: {times: 3}}
tracking: {tags: {'2e-5': '0x1F', 'no': '.inf', ü: "é \\u2028 \\U0001F600"}}
"""
RATES = SMALL + "training: {learning_rate: {heads: 1e-3}}\nproject_name: '012'\noutput_dir: '~'\n"


def test_differences_are_told_by_key_but_for_where_a_run_is_written(schema: Schema) -> None:
    def config(text: str) -> ExperimentConfig:
        return load_text(SMALL + text, file="/conf/cfg.yml", schema=schema)

    begun = computed(config("training: {epochs: 3, batch_size: 8}\noutput_dir: elsewhere\n"))
    assert differences(config("training: {epochs: 3, batch_size: 8}\n"), begun) == {}
    assert differences(config("training: {epochs: 5, batch_size: 8}\n"), begun) == {"training.epochs": (3, 5)}
    assert differences(config("training: {epochs: 3}\n"), begun) == {"training.batch_size": (8, None)}
    more = config("training: {epochs: 3, batch_size: 8}\ndata: {max_rows: 7}\n")
    assert differences(more, begun) == {"data.max_rows": (None, 7)}
    assert differences(more, yaml.safe_load(to_yaml(more))) == {}
    heads = load_text(SMALL.replace("a.jsonl", "b.jsonl"), file="/conf/cfg.yml", schema=schema)
    assert list(differences(heads, computed(config("")))) == ["tasks[0].data_path"]


@pytest.mark.parametrize("text", [SMALL, FULL, RATES], ids=["small", "full", "rates"])
def test_what_is_written_is_read_back_equal(schema: Schema, text: str) -> None:
    config = load_text(text, file="/conf/cfg.yml", schema=schema)
    written = to_yaml(config)
    assert load_text(written, file="/elsewhere/config.yml", schema=schema) == config
    assert yaml.safe_load(written) == read_document(written, file="f.yml").data


def test_writing_is_stable_and_without_aliases(schema: Schema) -> None:
    config = load_text(FULL, file="/conf/cfg.yml", schema=schema)
    written = to_yaml(config)
    assert to_yaml(load_text(written, file="/x.yml", schema=schema)) == written
    assert "&" not in written
    assert "seed: 15\n" in written


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.from_regex(
    r"[-+]?[0-9._:oxXeE]{1,8}|[~=<yntf][a-zA-Z<=]{0,4}|\s?[-?:#&*!|>'\"%@`{\[,]{1,3}\s?[a-z]?", fullmatch=True
)


@settings(max_examples=20, deadline=None)
@given(texts=st.lists(TEXTS, min_size=20, max_size=20))
def test_any_text_survives_both_kinds_of_yaml(schema: Schema, texts: list[str]) -> None:
    """Twenty at a time: writing and reading a configuration takes long."""
    config = load_text(SMALL, file="/conf/cfg.yml", schema=schema)
    tags = {f"t{at}": text for at, text in enumerate(texts)}
    written = to_yaml(config.model_copy(update={"tracking": config.tracking.model_copy(update={"tags": tags})}))
    assert read_document(written, file="f.yml").data["tracking"]["tags"] == tags
    assert yaml.safe_load(written)["tracking"]["tags"] == tags


@settings(max_examples=200, deadline=None)
@given(number=st.floats(allow_nan=False, allow_infinity=False), seed=st.integers())
def test_any_number_survives_both_kinds_of_yaml(schema: Schema, number: float, seed: int) -> None:
    config = load_text(SMALL, file="/conf/cfg.yml", schema=schema)
    training = config.training.model_copy(update={"weight_decay": number, "seed": seed})
    written = to_yaml(config.model_copy(update={"training": training}))
    for data in (read_document(written, file="f.yml").data, yaml.safe_load(written)):
        read = data["training"]
        assert (read["weight_decay"], type(read["weight_decay"])) == (number, float)
        assert (read["seed"], type(read["seed"])) == (seed, int)


# -------------------------------------------------------------------------------------------------------------- digest


def digest(schema: Schema, text: str) -> str:
    return config_digest(load_text(text, file="/conf/cfg.yml", schema=schema))


def test_the_digest_survives_writing_and_spelling(schema: Schema) -> None:
    config = load_text(FULL, file="/conf/cfg.yml", schema=schema)
    assert config_digest(load_text(to_yaml(config), file="/x.yml", schema=schema)) == config_digest(config)
    assert digest(schema, SMALL + "training: {log_every_steps: 10, seed: 0}\n") == digest(schema, SMALL)
    assert len(config_digest(config)) == 64


def test_the_digest_ignores_where_a_run_is_written_and_shown(schema: Schema) -> None:
    assert digest(schema, SMALL + "output_dir: elsewhere\ntracking: {enabled: false}\n") == digest(schema, SMALL)


def test_the_digest_tells_runs_apart(schema: Schema) -> None:
    changes = ["training: {seed: 1}\n", "data: {max_length: 8}\n", "project_name: x\n", "early_stopping: {}\n"]
    assert len({digest(schema, SMALL + change) for change in ["", *changes]}) == 1 + len(changes)


# --------------------------------------------------------------------------------------------------------- JSON Schema

NLP_FORM: dict[str, Any] = {
    "project_name": "JengaAI_NLP",
    "model": {"base_model": "distilbert-base-uncased", "backbone_type": "text"},
    "tasks": [
        {
            "name": "QAScoring",
            "type": "multi_label_classification",
            "data_path": "./qa_data.json",
            "heads": [{"name": "opening", "num_labels": 5}],
        }
    ],
}


def test_the_json_schema_forbids_unknown_keys_but_beside_the_name_of_a_part(schema: Schema) -> None:
    described = json_schema(schema)
    models = {"": described, **described["$defs"]}
    # Which keys these have only their parts know, and `load` asks them.
    open_ones = {name for name, model in models.items() if model.get("additionalProperties") is True}
    assert open_ones == {"LossBalanceConfig", "OptimizerConfig", "SchedulerConfig"}
    objects = [model for name, model in models.items() if "properties" in model and name not in open_ones]
    assert len(objects) > 15
    assert all(model["additionalProperties"] is False for model in objects)
    assert described["title"] == "Jenga experiment"
    assert described["$schema"].startswith("https://json-schema.org/")


def test_the_json_schema_lists_each_task_type_once(schema: Schema) -> None:
    described = json_schema(schema)
    long = described["$defs"][described["anyOf"][0]["$ref"].rpartition("/")[2]]
    references = [each["$ref"].rpartition("/")[2] for each in long["properties"]["tasks"]["items"]["anyOf"]]
    assert len(references) == len(set(references)) == 6
    types = [described["$defs"][name]["properties"]["type"] for name in references]
    assert {"const": "ner"}.items() <= next(each for each in types if "ner" in each.values()).items()
    assert ["classification", "single_label_classification", "multi_head_classification"] in [
        each.get("enum") for each in types
    ]


def test_every_setting_of_a_block_is_described(schema: Schema) -> None:
    training = json_schema(schema)["$defs"]["TrainingConfig"]["properties"]
    assert training
    assert all(each.get("description") for each in training.values())


def test_the_json_schema_accepts_what_loads_and_refuses_what_does_not(schema: Schema) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    described = json_schema(schema)
    jsonschema.Draft202012Validator.check_schema(described)
    check = jsonschema.Draft202012Validator(described).is_valid
    assert check(NLP_FORM)
    assert check(read_document(FULL, file="f.yml").data)
    for type_ in ("classification", "single_label_classification", "ner"):
        assert check({**NLP_FORM, "tasks": [{"name": "a", "type": type_, "data_path": "x"}]})
    assert not check({**NLP_FORM, "trainin": {}})
    assert not check({**NLP_FORM, "tasks": []})
    assert not check({**NLP_FORM, "tasks": [{"name": "a", "type": "unheard", "data_path": "x"}]})
    assert not check({**NLP_FORM, "training": {"learning_rate": "big"}})
