"""Parts in a file of the user's own, used from YAML through the whole life of a run."""

from __future__ import annotations

import importlib.util
import json
import random
from pathlib import Path
from typing import Any

import pytest
import seeds
import yaml
from click.testing import CliRunner

import jenga
from jenga.callbacks import BaseCallback
from jenga.cli.main import jenga as command
from jenga.inference.export import export
from jenga.run.experiment import Result, train

pytestmark = pytest.mark.usefixtures("registries_as_before")

SHARES = '''
"""Labels that are shares of a whole, such as how much of a call each side talks: `{"agent": 0.7, "caller": 0.3}`."""

import numpy as np
import torch

from jenga import BaseTask, TASK_REGISTRY
from jenga.labels import LABEL_KINDS, LabelKind
from jenga.labels.base import CellReader
from jenga.labels.column import RowError
from jenga.labels.metric import Metric


class SharesReader(CellReader):
    def __init__(self, column, space):
        super().__init__()
        self.where, self.cells, self.names = column.where, column.cells, space.labels
        self.missing = np.full(space.size, np.nan, np.float32)

    def encode(self, value):
        if not isinstance(value, dict) or not set(value) <= set(self.names) or abs(sum(value.values()) - 1) > 1e-3:
            raise RowError(f"{self.where}: {value!r} are no shares of {', '.join(self.names)} that add up to 1")
        return np.array([value.get(name, 0.0) for name in self.names], np.float32)

    def stack(self, codes):
        return np.array(codes, np.float32).reshape(len(codes), len(self.names))


@LABEL_KINDS.register("shares")
class Shares(LabelKind):
    metrics = (Metric("overlap", greater_is_better=True),)

    def settle(self, column, cells):
        return column, []

    def infer(self, column, values, *, max_bad_fraction):
        return column.labels or tuple(sorted({name for value in values if isinstance(value, dict) for name in value}))

    def reader(self, column, space):
        return SharesReader(column, space)

    def labelled(self, space, targets):
        return ~np.isnan(targets).any(axis=1)

    def predict(self, logits, threshold):
        return logits.double().softmax(-1).numpy()

    def decode(self, space, predictions, logits, rows, *, as_words, probabilities):
        return [{name: round(float(share), 4) for name, share in zip(space.labels, row)} for row in predictions]

    def judge(self, space, predictions, targets):
        known = self.labelled(space, targets)
        return {"overlap": float(np.minimum(predictions, targets)[known].sum(axis=1).mean())}

    def details(self, space, predictions, targets):
        return {"per_label": [], "warnings": []}

    def majority(self, space, train, test):
        return np.tile(train[self.labelled(space, train)].mean(axis=0), (len(test), 1))


@TASK_REGISTRY.register("shares")
class SharesTask(BaseTask):
    label_kind = "shares"

    def get_forward_output(self, encoder_outputs, labels=None):
        logits = self.head(self.dropout(encoder_outputs.pooler_output))
        known = None if labels is None else ~labels.isnan().any(-1)
        loss = None if labels is None else -(labels[known] * logits[known].log_softmax(-1)).sum(-1).mean()
        return {"loss": loss, "logits": logits}
'''

TASK = '''
"""Classes whose loss is the squared distance of probabilities (Brier 1950)."""

from torch.nn import functional as F

from jenga import BaseTask, TASK_REGISTRY
from jenga.types import IGNORE_INDEX


@TASK_REGISTRY.register("brier")
class Brier(BaseTask):
    def get_forward_output(self, encoder_outputs, labels=None):
        logits = self.head(self.dropout(encoder_outputs.pooler_output))
        if labels is None:
            return {"loss": None, "logits": logits}
        known = labels != IGNORE_INDEX
        wanted = F.one_hot(labels[known], logits.shape[-1])
        loss = (logits[known].softmax(-1) - wanted).square().sum(-1).mean()
        return {"loss": loss, "logits": logits}
'''

