"""Five permuted-digits tasks one after the other: what each method keeps of the earlier ones, and what it costs.

``python benchmarks/bench_continual.py --json benchmarks/continual.json`` trains every method with five seeds, each run
in a process of its own, and prints the table of docs/continual.md. What is in the file already is not run again;
`--seeds` and `--methods` narrow it. ``pytest benchmarks/bench_continual.py`` runs a small one.

The rows are sklearn's handwritten digits, 8 x 8 pixels, shuffled by one permutation of the pixels a stage (Goodfellow
et al. 2014): one head of ten classes, other inputs. 1,000 images train and 500 others test, the same in all stages.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jenga  # noqa: F401 -- before torch, as the commands do: it sets how OpenMP's threads wait

# isort: split
import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from jenga.callbacks import CALLBACK_REGISTRY
from jenga.run import experiment

STAGES, TRAIN_ROWS, TEST_ROWS, PIXELS = 5, 1000, 500, 64
EPOCHS, BATCH_SIZE, RATE, HIDDEN, MEMORY, PERIOD = 10, 64, 1e-2, [64, 64], 200, 4
NESTED = "nested_learning"
FIGURES = ("final", "forgetting", "backward_transfer", "cpu_seconds", "peak_mib")

METHODS: Mapping[str, Mapping[str, Any]] = {
    "adamw": {},
    # The first layer moves as far as one that fires every fourth step with the mean gradient does.
    "rate_matched": {"training": {"layer_decay": 1 / PERIOD}},
    "slow_head": {"training": {"learning_rate": {"backbone": RATE, "heads": RATE / 10}}},
    "ema": {"training": {"ema": 0.999}},
    "ewc": {"continual": {"ewc": {"strength": 100.0, "rows": 500}}},
    "agem": {"continual": {"agem": {"memory": MEMORY, "rows_per_step": 64}}},
    "replay": {"continual": {"replay": {"memory": MEMORY}}},
    "nested": {
        "callbacks": {NESTED: {"levels": [{"match": "*layers.0*", "period": PERIOD}, {"match": "*", "period": 1}]}}
    },
}  # fmt: skip
"""What each method adds to the configuration; `prototypes` are judged beside the first."""


def write_rows(folder: Path, *, train_rows: int, test_rows: int, stages: int) -> None:
    """Write train.jsonl and test.jsonl: ``stage``, ``digit``, and the pixels ``p00`` to ``p63`` between 0 and 1."""
    digits = load_digits()
    rng = np.random.default_rng(0)
    order = rng.permutation(len(digits.target))
    permutations = [np.arange(PIXELS), *(rng.permutation(PIXELS) for _ in range(stages - 1))]
    parts = {"train": order[:train_rows], "test": order[train_rows : train_rows + test_rows]}
    for split, index in parts.items():
        with (folder / f"{split}.jsonl").open("w") as file:
            for stage, permutation in enumerate(permutations):
                for at in index.tolist():
                    pixels = (digits.data[at][permutation] / 16).tolist()
                    row = {"stage": stage, "digit": str(digits.target[at])}
                    row |= {f"p{i:02}": value for i, value in enumerate(pixels)}
                    file.write(json.dumps(row) + "\n")


def configuration(folder: Path, method: str, seed: int, *, epochs: int, stages: int) -> dict[str, Any]:
    """Return the experiment of one run, as its YAML has it."""
    given = METHODS[method]
    fields = [{"path": f"p{i:02}", "kind": "numeric"} for i in range(PIXELS)]
    training = {"epochs": epochs, "batch_size": BATCH_SIZE, "learning_rate": RATE, "weight_decay": 0.0, "seed": seed}
    return {
        "project_name": method,
        "model": {
            "backbone_type": "sequential", "base_model": "mlp", "hidden_sizes": HIDDEN,
            "refinery": {"schema": {"name": "digits", "fields": fields}},
        },
        "tasks": [
            {
                "name": "digits", "type": "classification", "columns": {"label": "digit"},
                "data_path": {"train": str(folder / "train.jsonl"), "test": str(folder / "test.jsonl")},
                "heads": [{"name": "digit"}],
            }
        ],
        "data": {"valid_fraction": 0.0},
        "stages": [{"name": f"permutation-{at}", "where": {"stage": at}} for at in range(stages)],
        "training": {**training, **given.get("training", {})},
        "continual": {"prototypes": method == "adamw", **given.get("continual", {})},
        "callbacks": given.get("callbacks", {}),
        "evaluation": {"worst_errors": 0, "baselines": []},
        "checkpoint": {"every_steps": 1_000_000},
        "tracking": {"enabled": False},
        "output_dir": str(folder / "runs"),
    }  # fmt: skip


def run(folder: Path, method: str, seed: int, *, epochs: int = EPOCHS, stages: int = STAGES) -> dict[str, Any]:
    """Train once, without the report, and return the content of continual.json with the processor seconds."""
    torch.set_num_threads(1)
    experiment.write_report = lambda run: None  # type: ignore[assignment,misc]
    begin = time.process_time()
    result = experiment.train(configuration(folder, method, seed, epochs=epochs, stages=stages), device="cpu")
    seconds = time.process_time() - begin
    found: dict[str, Any] = json.loads((result.run / "continual.json").read_text())
    found["cpu_seconds"] = seconds
    found["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return found


def _run_in(connection: Any, *arguments: Any) -> None:
    connection.send(run(*arguments))


def run_apart(folder: Path, method: str, seed: int) -> dict[str, Any]:
    """Return `run` of a process of its own, so that its peak memory is its own."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=_run_in, args=(there, folder, method, seed))
    process.start()
    there.close()
    try:
        found: dict[str, Any] = here.recv()
    finally:
        process.join()
    return found


