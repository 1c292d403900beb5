"""What a setting does to scores: variants of one experiment, by seeds, each a whole ``jenga train`` of its own.

``pytest benchmarks/bench_settings.py --base-model MINILM --settings-json settings.json`` trains every variant of
each of `STUDIES` on real rows and prints mean and spread of its test scores, processor seconds and peak memory of
its process. What is in the file already is not run again. JENGA_BENCH_SEEDS, JENGA_BENCH_STUDIES and
JENGA_BENCH_VARIANTS narrow it. Without rows or encoder a study of made-up rows runs instead, whose scores say nothing.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest
import yaml
from paired import SMOKE

SEEDS = int(os.environ.get("JENGA_BENCH_SEEDS", "3"))
CHOSEN = os.environ.get("JENGA_BENCH_STUDIES")
VARIANTS = os.environ.get("JENGA_BENCH_VARIANTS")
Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Study:
    """An experiment, blocks by the name of each variant (`training` is merged), and which test metrics are told.

    A metric of a task that a variant does not have is left out of its line.
    """

    experiment: Settings
    variants: Mapping[str, Settings]
    metrics: Sequence[str]


def _files(folder: str, *splits: str) -> dict[str, str]:
    return {split: f"{folder}/{split}.jsonl" for split in splits}


_TOKENS = {"tokens": "tokens"}
_SNIPS: list[Settings] = [
    {"name": "intent", "type": "classification", "data_path": _files("snips", "train", "valid", "test"),
     "columns": {**_TOKENS, "label": "intent"}},
    {"name": "slots", "type": "ner", "data_path": _files("snips", "train", "valid", "test"),
     "columns": {**_TOKENS, "ner_tags": "slots"}},
]  # fmt: skip
_SENTIMENT: Settings = {
    "name": "sentiment", "type": "classification", "data_path": _files("afrisenti_swa", "train", "valid", "test"),
}  # fmt: skip
_OTHERS: list[Settings] = [
    {"name": "request", "type": "classification", "data_path": _files("clinc150", "train", "test"),
     "columns": {"label": "intent"}},
    _SENTIMENT,
]  # fmt: skip
_GATES: dict[str, list[Settings]] = {
    "snips": _SNIPS,
    "clinc150": [
        {
            "name": "query",
            "type": "classification",
            "data_path": _files("clinc150", "train", "valid", "test"),
            "heads": [{"name": "intent", "column": "intent"}, {"name": "domain", "column": "domain"}],
        },
    ],
    "goemotions": [
        {
            "name": "emotions",
            "type": "multi_label_classification",
            "columns": {"label": "labels"},
            "data_path": {**_files("goemotions", "valid", "test"), "train": "goemotions/train.jsonl.gz"},
        },
    ],
    "wnut17": [{"name": "names", "type": "ner", "data_path": _files("wnut17", "train", "valid", "test")}],
    "afrisenti": [_SENTIMENT],
}
_ALL = [task for tasks in _GATES.values() for task in tasks]
_GATE_METRICS = (
    "intent_label_accuracy", "slots_entities_f1", "query_intent_accuracy", "query_domain_accuracy",
    "emotions_labels_macro_f1", "names_entities_f1", "sentiment_label_weighted_f1",
)  # fmt: skip
_RATES = {
    "adamw": (3e-4, 1e-3, 3e-3),
    "muon": (1e-3, 3e-3, 1e-2),
    "schedulefreeadamw": (1e-3, 3e-3, 1e-2),
    "adafactor": (1e-2, 3e-2, 1e-1),
    "lion": (6e-5, 2e-4, 6e-4),
    "soap": (3e-4, 1e-3, 3e-3),
}

STUDIES = {
    "balance": Study(
        {
            "tasks": [*_SNIPS, *_OTHERS],
            "data": {"max_rows": 3000, "max_length": 32},
            "training": {"sampler": "together", "batch_size": 8, "max_steps": 300},
        },
        {
            "none": {},
            "uncertainty": {"training": {"loss_balance": "uncertainty"}},
            "famo": {"training": {"loss_balance": "famo"}},
            "upgrad": {"training": {"gradient_conflict": "upgrad"}},
            "pcgrad": {"training": {"gradient_conflict": "pcgrad"}},
            "in turn": {"training": {"sampler": "round_robin", "max_steps": 900}},
        },
        (
            "intent_label_accuracy", "slots_entities_f1", "request_label_accuracy", "sentiment_label_weighted_f1",
        ),
    ),
    "optimizers": Study(
        {"tasks": _SNIPS, "data": {"max_rows": 1500}, "training": {"batch_size": 32, "epochs": 2}},
        {
            f"{name} {rate:.0e}": {"training": {"optimizer": name, "learning_rate": {"backbone": rate}}}
            for name, rates in _RATES.items()
            for rate in rates
        },
        ("intent_label_accuracy", "slots_entities_f1"),
    ),
    # What users get who name encoder and rows, each set alone and all in one run.
    "gates": Study(
        {"tasks": _ALL, "training": {"precision": "auto"}, "evaluation": {"thresholds": "tuned"}},
        {
            **{name: {"tasks": tasks} for name, tasks in _GATES.items()},
            "all": {},
            "all, temperature": {"training": {"sampler": "temperature", "temperature": 2}},
            "all, uncertainty": {"training": {"loss_balance": "uncertainty"}},
        },
        _GATE_METRICS,
    ),
    # What the other tasks of a run do to each: few rows of all sets, as many passes over them alone and together.
    "together": Study(
        {"tasks": _ALL, "data": {"max_rows": 3000}, "training": {"precision": "auto", "epochs": 3},
         "evaluation": {"thresholds": "tuned"}},
        {**{name: {"tasks": tasks} for name, tasks in _GATES.items()}, "all": {}},
        _GATE_METRICS,
    ),
}  # fmt: skip
SMALL = Study(
    {
        "tasks": [
            {"name": "sentiment", "type": "classification", "data_path": "jenga/helpline",
             "columns": {"label": "sentiment"}},
            {"name": "names", "type": "ner", "data_path": "jenga/helpline"},
        ],
        "training": {"max_steps": 2},
    },
    {"uncertainty": {"training": {"loss_balance": "uncertainty"}}},
    ("sentiment_label_accuracy",),
)  # fmt: skip


def run(study: Study, variant: str, seed: int, base_model: str, data_root: Path, workdir: Path) -> dict[str, Any]:
    """Train one variant in a process of its own, and return its scores, processor seconds and peak memory in MiB."""
    changes = study.variants[variant]
    config = {
        "project_name": "variant",
        "model": {"base_model": base_model},
        **study.experiment,
        **changes,
        "training": {**study.experiment["training"], **changes.get("training", {}), "seed": seed},
        "tracking": {"enabled": False},
        "data_root": str(data_root),
        "output_dir": str(workdir / "runs"),
    }
    path = workdir / "variant.yml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    watch = (
        "import resource, subprocess, sys; code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code)"
    )
    # ru_maxrss is the greatest of all children so far, so each has a parent of its own.
    done = subprocess.run(
        [sys.executable, "-c", watch, str(Path(sys.executable).with_name("jenga-train")), str(path)],
        check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    (folder,) = (workdir / "runs" / "variant").iterdir()
    metrics = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))["splits"]["test"]["metrics"]
    wanted = [name for name in study.metrics if name.startswith(tuple(f"{each['name']}_" for each in config["tasks"]))]
    return {
        "scores": {name: metrics[name] for name in wanted},
        "cpu_s": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        "peak_mib": round(int(done.stdout.split()[-1]) / 1024),
    }


def table(study: Study, found: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Return mean and standard deviation of each variant's scores, over its seeds, as lines of text."""
    lines = [" | ".join(["variant", "seeds", *study.metrics, "mean", "CPU s", "MiB"])]
    for variant, runs in found.items():
        columns = [[each["scores"][name] for each in runs if name in each["scores"]] for name in study.metrics]
        columns.append([mean(each["scores"].values()) for each in runs])
        shown = [_spread(each) for each in columns]
        cost = [f"{mean(each[key] for each in runs):.0f}" for key in ("cpu_s", "peak_mib")]
        lines.append(" | ".join([variant, str(len(runs)), *shown, *cost]))
    return "\n".join(lines)


