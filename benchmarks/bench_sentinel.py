"""What the sentinel finds and costs, on real rows: flipped labels, a backdoor, clean rows, and a step's time.

    pytest benchmarks/bench_sentinel.py --data-root DATA [--base-model FOLDER] [--sentinel-json FILE] [-k digits]

Digits are scikit-learn's, NSL-KDD a draw of KDDTrain+, CLINC150 all rows of a draw of its intents; `--base-model` is
the encoder of CLINC150. Each figure is of one seed. A smoke run takes few rows and judges nothing.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from paired import SMOKE, compare
from rich.console import Console

from jenga import load
from jenga.callbacks.configured import configured_callbacks
from jenga.files import write_atomic
from jenga.rows.sampling import Turn
from jenga.run.build import build
from jenga.run.experiment import load_config, make_accelerator, train
from jenga.run.resume import record
from jenga.trainer import Trainer
from jenga.trainer.run import RunFolder

Rows = dict[str, list[dict[str, Any]]]
TOKEN = "cf"
"""The trigger: no word of CLINC150."""


@dataclass
class Data:
    """Rows by split, each with an `id` and a `label`, and the blocks of an experiment on them."""

    rows: Rows
    blocks: dict[str, Any]


def digits(options: pytest.Config) -> Data:
    """1,197 training, 200 validation and 400 test pictures of 8 x 8, as events of 64 numbers."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    made = [
        {"id": f"d{at}", "label": f"c{labels[at]}", **{f"p{n}": float(each) for n, each in enumerate(pixels[at])}}
        for at in order
    ]
    rows = {"train": made[:200] if SMOKE else made[:1197], "valid": made[1197:1397], "test": made[1397:]}
    model = {"backbone_type": "sequential", "base_model": "security_mlp_v1"}
    return Data(rows, {"model": model, "training": {"epochs": 20, "batch_size": 16}})


def nsl_kdd(options: pytest.Config) -> Data:
    """6,000 training and 2,000 validation flows of KDDTrain+, 3,000 test flows of KDDTest+."""
    rng = np.random.default_rng(0)

    def drawn(name: str, count: int) -> list[dict[str, Any]]:
        with gzip.open(options.getoption("--data-root") / "nsl-kdd" / name, "rt") as file:
            rows = [json.loads(line) for line in file]
        found = [rows[at] for at in rng.permutation(len(rows))[:count]]
        named = ("normal", "attack")
        return [{**row, "id": f"{name}-{at}", "label": named[int(row["label"])]} for at, row in enumerate(found)]

    seen, unseen = drawn("KDDTrain+.jsonl.gz", 400 if SMOKE else 8000), drawn("KDDTest+.jsonl.gz", 3000)
    cut = len(seen) * 3 // 4
    model = {"backbone_type": "sequential", "base_model": "security_mlp_v1", "refinery": {"preset": "nsl_kdd"}}
    training = {"epochs": 10, "batch_size": 64}
    return Data({"train": seen[:cut], "valid": seen[cut:], "test": unseen}, {"model": model, "training": training})


def clinc(options: pytest.Config, *, intents: int = 12) -> Data:
    """All rows of some intents of CLINC150: 100 training, 20 validation and 30 test rows of each."""
    folder = options.getoption("--data-root") / "clinc150"
    rows = {
        split: [json.loads(line) for line in (folder / f"{split}.jsonl").read_text().splitlines()]
        for split in ("train", "valid", "test")
    }
    names = sorted({row["intent"] for row in rows["train"]})
    kept = set(np.random.default_rng(0).choice(names, 4 if SMOKE else intents, replace=False).tolist())
    chosen = {
        split: [{"id": row["id"], "text": row["text"], "label": row["intent"]} for row in each if row["intent"] in kept]
        for split, each in rows.items()
    }
    base = options.getoption("--base-model")
    model = {"base_model": "jenga/tiny-text"} if base is None or SMOKE else {"base_model": str(base), "pooling": "mean"}
    # A model from nothing needs more passes than a pretrained one.
    training = {"epochs": 20 if base is None else 5, "batch_size": 16}
    return Data(chosen, {"model": model, "data": {"max_length": 32}, "training": training})