METRIC = """
from jenga import Metric, TASK_REGISTRY


class Strict(TASK_REGISTRY["classification"]):
    def declared_metrics(self, space):
        return (Metric("wrong", greater_is_better=False), *super().declared_metrics(space))

    def metrics(self, space, predictions, targets, *, scores=None):
        return {"wrong": float((predictions != targets).sum()), **super().metrics(space, predictions, targets)}


TASK_REGISTRY["strict"] = Strict
"""

CALLBACK = """
from jenga import BaseCallback, CALLBACK_REGISTRY


class Diary(BaseCallback):  # callbacks: {diary: {}}
    def on_evaluate(self, trainer, metrics, **kwargs):
        with (trainer.folder / "diary.txt").open("a") as file:
            file.write(f"{trainer.state.step} {metrics['eval_loss']:.6f}\\n")


CALLBACK_REGISTRY["diary"] = Diary
"""


MODALITY = '''
"""Signals: lists of numbers of any length, such as what a meter reads in a minute."""

from dataclasses import dataclass

import numpy as np
import torch
from pydantic import Field

from jenga import MODALITIES, BackboneManager, BaseBackbone, Encoder, Modality
from jenga.config.strict import Strict
from jenga.labels.column import RowError
from jenga.rows.batches import Encoded
from jenga.rows.content import CellColumns


@dataclass(frozen=True)
class SignalColumns(CellColumns):
    def cell(self, name, value, raw):
        if not isinstance(value, list) or not value or not all(isinstance(each, int | float) for each in value):
            raise RowError(f"column '{name}' is {value!r}; allowed: a list of numbers")
        return np.array(value, np.float32)


class Signals(Encoded):
    def __init__(self, arrays):
        self.arrays = arrays

    @property
    def lengths(self):
        return np.array([len(each) for each in self.arrays])

    def inputs(self, index):
        signals = [torch.from_numpy(self.arrays[row]) for row in index]
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones(len(each), dtype=torch.int64) for each in signals], True)
        return {"signal": torch.nn.utils.rnn.pad_sequence(signals, True), "attention_mask": mask}


class Scale(Encoder):
    def __init__(self, largest):
        self.largest = largest

    def encode(self, rows, spec):
        return Signals([each / self.largest for each in rows.content.columns["signal"]])

    def save(self, folder):
        (folder / "scale.txt").write_text(repr(self.largest))


class Columns(Strict):
    signal: str | None = Field(None, description="List of numbers. Default: signal.")


class Settings(Strict):
    base_model: str = "lift"
    width: int = Field(8, ge=1, description="Width of the hidden states.")


@MODALITIES.register("signal")
class Signal(Modality):
    noun, inputs, settings, columns, content_specs = "signals", ("signal",), Settings, Columns, (SignalColumns,)

    def fit(self, loaded, config, workdir):
        signals = [each for source in loaded for each in source.splits["train"].content.columns["signal"]]
        return Scale(max(float(abs(each).max()) for each in signals))

    def load(self, folder, config):
        return Scale(float((folder / "scale.txt").read_text()))


@BackboneManager.register("lift")
class Lift(BaseBackbone):
    def __init__(self, model_name, config):
        super().__init__(model_name, config)
        self.lift, self.hidden_size_ = torch.nn.Linear(1, config.width), config.width

    hidden_size = property(lambda self: self.hidden_size_)

    def forward(self, signal, attention_mask):
        hidden = self.lift(signal.unsqueeze(-1)).relu() * attention_mask.unsqueeze(-1)
        return {"last_hidden_state": hidden, "pooler_output": hidden.sum(1) / attention_mask.sum(1, keepdim=True)}
'''


