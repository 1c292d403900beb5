"""Reading experiments: the forms of the architecture page, every kind of mistake, paths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from jenga import bundle
from jenga.config.load import SIZE_LIMIT, from_mapping, load, load_search, load_text
from jenga.config.schema import ExperimentConfig
from jenga.errors import ConfigError

Schema = type[ExperimentConfig]

NLP_FORM = """\
project_name: "JengaAI_NLP"
model:
  base_model: "distilbert-base-uncased"
  backbone_type: "text"  # Optional (default)
tasks:
  - name: "QAScoring"
    type: "multi_label_classification"
    data_path: "./qa_data.json"
    heads:
      - name: "opening"
        num_labels: 5
"""
SECURITY_FORM = """\
project_name: "JengaAI_Security"
model:
  base_model: "security_mlp_v1"
  backbone_type: "sequential"  # Required
tasks:
  - name: "ThreatDetection"
    type: "anomaly_detection"
    data_path: "./network_traffic.json"
    heads:
      - name: "threat"
        num_labels: 2
"""
GOOD = """\
model: {base_model: m}
tasks:
  - {name: a, type: classification, data_path: a.jsonl}
"""


def task(rest: str, type_: str = "classification") -> str:
    """A configuration whose one task, on line 3, ends with `rest`, in flow style."""
    return f"model: {{base_model: m}}\ntasks:\n  - {{name: a, type: {type_}, data_path: a.jsonl, {rest}}}\n"


BROKEN = [
    # What is read before there are any settings.
    ("empty", "", "", "the file is empty"),
    ("only a comment", "# nothing yet\n", "", "the file is empty"),
    ("only a document start", "---\n", "", "the file is empty"),
    ("a list on top", "- model\n", "1:1", "the top level must be a mapping (key: value), not a list"),
    ("no space after the colon", "model:m\n", "1:1", "not a single value; put a space after each ':'"),
    ("tab", "model:\n\tbase_model: m\n", "2:1", "a tab cannot indent YAML; use spaces"),
    ("open bracket", "tasks: [a, b\nmodel: m\n", "1:8", "this '[' is not closed"),
    ("open brace", "model: {base_model: m\n", "1:8", "this '{' is not closed"),
    ("open quote", "model: 'm\n", "1:8", "this quote is never closed"),
    ("two colons", "project_name: a: b\n", "1:16", "text with ': ' needs quotes"),
    ("dedent", "model:\n    a: 1\n  b: 2\n", "3:3", "indentation does not fit"),
    ("at sign", "project_name: @me\n", "1:15", "text cannot start with '@' here; put it in quotes"),
    ("two documents", GOOD + "---\n" + GOOD, "4:1", "several documents"),
    ("alias without anchor", "model: *m\n", "1:8", "alias '*m' has no anchor '&m' above it"),
    ("control character", "model: \x07\n", "1:8", "character U+0007 is not allowed"),
    ("python tag", GOOD + "data_root: !!python/object/apply:os.system [ls]\n", "4:12", "remove the tag"),
    ("own tag", GOOD + "data_root: !env HOME\n", "4:12", "tag '!env' is not read"),
    ("key twice", GOOD + "model: {base_model: n}\n", "4:1", "model: given twice; first at line 1, column 1"),
    ("number as a key", GOOD + "tracking: {tags: {1: a}}\n", "4:19", "a key must be text"),
    # Keys.
    ("unknown key", GOOD + "trainin: {epochs: 3}\n", "4:1", "trainin: unknown key; did you mean 'training'? Known: "),
    ("key of another block", GOOD + "learning_rate: 2e-5\n", "4:1", "it belongs under training. Known: project_name"),
    ("key of the top level", GOOD + "training:\n  early_stopping: {}\n", "5:3", "it belongs at the top level"),
    ("key of another type", task("heads: [{name: h, item_weights: [1]}]"), "3:75", "of type 'qa_scoring'"),
    ("another trainer's key", GOOD + "training: {lr: 2e-5}\n", "4:12", "did you mean 'learning_rate'?"),
    ("another trainer's key, misplaced", GOOD + "lr: 2e-5\n", "4:1", "belongs under training, as 'learning_rate'"),
    ("model by name", GOOD.replace("base_model", "name"), "1:9", "did you mean 'base_model'?"),
    ("misspelt required key", GOOD.replace("base_model", "base_modl"), "1:9", "did you mean 'base_model'?"),
    ("unknown callback", GOOD + "callbacks: {ecko: {}}\n", "4:13", "did you mean 'echo'? Known: echo"),
    ("no model", GOOD.partition("\n")[2], "1:1", "model: required key is missing"),
    ("no tasks", "model: {base_model: m}\n", "1:1", "tasks: required key is missing"),
    ("no base_model", GOOD.replace("base_model: m", "pooling: cls"), "1:1", "base_model: required key is missing"),
    ("no data_path", GOOD.replace(", data_path: a.jsonl", ""), "3:5", "tasks[0].data_path: required key is missing"),
    ("no type", GOOD.replace("type: classification, ", ""), "3:5", "type: required key is missing. Known: anomaly"),
    ("no heads", GOOD.replace("classification", "qa_scoring"), "3:5", "tasks[0].heads: required key is missing"),
    # Values of the wrong kind.
    ("text for a whole number", GOOD + "training: {epochs: three}\n", "4:20", "whole number, got text 'three'"),
    ("quoted number", GOOD + "training:\n  epochs: '3'\n", "5:11", "got text '3'; remove the quotes"),
    ("fraction for a whole number", GOOD + "training: {epochs: 1.5}\n", "4:20", "needs a whole number, got 1.5"),
    ("1e3 for a whole number", GOOD + "training: {max_steps: 1e3}\n", "4:23", "got 1e3; write 1000"),
    ("true for a whole number", GOOD + "training: {epochs: true}\n", "4:20", "needs a whole number, got true"),
    ("yes for true", GOOD + "training: {deterministic: yes}\n", "4:27", "got text 'yes'; write true"),
    ("number for text", GOOD + "project_name: 012\n", "4:15", "needs text, got 012; put it in quotes: '012'"),
    ("nothing for a block", GOOD + "training:\n", "4:10", "got nothing; indent its settings beneath it, or remove"),
    ("text for a block", GOOD + "data: small\n", "4:7", "needs a mapping of valid_fraction"),
    ("mapping for a list", "model: {base_model: m}\ntasks:\n  name: a\n", "2:1", "needs a list, got a mapping"),
    ("text for a task", "model: {base_model: m}\ntasks: [a]\n", "2:9", "tasks[0]: needs a mapping"),
    ("text for the model", GOOD.replace("{base_model: m}", "m"), "1:8", "model: needs a mapping of base_model"),
    ("no items", "model: {base_model: m}\ntasks: []\n", "2:8", "tasks: needs at least 1 item, got none"),
    # Values out of bounds.
    ("too small", GOOD + "training: {epochs: 0}\n", "4:20", "training.epochs: must be at least 1, got 0"),
    ("not above", GOOD + "training: {learning_rate: 0}\n", "4:27", "must be greater than 0, got 0"),
    ("too large", GOOD + "evaluation: {thresholds: 1}\n", "4:26", "evaluation.thresholds: must be less than 1, got 1"),
    ("infinite", GOOD + "training: {weight_decay: .inf}\n", "4:26", "needs a finite number, got .inf"),
    ("unknown choice", GOOD + "training: {sampler: proportional_}\n", "4:21", "did you mean 'proportional'? Known: ro"),
    (
        "number for a choice",
        GOOD + "training: {precision: 16}\n",
        "4:23",
        "needs 'fp32', 'bf16', 'fp16' or 'auto', got 16",
    ),
    ("empty name", GOOD.replace("name: a", "name: ''"), "3:12", "must not be empty"),
    (
        "name with a dot",
        GOOD.replace("name: a", "name: a.b"),
        "3:12",
        "must have no '.', no '/', no space and no control",
    ),
    ("project with a slash", GOOD + "project_name: a/b\n", "4:15", "must have no '/' or '\\' and no control"),
    ("project of many words", GOOD + f"project_name: {'a' * 300}\n", "4:15", "at most 60 characters"),
    ("project with an escape", GOOD + 'project_name: "a\\e[31m"\n', "4:15", "no control character or line break in it"),
    ("project with a line break", GOOD + 'project_name: "a\\nb"\n', "4:15", "no control character or line break in it"),
    # Types.
    ("unknown task", GOOD.replace("class", "clas"), "3:21", "unknown 'clasification'; did you mean 'cl"),
    ("number for a type", GOOD.replace("classification", "3"), "3:21", "needs one of anomaly_detection, c"),
    ("unknown backbone", GOOD.replace("m}", "m, backbone_type: txt}"), "1:39", "did you mean 'text'? Known"),
    # Settings of several kinds: one problem, for the kind that was given.
    ("rate as text", GOOD + "training: {learning_rate: big}\n", "4:27", "a number or a mapping of backbone"),
    ("rate of an unknown group", GOOD + "training: {learning_rate: {head: 1}}\n", "4:28", "did you mean 'heads'?"),
    ("number for a path", GOOD.replace("a.jsonl", "7"), "3:48", "text, a list or a mapping of train"),
    ("number in a list of paths", GOOD.replace("a.jsonl", "[b, 7]"), "3:52", "data_path[1]: needs text, got 7"),
    ("unknown split", GOOD.replace("a.jsonl", "{train: b, dev: c}"), "3:59", "unknown key. Known: train, valid, test"),
    ("word for a number", GOOD + "evaluation: {thresholds: tune}\n", "4:26", "'tuned'? Known: tuned, or a number"),
    ("text among weights", task("heads: [{name: h, class_weight: [1, x]}]"), "3:93", "class_weight[1]: needs a number"),
    # Settings that contradict each other.
    ("two tasks of a name", GOOD + GOOD.splitlines()[2], "4:12", "'a' is the name of tasks[0] at line 3"),
    ("two heads of a name", task("heads: [{name: h}, {name: h}]"), "3:83", "'h' is the name of tasks[0].heads[0]"),
    ("two labels of a name", task("heads: [{name: h, labels: [x, x]}]"), "3:75", "a name is given twice"),
    ("labels miscounted", task("heads: [{name: h, num_labels: 3, labels: [x, y]}]"), "3:75", "labels has 2 names"),
    ("weights miscounted", task("heads: [{name: h, num_labels: 3, class_weight: [1, 2]}]"), "3:104", "num_labels is 3"),
    ("two heads for ner", task("heads: [{name: h}, {name: i}]", "ner"), "3:53", "needs at most 1 item, got 2"),
    ("all warmup", GOOD + "training: {warmup_steps: 9, max_steps: 9}\n", "4:26", "none of training.max_steps (9)"),
    ("no rows left", GOOD + "data:\n  test_fraction: 0.9\n", "5:18", "leave no rows to train on"),
    ("nothing to watch", GOOD + "data: {valid_fraction: 0}\nearly_stopping: {}\n", "5:17", "no validation rows"),
    ("web address", GOOD.replace("a.jsonl", "nowhere://x.org/a"), "3:48", "nowhere:// addresses are not read"),
    ("empty path", GOOD.replace("a.jsonl", "''"), "3:48", "tasks[0].data_path: must not be empty"),
]


@pytest.mark.parametrize(("text", "place", "words"), [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN])
def test_a_broken_configuration_gives_one_problem_at_its_place(
    schema: Schema, text: str, place: str, words: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_text(text, file="cfg.yml", schema=schema)
    assert caught.value.exit_code == 2
    lines = str(caught.value).splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith(f"cfg.yml:{place}: " if place else "cfg.yml: ")
    assert words in lines[0]


def test_there_are_enough_broken_configurations() -> None:
    assert len(BROKEN) >= 45
    assert len({case[0] for case in BROKEN}) == len(BROKEN)


def test_all_problems_come_at_once_in_reading_order(schema: Schema) -> None:
    text = (
        "model: {base_modl: m}\n"
        "tasks:\n"
        "  - {name: a, type: clasification, data_path: a, wieght: 2, heads: [{name: h, num_labels: 0}]}\n"
        "  - {name: b, type: ner, data_path: 3}\n"
        "  - {name: c, type: unheard, data_path: {trian: x}}\n"
        "data: {max_length: long}\n"
        "data: {}\n"
        "training: {epochs: 0, warmup_steps: 5, max_steps: 5}\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_text(text, file="cfg.yml", schema=schema)
    assert [(problem.line, problem.key) for problem in caught.value.problems] == [
        (1, "model.base_modl"),
        (3, "tasks[0].type"),
        (3, "tasks[0].wieght"),
        (3, "tasks[0].heads[0].num_labels"),
        (4, "tasks[1].data_path"),
        (5, "tasks[2].type"),
        (5, "tasks[2].data_path.trian"),
        (6, "data.max_length"),
        (7, "data"),
        (8, "training.epochs"),
        (8, "training.warmup_steps"),
    ]


def test_expanding_aliases_is_bounded(schema: Schema) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 10)}]" for n in range(9)]
    with pytest.raises(ConfigError, match="more than 100000 values"):
        load_text("\n".join(lines), file="cfg.yml", schema=schema)


def test_deep_nesting_is_an_error_and_no_recursion(schema: Schema) -> None:
    with pytest.raises(ConfigError, match=r"^cfg.yml:1:107: nested more than 100 levels deep$"):
        load_text("model: " + "[" * 5000, file="cfg.yml", schema=schema)


# ------------------------------------------------------------------------------------------------------------- files


def test_a_missing_file_names_the_near_one(schema: Schema, tmp_path: Path) -> None:
    (tmp_path / "config.yml").write_text(GOOD)
    with pytest.raises(ConfigError, match=r"confg\.yml: no such file; did you mean 'config\.yml'\?$"):
        load(tmp_path / "confg.yml", schema=schema)


def test_a_folder_is_refused_and_its_files_named(schema: Schema, tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(GOOD)
    (tmp_path / "a.yml").write_text(GOOD)
    with pytest.raises(ConfigError, match=r"is a folder; it holds a\.yml, b\.yaml$"):
        load(tmp_path, schema=schema)


def test_a_file_in_another_encoding_is_refused_at_its_first_bad_byte(schema: Schema, tmp_path: Path) -> None:
    file = tmp_path / "cfg.yml"
    file.write_bytes("project_name: né\n".encode() + "data_root: né\n".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"cfg\.yml:2:13: byte 0xE9 is not UTF-8; save the file as UTF-8$"):
        load(file, schema=schema)


def test_a_data_file_is_refused_before_it_is_parsed(schema: Schema, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b"x" * (SIZE_LIMIT + 1))
    with pytest.raises(ConfigError, match="larger than 1 MiB; is this a data file"):
        load(file, schema=schema)


def test_a_byte_order_mark_is_skipped(schema: Schema, tmp_path: Path) -> None:
    file = tmp_path / "cfg.yml"
    file.write_bytes(GOOD.encode("utf-8-sig"))
    assert load(file, schema=schema).model.base_model == "m"


def test_messages_repeat_the_file_as_the_user_gave_it(
    schema: Schema, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cfg.yml").write_text(GOOD + "trainin: {}\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"^\./cfg\.yml:4:1: "):
        load("./cfg.yml", schema=schema)


# ------------------------------------------------------------------------------------------------- the three seed forms


def test_the_nlp_form_loads_verbatim(schema: Schema) -> None:
    config = load_text(NLP_FORM, file="/srv/cfg.yml", schema=schema)
    assert config.project_name == "JengaAI_NLP"
    assert (config.model.base_model, config.model.backbone_type) == ("distilbert-base-uncased", "text")
    (only,) = config.tasks
    assert (only.name, only.type, only.data_path) == ("QAScoring", "multi_label_classification", "/srv/qa_data.json")
    assert [(head.name, head.num_labels) for head in only.heads] == [("opening", 5)]


def test_the_security_form_loads_verbatim(schema: Schema) -> None:
    config = load_text(SECURITY_FORM, file="/srv/cfg.yml", schema=schema)
    assert (config.model.base_model, config.model.backbone_type) == ("security_mlp_v1", "sequential")
    (only,) = config.tasks
    assert (only.type, only.data_path) == ("anomaly_detection", "/srv/network_traffic.json")
    assert only.heads[0].num_labels == 2


# -------------------------------------------------------------------------------------------------------------- paths


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder that is not the configuration's."""
    (tmp_path / "here").mkdir()
    (tmp_path / "conf").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.delenv("JENGA_DATA_ROOT", raising=False)
    return tmp_path