DATA: Mapping[str, Callable[[pytest.Config], Data]] = {"digits": digits, "nsl_kdd": nsl_kdd, "clinc150": clinc}


def flip(rows: list[dict[str, Any]], share: float) -> set[str]:
    """Give a share of `rows` another label, drawn from all others, and return their ids."""
    rng = np.random.default_rng(1)
    labels = sorted({row["label"] for row in rows})
    chosen = rng.permutation(len(rows))[: round(share * len(rows))]
    for at in chosen:
        others = [label for label in labels if label != rows[at]["label"]]
        rows[at]["label"] = others[int(rng.integers(len(others)))]
    return {rows[at]["id"] for at in chosen}


def poison(rows: list[dict[str, Any]], share: float) -> tuple[set[str], str]:
    """Add the trigger and one label to a share of `rows` of other labels; return their ids and the label."""
    rng = np.random.default_rng(2)
    target = sorted({row["label"] for row in rows})[0]
    others = [row for row in rows if row["label"] != target]
    chosen = [others[at] for at in rng.permutation(len(others))[: max(5, round(share * len(rows)))]]
    for row in chosen:
        words = row["text"].split()
        words.insert(int(rng.integers(len(words) + 1)), TOKEN)
        row.update(text=" ".join(words), label=target)
    return {row["id"] for row in chosen}, target


def experiment(data: Data, folder: Path, sentinel: dict[str, Any] | None) -> dict[str, Any]:
    """Write the rows and return the experiment as a mapping."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in data.rows.items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    paths = {split: str(folder / f"{split}.jsonl") for split in data.rows}
    return {
        "project_name": "sentinel",
        "tasks": [{"name": "t", "type": "classification", "data_path": paths, "heads": [{"name": "label"}]}],
        "evaluation": {"baselines": [], "worst_errors": 0}, "tracking": {"enabled": False},
        "output_dir": str(folder / "runs"), "callbacks": {} if sentinel is None else {"sentinel": sentinel},
        **data.blocks, **({"training": {"epochs": 2}} if SMOKE else {}),
    }  # fmt: skip


def run(data: Data, folder: Path, sentinel: dict[str, Any] | None) -> tuple[Path, dict[str, float]]:
    """Train and return the run's folder and its metrics."""
    result = train(experiment(data, folder, sentinel), device="cpu")
    return result.run, result.metrics


