"""Graphs of ONNX: of every kind of task and backbone, they give the logits and the answers that torch gives."""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import jenga
from jenga.errors import ConfigError
from jenga.files import damage
from jenga.inference.export import export
from jenga.inference.graphs import Graphs
from jenga.samples.helpline import generate
from jenga.samples.media import generate_scenes, generate_shapes, generate_spelt, generate_tones

pytest.importorskip("onnxruntime")

Saved = Callable[[dict[str, Any]], Path]
TOLERANCE = 1e-5
"""Of float32 sums that are added up in another order, in shares of the largest logit."""
TEXTS = ["the agent was kind", "line dropped after two minutes of music", "please", "thank you never again café refund"]
NSL = Path(__file__).parents[3].parent / "shared" / "data" / "nsl-kdd"
HEAD = {"heads": [{"name": "label"}]}
FIELDS = {"backbone_type": "ft_transformer", "base_model": "ft_transformer_small"}


def assert_same_logits(run: Path, graphs: Path, rows: Any, sizes: Sequence[int | None] = (1, 3, None)) -> None:
    """Rows of any length in batches of one, of three and of all give what torch gives, NaN where it gives none."""
    predictors = jenga.load(run, device="cpu"), jenga.load(graphs)
    for size in sizes:
        wanted, found = (predictor.logits(rows, batch_size=size) for predictor in predictors)
        assert wanted
        assert found.keys() == wanted.keys()
        for key, each in wanted.items():
            one, other = (torch.cat([row.flatten() for row in of]).numpy() for of in (each, found[key]))
            np.testing.assert_allclose(other, one, rtol=0, atol=TOLERANCE * max(1, np.nanmax(np.abs(one))))


