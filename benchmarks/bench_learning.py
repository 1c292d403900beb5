"""Learning against a hand-written loop: the same rows, rates and steps, five seeds, real rows and a real encoder.

``pytest benchmarks/bench_learning.py --base-model MINILM --learning-json learning.json`` trains Jenga and a plain
PyTorch loop in turn on rows of SNIPS (intents and slots), CLINC150 and WNUT17, and prints the scores on test rows with
their standard errors, and the CPU seconds of training to the loop's score. What is in the file already is not run
again. JENGA_BENCH_SEEDS and JENGA_BENCH_SETS narrow it. Without rows or encoder it skips: a score of made-up rows says
nothing.

The loop is what one writes by hand: `nn.Linear` heads as PyTorch initialises them, batches of shuffled rows, AdamW with
the same decay, clipping and schedule. Both read the same tokens, and one evaluation judges both.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from train_steps import experiment_of, trainer_of

from jenga.model import MultiTaskModel
from jenga.rows.batches import Source
from jenga.run.build import Experiment
from jenga.trainer.evaluate import Runner

SEEDS = int(os.environ.get("JENGA_BENCH_SEEDS", "5"))
BATCH_SIZE, EPOCHS, WARMUP_RATIO, WEIGHT_DECAY, DROPOUT = 32, 2, 0.06, 0.01, 0.1
RATES = {"backbone": 1e-4, "heads": 1e-3}
# Shares of the steps after which a run is judged.
LOOKS = (0.5, 0.625, 0.75, 0.875, 1.0)
TEST_ROWS = 1500


@dataclass(frozen=True)
class LearningSet:
    """Tasks over one folder of rows, and the metrics whose mean is the score."""

    folder: str
    n_rows: int | None
    tasks: tuple[tuple[str, str, dict[str, str]], ...]
    metrics: tuple[str, ...]


SETS = {
    "snips": LearningSet(
        "snips", 1500,
        (("intent", "classification", {"tokens": "tokens", "label": "intent"}),
         ("slots", "ner", {"tokens": "tokens", "ner_tags": "slots"})),
        ("slots_slots_f1",),
    ),
    "clinc150": LearningSet(
        "clinc150", 3000, (("intent", "classification", {"text": "text", "label": "intent"}),),
        ("intent_intent_accuracy",),
    ),
    "wnut17": LearningSet(
        "wnut17", None, (("names", "ner", {"tokens": "tokens", "ner_tags": "ner_tags"}),), ("names_names_f1",)
    ),
}  # fmt: skip


@dataclass
class Curve:
    """Scores at `LOOKS`, and the CPU seconds of training until then."""

    scores: list[float]
    seconds: list[float]

    def seconds_to(self, score: float) -> float | None:
        """Return the CPU seconds after which `score` is reached for the first time; between looks it goes straight."""
        before = (0.0, 0.0)
        for now in zip(self.seconds, self.scores, strict=True):
            if now[1] >= score:
                share = (score - before[1]) / max(now[1] - before[1], 1e-12)
                return before[0] + share * (now[0] - before[0])
            before = now
        return None


@dataclass
class Problem:
    """One seed of one set: what Jenga made of the rows, and how both sides are judged."""

    experiment: Experiment
    learning_set: LearningSet
    seed: int

    @property
    def source(self) -> Source:
        return self.experiment.sources[0]

    def score(self, model: MultiTaskModel) -> float:
        """The mean of the set's metrics over the test rows."""
        runner = Runner(model, torch.device("cpu"), contextlib.nullcontext, {"shared": 128}, {})
        metrics = runner.evaluate([self.source], "test").metrics
        return float(np.mean([metrics[name] for name in self.learning_set.metrics]))


