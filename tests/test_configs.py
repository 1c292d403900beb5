"""Every experiment in configs/ loads, builds and trains: on stand-ins, and on the real rows where they are at hand."""

from __future__ import annotations

import gzip
import json
import math
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from jenga.cli.train import train
from jenga.config.schema import ExperimentConfig
from jenga.labels.column import HeadColumn
from jenga.modalities.audio.clips import AudioColumns
from jenga.modalities.events.modality import EventFields
from jenga.modalities.text.columns import TextColumns
from jenga.modalities.text.dialogue import LanguageSpec
from jenga.modalities.vision.pictures import ImageColumns
from jenga.rows.parse import SourceSpec
from jenga.run import experiment
from jenga.run.build import source_specs

REPOSITORY = Path(__file__).parents[1]
CONFIGS = sorted((REPOSITORY / "configs").glob("*.yml"))
EACH_CONFIG = [pytest.param(path, id=path.stem) for path in CONFIGS]
REAL_DATA = REPOSITORY.parent / "shared" / "data"
TINY = ["training.max_steps=2", "training.batch_size=4", "data.max_rows=64", "tracking.enabled=false"]
N_ROWS, N_EVENTS = 12, 40
"""Of a stand-in; events are more, so that each side of a detection is in each split."""

real_rows = pytest.mark.skipif(
    not REAL_DATA.is_dir(), reason="the real rows (../shared/data) are not beside this checkout"
)


def command_of(path: Path) -> tuple[dict[str, str], list[str]]:
    """Return the environment of the command in line 1, and what it hands to `jenga train`."""
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# ")
    words = shlex.split(first.removeprefix("# "))
    environment = {}
    while "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        environment[name] = value
    command = ["jenga-train"] if words[0] == "jenga-train" else ["jenga", "train"]
    assert words[: len(command)] == command
    return environment, words[len(command) :]


def overrides(config: ExperimentConfig, output_dir: Path, bert: Path, gpt2: Path, whisper: Path) -> list[str]:
    """Return what makes an experiment small, its model replaced unless it is one of our own presets."""
    found = [*TINY, f"output_dir={output_dir}"]
    if config.several:
        stand_ins = {"text": bert, "audio": whisper}
        own = [f"model.backbones.{name}.base_model={base}" for name, base in stand_ins.items()]
        return [*found, *own, f"data.cache_dir={output_dir / 'kept'}"]
    if config.model.backbone_type == "sequential":
        return found
    if config.model.backbone_type == "audio" and config.model.base_model.startswith("jenga/"):
        return [*found, f"data.cache_dir={output_dir / 'features'}"]
    if config.model.backbone_type == "audio":
        return [*found, f"model.base_model={whisper}", f"data.cache_dir={output_dir / 'features'}"]
    if config.model.backbone_type == "vision":
        return found
    if any(task.type == "causal_lm" for task in config.tasks):
        own = [] if config.model.teacher_student_config.student else [f"model.name={gpt2}"]
        return [*found, *own, f"model.teacher_student_config.teacher_model={gpt2}", "generation.max_new_tokens=4"]
    found.append(f"data.cache_dir={output_dir / 'tokens'}")
    return found if config.model.base_model.startswith("jenga/") else [*found, f"model.base_model={bert}"]


# ----------------------------------------------------------------------------------------------------- stand-in rows


def write_stand_ins(config: ExperimentConfig) -> None:
    """Write a few rows into each file that `config` names, with a cell for each column that it asks for."""
    tables: dict[str, list[dict[str, Any]]] = {}
    by_words = {task.name for task in config.tasks if task.type == "ner" and not task.columns.entities}
    for spec in source_specs(config):
        for path in (*spec.train, *spec.valid, *spec.test):
            if not path.startswith(("jenga/", "hf://")):
                rows = tables.setdefault(
                    path, [{} for _ in range(N_EVENTS if isinstance(spec.content, EventFields) else N_ROWS)]
                )
                fill(rows, spec, by_words)
    for path, rows in tables.items():
        content = "".join(json.dumps(row) + "\n" for row in rows).encode()
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        if path.endswith(".parquet"):
            pd.DataFrame(rows).to_parquet(path)
        else:
            Path(path).write_bytes(gzip.compress(content) if path.endswith(".gz") else content)