@pytest.mark.parametrize(
    ("base", "fusion"),
    [
        ("jenga/tiny-text", "none"),
        pytest.param("bert", "attention", marks=pytest.mark.slow),
        pytest.param("gpt2", "none", marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_texts_of_every_task(
    settings: Callable[..., Any], checkpoint: Callable[[str], str], saved_model: Saved, tmp_path: Path, base: str,
    fusion: str,
) -> None:  # fmt: skip
    model = {"base_model": base if "/" in base else checkpoint(base)}
    run = saved_model(settings("mood", "flags", "names", "price", model=model, fusion={"type": fusion}))
    made = export(run, tmp_path / "onnx", format="onnx")
    assert_same_logits(run, made, TEXTS)
    (graph,) = Graphs.read(made).graphs.values()
    assert graph.inputs["input_ids"].shape == ("batch", "length")
    assert graph.outputs["mood.topic"].shape == ("batch", 3)
    assert graph.outputs["names.names"].shape == ("batch", "length", 3)


@pytest.mark.parametrize("peft", ["lora", pytest.param("adapter", marks=pytest.mark.slow)])
def test_adapters_are_part_of_the_graph(
    settings: Callable[..., Any], saved_model: Saved, tmp_path: Path, peft: str
) -> None:
    import onnx

    run = saved_model(settings("mood", peft={"type": peft}))
    made = export(run, tmp_path / "onnx", format="onnx")
    assert_same_logits(run, made, TEXTS)
    graph = onnx.load(str(made / "model.onnx"))
    assert {node.domain for node in graph.graph.node} == {""}, "operators that onnxruntime alone does not have"
    assert [(each.domain, each.version) for each in graph.opset_import] == [("", 20)]


@pytest.mark.slow
def test_pairs_of_texts(settings: Callable[..., Any], saved_model: Saved, tmp_path: Path) -> None:
    experiment = settings("mood")
    experiment["tasks"][0]["columns"] = {"text_pair": "other"}
    run = saved_model(experiment)
    rows = [{"text": one, "other": other} for one, other in zip(TEXTS, reversed(TEXTS), strict=True)]
    assert_same_logits(run, export(run, tmp_path / "onnx", format="onnx"), rows)


@pytest.mark.parametrize(
    "task",
    [
        {},
        {"type": "anomaly_detection", "heads": [{"name": "threat", "normal": "0"}]},
        *({"type": "anomaly_detection", "mode": "unsupervised", "method": method,
           "heads": [{"name": "threat", "normal": "0"}]}
          for method in ("nearest", "autoencoder", "deep_svdd", "mahalanobis")),
    ],
    ids=["classes", "supervised", "nearest", "autoencoder", "deep_svdd", "mahalanobis"],
)  # fmt: skip
def test_events_of_every_task(
    event_settings: Callable[..., Any], flows: list[dict[str, Any]], saved_model: Saved, tmp_path: Path,
    task: dict[str, Any],
) -> None:  # fmt: skip
    model = {
        "base_model": "mlp", "hidden_sizes": [16, 8], "residual": True, "normalization": "batch",
        "clip": 3.0, "bins": 8, "values_shared_by": 2, "members": 3,
    }  # fmt: skip
    run = saved_model(event_settings(task=task, model=model))
    assert_same_logits(run, export(run, tmp_path / "onnx", format="onnx"), flows[:20])


@pytest.mark.parametrize("mode", ["supervised", "unsupervised"])
@pytest.mark.parametrize("model", [{"base_model": "tabular_v1"}, {**FIELDS, "bins": 4}])
def test_events_by_the_networks_for_tables(
    event_settings: Callable[..., Any], flows: list[dict[str, Any]], saved_model: Saved, tmp_path: Path, mode: str,
    model: dict[str, Any],
) -> None:  # fmt: skip
    task = {"type": "anomaly_detection", "mode": mode, "heads": [{"name": "threat", "normal": "0"}]}
    run = saved_model(event_settings(task=task, model=model))
    assert_same_logits(run, export(run, tmp_path / "onnx", format="onnx"), flows[:20])


def sound(task: dict[str, Any], rows: list[dict[str, Any]], base: str, folder: Path) -> dict[str, Any]:
    """Return an experiment on recordings, with the rows in a file."""
    path = folder / "clips.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return {
        "model": {"backbone_type": "audio", "base_model": base, "min_seconds": 0.2, "max_seconds": 4.5},
        "tasks": [{"name": "heard", "data_path": str(path), **task}],
        "tracking": {"enabled": False},
        "output_dir": str(folder / "runs"),
    }


def as_lists(rows: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**row, "audio": {**row["audio"], "array": row["audio"]["array"].tolist()}} for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["classes", "events", "transcripts"])
def test_recordings_of_every_task(
    saved_model: Saved, make_whisper: Callable[..., Path], tmp_path: Path, kind: str
) -> None:
    tasks: dict[str, Any] = {
        "classes": {"type": "classification", "heads": [{"name": "pitch"}]},
        "events": {"type": "sound_event_detection"},
        "transcripts": {"type": "transcription"},
    }
    make = {"classes": generate_tones, "events": generate_scenes, "transcripts": generate_spelt}[kind]
    base = "jenga/tiny-audio" if kind == "classes" else str(make_whisper())
    rows = as_lists(make(12))
    run = saved_model(sound(tasks[kind], rows, base, tmp_path))
    made = export(run, tmp_path / "onnx", format="onnx")
    assert_same_logits(run, made, rows[:5])


@pytest.fixture
def wav2vec(tmp_path: Path) -> str:
    """The folder of a Wav2Vec2 of one layer with random weights, and its extractor."""
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    config = Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, conv_dim=(8, 8),
        conv_stride=(10, 16), conv_kernel=(10, 16), num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2,
        feat_extract_norm="layer", do_stable_layer_norm=True, layerdrop=0.0,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        Wav2Vec2Model(config).save_pretrained(tmp_path / "wav2vec")
    Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(tmp_path / "wav2vec")
    return str(tmp_path / "wav2vec")


@pytest.mark.slow
def test_samples_of_sound(saved_model: Saved, wav2vec: str, tmp_path: Path) -> None:
    rows = as_lists(generate_tones(12))
    run = saved_model(sound({"type": "classification", "heads": [{"name": "pitch"}]}, rows, wav2vec, tmp_path))
    assert_same_logits(run, export(run, tmp_path / "onnx", format="onnx"), rows[:5])


@pytest.mark.slow
@pytest.mark.parametrize("base", ["jenga/tiny-vision", "vit"])
def test_pictures(saved_model: Saved, make_vit: Callable[..., Path], tmp_path: Path, base: str) -> None:
    rows = [{**row, "image": row["image"].tolist()} for row in generate_shapes(12)]
    path = tmp_path / "shapes.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    task = {"name": "shape", "type": "classification", "data_path": str(path), "heads": [{"name": "shape"}]}
    model = {"backbone_type": "vision", "base_model": base if "/" in base else str(make_vit())}
    run = saved_model({"model": model, "tasks": [task], "tracking": {"enabled": False}, "output_dir": str(tmp_path)})
    made = export(run, tmp_path / "onnx", format="onnx")
    assert_same_logits(run, made, rows[:5])


@pytest.mark.slow
def test_several_backbones_are_a_graph_each(
    settings: Callable[..., Any], event_settings: Callable[..., Any], checkpoint: Callable[[str], str],
    flows: list[dict[str, Any]], saved_model: Saved, tmp_path: Path,
) -> None:  # fmt: skip
    experiment, other = settings("mood"), event_settings()
    words = {"backbone_type": "text", "base_model": checkpoint("bert")}
    experiment["model"] = {"backbones": {"words": words, "flows": {"backbone_type": "sequential", **other["model"]}}}
    experiment["tasks"] = [{**experiment["tasks"][0], "backbone": "words"}, {**other["tasks"][0], "backbone": "flows"}]
    run = saved_model(experiment)
    made = export(run, tmp_path / "onnx", format="onnx")
    assert {name: graph.file for name, graph in Graphs.read(made).graphs.items()} == {
        "words": "words.onnx", "flows": "flows.onnx"
    }  # fmt: skip
    rows = [{"text": TEXTS[0], **flows[0]}, {"text": TEXTS[1]}, flows[2]]
    answers = [jenga.load(folder, device="cpu").predict(rows) for folder in (run, made)]
    for one, found in zip(*answers, strict=True):
        assert one.keys() == found.keys()
    assert_same_logits(run, made, [{"text": text, **flow} for text, flow in zip(TEXTS, flows, strict=False)])


@pytest.mark.slow
def test_a_task_of_two_inputs_is_one_graph_and_rows_may_lack_either(
    settings: Callable[..., Any], checkpoint: Callable[[str], str], saved_model: Saved, tmp_path: Path
) -> None:
    labels = ("bad", "good")
    rows: list[dict[str, Any]] = [
        {"text": " ".join(TEXTS[at % 4].split() * (1 + at % 3)), "image": [[at * 3] * 8] * 8, "label": labels[at % 2]}
        for at in range(40)
    ]
    experiment = settings(rows=rows)
    experiment["model"] = {"backbones": {
        "text": {"base_model": checkpoint("bert")},
        "vision": {"base_model": "jenga/tiny-vision", "image_size": 8},
    }}  # fmt: skip
    experiment["tasks"][0] |= {"inputs": ["text", "vision"], **HEAD}
    run = saved_model(experiment)
    made = export(run, tmp_path / "onnx", format="onnx")
    both, words, pictures = rows[:3], [{"text": TEXTS[1]}, {"text": TEXTS[0]}], [{"image": [[9] * 8] * 8}]
    for given in (both, [*both, *words, *pictures], words, pictures):
        assert_same_logits(run, made, given)


def test_what_generates_is_refused_and_nothing_is_written(
    settings: Callable[..., Any], make_gpt2: Callable[..., Path], saved_model: Saved, tmp_path: Path
) -> None:
    rows = [{"text": text} for text in TEXTS * 10]
    task = {"name": "say", "type": "causal_lm", "data_path": settings(rows=rows)["tasks"][0]["data_path"]}
    run = saved_model({**settings(rows=rows), "model": {"base_model": str(make_gpt2())}, "tasks": [task]})
    with pytest.raises(ConfigError, match="task 'say' generates texts, token by token"):
        export(run, tmp_path / "onnx", format="onnx")
    assert not (tmp_path / "onnx").exists()


def test_a_folder_of_graphs_answers_as_its_run_does(run: Path, rows: list[dict[str, Any]], tmp_path: Path) -> None:
    made = export(run, tmp_path / "onnx", format="onnx")
    assert damage(made) is None
    assert not list(made.glob("backbone/model.safetensors"))
    wanted, found = (jenga.load(folder, device="cpu").predict(rows) for folder in (run, made))
    assert_alike(found, wanted)


@pytest.mark.slow
def test_500_calls_of_the_helpline_give_the_same_logits(tmp_path: Path) -> None:
    rows = [{**row, "words": 1000 + len(row["text"].split())} for row in generate(500)]
    path = tmp_path / "calls.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    task = {"data_path": str(path)}
    closing = {"name": "closing", "labels": ["summarises_call", "says_goodbye_politely", "gives_reference"]}
    config: dict[str, Any] = {
        "model": {"base_model": "jenga/tiny-text"},
        "tasks": [
            {**task, "name": "QA", "type": "qa_scoring", "heads": [closing]},
            {**task, "name": "mood", "type": "classification", "heads": [{"name": "caller", "column": "sentiment"}]},
            {**task, "name": "entities", "type": "ner"},
            {**task, "name": "length", "type": "regression", "heads": [{"name": "words", "column": "words"}]},
        ],
        "training": {"max_steps": 20, "batch_size": 16},
        "tracking": {"enabled": False},
        "output_dir": str(tmp_path / "runs"),
    }
    run = jenga.train(config, device="cpu").run
    made = export(run, tmp_path / "onnx", format="onnx")
    assert_same_logits(run, made, rows, sizes=(None,))
    wanted, found = (jenga.load(folder, device="cpu").predict(rows) for folder in (run, made))
    assert_alike(found, wanted)


@pytest.mark.slow
@pytest.mark.skipif(not NSL.is_dir(), reason="the real rows (../shared/data) are not beside this checkout")
@pytest.mark.parametrize("mode", ["supervised", "unsupervised"])
def test_500_real_flows_give_the_same_scores(tmp_path: Path, mode: str) -> None:
    flows = real_flows("KDDTrain+.jsonl.gz", 3000)
    path = tmp_path / "flows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in flows), encoding="utf-8")
    head = {"name": "attack", "column": "label", "normal": "0"}
    config: dict[str, Any] = {
        "model": {"backbone_type": "sequential", "base_model": "security_mlp_v1", "refinery": {"preset": "nsl_kdd"}},
        "tasks": [{"name": "find", "type": "anomaly_detection", "mode": mode, "data_path": str(path), "heads": [head]}],
        "training": {"max_steps": 40, "batch_size": 64},
        "tracking": {"enabled": False},
        "output_dir": str(tmp_path / "runs"),
    }
    run = jenga.train(config, device="cpu").run
    made = export(run, tmp_path / "onnx", format="onnx")
    rows = real_flows("KDDTest+.jsonl.gz", 500)
    assert_same_logits(run, made, rows, sizes=(None,))
    wanted, found = (jenga.load(folder, device="cpu").predict(rows, drivers=False) for folder in (run, made))
    assert_alike(found, wanted)


def real_flows(name: str, count: int) -> list[dict[str, Any]]:
    """Return the first rows of a file of NSL-KDD."""
    with gzip.open(NSL / name, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in itertools.islice(lines, count)]


def assert_alike(found: Any, wanted: Any, where: str = "answers") -> None:
    """Answers are equal but for the last digits of their figures."""
    if isinstance(wanted, float):
        assert found == pytest.approx(wanted, abs=1e-4, rel=1e-5), where
    elif isinstance(wanted, dict):
        assert found.keys() == wanted.keys(), where
        for key, each in wanted.items():
            assert_alike(found[key], each, f"{where}.{key}")
    elif isinstance(wanted, list):
        assert len(found) == len(wanted), where
        for at, each in enumerate(wanted):
            assert_alike(found[at], each, f"{where}[{at}]")
    else:
        assert found == wanted, where