def rows_of(results: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, dict[str, tuple[float, float]]]]:
    """Yield each method with the mean and the standard deviation of its figures over seeds; prototypes last."""
    for method, by_seed in results.items():
        runs = [{**each["summary"], **each} for each in by_seed.values()]
        yield method, {name: _mean([each[name] for each in runs]) for name in FIGURES}
    prototypes = [each["baselines"]["prototypes"]["summary"] for each in results.get("adamw", {}).values()]
    if prototypes:
        yield "prototypes", {name: _mean([each[name] for each in prototypes]) for name in FIGURES[:3]}


def _mean(values: Sequence[float]) -> tuple[float, float]:
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def main(arguments: Sequence[str]) -> None:
    """Run what is not in the file yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--methods", nargs="*", default=[each for each in METHODS if each != "nested" or known()])
    given = parser.parse_args(arguments)
    content: dict[str, Any] = json.loads(given.json.read_text()) if given.json.exists() else {"runs": {}}
    with tempfile.TemporaryDirectory(prefix="jenga-") as scratch:
        folder = Path(scratch)
        write_rows(folder, train_rows=TRAIN_ROWS, test_rows=TEST_ROWS, stages=STAGES)
        for method in given.methods:
            own = content["runs"].setdefault(method, {})
            for seed in range(given.seeds):
                if str(seed) in own:
                    continue
                found = run_apart(folder, method, seed)
                kept = ("matrix", "before", "summary", "baselines", "cpu_seconds", "peak_mib")
                own[str(seed)] = {name: found[name] for name in kept}
                given.json.write_text(json.dumps(content, indent=1) + "\n")
    for method, figures in rows_of(content["runs"]):
        print(method.ljust(14), *(f"{name} {mean:.3f} +- {spread:.3f}" for name, (mean, spread) in figures.items()))


def known() -> bool:
    """Whether nested learning is there."""
    return NESTED in CALLBACK_REGISTRY


@pytest.mark.parametrize("method", [each for each in METHODS if each != "nested"])
def test_a_method_trains_two_permutations(method: str, tmp_path: Path) -> None:
    write_rows(tmp_path, train_rows=100, test_rows=50, stages=2)
    found = run(tmp_path, method, 0, epochs=2, stages=2)
    assert [len(row) for row in found["matrix"]] == [2, 2]
    assert found["matrix"][0][0] > found["before"][0]
    assert set(found["summary"]) >= set(FIGURES[:3])


if __name__ == "__main__":
    main(sys.argv[1:])