class Interrupt(BaseCallback):
    """Ctrl-C behind a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, trainer: Any, logs: Any, **kwargs: Any) -> None:
        if trainer.state.step == self.step:
            trainer.interrupted = True


def use(folder: Path, code: str, *, most_lines: int) -> None:
    """Write `code` to a file and import it, as a user does before `jenga.train`."""
    lines = [line for line in code.strip().splitlines() if line.strip()]
    assert len(lines) <= most_lines
    path = folder / "mine.py"
    path.write_text(code, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("mine", path)
    assert spec is not None
    assert spec.loader is not None
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


def write_rows(path: Path, label: str, values: list[Any]) -> str:
    draw = random.Random(seeds.derived(path.name))
    words = ["fees", "delay", "thanks", "agent", "again", "please"]
    rows = [{"text": " ".join(draw.choices(words, k=6)), label: value} for value in values]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def live(folder: Path, experiment: dict[str, Any], *, row: Any) -> tuple[Result, Any]:
    """Train, interrupt and resume, evaluate, predict, export and report; return the result and the answer to `row`.

    What is trained in one go and what is interrupted end equal.
    """
    file = folder / "experiment.yml"
    runs = {name: folder / name for name in ("whole", "parted")}
    file.write_text(yaml.safe_dump({**experiment, "tracking": {"enabled": False}}), encoding="utf-8")
    whole = train(str(file), overrides=[f"output_dir={runs['whole']}"])
    parted = [f"output_dir={runs['parted']}"]
    with pytest.raises(jenga.JengaError, match="interrupted at step 2"):
        train(str(file), overrides=parted, callbacks=[Interrupt(2)])
    again = train(str(file), overrides=parted, resume="auto")
    assert again.evaluation == whole.evaluation

    called = CliRunner().invoke(command, ["evaluate", str(whole.run), "--split", "test", "--json"])
    assert called.exit_code == 0, called.output
    assert json.loads(called.stdout)["metrics"] == whole.evaluation["splits"]["test"]["metrics"]

    answer = jenga.load(whole.run).predict([row])[0]
    assert jenga.load(export(whole.run, folder / "exported")).predict([row])[0] == answer
    report, card = ((whole.run / name).read_text(encoding="utf-8") for name in ("report.html", "README.md"))
    primary = whole.evaluation["splits"]["test"]["heads"][0]["primary_metric"]
    assert primary in report
    assert primary in card
    return whole, answer


def test_a_kind_of_label_of_ones_own_is_used_like_those_that_come_with_jenga(tmp_path: Path) -> None:
    use(tmp_path, SHARES, most_lines=75)
    draw = random.Random(seeds.derived("shares"))
    talk = [draw.randint(0, 100) / 100 for _ in range(80)]
    values: list[Any] = [{"agent": share, "caller": round(1 - share, 2)} for share in talk]
    values[3] = None
    rows = write_rows(tmp_path / "rows.jsonl", "label", values)
    task = {"name": "talk", "type": "shares", "data_path": rows, "heads": [{"name": "sides"}]}
    result, answer = live(
        tmp_path,
        {"model": {"base_model": "jenga/tiny-text"}, "tasks": [task],
         "training": {"max_steps": 5, "batch_size": 8, "log_every_steps": 1},
         "evaluation": {"metric": "eval_talk_sides_overlap", "baselines": ["majority", "tfidf"]}},
        row="fees again",
    )  # fmt: skip
    (head,) = result.evaluation["splits"]["test"]["heads"]
    assert head["kind"] == "shares"
    assert head["labels"] == ["agent", "caller"]
    assert 0.5 < head["metrics"]["overlap"] <= 1
    assert head["baselines"] == {"majority": {"overlap": pytest.approx(0.7, abs=0.25)}, "tfidf": {}}
    assert sum(answer["talk"]["sides"].values()) == pytest.approx(1, abs=1e-3)


def classes_experiment(folder: Path, kind: str, **more: Any) -> dict[str, Any]:
    draw = random.Random(seeds.derived(kind))
    rows = write_rows(folder / "rows.jsonl", "label", [draw.choice(["good", "bad"]) for _ in range(80)])
    return {
        "model": {"base_model": "jenga/tiny-text"},
        "tasks": [{"name": "verdict", "type": kind, "data_path": rows}],
        "training": {"max_steps": 4, "batch_size": 8, "log_every_steps": 1},
        "evaluation": {"every_steps": 2},
        **more,
    }


def test_a_task_of_ones_own_is_used_like_those_that_come_with_jenga(tmp_path: Path) -> None:
    use(tmp_path, TASK, most_lines=25)
    result, answer = live(tmp_path, classes_experiment(tmp_path, "brier"), row="fees again")
    # The squared distance of two probabilities from (1, 0) is at most 2, which no cross-entropy keeps to.
    assert 0 < result.metrics["test_verdict_loss"] < 2
    assert answer["verdict"]["label"]["label"] in ("good", "bad")


def test_a_metric_of_ones_own_picks_the_best_model(tmp_path: Path) -> None:
    use(tmp_path, METRIC, most_lines=10)
    experiment = classes_experiment(tmp_path, "strict")
    experiment["evaluation"]["metric"] = "eval_verdict_label_wrong"
    result, _ = live(tmp_path, experiment, row="fees again")
    (head,) = result.evaluation["splits"]["test"]["heads"]
    assert head["primary_metric"] == "wrong"
    assert head["greater_is_better"] is False
    assert head["metrics"]["wrong"] == pytest.approx((1 - head["metrics"]["accuracy"]) * head["rows"])


def test_a_callback_of_ones_own_is_named_in_yaml(tmp_path: Path) -> None:
    use(tmp_path, CALLBACK, most_lines=10)
    experiment = classes_experiment(tmp_path, "classification", callbacks={"diary": {}})
    result, _ = live(tmp_path, experiment, row="fees again")
    steps = [line.split()[0] for line in (result.run / "diary.txt").read_text().splitlines()]
    assert steps == ["2", "4"]


def signal_rows(path: Path, count: int) -> str:
    draw = random.Random(seeds.derived("signal"))
    rows: list[dict[str, Any]] = []
    for at in range(count):
        level = draw.choice([1.0, 3.0])
        signal = [level + draw.uniform(-1, 1) for _ in range(draw.randint(2, 9))]
        rows.append({"id": f"s{at}", "signal": signal, "label": "high" if level > 2 else "low"})
    rows[5]["signal"] = "none"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def signal_experiment(folder: Path) -> dict[str, Any]:
    return {
        "model": {"backbone_type": "lift", "width": 16},
        "tasks": [{"name": "level", "type": "classification", "data_path": signal_rows(folder / "rows.jsonl", 160)}],
        "data": {"max_bad_fraction": 0.02},
        "training": {"max_steps": 60, "batch_size": 16, "learning_rate": 0.03},
    }


def test_a_modality_of_ones_own_is_used_like_those_that_come_with_jenga(tmp_path: Path) -> None:
    use(tmp_path, MODALITY, most_lines=60)
    result, answer = live(tmp_path, signal_experiment(tmp_path), row={"signal": [3.1, 2.9, 3.2]})
    (head,) = result.evaluation["splits"]["test"]["heads"]
    assert head["metrics"]["accuracy"] > 0.9
    assert head["baselines"]["majority"]["accuracy"] < 0.8
    assert answer["level"]["label"]["label"] == "high"
    quarantined = (result.run / "quarantine.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["reason"] for line in quarantined] == [
        "column 'signal' is 'none'; allowed: a list of numbers"
    ]


def test_settings_of_other_modalities_are_refused_by_one_of_ones_own(tmp_path: Path) -> None:
    use(tmp_path, MODALITY, most_lines=60)
    experiment = signal_experiment(tmp_path)
    experiment["tasks"][0] |= {"columns": {"text": "words"}, "max_length": 16}
    experiment["evaluation"] = {"baselines": ["majority", "tfidf"]}
    with pytest.raises(jenga.JengaError) as caught:
        train(experiment)
    said = str(caught.value)
    for key in ("tasks[0].columns.text", "tasks[0].max_length", "evaluation.baselines[1]"):
        assert key in said
    assert said.count("is for texts, and this model reads signals") == 3
    experiment = signal_experiment(tmp_path)
    experiment["tasks"][0] |= {"type": "ner"}
    with pytest.raises(jenga.JengaError, match="'ner' labels words of a text, and signals have none"):
        train(experiment)


def test_the_columns_of_a_modality_of_ones_own_are_named_in_yaml(tmp_path: Path) -> None:
    use(tmp_path, MODALITY, most_lines=60)
    experiment = signal_experiment(tmp_path)
    experiment["tasks"][0] |= {"columns": {"signal": "meter"}}
    with pytest.raises(jenga.JengaError, match="no column 'meter'"):
        train(experiment)
