"""A document of several backbones: what each of them sees of it, and who reads which rows."""

from __future__ import annotations

from typing import Any

import pytest

from jenga.config.backbones import blocks_of, of_task, unread, views
from jenga.config.checks import finding
from jenga.config.load import load_text
from jenga.config.render import to_yaml
from jenga.config.schema import ExperimentConfig
from jenga.config.training import LearningRates
from jenga.config.yaml12 import Document, read_document
from jenga.errors import ConfigError

Schema = type[ExperimentConfig]
MIXED = """\
model:
  backbones:
    words:
      {backbone_type: text, base_model: some/encoder, peft: {type: lora}, training: {epochs: 4, learning_rate: 0.01}}
    flows: {backbone_type: sequential, base_model: mlp, hidden_sizes: [8], training: {batch_size: 3}}
tasks:
  - {name: mood, type: classification, data_path: a.jsonl, backbone: words}
  - {name: odd, type: classification, data_path: b.jsonl, backbone: flows}
training: {epochs: 2, batch_size: 4, seed: 7}
"""
ONE = """\
model: {base_model: some/encoder}
tasks:
  - {name: mood, type: classification, data_path: a.jsonl}
"""


def config(schema: Schema, text: str = MIXED) -> ExperimentConfig:
    return load_text(text, file="/srv/cfg.yml", schema=schema)


