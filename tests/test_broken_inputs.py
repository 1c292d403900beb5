"""Broken experiments and broken rows through the whole program: the exit code, the place, the advice, no traceback."""

from __future__ import annotations

import gzip
import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from jenga.cli.main import jenga

pytestmark = pytest.mark.usefixtures("without_report")

BASE = """\
project_name: broken
model:
  base_model: ./bert
tasks:
  - name: mood
    type: classification
    data_path: rows.jsonl
    heads:
      - name: feeling
        num_labels: 2
data:
  max_length: 16
training:
  max_steps: 2
  batch_size: 8
tracking:
  enabled: false
"""
TASK = BASE[BASE.index("    type:") : BASE.index("data:\n")]
GOOD: list[dict[str, Any]] = [
    {"text": f"call {number} is {'good' if number % 2 else 'wrong'}", "label": number % 2} for number in range(20)
]


@dataclass(frozen=True)
class Case:
    """What is broken, and what the program must say.

    `edits`: replacements in `BASE`; `text` instead of it. `files`: by name; rows, text or bytes. `options`: of the
    command. `says`: words that standard error must hold.
    """

    name: str
    says: Sequence[str]
    edits: Sequence[tuple[str, str]] = ()
    text: str | bytes | None = None
    files: Mapping[str, Any] = field(default_factory=dict)
    options: Sequence[str] = ()


def task(lines: str) -> tuple[str, str]:
    """Return the edit that replaces all of the task but its name."""
    return TASK, "".join(f"    {line}\n" for line in lines.splitlines())


def with_row(row: Any, at: int = 2) -> dict[str, Any]:
    """Return rows of which the one in line `at` is broken: 1 of 20, more than data.max_bad_fraction."""
    return {"rows.jsonl": [*GOOD[: at - 1], row, *GOOD[at:]]}


def jsonl(rows: Sequence[Any]) -> str:
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)


ITEMS = "type: multi_label_classification\ndata_path: rows.jsonl\nheads: [{name: flags, num_labels: 3}]"
NER = "type: ner\ndata_path: rows.jsonl"
NUMBER = "type: regression\ndata_path: rows.jsonl\nheads: [{name: price}]"
TAGGED = [{"tokens": ["call", "Amina"], "ner_tags": ["O", "B-person"]}] * 20
SPANNED = [{"text": "call Amina", "entities": [{"start": 5, "end": 10, "label": "person"}]}] * 20
FLAGGED = [{"text": "call", "labels": [0, 1, 0]}] * 20
PRICED = [{"text": "call", "label": number} for number in range(20)]