def fill(rows: list[dict[str, Any]], spec: SourceSpec, by_words: set[str]) -> None:
    content = spec.content
    for number, row in enumerate(rows):
        words = ["play", "the", "song", f"number{number}"]
        match content:
            case TextColumns():
                put(row, content.text[0], words if content.text[0] == "tokens" else " ".join(words))
                if content.pair:
                    put(row, content.pair, "thanks")
            case LanguageSpec():
                row |= {content.prompt[0]: " ".join(words), content.completion[0]: f"it is #### {number}"}
            case AudioColumns():
                wave = [((at * (number % 3 + 2)) % 40) / 40 - 0.5 for at in range(1600)]
                put(row, content.columns[0][1][0], {"array": wave, "sampling_rate": 8000})
            case ImageColumns():
                put(
                    row, content.columns[0][1][0], [[(x * y + number * 20) % 256 for x in range(28)] for y in range(28)]
                )
            case EventFields():
                row |= {"duration": number, "service": words[number % 3], "src_bytes": number**3}
        for head in () if isinstance(content, LanguageSpec) else spec.heads:
            put(row, head.candidates[0], label_of(head, number, head.task in by_words))


def label_of(head: HeadColumn, number: int, by_words: bool) -> Any:
    size = head.size or (len(head.labels) if head.labels else 2)
    match head.kind:
        case "class":
            return (head.labels or ["normal", *(f"class{at}" for at in range(1, size))])[number % size]
        case "items":
            marks = [(number + at) % 2 for at in range(size)]
            return [name for name, mark in zip(head.labels, marks, strict=True) if mark] if head.labels else marks
        case "number":
            return [float(number + at) for at in range(size)]
        case "tags":
            types = [name.removeprefix("B-") for name in head.labels or ["thing"] if name[:2] not in ("O", "I-")]
            kind = types[number % len(types)]
            return ["O", f"B-{kind}", f"I-{kind}", "O"] if by_words else [{"start": 5, "end": 8, "label": kind}]


def put(row: dict[str, Any], column: str, value: Any) -> None:
    *outer, last = column.split(".")
    for name in outer:
        row = row.setdefault(name, {})
    row[last] = value


# ------------------------------------------------------------------------------------------------------------ the tests


@pytest.fixture(scope="session")
def long_gpt2(make_gpt2: Callable[..., Path]) -> Path:
    """The folder of a random causal model of four layers with positions for the longest texts of any experiment."""
    return make_gpt2(layers=4, positions=512)


@pytest.fixture(scope="session")
def small_whisper(make_whisper: Callable[..., Path]) -> Path:
    return make_whisper()


def test_every_file_of_the_folder_is_among_those_that_are_trained() -> None:
    assert {path.name for path in (REPOSITORY / "configs").iterdir()} == {path.name for path in CONFIGS}
    assert len(CONFIGS) >= 6


@pytest.mark.parametrize("path", EACH_CONFIG)
def test_line_1_is_the_command_that_runs_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment, words = command_of(path)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(REPOSITORY)
    with train.make_context("train", words) as context:
        assert Path(context.params["config"]).resolve() == path
        config = experiment.load_config(context.params["config"], context.params["overrides"])
    assert config.project_name == path.stem
    for spec in source_specs(config):
        for name in spec.train:
            assert name.startswith((str(REPOSITORY / "data"), "jenga/"))


@pytest.mark.parametrize("path", EACH_CONFIG)
def test_trains_two_steps_on_stand_ins(
    path: Path,
    tiny_bert: Path,
    long_gpt2: Path,
    small_whisper: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("JENGA_DATA_ROOT", str(tmp_path / "data"))
    config = experiment.load_config(path)
    write_stand_ins(config)
    small = overrides(config, tmp_path / "runs", tiny_bert, long_gpt2, small_whisper)
    check(experiment.train(path, overrides=small, device="cpu"), config)


@pytest.mark.slow
@real_rows
@pytest.mark.parametrize("path", EACH_CONFIG)
def test_trains_two_steps_on_the_real_rows(
    path: Path,
    tiny_bert: Path,
    long_gpt2: Path,
    small_whisper: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("JENGA_DATA_ROOT", str(REAL_DATA))
    config = experiment.load_config(path)
    gone = [name for spec in source_specs(config) for name in spec.train if not Path(name).exists()]
    if gone and all(Path(name).suffix == ".parquet" for name in gone):
        pytest.skip(f"{gone[0]} is to be made of Fashion-MNIST first: docs/vision.md")
    small = [
        *overrides(config, tmp_path / "runs", tiny_bert, long_gpt2, small_whisper),
        "evaluation.baselines=[majority]",
    ]
    result = experiment.train(path, overrides=small, device="cpu")
    check(result, config)
    assert not (result.run / "quarantine.jsonl").exists()


def check(result: experiment.Result, config: ExperimentConfig) -> None:
    records = [json.loads(line) for line in (result.run / "metrics.jsonl").read_text().splitlines()]
    assert max(record["step"] for record in records if record["event"] == "train") == 2
    assert json.loads((result.run / "run.json").read_text())["metric"] in result.metrics
    assert all(math.isfinite(value) for value in result.metrics.values())
    judged = {(head["task"], head["head"]) for head in result.evaluation["splits"]["valid"]["heads"]}
    assert judged == {(task.name, head.name) for task in config.tasks for head in task.heads}