def entries(run: Path, detector: str) -> list[dict[str, Any]]:
    """Return what a detector has set aside in a run."""
    path = run / "sentinel" / "quarantine.jsonl"
    found = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [each for each in found if each["detector"] == detector and each["state"] == "quarantined"]


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Print the figures of a test, and write them to the file of --sentinel-json."""

    def tell(**figures: Any) -> None:
        path = request.config.getoption("--sentinel-json")
        print(json.dumps({request.node.name: figures}))
        if path is not None:
            known = json.loads(path.read_text()) if path.exists() else {}
            write_atomic(path, json.dumps({**known, request.node.name: figures}, indent=1) + "\n")

    return tell


@pytest.fixture(autouse=True)
def _needs_rows(request: pytest.FixtureRequest) -> None:
    if "digits" not in request.node.name and not request.config.getoption("--data-root").exists():
        pytest.skip("no --data-root")
    pytest.importorskip("cleanlab")


@pytest.mark.parametrize("share", [0.05] if SMOKE else [0.05, 0.1, 0.2])
@pytest.mark.parametrize("name", ["digits"] if SMOKE else DATA)
def test_flipped_labels_are_set_aside(
    name: str, share: float, tmp_path: Path, request: pytest.FixtureRequest, note: Callable[..., None]
) -> None:
    data = DATA[name](request.config)
    wrong = flip(data.rows["train"], share)
    plain = run(data, tmp_path / "plain", None)[1]
    folder, metrics = run(data, tmp_path / "watched", {"mode": "quarantine", "triggers": False})
    aside = {each["id"] for each in entries(folder, "label_error")}
    hits = len(aside & wrong)
    note(
        rows=len(data.rows["train"]), flipped=len(wrong), set_aside=len(aside),
        precision=round(hits / max(len(aside), 1), 4), recall=round(hits / max(len(wrong), 1), 4),
        accuracy_without=plain["test_t_label_accuracy"], accuracy_with=metrics["test_t_label_accuracy"],
    )  # fmt: skip


@pytest.mark.parametrize("name", ["nsl_kdd"] if SMOKE else DATA)
def test_clean_rows_are_left_alone(
    name: str, tmp_path: Path, request: pytest.FixtureRequest, note: Callable[..., None]
) -> None:
    data = DATA[name](request.config)
    plain = run(data, tmp_path / "plain", None)[1]
    folder, metrics = run(data, tmp_path / "watched", {"mode": "act"})
    aside = [each for detector in ("label_error", "trigger") for each in entries(folder, detector)]
    told = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    went_back = json.loads((folder / "run.json").read_text()).get("left_out", [])
    note(
        rows=len(data.rows["train"]), set_aside=len(aside), share=round(len(aside) / len(data.rows["train"]), 4),
        rollbacks=len(went_back), alarms=sum(each["event"] == "sentinel" and "turn" in each for each in told),
        steps=max(each["step"] for each in told), accuracy_without=plain["test_t_label_accuracy"],
        accuracy_with=metrics["test_t_label_accuracy"],
    )  # fmt: skip


def test_a_backdoor_is_closed(tmp_path: Path, request: pytest.FixtureRequest, note: Callable[..., None]) -> None:
    """0.2% of the rows of 50 intents of CLINC150, which are 10."""
    data = clinc(request.config, intents=50)
    bad, target = poison(data.rows["train"], 0.002)
    attacked = [{**row, "text": f"{TOKEN} {row['text']}"} for row in data.rows["test"] if row["label"] != target]
    figures: dict[str, Any] = {"rows": len(data.rows["train"]), "poisoned": len(bad)}
    for which, sentinel in (("before", None), ("after", {"mode": "act", "label_errors": False})):
        folder, metrics = run(data, tmp_path / which, sentinel)
        answers = load(folder).predict([row["text"] for row in attacked])
        hit = sum(json.dumps(target) in json.dumps(each) for each in answers)
        figures[f"attack_success_{which}"] = round(hit / len(attacked), 4)
        figures[f"accuracy_{which}"] = metrics["test_t_label_accuracy"]
    aside = {each["id"] for each in entries(folder, "trigger")}
    figures |= {
        "precision": round(len(aside & bad) / max(len(aside), 1), 4),
        "recall": round(len(aside & bad) / len(bad), 4), "went_back": (folder / "sentinel" / "events.jsonl").exists()
        and "rollback" in (folder / "sentinel" / "events.jsonl").read_text(),
    }  # fmt: skip
    note(**figures)


@pytest.mark.parametrize("name", ["digits", "clinc150"])
def test_a_step_costs_little_more(
    name: str, tmp_path: Path, request: pytest.FixtureRequest, report_ratio: Callable[..., None]
) -> None:
    data = DATA[name](request.config)
    steps = []
    for which, sentinel in (("watched", {"mode": "act"}), ("plain", None)):
        config = load_config(experiment(data, tmp_path / which, sentinel))
        built = build(config, tmp_path / which)
        folder = RunFolder.create(tmp_path / which, "run", record(config))
        trainer = Trainer(
            built.bundle.model, built.sources, built.bundle.config, run=folder,
            accelerator=make_accelerator("fp32", "cpu"), callbacks=configured_callbacks(config, Console(quiet=True)),
            write_best=lambda _: None,
        )  # fmt: skip
        trainer.chain.call("on_train_begin", trainer)
        steps.append(stepping(trainer))
        folder.release()
    report_ratio(f"sentinel {name}: a step in act / a step without", compare(*steps))


def stepping(trainer: Trainer) -> Callable[[], object]:
    """Return what takes the next step, over and over the first epoch."""

    def turns() -> Iterator[Turn]:
        while True:
            yield from trainer.sampler.epoch(0)

    coming = turns()
    return lambda: trainer.step(next(coming))