def make_problem(name: str, seed: int, data_root: Path, base_model: Path, workdir: Path) -> Problem:
    """Read the first rows of the set and build the experiment of `seed`."""
    chosen = SETS[name]
    paths = {}
    for split, n_rows in (("train", chosen.n_rows), ("test", TEST_ROWS)):
        lines = (data_root / chosen.folder / f"{split}.jsonl").read_text().splitlines()
        if split == "train":  # files may be sorted by label
            lines = [lines[i] for i in np.random.default_rng(0).permutation(len(lines))]
        paths[split] = workdir / f"{name}_{split}.jsonl"
        paths[split].write_text("\n".join(lines[:n_rows]) + "\n")
    files = {"train": str(paths["train"]), "test": str(paths["test"])}
    settings = {
        "model": {"base_model": str(base_model), "pooling": "mean"},
        "tasks": [
            {"name": task, "type": kind, "data_path": files, "columns": columns, "heads": [{"name": task}]}
            for task, kind, columns in chosen.tasks
        ],
        "data": {"max_length": 128, "valid_fraction": 0.0, "cache_dir": str(workdir), "max_bad_fraction": 0.1},
        "training": {
            "batch_size": BATCH_SIZE, "epochs": EPOCHS, "learning_rate": RATES, "warmup_ratio": WARMUP_RATIO,
            "weight_decay": WEIGHT_DECAY, "seed": seed,
        },
    }  # fmt: skip
    return Problem(experiment_of(settings, workdir), chosen, seed)


def _watched(steps: Iterator[None], n_steps: int, score: Callable[[], float]) -> Curve:
    """Take all steps, and a score at each of `LOOKS`, whose time does not count."""
    looks = {round(share * n_steps) for share in LOOKS}
    curve, seconds = Curve([], []), 0.0
    for step in range(1, n_steps + 1):
        start = time.process_time()
        next(steps)
        seconds += time.process_time() - start
        if step in looks:
            curve.seconds.append(seconds)
            curve.scores.append(score())
    return curve


def learn_with_jenga(problem: Problem, workdir: Path) -> Curve:
    """Train as `jenga train` does, without callbacks."""
    trainer = trainer_of(problem.experiment, workdir)

    def steps() -> Iterator[None]:
        for epoch in range(EPOCHS):
            for turn in trainer.sampler.epoch(epoch):
                yield trainer.step(turn)

    return _watched(steps(), trainer.total_steps, lambda: problem.score(trainer.model))