def problems(schema: Schema, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_text(text, file="cfg.yml", schema=schema)
    return [str(problem) for problem in caught.value.problems]


def changed(before: str, after: str, text: str = MIXED) -> str:
    assert before in text
    return text.replace(before, after)


# ---------------------------------------------------------------------------------------------------------------- views


def test_a_backbone_sees_its_own_block_as_the_model_and_the_tasks_that_read_it() -> None:
    words, flows = views(read_document(MIXED, file="cfg.yml"))
    assert (words.name, flows.name) == ("words", "flows")
    assert words.document.data["model"] == {"backbone_type": "text", "base_model": "some/encoder"}
    assert words.document.data["peft"] == {"type": "lora"}
    assert words.document.data["training"] == {"epochs": 4, "batch_size": 4, "learning_rate": 0.01, "seed": 7}
    assert [task and task["name"] for task in words.document.data["tasks"]] == ["mood", None]
    assert flows.document.data["peft"] is None
    assert flows.document.data["training"] == {"epochs": 2, "batch_size": 3, "seed": 7}
    assert [task and task["name"] for task in flows.document.data["tasks"]] == [None, "odd"]


def of_events(*columns: int) -> list[str]:
    """What is said of inputs of the second task, at these columns of its line, that are events."""
    return [
        f"cfg.yml:8:{column}: tasks[1].inputs[{at}]: events are read a file at a time, and no row of theirs beside "
        "another input; give a task of its own to that backbone, or write its fields into the text"
        for at, column in enumerate(columns)
    ]


@pytest.mark.parametrize(
    ("path", "key", "line"),
    [
        (("model", "base_model"), "model.backbones.words.base_model", 4),
        (("peft", "type"), "model.backbones.words.peft.type", 4),
        (("training", "epochs"), "model.backbones.words.training.epochs", 4),
        (("training", "batch_size"), "training.batch_size", 9),
        (("tasks", 0, "name"), "tasks[0].name", 7),
    ],
)
def test_what_is_found_in_a_view_is_told_at_its_place_in_the_whole(path: Any, key: str, line: int) -> None:
    words, _ = views(read_document(MIXED, file="cfg.yml"))
    problem = words.back(finding(words.document, path, "no")).problem
    assert str(problem).startswith(f"cfg.yml:{line}:")
    assert problem.key == key


def test_a_common_rate_is_for_whichever_backbone_has_such_parts() -> None:
    text = changed("seed: 7}", "learning_rate: {backbone: 0.1}}")
    assert ["learning_rate" in view.document.data["training"] for view in views(read_document(text, file="f.yml"))] == [
        True, False,
    ]  # fmt: skip


def test_a_model_that_is_one_backbone_sees_its_document() -> None:
    document = read_document(ONE, file="cfg.yml")
    (view,) = views(document)
    assert view.document is document
    found = finding(document, ("tasks", 0, "name"), "no")
    assert view.back(found) == found


@pytest.mark.parametrize("content", [None, [], {"model": 3}, {"model": {"backbones": {"a": 3}}}, {"model": None}])
def test_content_of_any_shape_is_looked_at(content: Any) -> None:
    document = Document("f.yml", content)
    assert list(views(document)) == []
    assert [each.path for each in unread(document)] == []
    assert list(blocks_of(content)) in ([], ["a"])


def test_a_task_reads_what_it_names_and_the_only_backbone_that_there_is() -> None:
    assert of_task({}, ["a"]) == ["a"]
    assert of_task({}, ["a", "b"]) == []
    assert of_task({"backbone": "b"}, ["a", "b"]) == ["b"]
    assert of_task({"inputs": ["b", "a"]}, ["a", "b"]) == ["b", "a"]
    assert of_task({"backbone": "wrong"}, ["a"]) == ["wrong"]


# ---------------------------------------------------------------------------------------------------------- experiments


def test_each_backbone_has_its_own_training_and_the_rest_of_the_common_one(schema: Schema) -> None:
    made = config(schema)
    words, flows = made.seen_by("words"), made.seen_by("flows")
    assert (words.training.epochs, words.training.batch_size, words.training.seed) == (4, 4, 7)
    assert (flows.training.epochs, flows.training.batch_size, flows.training.seed) == (2, 3, 7)
    assert words.training.learning_rate == 0.01
    assert flows.training.learning_rate == LearningRates()
    assert words.peft is not None
    assert flows.peft is None
    assert (words.model.base_model, flows.model.hidden_sizes) == ("some/encoder", [8])
    assert [[task.name for task in each.tasks] for each in (words, flows)] == [["mood"], ["odd"]]


def test_a_rate_of_ones_own_leaves_the_others_as_they_are_for_all(schema: Schema) -> None:
    text = changed("learning_rate: 0.01", "learning_rate: {heads: 0.2}").replace("seed: 7", "learning_rate: 0.5")
    made = config(schema, text)
    assert made.seen_by("words").training.learning_rate == LearningRates(
        backbone=0.5, rest=0.5, adapters=0.5, fusion=0.5, heads=0.2
    )
    assert made.seen_by("flows").training.learning_rate == 0.5


def test_a_block_that_bears_a_modalitys_name_needs_no_type(schema: Schema) -> None:
    text = changed("words:\n      {backbone_type: text, ", "text:\n      {")
    text = changed("backbone: words", "backbone: text", text)
    assert config(schema, text).backbones["text"].backbone_type == "text"
    found, *_ = problems(schema, changed("backbone_type: text, ", ""))
    assert found.startswith("cfg.yml:3:5: model.backbones.words.backbone_type: required key is missing. Known: ")


def test_one_backbone_may_have_a_name_and_needs_none_in_its_tasks(schema: Schema) -> None:
    made = config(schema, changed("{base_model: some/encoder}", "{backbones: {text: {base_model: some/encoder}}}", ONE))
    assert made.several
    assert made.encoder_of(made.tasks[0]) == "text"


def test_a_resolved_configuration_of_several_can_be_run_again(schema: Schema) -> None:
    made = config(schema)
    again = config(schema, to_yaml(made))
    assert again == made


def test_blocks_are_replaced_by_name_and_keep_what_is_their_own(schema: Schema) -> None:
    made = config(schema)
    other = made.with_blocks({"flows": made.seen_by("flows").model.model_copy(update={"hidden_sizes": [5]})})
    assert other.backbones["flows"].hidden_sizes == [5]
    assert other.backbones["flows"].training.batch_size == 3
    assert other.backbones["words"] == made.backbones["words"]
    alone = config(schema, ONE)
    assert alone.with_blocks({}) == alone


# ------------------------------------------------------------------------------------------------------------- mistakes

UNREAD = "no task reads it; name it as the backbone of a task, or remove it"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param(
            changed("backbone: flows}", "backbone: flow}"),
            [
                f"cfg.yml:5:12: model.backbones.flows: {UNREAD}",
                "cfg.yml:8:69: tasks[1].backbone: unknown 'flow'. Known: words, flows",
            ],
            id="unknown",
        ),
        pytest.param(
            changed(", backbone: flows}", "}"),
            [
                f"cfg.yml:5:12: model.backbones.flows: {UNREAD}",
                "cfg.yml:8:5: tasks[1].backbone: required key is missing: which of model.backbones reads the rows. "
                "Known: words, flows",
            ],
            id="missing",
        ),
        pytest.param(
            changed("  - {name: odd, type: classification, data_path: b.jsonl, backbone: flows}\n", ""),
            [f"cfg.yml:5:12: model.backbones.flows: {UNREAD}"],
            id="not read",
        ),
        pytest.param(
            MIXED + "peft: {type: lora}\n",
            ["cfg.yml:10:7: peft: is for one backbone; move it into those of model.backbones that it is for"],
            id="peft beside",
        ),
        pytest.param(
            changed("flows", "shared"),
            ["cfg.yml:5:13: model.backbones.shared: the name is that of a model's only backbone; choose another one"],
            id="shared",
        ),
        pytest.param(
            changed("flows:", '"../up":').replace("backbone: flows", "backbone: ../up"),
            ["cfg.yml:5:5: model.backbones.../up: the name must be of letters, digits, '_' and '-' alone"],
            id="a name that is no folder's",
        ),
        pytest.param(
            changed("b.jsonl,", "b.jsonl, columns: {text: t},"),
            ["cfg.yml:8:75: tasks[1].columns.text: is for texts, and this task reads events. Remove it"],
            id="columns",
        ),
        pytest.param(
            changed("b.jsonl,", "b.jsonl, max_length: 9,"),
            ["cfg.yml:8:71: tasks[1].max_length: is for texts, and this task reads events. Remove it"],
            id="keys",
        ),
        pytest.param(
            changed("odd, type: classification", "odd, type: ner"),
            ["cfg.yml:8:23: tasks[1].type: 'ner' labels words of a text, and events have none; choose another type"],
            id="words",
        ),
        pytest.param(
            changed("[8],", "[8], peft: {type: lora},"),
            [
                "cfg.yml:5:76: model.backbones.flows.peft: freezes a pretrained encoder, but sequential starts from "
                "nothing; name a checkpoint in base_model, or remove the block"
            ],
            id="frozen from nothing",
        ),
        pytest.param(
            changed("learning_rate: 0.01", "learning_rate: {backbone: 0.01}"),
            [
                "cfg.yml:4:123: model.backbones.words.training.learning_rate.backbone: is of an encoder that peft "
                "freezes; its adapters learn at learning_rate.adapters"
            ],
            id="a rate of what is frozen",
        ),
        pytest.param(
            changed("learning_rate: 0.01", "layer_decay: 0.5"),
            [
                "cfg.yml:4:110: model.backbones.words.training.layer_decay: is of the layers of an encoder that peft "
                "freezes"
            ],
            id="layers that are frozen",
        ),
        pytest.param(
            changed("{batch_size: 3}", "{max_steps: 3}"),
            [
                "cfg.yml:5:87: model.backbones.flows.training.max_steps: unknown key; it belongs under training. "
                "Known: epochs, batch_size, tokens_per_step, learning_rate, layer_decay, weight_decay"
            ],
            id="a setting of all",
        ),
        pytest.param(
            changed("model:\n", "model:\n  base_model: x\n"),
            ["cfg.yml:2:3: model.base_model: unknown key. Known: backbones"],
            id="one and several",
        ),
        pytest.param(
            changed("backbone: flows}", "inputs: [flows, flows]}"),
            ["cfg.yml:8:67: tasks[1].inputs: a name is given twice; take it out", *of_events(68, 75)],
            id="inputs twice",
        ),
        pytest.param(
            changed("backbone: flows}", "backbone: flows, inputs: [flows, words]}"),
            [
                "cfg.yml:8:69: tasks[1].backbone: inputs names what the task reads already; remove one of them",
                *of_events(85),
            ],
            id="backbone and inputs",
        ),
        pytest.param(
            changed("a.jsonl}", "a.jsonl, backbone: words}", ONE),
            [
                "cfg.yml:3:70: tasks[0].backbone: is for a model of several backbones; remove it, or name them in "
                "model.backbones"
            ],
            id="of one",
        ),
        pytest.param(
            "model: {backbones: {}}\n" + ONE.split("\n", 1)[1],
            ["cfg.yml:1:20: model.backbones: needs at least 1 item, got none"],
            id="none",
        ),
    ],
)
def test_each_mistake_is_told_at_its_place_with_what_to_do(schema: Schema, text: str, told: list[str]) -> None:
    assert problems(schema, text) == told


def test_a_baseline_is_for_some_backbone_of_the_model(schema: Schema) -> None:
    both = MIXED + "evaluation: {baselines: [tfidf, boosting]}\n"
    assert config(schema, both).evaluation.baselines == ["tfidf", "boosting"]
    flows = changed("backbone_type: text, base_model: some/encoder, peft: {type: lora}, ", "backbone_type: sequential, "
                    "base_model: mlp, hidden_sizes: [4], ", both)  # fmt: skip
    assert problems(schema, flows) == [
        "cfg.yml:10:26: evaluation.baselines[0]: tfidf is for texts, and this model reads events. Remove it"
    ]