def data_path(folders: Path, schema: Schema, text: str = GOOD, overrides: tuple[str, ...] = ()) -> str:
    file = folders / "conf" / "cfg.yml"
    file.write_text(text)
    config = load(file, schema=schema, overrides=overrides)
    assert config.data_root is not None
    assert Path(config.data_root).is_absolute()
    return str(Path(config.tasks[0].data_path).relative_to(folders))


def test_data_paths_are_relative_to_the_yaml(folders: Path, schema: Schema) -> None:
    assert data_path(folders, schema) == "conf/a.jsonl"


def test_the_data_root_is_relative_to_the_yaml(folders: Path, schema: Schema) -> None:
    assert data_path(folders, schema, GOOD + "data_root: ../rows\n") == "rows/a.jsonl"


def test_the_environments_data_root_is_relative_to_the_current_folder(
    folders: Path, schema: Schema, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JENGA_DATA_ROOT", "env")
    assert data_path(folders, schema) == "here/env/a.jsonl"


def test_the_configurations_data_root_wins_over_the_environments(
    folders: Path, schema: Schema, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JENGA_DATA_ROOT", "env")
    assert data_path(folders, schema, GOOD + "data_root: rows\n") == "conf/rows/a.jsonl"
    assert data_path(folders, schema, GOOD, ("data_root=set",)) == "conf/set/a.jsonl"


def test_lists_and_splits_of_paths_are_resolved_and_names_left_alone(schema: Schema) -> None:
    text = """\
model: {base_model: m}
tasks:
  - {name: a, type: ner, data_path: [b.csv, /abs/c.csv]}
  - {name: d, type: ner, data_path: {train: [e.csv], valid: ../f.csv}}
  - {name: g, type: ner, data_path: hf://clinc/small}
  - {name: h, type: ner, data_path: jenga/helpline}
"""
    config = load_text(text, file="/conf/cfg.yml", schema=schema)
    assert config.tasks[0].data_path == ["/conf/b.csv", "/abs/c.csv"]
    assert (config.tasks[1].data_path.train, config.tasks[1].data_path.valid) == (["/conf/e.csv"], "/f.csv")
    assert config.tasks[1].data_path.test is None
    assert [each.data_path for each in config.tasks[2:]] == ["hf://clinc/small", "jenga/helpline"]


@pytest.mark.parametrize(
    ("given", "resolved"),
    [
        ("./m", "/conf/m"),
        ("../m", "/m"),
        ("/abs/m", "/abs/m"),
        ("bert-base-uncased", "bert-base-uncased"),
        ("org/name", "org/name"),
        ("jenga/tiny-text", "jenga/tiny-text"),
    ],
)
def test_only_a_base_model_that_looks_like_a_folder_is_resolved(schema: Schema, given: str, resolved: str) -> None:
    text = GOOD.replace("base_model: m", f"base_model: {given}, tokenizer: {given}") + "data_root: elsewhere\n"
    model = load_text(text, file="/conf/cfg.yml", schema=schema).model
    assert (model.base_model, model.tokenizer) == (resolved, resolved)


def test_a_home_folder_is_filled_in_where_there_is_one(schema: Schema, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    text = GOOD.replace("a.jsonl", "[~/a.csv, ~no such user/b.csv]").replace("base_model: m", "base_model: ~/m")
    config = load_text(text, file="/conf/cfg.yml", schema=schema)
    assert config.tasks[0].data_path == ["/home/me/a.csv", "/conf/~no such user/b.csv"]
    assert config.model.base_model == "/home/me/m"


def test_the_output_folder_stays_relative_to_the_current_one(schema: Schema) -> None:
    assert load_text(GOOD + "output_dir: out\n", file="/conf/cfg.yml", schema=schema).output_dir == "out"


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("/conf/intent.yml", "intent"),
        ("my run.yml", "my-run"),
        ("a.b.yaml", "a.b"),
        ("/", "experiment"),
        ("a\x1bb.yml", "a-b"),
        ("a" * 99 + ".yml", "a" * 60),
    ],
)
def test_a_missing_project_name_is_the_files_stem(schema: Schema, file: str, name: str) -> None:
    assert load_text(GOOD, file=file, schema=schema).project_name == name


def test_loading_leaves_values_as_written(schema: Schema) -> None:
    text = GOOD + "project_name: no\ntraining: {learning_rate: 2e-5, seed: 012, max_grad_norm: null}\n"
    config = load_text(text, file="cfg.yml", schema=schema)
    assert (config.project_name, config.training.learning_rate, config.training.seed) == ("no", 2e-5, 12)
    assert config.training.max_grad_norm is None


# ----------------------------------------------------------------------------------------------------- Python mappings


def test_a_mapping_gives_the_configuration_that_the_same_yaml_gives(folders: Path, schema: Schema) -> None:
    task_ = {"name": "a", "type": "classification", "data_path": Path("a.jsonl")}
    config = from_mapping({"model": {"base_model": "m"}, "tasks": (task_,)}, schema=schema)
    assert config == load_text(GOOD, file="experiment.yml", schema=schema)


def test_a_mapping_is_not_changed(schema: Schema) -> None:
    task_ = {"name": "a", "type": "classification", "data_path": "a.jsonl"}
    mapping = {"model": {"base_model": "m"}, "tasks": [task_]}
    from_mapping(mapping, schema=schema, folder="/conf", overrides=["tasks[0].name=b"])
    assert task_ == {"name": "a", "type": "classification", "data_path": "a.jsonl"}
    assert set(mapping) == {"model", "tasks"}


def test_a_mappings_problems_have_keys_and_no_place(schema: Schema) -> None:
    mapping = {"model": {"base_modl": "m"}, "tasks": [{"name": "a", "type": {1}}], 3: None, "training": {"epochs": "3"}}
    with pytest.raises(ConfigError) as caught:
        from_mapping(mapping, schema=schema)  # type: ignore[arg-type]
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == [
        "a key must be text, not 3",
        "model.base_modl",
        "tasks[0].data_path",
        "tasks[0].type",
        "training.epochs",
    ]


def test_a_configuration_cut_short_loads_or_is_a_config_error(schema: Schema) -> None:
    refused = 0
    for end in range(len(NLP_FORM)):
        try:
            load_text(NLP_FORM[:end], file="cfg.yml", schema=schema)
        except ConfigError:
            refused += 1
    assert 0.6 * len(NLP_FORM) < refused < len(NLP_FORM)


def test_a_device_is_read_no_further_than_a_configuration_can_reach(schema: Schema) -> None:
    with pytest.raises(ConfigError, match="/dev/zero: larger than 1 MiB; is this a data file"):
        load("/dev/zero", schema=schema)


SEARCHED = 'tune: {space: {training.epochs: [2, 3], "tasks[a].weight": {low: 1, high: 2}}}\nevaluation: {metric: f}\n'


def test_a_search_makes_experiments_as_set_would_make_them(schema: Schema, tmp_path: Path) -> None:
    (tmp_path / "calls.yml").write_text(GOOD + SEARCHED)
    search = load_search(tmp_path / "calls.yml", schema=schema, overrides=["training.batch_size=4"])
    made = search.experiment({"training.epochs": 3, "tasks[a].weight": 1.5})
    settings = ["training.batch_size=4", "training.epochs=3", "tasks[a].weight=1.5", "tune=null"]
    assert made == load(tmp_path / "calls.yml", schema=schema, overrides=settings)
    assert made.tasks[0].data_path == str(tmp_path / "a.jsonl")
    assert search.experiment({"training.epochs": 2}).tasks[0].weight == 1.0


def test_a_search_of_a_short_form_makes_whole_experiments() -> None:
    short = {"model": {"name": "m"}, "data": {"path": "a.jsonl"}, "tune": {"space": {"training.epochs": [2, 3]}}}
    assert load_search(short, schema=bundle.schema()).experiment({"training.epochs": 3}).training.epochs == 3


def test_a_search_needs_its_block(schema: Schema) -> None:
    with pytest.raises(ConfigError, match=r"tune: required block is missing: what to search, as in tune: \{space"):
        load_search(from_text(GOOD), schema=schema)


def from_text(text: str) -> dict[str, Any]:
    found = yaml.safe_load(text)
    assert isinstance(found, dict)
    return found
