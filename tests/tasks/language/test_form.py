"""The short form of a language model's experiment, as users write it and as they get it wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jenga.config.load import load_text
from jenga.config.render import to_yaml
from jenga.config.schema import ExperimentConfig
from jenga.errors import ConfigError
from jenga.run.build import schema

DOCUMENT = """\
model:
  name: "distilgpt2"
  teacher_student_config:
    enabled: true
    teacher_model: "gpt2-medium"
    distillation_alpha: 0.5
    temperature: 2.0
"""
DATA = """\
data: {path: rows.jsonl, prompt: question, completion: answer, max_length: 64, packing: true, loss_on: all}
"""


def load(text: str, *overrides: str) -> ExperimentConfig:
    return load_text(text, file="/srv/llm.yml", schema=schema(), overrides=overrides)


def mistakes(text: str, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(text, *overrides)
    return [str(problem) for problem in caught.value.problems]


def test_it_becomes_an_experiment_with_one_task() -> None:
    config = load(DOCUMENT + DATA)
    assert (config.project_name, config.model.base_model, config.model.backbone_type) == ("llm", "distilgpt2", "text")
    (task,) = config.tasks
    assert (task.name, task.type, task.data_path) == ("lm", "causal_lm", "/srv/rows.jsonl")
    assert (task.columns.prompt, task.columns.completion, task.packing, task.loss_on) == (
        "question", "answer", True, "all",
    )  # fmt: skip
    assert config.data.max_length == 64
    teacher = config.model.teacher_student_config
    assert (teacher.teacher_model, teacher.distillation_alpha, teacher.temperature) == ("gpt2-medium", 0.5, 2.0)


def test_the_resolved_form_loads_as_it_is() -> None:
    config = load(DOCUMENT + DATA)
    assert load(to_yaml(config)).model_dump() == config.model_dump()


def test_generation_and_the_rest_stand_at_the_top() -> None:
    config = load(DOCUMENT + DATA + "generation: {rows: 7}\ntraining: {epochs: 9}\npeft: {type: lora}\n")
    assert config.tasks[0].generation.rows == 7
    assert config.training.epochs == 9
    assert config.peft is not None


def test_a_student_of_its_teacher_needs_no_name() -> None:
    student = "model: {teacher_student_config: {teacher_model: ./big, student: {from_teacher: every_2nd}}}\n"
    config = load(student + DATA)
    assert config.model.base_model == config.model.teacher_student_config.teacher_model == "/srv/big"


def test_a_student_of_its_teacher_needs_no_base_model_beside_tasks_either() -> None:
    text = """\
model: {teacher_student_config: {teacher_model: big, student: {from_teacher: every_2nd}}}
tasks: [{name: mood, type: classification, data_path: rows.jsonl}]
"""
    assert load(text).model.base_model == "big"


def test_folders_are_relative_to_the_file() -> None:
    text = "model: {name: ../small, teacher_student_config: {teacher_model: ~/big, top_k: 4, top_k_dir: kept}}\n"
    config = load(text + DATA)
    assert config.model.base_model == "/small"
    assert config.model.teacher_student_config.teacher_model == str(Path("~/big").expanduser())
    assert config.model.teacher_student_config.top_k_dir == "/srv/kept"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (DOCUMENT, "/srv/llm.yml:1:1: data.path: required key is missing"),
        (DOCUMENT + "data: {max_length: 3}\n", "/srv/llm.yml:8:1: data.path: required key is missing"),
        (DOCUMENT + 'data: {path: " "}\n', "/srv/llm.yml:8:14: data.path: must not be empty"),
        (DOCUMENT + "data: {path: 's9://a/b'}\n", "/srv/llm.yml:8:14: data.path: s9:// addresses are not read"),
        (
            DOCUMENT + "data: {path: x, valid_fraction: 0}\nearly_stopping: {patience: 2}\n",
            "early_stopping: there are no validation rows to watch",
        ),
        (DOCUMENT + "data: {pat: x}\n", "/srv/llm.yml:8:8: data.pat: unknown key; did you mean 'path'?"),
        (DOCUMENT.replace("name:", "nam:") + DATA, "2:3: model.nam: unknown key; did you mean 'name'?"),
        (DOCUMENT + DATA + "fusion: {type: attention}\n", "9:1: fusion: unknown key"),
        (
            DOCUMENT + "data: {path: x, text: a, messages: b}\n",
            "8:17: data: text and messages name different forms of rows",
        ),
        (
            DOCUMENT + DATA.replace("loss_on: all", "loss_on: most"),
            "8:104: data.loss_on: unknown 'most'. Known: completion, all",
        ),
        (
            DOCUMENT.replace("teacher_model", "teacher") + DATA,
            "5:5: model.teacher_student_config.teacher: unknown key; did you mean 'teacher_model'?",
        ),
        (
            DOCUMENT.replace("0.5", "0") + DATA,
            "6:25: model.teacher_student_config.distillation_alpha: 0 leaves the teacher no part in the loss",
        ),
        (
            DOCUMENT + "    student: {from_teacher: every_4th}\n" + DATA,
            "2:9: model.name: is another model than teacher_model",
        ),
        (
            DOCUMENT + "    student: {from_teacher: each}\n" + DATA,
            "8:29: model.teacher_student_config.student.from_teacher: 'each' is no choice of layers",
        ),
        (DOCUMENT + DATA + 'generation: {exact_match: true, answer_pattern: "("}\n', "is no regular expression"),
        ("model: {teacher_student_config: {teacher_model: t}}\n" + DATA, "model: name: required key is missing"),
    ],
)
def test_a_mistake_names_the_users_own_key_and_its_place(text: str, expected: str) -> None:
    assert any(expected in mistake for mistake in mistakes(text)), mistakes(text)


def test_several_mistakes_come_at_once() -> None:
    found = mistakes(DOCUMENT.replace("temperature", "temprature") + "data: {path: 3}\n")
    assert len(found) == 2


def test_what_is_missing_can_be_set_on_the_command_line() -> None:
    assert load(DOCUMENT, "data.path=rows.jsonl").tasks[0].data_path == "/srv/rows.jsonl"


def test_beside_tasks_a_name_stays_a_slip() -> None:
    text = "model: {name: x}\ntasks: [{name: a, type: classification, data_path: b}]\n"
    assert any("did you mean 'base_model'" in mistake for mistake in mistakes(text))


def test_top_k_without_a_language_task_is_refused() -> None:
    text = """\
model: {base_model: b, teacher_student_config: {teacher_model: t, top_k: 3}}
tasks: [{name: mood, type: classification, data_path: rows.jsonl}]
"""
    assert any("top_k: is for language models" in mistake for mistake in mistakes(text))


@pytest.mark.parametrize("form", [DOCUMENT + DATA])
def test_the_json_schema_takes_either_form(form: str) -> None:
    import jsonschema
    import yaml

    from jenga.config.render import json_schema

    validator: Any = jsonschema.Draft202012Validator(json_schema(schema()))
    long = yaml.safe_load(to_yaml(load(form)))
    short = yaml.safe_load(form)
    assert validator.is_valid(short)
    assert validator.is_valid(long)
    assert not validator.is_valid({**short, "fusion": {}})
    assert not validator.is_valid({"model": {"name": "x"}, "data": {}})
