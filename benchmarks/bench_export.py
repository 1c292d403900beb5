"""Rows a second of `Predictor.predict` by torch, by a graph of ONNX and by one in 8 bits, against what others offer.

The rivals are transformers' own pipeline over the same encoder with a classifier of random weights, and the encoder
alone, by torch and by onnxruntime: the same weights or graph, fed by a tokenizer of transformers, without reading rows
and writing answers. The encoder is
``--base-model`` (a BERT of MiniLM's shape with random weights without it), rows are as long as SNIPS's, and each
benchmark runs with one thread and with two:

``pytest benchmarks/bench_export.py -s --base-model MINILM --paired-json export.json``
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from bench_train_step import made_up_rows, make_model
from paired import SMOKE, PairedRatio, compare

import jenga
from jenga.inference.export import export
from jenga.inference.graphs import Graphs
from jenga.inference.predictor import Predictor

N_ROWS, BATCH = (32, 8) if SMOKE else (256, 64)
ROUNDS = 2 if SMOKE else 15
Report = Callable[[str, PairedRatio], None]


@pytest.fixture(scope="module")
def rows() -> list[str]:
    return [" ".join(cast(list[str], row["tokens"])) for row in made_up_rows()][:N_ROWS]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """The folder of a model of one head, hardly trained: that costs nothing more."""
    folder = tmp_path_factory.mktemp("intents")
    base = request.config.getoption("--base-model")
    if base is None:
        base = folder / "bert"
        make_model(base, made_up_rows())
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made_up_rows()))
    task = {"name": "intent", "type": "classification", "data_path": str(folder / "rows.jsonl")}
    config: dict[str, Any] = {
        "model": {"base_model": str(base)},
        "tasks": [{**task, "columns": {"text": "tokens", "label": "intent"}, "heads": [{"name": "intent"}]}],
        "data": {"max_length": 64, "cache_dir": str(folder / "cache")},
        "training": {"max_steps": 1, "batch_size": 8},
        "tracking": {"enabled": False},
        "output_dir": str(folder),
    }
    made: Path = jenga.train(config).run
    return made


@pytest.fixture(scope="module")
def folders(run: Path) -> dict[str, Path]:
    """The graph in float32 and the two in 8 bits, each with its scores told by `graphs.json`."""
    pytest.importorskip("onnxruntime")
    made = {"onnx": export(run, run.parent / "onnx", format="onnx")}
    for method in ("dynamic",) if SMOKE else ("dynamic", "static"):
        made[f"int8 {method}"] = export(run, run.parent / method, format="onnx", int8=method)
        said = Graphs.read(made[f"int8 {method}"]).measured
        print(f"int8 {method}: {said['before']} -> {said['after']}")
    return made


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    if request.param > (os.cpu_count() or 1):
        pytest.skip(f"{request.param} threads want as many cores")
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def predicts(predictor: Predictor, rows: list[str]) -> Callable[[], object]:
    return lambda: predictor.predict(rows, batch_size=BATCH)


def pipeline(run: Path, rows: list[str]) -> Callable[[], object]:
    """Return transformers' own way, over the encoder of the run."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

    place = run / "best" / "backbone"
    model = AutoModelForSequenceClassification.from_pretrained(place, num_labels=7, trust_remote_code=False)
    tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=False)
    classify = pipeline("text-classification", model=model.eval(), tokenizer=tokenizer, device="cpu")
    return lambda: classify(rows, batch_size=BATCH, truncation=True, max_length=64)


def alone(folder: Path, rows: list[str], threads: int) -> Callable[[], object]:
    """Return the graph run by hand: rows sorted by length, a tokenizer of transformers, logits and no answers."""
    import onnxruntime
    from transformers import AutoTokenizer

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
    tokenizer = AutoTokenizer.from_pretrained(folder / "backbone", trust_remote_code=False)
    wanted = {each.name for each in session.get_inputs()}

    def work() -> object:
        ids = tokenizer(rows, truncation=True, max_length=64)["input_ids"]
        order = sorted(range(len(rows)), key=lambda at: len(ids[at]))
        found = []
        for first in range(0, len(rows), BATCH):
            batch = tokenizer.pad({"input_ids": [ids[at] for at in order[first : first + BATCH]]}, return_tensors="np")
            found.append(session.run(None, {name: batch[name] for name in wanted if name in batch})[0])
        return np.concatenate(found)

    return work


def encoder_alone(run: Path, rows: list[str]) -> Callable[[], object]:
    """Return the encoder run by hand: rows sorted by length, padded batches, hidden states and nothing made of them."""
    from transformers import AutoModel, AutoTokenizer

    place = run / "best" / "backbone"
    model = AutoModel.from_pretrained(place, trust_remote_code=False).eval()
    tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=False)

    @torch.inference_mode()
    def work() -> object:
        ids = tokenizer(rows, truncation=True, max_length=64)["input_ids"]
        order = sorted(range(len(rows)), key=lambda at: len(ids[at]))
        states = None
        for first in range(0, len(rows), BATCH):
            batch = tokenizer.pad({"input_ids": [ids[at] for at in order[first : first + BATCH]]}, return_tensors="pt")
            states = model(**batch).last_hidden_state
        return states

    return work


def test_graphs_against_torch(
    run: Path, folders: dict[str, Path], rows: list[str], threads: int, report_ratio: Report
) -> None:
    baseline = predicts(jenga.load(run, device="cpu"), rows)
    for name, folder in folders.items():
        ratio = compare(predicts(jenga.load(folder), rows), baseline, rounds=ROUNDS, min_round_s=0.0, warmup=1)
        tell(f"export, {threads} threads: predict by {name} / by torch", ratio, report_ratio)


def test_torch_against_the_encoder_alone(run: Path, rows: list[str], threads: int, report_ratio: Report) -> None:
    ratio = compare(
        predicts(jenga.load(run, device="cpu"), rows), encoder_alone(run, rows),
        rounds=ROUNDS, min_round_s=0.0, warmup=1,
    )  # fmt: skip
    tell(f"export, {threads} threads: predict by torch / the encoder alone, by torch", ratio, report_ratio)


def test_torch_against_the_pipeline(run: Path, rows: list[str], threads: int, report_ratio: Report) -> None:
    ratio = compare(
        predicts(jenga.load(run, device="cpu"), rows), pipeline(run, rows), rounds=ROUNDS, min_round_s=0.0, warmup=1
    )
    tell(f"export, {threads} threads: predict by torch / transformers' pipeline", ratio, report_ratio)


def test_graphs_against_the_pipeline_and_onnxruntime_alone(
    run: Path, folders: dict[str, Path], rows: list[str], threads: int, report_ratio: Report
) -> None:
    for name, folder in folders.items():
        predict = predicts(jenga.load(folder), rows)
        rivals = {"transformers' pipeline": pipeline(run, rows), "onnxruntime alone": alone(folder, rows, threads)}
        for rival, work in rivals.items():
            ratio = compare(predict, work, rounds=ROUNDS, min_round_s=0.0, warmup=1)
            tell(f"export, {threads} threads: predict by {name} / {rival}", ratio, report_ratio)


def tell(name: str, ratio: PairedRatio, report_ratio: Report) -> None:
    report_ratio(name, ratio)
    print(f"{name}: {N_ROWS / ratio.candidate_s:,.0f} / {N_ROWS / ratio.baseline_s:,.0f} rows/s")