CONFIG_CASES = [
    Case(
        "misspelt key",
        ["experiment.yml:15:3: training.batchsize: unknown key; did you mean 'batch_size'?"],
        [("batch_size", "batchsize")],
    ),
    Case(
        "key of another trainer",
        ["experiment.yml:14:3: training.num_train_epochs: unknown key; did you mean 'epochs'?"],
        [("max_steps", "num_train_epochs")],
    ),
    Case(
        "key at the wrong place",
        ["experiment.yml:1:1: batch_size: unknown key; it belongs under training"],
        [("project_name: broken", "batch_size: 8")],
    ),
    Case(
        "two mistakes at once",
        ["2 problems", "experiment.yml:12:3: data.max_lenght", "experiment.yml:15:15: training.batch_size"],
        [("max_length", "max_lenght"), ("batch_size: 8", "batch_size: 0")],
    ),
    Case(
        "number in quotes",
        ["experiment.yml:15:15: training.batch_size: needs a whole number, got text '8'; remove the quotes"],
        [("batch_size: 8", "batch_size: '8'")],
    ),
    Case(
        "number out of range",
        ["experiment.yml:15:15: training.batch_size: must be at least 1, got 0"],
        [("batch_size: 8", "batch_size: 0")],
    ),
    Case(
        "number that is none",
        ["experiment.yml:15:18: training.learning_rate", "finite"],
        [("batch_size: 8", "learning_rate: .nan")],
    ),
    Case(
        "YAML 1.1 boolean",
        ["experiment.yml:17:12: tracking.enabled: needs true or false, got text 'no'; write false"],
        [("enabled: false", "enabled: no")],
    ),
    Case(
        "misspelt task type",
        [
            "experiment.yml:6:11: tasks[0].type: unknown 'classfication'; did you mean 'classification'?",
            "Known: anomaly_detection, causal_lm, classification, multi_label_classification, ner, qa_scoring,",
        ],
        [("type: classification", "type: classfication")],
    ),
    Case(
        "no type", ["experiment.yml:5:5: tasks[0].type: required key is missing"], [("    type: classification\n", "")]
    ),
    Case(
        "no data_path",
        ["experiment.yml:5:5: tasks[0].data_path: required key is missing"],
        [("    data_path: rows.jsonl\n", "")],
    ),
    Case("no model", ["experiment.yml:1:1: model: required key is missing"], [("model:\n  base_model: ./bert\n", "")]),
    Case(
        "model by another key",
        ["experiment.yml:3:3: model.name: unknown key; did you mean 'base_model'?"],
        [("base_model:", "name:")],
    ),
    Case(
        "block without settings",
        ["experiment.yml:13:10: training: needs a mapping", "indent its settings beneath it"],
        [("  max_steps: 2\n  batch_size: 8\n", "")],
    ),
    Case(
        "key given twice",
        ["experiment.yml:16:3: training.batch_size: given twice; first at line 15"],
        [("  batch_size: 8\n", "  batch_size: 8\n  batch_size: 4\n")],
    ),
    Case("tab", ["experiment.yml:12:1", "tab"], [("  max_length", "\tmax_length")]),
    Case(
        "open bracket",
        ["experiment.yml:7:16: this '[' is not closed, or a ',' is missing"],
        [("rows.jsonl", "[rows.jsonl")],
    ),
    Case("empty file", ["experiment.yml: the file is empty"], text=""),
    Case("list instead of keys", ["experiment.yml:1:1: the top level must be a mapping"], text="- a\n- b\n"),
    Case(
        "no UTF-8",
        ["experiment.yml:1:16: byte 0xE9 is not UTF-8; save the file as UTF-8"],
        text=b"project_name: b\xe9b\xe9\n",
    ),
    Case(
        "code in a tag",
        ["experiment.yml:1:15: project_name: tag '!!python/name:os.system' is not read"],
        [("project_name: broken", "project_name: !!python/name:os.system ''")],
    ),
    Case(
        "two tasks of a name",
        ["experiment.yml:11:11: tasks[1].name: 'mood' is the name of tasks[0] at line 5 already; rename one"],
        [("data:\n", "  - name: mood\n    type: ner\n    data_path: rows.jsonl\ndata:\n")],
    ),
    Case(
        "labels and num_labels disagree",
        ["experiment.yml:10:9: tasks[0].heads[0]: num_labels is 2, but labels has 3 names"],
        [("num_labels: 2", "num_labels: 2\n        labels: [bad, fine, good]")],
    ),
    Case(
        "weights of the wrong number",
        [
            "experiment.yml:11:23: tasks[0].heads[0].class_weight: has length 3, but num_labels is 2",
            "give one number for each",
        ],
        [("num_labels: 2", "num_labels: 2\n        class_weight: [1, 2, 3]")],
    ),
    Case(
        "name with a dot",
        ["experiment.yml:9:15: tasks[0].heads[0].name: must have no '.'"],
        [("name: feeling", "name: a.b")],
    ),
    Case(
        "fractions leave nothing",
        ["experiment.yml:13:18: data.test_fraction", "their sum must be below 1"],
        [("max_length: 16", "valid_fraction: 0.5\n  test_fraction: 0.6")],
    ),
    Case(
        "warmup longer than training",
        ["experiment.yml:15:17: training.warmup_steps: 9 steps of warmup leave none", "lower it"],
        [("batch_size: 8", "warmup_steps: 9")],
    ),
    Case(
        "stopping without valid rows",
        ["early_stopping: there are no validation rows to watch"],
        [("max_length: 16", "valid_fraction: 0"), ("tracking:", "early_stopping: {patience: 1}\ntracking:")],
    ),
    Case(
        "data from the web",
        ["experiment.yml:7:16: tasks[0].data_path: nowhere:// addresses are not read; allowed: those"],
        [("rows.jsonl", "nowhere://example.org/rows.jsonl")],
    ),
    Case(
        "unknown metric",
        ["evaluation.metric: unknown 'accuracy'", "eval_mood_feeling_accuracy"],
        [("tracking:", "evaluation: {metric: accuracy}\ntracking:")],
    ),
    Case(
        "more tokens than positions",
        ["data.max_length: 400 tokens for mood, but the model has positions for 300"],
        [("max_length: 16", "max_length: 400")],
    ),
    Case(
        "no files", ["experiment.yml:7:16: tasks[0].data_path: needs at least 1 item, got none"], [("rows.jsonl", "[]")]
    ),
    Case(
        "run outside its folder",
        ["experiment.yml:1:15: project_name: must have no '/'", "not start with '.'"],
        [("broken", "..")],
    ),
    Case(
        "more classes than memory",
        ["experiment.yml:10:21: tasks[0].heads[0].num_labels: must be at most 100000"],
        [("num_labels: 2", "num_labels: 100000000000")],
    ),
    Case(
        "positives of a grade",
        ["tasks[0].heads[0]: pos_weight: a grade has no yes; remove it, or set kind: items"],
        [task("type: qa_scoring\ndata_path: rows.jsonl\nheads: [{name: grade, kind: class, pos_weight: [1, 2]}]")],
    ),
    Case(
        "path with U+0000",
        ["experiment.yml:7:16: tasks[0].data_path: the character U+0000 cannot be in a name or a path"],
        [("rows.jsonl", '"rows\\0.jsonl"')],
    ),
    Case(
        "empty name",
        ["experiment.yml:4:14: model.tokenizer: must not be empty"],
        [("./bert", "./bert\n  tokenizer: ''")],
    ),
    Case(
        "room for no token",
        ["max_length: 2 leaves no room for text beside 2 special tokens; raise it"],
        [("max_length: 16", "max_length: 2")],
    ),
    Case(
        "override without a value",
        ["--set training.epochs: not key=value; write it as"],
        options=["--set", "training.epochs"],
    ),
    Case(
        "override of no task",
        ["tasks: no item [moot]; did you mean 'mood'? Known: [0] mood"],
        options=["--set", "tasks[moot].weight=2"],
    ),
    Case(
        "override of the wrong type",
        ["--set training.epochs=many: training.epochs: needs a whole number, got text 'many'"],
        options=["--set", "training.epochs=many"],
    ),
]

