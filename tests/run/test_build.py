"""From a configuration to objects, and a model with all that belongs to it on disk."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from jenga.errors import ConfigError, DataError, JengaError
from jenga.run.build import Experiment, build
from jenga.run.experiment import load_config

ALL = ("mood", "flags", "names", "price")


@pytest.fixture
def built(settings: Callable[..., dict[str, Any]], tmp_path: Path) -> Callable[..., Experiment]:
    def make(*tasks: str, **blocks: Any) -> Experiment:
        return build(load_config(settings(*tasks, **blocks)), tmp_path / "work")

    return make


# -------------------------------------------------------------------------------------------------------------- sources


@pytest.mark.parametrize("reached", ["same", "relative", "packed", "listed", "with a test file"])
def test_a_row_that_tests_one_task_never_trains_another_over_the_same_file(
    settings: Callable[..., dict[str, Any]],
    make_rows: Callable[..., list[dict[str, Any]]],
    write_rows: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reached: str,
) -> None:
    rows = make_rows(60)
    for row in rows[::7]:
        row["other"] = None
    content = settings("mood", "price", rows=rows, data={"max_bad_fraction": 0.2})
    first, second = content["tasks"]
    second["columns"] = {"text": "other"}
    path = Path(first["data_path"])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "packed.jsonl.gz").write_bytes(gzip.compress(path.read_bytes()))
    test = write_rows(tmp_path / "test.jsonl", make_rows(9, seed=1))
    second["data_path"] = {
        "same": str(path),
        "relative": path.name,
        "packed": str(tmp_path / "packed.jsonl.gz"),
        "listed": [str(path)],
        "with a test file": {"train": str(path), "test": test},
    }[reached]
    sources = build(load_config(content), tmp_path).sources
    assert len(sources) == 2
    parts = [{name: set(split.rows.ids) for name, split in source.splits.items()} for source in sources]
    assert parts[1]["train"] < parts[0]["train"]
    assert parts[1]["valid"] <= parts[0]["valid"]
    if reached != "with a test file":
        assert parts[1]["test"] <= parts[0]["test"]
    usable = {row["id"] for row in rows if row["other"] is not None}
    assert parts[1]["train"] == parts[0]["train"] & usable


def test_a_file_that_trains_one_task_and_is_given_to_test_another_is_refused(
    settings: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    content = settings("mood", "price")
    path = content["tasks"][0]["data_path"]
    shutil.copy(path, tmp_path / "copy.jsonl")
    content["tasks"][0]["data_path"] = {"train": path, "test": path}
    build(load_config(content | {"tasks": content["tasks"][:1]}), tmp_path)
    content["tasks"][1]["data_path"] = str(tmp_path / "copy.jsonl")
    with pytest.raises(DataError, match=r"rows\.jsonl,? .*train price and are given as test rows of mood"):
        build(load_config(content), tmp_path)


def test_each_head_finds_its_column(settings: Callable[..., dict[str, Any]], built: Callable[..., Experiment]) -> None:
    experiment = built(*ALL)
    assert {key: (space.kind, space.size) for key, space in experiment.bundle.spaces.items()} == {
        ("mood", "mood"): ("class", 2), ("mood", "topic"): ("class", 3), ("flags", "flags"): ("items", 3),
        ("names", "names"): ("tags", 3), ("price", "price"): ("number", 1),
    }  # fmt: skip
    (source,) = experiment.sources
    assert source.tasks == ALL
    assert {name: len(split) for name, split in source.splits.items()} == {"train": 32, "valid": 4, "test": 4}


# -------------------------------------------------------------------------------------------------------------- details


def test_the_same_seed_builds_the_same_model(built: Callable[..., Experiment]) -> None:
    states = [built("mood", training={"seed": seed}).bundle.model.state_dict() for seed in (3, 3, 4)]
    same = [all(torch.equal(states[0][name], other[name]) for name in states[0]) for other in states[1:]]
    assert same == [True, False]


def test_numbers_are_scaled_by_the_training_rows(
    built: Callable[..., Experiment], settings: Callable[..., Any]
) -> None:
    experiment = built("price")
    targets = experiment.sources[0].splits["train"].rows.labels["price", "price"]
    task: Any = experiment.bundle.model.tasks["price"]
    assert float(task.mean_0) == pytest.approx(float(targets.mean()))
    assert float(task.std_0) == pytest.approx(float(targets.std()))
    tasks = settings("price")["tasks"]
    tasks[0]["heads"] = [{"name": "price", "standardize": False}]
    plain: Any = built("price", tasks=tasks).bundle.model.tasks["price"]
    assert (float(plain.mean_0), float(plain.std_0)) == (0.0, 1.0)


def test_numbers_that_never_change_are_not_divided_by_zero(
    built: Callable[..., Experiment], make_rows: Callable[..., Any]
) -> None:
    task: Any = built("price", rows=[{**row, "price": 5.0} for row in make_rows(20)]).bundle.model.tasks["price"]
    assert (float(task.mean_0), float(task.std_0)) == (5.0, 1.0)


def test_a_number_that_no_training_row_has_stays_finite(
    built: Callable[..., Experiment], make_rows: Callable[..., Any]
) -> None:
    rows = [{**row, "price": [row["price"], None]} for row in make_rows(40)]
    task: Any = built("price", rows=rows).bundle.model.tasks["price"]
    assert task.mean_0.tolist() == pytest.approx([float(task.mean_0[0]), 0.0])
    assert task.std_0.tolist() == pytest.approx([float(task.std_0[0]), 1.0])
    assert float(task.mean_0[0]) > 100


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(
    built: Callable[..., Experiment], checkpoint: Callable[[str], str]
) -> None:
    with pytest.raises(
        ConfigError, match=r"model.tokenizer: gives token number \d+, but the model has embeddings for \d+"
    ):
        built("mood", model={"base_model": checkpoint("bert"), "tokenizer": checkpoint("gpt2")})


def test_balanced_weights_come_from_the_training_rows(
    built: Callable[..., Experiment], settings: Callable[..., Any], make_rows: Callable[..., Any]
) -> None:
    rows = [
        {**row, "mood": "good" if i % 4 else "bad", "flags": [1, int(i % 4 == 0), 0]}
        for i, row in enumerate(make_rows(40))
    ]
    tasks = settings("mood", "flags")["tasks"]
    tasks[0]["heads"] = [{"name": "mood", "class_weight": "balanced"}]
    tasks[1]["heads"] = [{"name": "flags", "pos_weight": "balanced"}]
    mood, flags = built("mood", "flags", rows=rows, tasks=tasks).bundle.config.tasks
    assert mood.heads[0].class_weight == pytest.approx([2.0, 2 / 3])
    # Always yes, yes in a quarter, never yes: 1 of each at least, so that no weight is 0 or endless.
    assert flags.heads[0].pos_weight == pytest.approx([1 / 32, 3.0, 32.0])


@pytest.mark.parametrize("name", ["class_weight"])
def test_weights_of_another_number_than_the_labels_are_refused(
    built: Callable[..., Experiment], settings: Callable[..., Any], name: str
) -> None:
    tasks = settings("mood")["tasks"]
    tasks[0]["heads"] = [{"name": "mood", name: [1.0, 1.0, 1.0]}]
    with pytest.raises(ConfigError, match=rf"tasks\[mood\].heads\[mood\].{name}: 3 values for 2 labels: bad, good"):
        built("mood", tasks=tasks)


def test_rows_longer_than_the_model_are_refused(built: Callable[..., Experiment]) -> None:
    with pytest.raises(ConfigError, match=r"data.max_length: 65 tokens for mood, but the model has positions for 64"):
        built("mood", data={"max_length": 65})


def test_cut_rows_and_lost_words_are_told(built: Callable[..., Experiment]) -> None:
    warnings = [
        each for each in built("names", data={"max_length": 6}).warnings if "longer than max_length 6 tokens" in each
    ]
    assert any(
        "names, train:" in each and "words have no token of their own and count as untagged" in each
        for each in warnings
    )


@pytest.mark.parametrize(
    ("max_length", "window", "said"),
    [
        (
            6,
            None,
            "raise data.max_length (to 64 at most), or set model.window_tokens and raise data.max_length further",
        ),
        (64, None, "set model.window_tokens and raise data.max_length"),
        (64, 16, "raise data.max_length"),
    ],
)
def test_who_reads_of_cut_rows_is_told_which_key_reads_more(
    built: Callable[..., Experiment], max_length: int, window: int | None, said: str
) -> None:
    rows = [{"text": "the agent was kind " * 20, "mood": "ab"[at % 2], "topic": "ab"[at % 2]} for at in range(20)]
    data, model = {"max_length": max_length}, {"window_tokens": window}
    warnings = built("mood", rows=rows, data=data, model=model).warnings
    told = {each.partition("To read more of them, ")[2] for each in warnings if "are cut" in each}
    assert told == {said}


def test_a_preset_takes_no_other_tokenizer(built: Callable[..., Experiment], checkpoint: Callable[[str], str]) -> None:
    with pytest.raises(ConfigError, match=r"model.tokenizer: jenga/tiny-text makes its own tokenizer"):
        built("mood", model={"base_model": "jenga/tiny-text", "tokenizer": checkpoint("bert")})


def test_the_preset_is_made_once_a_run(built: Callable[..., Experiment], tmp_path: Path) -> None:
    made = []
    for _ in range(2):
        built("mood", model={"base_model": "jenga/tiny-text"})
        made.append((tmp_path / "work" / "preset" / "model.safetensors").stat().st_mtime_ns)
    assert made[0] == made[1]


def test_deterministic_is_the_runs_and_not_the_processs(built: Callable[..., Experiment]) -> None:
    try:
        for wanted in (True, False):
            built("mood", training={"deterministic": wanted})
            assert torch.are_deterministic_algorithms_enabled() == wanted
    finally:
        torch.use_deterministic_algorithms(False)


def test_the_compiler_is_not_imported_to_leave_determinism_as_it_is(
    built: Callable[..., Experiment], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(torch, "use_deterministic_algorithms", asked.append)
    built("mood")
    assert not asked
    built("mood", training={"deterministic": True})
    assert asked == [True]


def test_tokens_are_cached_where_the_configuration_says(built: Callable[..., Experiment], tmp_path: Path) -> None:
    cache = tmp_path / "tokens"
    experiments = [built("mood", data={"cache_dir": str(cache)}) for _ in range(2)]
    assert len(list(cache.iterdir())) == 3
    parts = [each.sources[0].splits["train"] for each in experiments]
    ids = [part.encoded.inputs(range(len(part)))["input_ids"] for part in parts]
    assert torch.equal(*ids)


def test_missing_data_is_a_data_error(built: Callable[..., Experiment], settings: Callable[..., Any]) -> None:
    tasks = settings("mood")["tasks"]
    tasks[0]["data_path"] = "/nowhere/rows.jsonl"
    with pytest.raises((DataError, JengaError), match=r"/nowhere/rows.jsonl"):
        built("mood", tasks=tasks)


def test_answers_cannot_be_compared_with_those_of_plain_texts(
    tmp_path: Path, make_gpt2: Callable[..., Path], write_rows: Callable[..., str]
) -> None:
    task = {
        "name": "lm", "type": "causal_lm", "data_path": write_rows(tmp_path / "t.jsonl", [{"text": "a b c"}] * 9),
        "generation": {"exact_match": True},
    }  # fmt: skip
    content = {"model": {"base_model": str(make_gpt2())}, "tasks": [task], "data": {"max_length": 16}}
    with pytest.raises(ConfigError, match=r"tasks\[lm\].generation.exact_match: the rows are plain texts"):
        build(load_config(content), tmp_path)


def test_other_processes_make_batches_of_pictures_for_a_gpu_and_none_unasked_for_a_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jenga.ahead._shared_memory", lambda: 1 << 31)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(3)))
    rows = [{"image": [[0, 255] * 8] * 16, "label": "ab"[at % 2]} for at in range(20)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    content: dict[str, Any] = {
        "model": {"backbone_type": "vision", "base_model": "jenga/tiny-vision"},
        "tasks": [{"name": "kind", "type": "classification", "data_path": str(tmp_path / "rows.jsonl")}],
    }
    for given, device, expected in [(None, "cpu", 0), (None, "cuda", 2), (0, "cuda", 0), (1, "cpu", 1)]:
        config = load_config({**content, "data": {"workers": given}})
        assert build(config, tmp_path / "work", device=torch.device(device)).workers == expected


@pytest.mark.parametrize(("method", "refused"), [("nearest", True), ("autoencoder", False)])
def test_a_model_that_knows_its_rows_by_heart_needs_others_to_be_judged_by(
    method: str, refused: bool, event_settings: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    task = {"type": "anomaly_detection", "mode": "unsupervised", "method": method}
    content = event_settings(task=task, data={"valid_fraction": 0, "test_fraction": 0})
    content["tasks"][0]["heads"][0] = {"name": "threat", "num_labels": 2}
    if refused:
        with pytest.raises(ConfigError, match=r"tasks\[find\]: the model holds the features of normal training rows"):
            build(load_config(content), tmp_path)
    else:
        build(load_config(content), tmp_path)
