"""What a backbone that reads events means for the other settings."""

from __future__ import annotations

import pytest

from jenga.config.load import load_text
from jenga.config.render import to_yaml
from jenga.config.schema import ExperimentConfig
from jenga.errors import ConfigError

Schema = type[ExperimentConfig]
EVENTS = """\
model: {base_model: security_mlp_v1, backbone_type: sequential}
tasks:
  - {name: a, type: classification, data_path: a.json}
"""


def problems(schema: Schema, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_text(text, file="cfg.yml", schema=schema)
    return [str(problem) for problem in caught.value.problems]


def test_every_setting_of_texts_is_named_at_its_place(schema: Schema) -> None:
    text = EVENTS.replace("a.json}", "a.json, max_length: 9, columns: {text: t, id: i}}")
    text += "data: {max_length: 8, cache_dir: tokens}\nevaluation: {baselines: [majority, tfidf]}\n"
    found = problems(schema, text)
    assert [each.split(": ")[:2] for each in found] == [
        ["cfg.yml:3:68", "tasks[0].max_length"],
        ["cfg.yml:3:87", "tasks[0].columns.text"],
        ["cfg.yml:4:20", "data.max_length"],
        ["cfg.yml:4:34", "data.cache_dir"],
        ["cfg.yml:5:36", "evaluation.baselines[1]"],
    ]


@pytest.mark.parametrize(
    ("model", "what"),
    [
        ("base_model: security_mlp_v1, backbone_type: sequential", "sequential"),
        ("base_model: jenga/tiny-text", "jenga/tiny-text"),
    ],
)
def test_adapters_are_refused_where_the_encoder_starts_from_nothing(schema: Schema, model: str, what: str) -> None:
    text = EVENTS.replace("base_model: security_mlp_v1, backbone_type: sequential", model) + "peft: {type: lora}\n"
    (found,) = problems(schema, text)
    assert found.startswith(f"cfg.yml:4:1: peft: freezes a pretrained encoder, but {what} starts from nothing; name a ")


@pytest.mark.parametrize(
    ("peft", "key", "message"),
    [
        ("peft: {type: lora}\n", "backbone", "is of an encoder that peft freezes; its adapters learn at "),
        ("", "adapters", "is of parts that only the block peft makes; add it, or remove the rate"),
    ],
)
def test_a_rate_of_what_is_not_trained_is_refused(schema: Schema, peft: str, key: str, message: str) -> None:
    text = EVENTS.replace("base_model: security_mlp_v1, backbone_type: sequential", "base_model: some/encoder") + peft
    (found,) = problems(schema, text + f"training: {{learning_rate: {{{key}: 3e-4}}}}\n")
    assert f"training.learning_rate.{key}: {message}" in found
    other = {"backbone": "adapters", "adapters": "backbone"}[key]
    load_text(text + f"training: {{learning_rate: {{{other}: 3e-4}}}}\n", file="cfg.yml", schema=schema)


def test_layer_decay_of_frozen_layers_is_refused(schema: Schema) -> None:
    text = EVENTS.replace("base_model: security_mlp_v1, backbone_type: sequential", "base_model: some/encoder")
    decay = "training: {layer_decay: 0.8}\n"
    (found,) = problems(schema, f"{text}peft: {{type: lora}}\n{decay}")
    assert "training.layer_decay: is of the layers of an encoder that peft freezes" in found
    load_text(text + decay, file="cfg.yml", schema=schema)


def test_a_task_on_words_is_refused_for_events(schema: Schema) -> None:
    found = problems(schema, EVENTS.replace("classification", "ner"))
    message = "'ner' labels words of a text, and events have none; choose another type"
    assert found == [f"cfg.yml:3:21: tasks[0].type: {message}"]


@pytest.mark.parametrize("key", ["tokenizer", "pooling", "trust_remote_code"])
def test_settings_of_a_text_model_are_unknown_to_one_of_events(schema: Schema, key: str) -> None:
    (found,) = problems(schema, EVENTS.replace("sequential}", f"sequential, {key}: auto}}"))
    assert f"model.{key}: unknown key" in found


def test_the_refinery_is_unknown_to_a_text_model(schema: Schema) -> None:
    text = EVENTS.replace("security_mlp_v1, backbone_type: sequential", "m, refinery: {preset: zeek}")
    (found,) = problems(schema, text)
    assert "model.refinery: unknown key" in found


def test_boosting_is_for_events_alone(schema: Schema) -> None:
    boosting = "evaluation: {baselines: [boosting]}\n"
    assert load_text(EVENTS + boosting, file="cfg.yml", schema=schema).evaluation.baselines == ["boosting"]
    text = EVENTS.replace("security_mlp_v1, backbone_type: sequential", "m")
    (found,) = problems(schema, text + boosting)
    assert found.endswith("evaluation.baselines[0]: boosting is for events, and this model reads texts. Remove it")


def test_the_same_settings_are_fine_for_texts(schema: Schema) -> None:
    text = EVENTS.replace("security_mlp_v1, backbone_type: sequential", "m")
    text += "data: {max_length: 8, cache_dir: tokens}\nevaluation: {baselines: [majority, tfidf]}\n"
    assert load_text(text, file="cfg.yml", schema=schema).data.max_length == 8


def test_a_resolved_configuration_can_be_run_again(schema: Schema) -> None:
    config = load_text(EVENTS, file="/srv/cfg.yml", schema=schema)
    again = load_text(to_yaml(config), file="/srv/config.yml", schema=schema)
    assert again == config.model_copy(update={"project_name": again.project_name})


def test_one_rate_for_all_is_kept(schema: Schema) -> None:
    config = load_text(EVENTS + "training: {learning_rate: 0.25}\n", file="cfg.yml", schema=schema)
    assert config.training.learning_rate == 0.25