DATA_CASES = [
    Case(
        "misspelt file",
        ["row.jsonl: no such file; did you mean 'rows.jsonl'? Check data_path and data_root"],
        [("rows.jsonl", "row.jsonl")],
    ),
    Case(
        "no folder",
        ["no such file; the folder", "does not exist. Check data_path and data_root"],
        [("rows.jsonl", "data/rows.jsonl")],
    ),
    Case("folder", ["bert/config.json: the file holds an object", "not rows"], [("rows.jsonl", "bert")]),
    Case(
        "unknown file type",
        ["rows.xlsx: unknown file type '.xlsx'. Allowed: .json, .jsonl"],
        [("rows.jsonl", "rows.xlsx")],
        files={"rows.xlsx": "x"},
    ),
    Case("empty file", ["rows.jsonl: the file is empty"], files={"rows.jsonl": " \n"}),
    Case(
        "line that is no JSON",
        ["rows.jsonl:2: the line is not JSON", "at column 9", "data.max_bad_fraction allows 0.01"],
        files=with_row('{"text" "x"}'),
    ),
    Case(
        "row that is no object", ["rows.jsonl:2: the row is a list, not an object with columns"], files=with_row([1, 2])
    ),
    Case(
        "list of rows in JSON Lines",
        ["rows.jsonl: the file is one JSON list, not one object a line; name it .json"],
        files={"rows.jsonl": json.dumps(GOOD, indent=1)},
    ),
    Case(
        "JSON cut short",
        ["rows.json:1:", "or is cut short"],
        [("rows.jsonl", "rows.json")],
        files={"rows.json": json.dumps(GOOD)[:-20]},
    ),
    Case(
        "JSON of something else",
        ["rows.json: the file holds an object with the keys a, b, not rows. Allowed: a list"],
        [("rows.jsonl", "rows.json")],
        files={"rows.json": '{"a": 1, "b": 2}'},
    ),
    Case(
        "damaged gzip",
        ["rows.jsonl.gz: the gzip data is damaged or cut short"],
        [("rows.jsonl", "rows.jsonl.gz")],
        files={"rows.jsonl.gz": gzip.compress(jsonl(GOOD).encode(), mtime=0)[:-9]},
    ),
    Case(
        "gzip without its suffix",
        ["rows.jsonl:1: the file is not UTF-8", "its name must end in .gz"],
        files={"rows.jsonl": gzip.compress(jsonl(GOOD).encode(), mtime=0)},
    ),
    Case(
        "UTF-16",
        ["rows.jsonl:1: the file is not UTF-8", "iconv -f utf-16 -t utf-8"],
        files={"rows.jsonl": jsonl(GOOD).encode("utf-16")},
    ),
    Case(
        "Latin-1",
        ["rows.jsonl:21: the file is not UTF-8", "iconv -f latin1 -t utf-8"],
        files={"rows.jsonl": jsonl(GOOD).encode() + '{"text": "café", "label": 1}'.encode("latin1")},
    ),
    Case(
        "half a character",
        ["rows.jsonl:2: column 'text' holds half of a character"],
        files=with_row({"text": "a \ud800 b", "label": 1}),
    ),
    Case(
        "CSV header twice",
        ["rows.csv:1: the header names a column twice: text"],
        [("rows.jsonl", "rows.csv")],
        files={"rows.csv": "text,text\na,b\n"},
    ),
    Case(
        "CSV with an open quote",
        ["rows.csv:3: a quote that opens in this line is never closed"],
        [("rows.jsonl", "rows.csv")],
        files={"rows.csv": 'text,label\ngood,1\n"wrong,0\nx,1\n'},
    ),
    Case(
        "CSV row too long",
        ["rows.csv:3: the row has 3 cells, the header 2"],
        [("rows.jsonl", "rows.csv")],
        files={"rows.csv": "text,label\ngood,1\noh, no,0\nx,1\n"},
    ),
    Case(
        "damaged Parquet",
        ["rows.parquet: the Parquet data is damaged or cut short"],
        [("rows.jsonl", "rows.parquet")],
        files={"rows.parquet": b"PAR1 nothing PAR1"},
    ),
    Case(
        "no text column",
        ["text: the rows have no column 'text'", "Columns found: Text, label. Set columns.text"],
        files={"rows.jsonl": [{"Text": row["text"], "label": row["label"]} for row in GOOD]},
    ),
    Case(
        "no label column",
        ["head 'mood.feeling'", "no column", "Columns found: text, lable", "Set `columns` of the task"],
        files={"rows.jsonl": [{"text": row["text"], "lable": row["label"]} for row in GOOD]},
    ),
    Case(
        "no label anywhere",
        ["head 'mood.feeling': no training row has a label in column 'label'; the head would learn nothing"],
        files={"rows.jsonl": [{**row, "label": None} for row in GOOD]},
    ),
    Case(
        "more classes than num_labels",
        ["the rows hold 3 classes (bad, fine, good), but num_labels is 2; set num_labels to 3"],
        files={"rows.jsonl": [{**row, "label": ("bad", "fine", "good")[at % 3]} for at, row in enumerate(GOOD)]},
    ),
    Case(
        "classes that are ids",
        ["the classes", "are not numbers that count from 0; name the classes in `labels`"],
        [("        num_labels: 2\n", "")],
        files={"rows.jsonl": [{**row, "label": 1000 * row["label"]} for row in GOOD]},
    ),
    Case(
        "class that is not listed",
        ["rows.jsonl:2: head 'mood.feeling': \"wrnog\" is no class; did you mean 'wrong'? Allowed: wrong, right"],
        [("num_labels: 2", "labels: [wrong, right]")],
        files=with_row({"text": "x", "label": "wrnog"}),
    ),
    Case(
        "class of valid rows that train lacks",
        ["valid.jsonl:1: head 'mood.feeling': class 7 is not one of 2"],
        [("rows.jsonl", "{train: rows.jsonl, valid: valid.jsonl}")],
        files={"valid.jsonl": [{"text": "x", "label": 7}]},
    ),
    Case(
        "classes that are objects",
        ["rows.jsonl: head 'mood.feeling': no label in the training rows has a form that is allowed"],
        files={"rows.jsonl": [{**row, "label": {"a": 1}} for row in GOOD]},
    ),
    Case(
        "row without text",
        ["rows.jsonl:2: column 'text' is empty; allowed: text"],
        files=with_row({"text": "", "label": 1}),
    ),
    Case(
        "text that is a number",
        ["rows.jsonl:2: column 'text' is 5; allowed: text, or a list of words"],
        files=with_row({"text": 5, "label": 1}),
    ),
    Case(
        "mark beyond 0 and 1",
        ["rows.jsonl:2: head 'mood.flags': 2 is no mark of an item; allowed: 1, 0 and null"],
        [task(ITEMS)],
        files={"rows.jsonl": [FLAGGED[0], {"text": "call", "labels": [0, 1, 2]}, *FLAGGED]},
    ),
    Case(
        "too few marks",
        ["rows.jsonl:2: head 'mood.flags': 2 values for 3 items. Allowed: a list of 3 marks"],
        [task(ITEMS)],
        files={"rows.jsonl": [FLAGGED[0], {"text": "call", "labels": [0, 1]}, *FLAGGED]},
    ),
    Case(
        "fewer tags than words",
        ["rows.jsonl:2: head 'mood.entities': 1 tags for 2 words; give one tag a word"],
        [task(NER)],
        files={"rows.jsonl": [TAGGED[0], {"tokens": ["call", "Amina"], "ner_tags": ["O"]}, *TAGGED]},
    ),
    Case(
        "tags that are numbers",
        ["the tags are numbers; set `labels` of the head to the tags in order"],
        [task(NER)],
        files={"rows.jsonl": [{"tokens": ["call"], "ner_tags": [1]}] * 5},
    ),
    Case(
        "span outside the text",
        ["rows.jsonl:2: head 'mood.entities': the span 5-99 is empty or outside the text of 10 characters"],
        [task(NER)],
        files={
            "rows.jsonl": [
                SPANNED[0],
                {"text": "call Amina", "entities": [{"start": 5, "end": 99, "label": "person"}]},
                *SPANNED,
            ]
        },
    ),
    Case(
        "span of other words",
        ["rows.jsonl:2", 'the entity\'s text is "Juma", but characters 5-10 are "Amina"; offsets count characters'],
        [task(NER)],
        files={
            "rows.jsonl": [
                SPANNED[0],
                {"text": "call Amina", "entities": [{"start": 5, "end": 10, "label": "person", "text": "Juma"}]},
                *SPANNED,
            ]
        },
    ),
    Case(
        "number in words",
        ["rows.jsonl:2: head 'mood.price': \"ten\" is no finite number; null where there is none"],
        [task(NUMBER)],
        files={"rows.jsonl": [PRICED[0], {"text": "call", "label": "ten"}, *PRICED]},
    ),
    Case(
        "number that is NaN",
        ["rows.jsonl:2: head 'mood.price': NaN is no finite number"],
        [task(NUMBER)],
        files={"rows.jsonl": [PRICED[0], '{"text": "call", "label": NaN}', *PRICED]},
    ),
]