def learn_by_hand(problem: Problem) -> Curve:
    """Train with plain PyTorch and transformers on batches of shuffled rows."""
    from transformers import AutoModel, get_scheduler

    source, config = problem.source, problem.experiment.bundle.config
    split = source.splits["train"]
    torch.manual_seed(problem.seed)
    encoder = AutoModel.from_pretrained(config.model.base_model, dtype=torch.float32, add_pooling_layer=False).train()
    width = encoder.config.hidden_size
    heads = nn.ModuleDict({task: nn.Linear(width, split.spaces[task, task].size) for task in source.tasks})
    dropout = nn.Dropout(DROPOUT)
    rated = ((encoder, RATES["backbone"]), (heads, RATES["heads"]))
    groups = [
        {"params": [p for p in part.parameters() if (p.ndim > 1) == decayed], "lr": rate,
         "weight_decay": WEIGHT_DECAY if decayed else 0.0}
        for part, rate in rated for decayed in (True, False)
    ]  # fmt: skip
    parameters = [p for group in groups for p in group["params"]]
    optimizer = torch.optim.AdamW(groups, fused=True)
    per_epoch = -(-len(split) // BATCH_SIZE)
    n_steps = EPOCHS * per_epoch
    schedule = get_scheduler("linear", optimizer, round(WARMUP_RATIO * n_steps), n_steps)
    token_tasks = {task for task, kind, _ in problem.learning_set.tasks if kind == "ner"}

    def steps() -> Iterator[None]:
        rng = np.random.default_rng(problem.seed)
        for _ in range(EPOCHS):
            order = rng.permutation(len(split))
            for start in range(0, len(order), BATCH_SIZE):
                yield step(split.batch(order[start : start + BATCH_SIZE].tolist()))

    def step(batch: Any) -> None:
        hidden = encoder(**batch.inputs).last_hidden_state
        mask = batch.inputs["attention_mask"].unsqueeze(-1).to(hidden.dtype)
        pooled = (hidden * mask).sum(1) / mask.sum(1)
        loss = torch.zeros(())
        for task in source.tasks:
            logits = heads[task](dropout(hidden if task in token_tasks else pooled))
            loss = loss + F.cross_entropy(logits.flatten(0, -2), batch.labels[task][task].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()

    def score() -> float:
        model = problem.experiment.bundle.model
        model.encoders["shared"].encoder.load_state_dict(encoder.state_dict())
        for task in source.tasks:
            model.tasks[task].heads.weight.data.copy_(heads[task].weight.data)
            model.tasks[task].heads.bias.data.copy_(heads[task].bias.data)
        return problem.score(model)

    return _watched(steps(), n_steps, score)


def compare(name: str, seeds: int, data_root: Path, base_model: Path, known: dict[str, Any], workdir: Path) -> None:
    """Put the curves of both sides into `known`, by side and seed, where they are not there yet."""
    for seed in range(seeds):
        for side in ("jenga", "loop"):
            if f"{side}-{seed}" not in known:
                folder = workdir / f"{name}-{side}-{seed}"
                folder.mkdir()
                problem = make_problem(name, seed, data_root, base_model, folder)
                curve = learn_with_jenga(problem, folder) if side == "jenga" else learn_by_hand(problem)
                known[f"{side}-{seed}"] = asdict(curve)


@dataclass(frozen=True)
class Verdict:
    """Both sides' mean test scores after all steps, and what it took.

    `standard_error`: of the difference of the means. `seconds`: CPU seconds a run. `seconds_to_loop`: of the mean
    curves, to the loop's final score; None where Jenga's mean curve never reaches it.
    """

    jenga: float
    loop: float
    standard_error: float
    jenga_seconds: float
    loop_seconds: float
    seconds_to_loop: float | None

    def __str__(self) -> str:
        to_loop = "not reached" if self.seconds_to_loop is None else f"{self.seconds_to_loop:.1f} s"
        return (
            f"jenga {self.jenga:.3f}, loop {self.loop:.3f}, standard error of the difference "
            f"{self.standard_error:.3f}; "
            f"{self.jenga_seconds:.1f} s against {self.loop_seconds:.1f} s; to the loop's score: {to_loop}"
        )


def judge(known: dict[str, Any], seeds: int) -> Verdict:
    """Return the verdict over `seeds` seeds."""
    curves = {
        side: [Curve(**known[f"{side}-{seed}"]) for seed in range(seeds)] for side in ("jenga", "loop")
    }  # fmt: skip
    scores = {side: np.array([each.scores for each in found]) for side, found in curves.items()}
    seconds = {side: np.array([each.seconds for each in found]).mean(0).tolist() for side, found in curves.items()}
    final = {side: each[:, -1] for side, each in scores.items()}
    error = float(np.sqrt(sum(each.var(ddof=1) / seeds for each in final.values()))) if seeds > 1 else 0.0
    mean = Curve(scores["jenga"].mean(0).tolist(), seconds["jenga"])
    loop = float(final["loop"].mean())
    return Verdict(
        float(final["jenga"].mean()), loop, error, seconds["jenga"][-1], seconds["loop"][-1], mean.seconds_to(loop)
    )


@pytest.mark.parametrize("name", os.environ.get("JENGA_BENCH_SETS", ",".join(SETS)).split(","))
def test_learns_as_fast_as_a_hand_written_loop(
    name: str, pytestconfig: pytest.Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bars: the mean score not below the loop's by more than a standard error, the time to its score not longer."""
    data_root, base_model = pytestconfig.getoption("--data-root"), pytestconfig.getoption("--base-model")
    if base_model is None or not (data_root / SETS[name].folder).is_dir():
        pytest.skip("needs --base-model, a pretrained encoder, and the rows of --data-root")
    path = pytestconfig.getoption("--learning-json")
    known = json.loads(path.read_text()) if path is not None and path.exists() else {}
    try:
        compare(name, SEEDS, data_root, base_model, known.setdefault(name, {}), tmp_path)
    finally:
        if path is not None:
            path.write_text(json.dumps(known, indent=1) + "\n")
    verdict = judge(known[name], SEEDS)
    with capsys.disabled():
        print(f"\nlearning-{name}, {SEEDS} seeds: {verdict}")
    if SEEDS >= 5:
        assert verdict.jenga >= verdict.loop - verdict.standard_error
        assert verdict.seconds_to_loop is None or verdict.seconds_to_loop <= verdict.loop_seconds


def test_the_time_to_a_score_lies_on_the_curve() -> None:
    curve = Curve([0.2, 0.6, 0.5], [10.0, 20.0, 30.0])
    assert curve.seconds_to(0.4) == 15.0
    assert curve.seconds_to(0.7) is None