def _spread(values: Sequence[float]) -> str:
    if not values:
        return ""
    return f"{mean(values):.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")


@pytest.mark.parametrize("name", CHOSEN.split(",") if CHOSEN else list(STUDIES))
def test_settings(name: str, request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Run what is missing of a study, seed by seed, and print its table."""
    data_root, base_model = request.config.getoption("--data-root"), request.config.getoption("--base-model")
    small = SMOKE or base_model is None or not data_root.exists()
    if small and name != next(iter(STUDIES)):
        pytest.skip("one small study is enough; needs --base-model and --data-root")
    study, seeds = (SMALL, 1) if small else (STUDIES[name], SEEDS)
    path = None if small else request.config.getoption("--settings-json")
    kept: dict[str, Any] = json.loads(path.read_text()) if path is not None and path.exists() else {}
    found: dict[str, list[Any]] = kept.setdefault(name, {})
    wanted = VARIANTS.split(",") if VARIANTS and not small else list(study.variants)
    for seed in range(seeds):
        for variant in wanted:
            if len(found.setdefault(variant, [])) > seed:
                continue
            workdir = tmp_path / f"{variant.replace(' ', '_')}-{seed}"
            workdir.mkdir()
            model = "jenga/tiny-text" if small else str(base_model)
            found[variant].append(run(study, variant, seed, model, data_root, workdir))
            if path is not None:
                path.write_text(json.dumps(kept, indent=1) + "\n")
    with capsys.disabled():
        print(f"\n{name}\n{table(study, {variant: runs for variant, runs in found.items() if runs})}")
    assert all(len(found[variant]) >= seeds for variant in wanted)