NO_WEIGHTS = {"bert/model.safetensors": b"\x08\x00\x00\x00\x00\x00\x00\x00{"}
SETUP_CASES = [
    Case(
        "no such model",
        ["model.base_model: cannot load", "nowhere", "give the folder of a downloaded checkpoint, or jenga/tiny-text"],
        [("./bert", "./nowhere")],
    ),
    Case(
        "hub model without the hub",
        ["model.base_model: cannot load 'nobody/nothing'", "jenga/tiny-text, which needs none"],
        [("./bert", "nobody/nothing")],
    ),
    Case("hub data without the hub", ["hf://nobody/nothing", "data"], [("rows.jsonl", "hf://nobody/nothing")]),
    Case("damaged weights", ["model.base_model: cannot load"], files=NO_WEIGHTS),
    Case("damaged model settings", ["model.", "cannot load"], files={"bert/config.json": "{"}),
    Case("damaged tokenizer", ["model.", "cannot load"], files={"bert/tokenizer.json": "{"}),
    Case(
        "half precision on a CPU",
        ["training.precision: fp16 needs a GPU; on a CPU use bf16 or fp32"],
        [("batch_size: 8", "precision: fp16")],
    ),
]

EACH_CASE = [
    pytest.param(case, code, id=f"{case.name.replace(' ', '-')}-{code}")
    for code, cases in ((2, CONFIG_CASES), (3, DATA_CASES), (4, SETUP_CASES))
    for case in cases
]


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """The command line sends warnings to standard error; take that back."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    with warnings.catch_warnings():
        yield
    root.handlers = handlers
    root.setLevel(level)


def write(folder: Path, case: Case, bert: Path) -> Path:
    """Write the experiment of `case` to `folder`, good but for what the case breaks."""
    (folder / "bert").mkdir()
    for file in bert.iterdir():
        (folder / "bert" / file.name).write_bytes(file.read_bytes())
    for name, content in {"rows.jsonl": GOOD, **case.files}.items():
        text = jsonl(content) if isinstance(content, list) else content
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    text = BASE if case.text is None else case.text
    if isinstance(text, str) and case.text is None:
        for old, new in case.edits:
            assert text.count(old) >= 1, f"nothing to edit: {old}"
            text = text.replace(old, new, 1)
    path = folder / "experiment.yml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def run(command: str, *arguments: object) -> Result:
    return CliRunner().invoke(jenga, [command, *map(str, arguments), "--device", "cpu"], prog_name="jenga")


def test_there_are_enough_cases_and_their_names_differ() -> None:
    names = [case.name for case in (*CONFIG_CASES, *DATA_CASES, *SETUP_CASES)]
    assert len(names) >= 40
    assert len(set(names)) >= len(names) - 1
    assert all(case.says for case in (*CONFIG_CASES, *DATA_CASES, *SETUP_CASES))


@pytest.mark.parametrize("command", ["check", "train"])
def test_the_experiment_that_is_not_broken_runs(command: str, tmp_path: Path, tiny_bert: Path) -> None:
    path = write(tmp_path, Case("nothing", []), tiny_bert)
    done = run(command, path, "--set", f"output_dir={tmp_path / 'runs'}")
    assert done.exit_code == 0, done.stderr


@pytest.mark.parametrize("command", ["check", "train"])
@pytest.mark.parametrize(("case", "code"), EACH_CASE)
def test_broken_input_is_refused_with_its_place_and_advice(
    case: Case, code: int, command: str, tmp_path: Path, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path, case, tiny_bert)
    done = run(command, path.name, *case.options)
    assert (done.exit_code, done.stdout) == (code, ""), done.stderr
    for words in case.says:
        assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("error: ") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU to train on")
def test_a_device_that_is_not_there_is_refused(tmp_path: Path, tiny_bert: Path) -> None:
    path = write(tmp_path, Case("nothing", []), tiny_bert)
    done = CliRunner().invoke(jenga, ["check", str(path), "--device", "cuda"])
    assert done.exit_code == 4
    assert "device: this machine, or this build of torch, has no cuda; use auto or cpu" in done.stderr


@pytest.mark.parametrize(
    ("name", "says"), [("experment.yml", "no such file; did you mean 'experiment.yml'?"), (".", "is a folder")]
)
def test_a_path_that_is_no_experiment_is_refused(
    name: str, says: str, tmp_path: Path, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, Case("nothing", []), tiny_bert)
    done = run("train", name)
    assert done.exit_code == 2
    assert says in done.stderr


def test_a_run_that_diverges_ends_with_5_and_says_what_to_do(tmp_path: Path, tiny_bert: Path) -> None:
    path = write(tmp_path, Case("nothing", []), tiny_bert)
    settings = [
        "training.learning_rate=1e30",
        "training.max_steps=9",
        "training.log_every_steps=1",
        f"output_dir={tmp_path}",
    ]
    done = run("train", path, *(word for each in settings for word in ("--set", each)))
    assert done.exit_code == 5
    assert "The last checkpoint is unharmed" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_folder_that_cannot_be_made_is_refused(tmp_path: Path, tiny_bert: Path) -> None:
    path = write(tmp_path, Case("nothing", []), tiny_bert)
    (tmp_path / "runs").write_text("a file")
    done = run("train", path, "--output-dir", tmp_path / "runs")
    assert done.exit_code == 4
    assert "output_dir: cannot make" in done.stderr
    assert "Traceback" not in done.stderr
