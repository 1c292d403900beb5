"""Training steps against what people use now: of the joint SNIPS experiment, and of whole models with LoRA.

The rows are SNIPS where its folder is given (``--data-root``, default: ``../shared/data``), else made-up rows of the
same lengths; the model is ``--base-model``, else a randomly initialised one of MiniLM's shape, which costs the same.
"""

import json
import random
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

import lora_steps
import pytest
import torch
from paired import SMOKE, PairedRatio, compare, held
from peak_memory import peak_bytes
from train_steps import experiment_of, trainer_of

from jenga.run.build import Experiment
from jenga.trainer import Trainer

BATCH_SIZE, MAX_LENGTH, N_ROWS = 32, 64, 64 if SMOKE else 1024
Report = Callable[[str, PairedRatio], None]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Path:
    """A folder with rows.jsonl and a model."""
    folder = tmp_path_factory.mktemp("snips")
    source = pytestconfig.getoption("--data-root") / "snips" / "train.jsonl"
    rows = [json.loads(line) for line in source.read_text().splitlines()] if source.exists() else made_up_rows()
    (folder / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows[: N_ROWS * 5 // 4]))
    given = pytestconfig.getoption("--base-model")
    (folder / "model").symlink_to(given.absolute()) if given else make_model(folder / "model", rows)
    return folder


def made_up_rows() -> list[dict[str, object]]:
    """Rows as long as those of SNIPS: 9 words on average, up to 35; 7 intents, 39 slot types."""
    rng = random.Random(0)
    rows = []
    for i in range(N_ROWS * 5 // 4):
        words = [f"word{rng.randrange(3000)}" for _ in range(min(35, max(2, round(rng.gammavariate(6, 1.5)))))]
        slots = ["O" if rng.random() < 0.5 else f"B-slot{rng.randrange(39)}" for _ in words]
        rows.append({"id": str(i), "tokens": words, "slots": slots, "intent": f"intent{rng.randrange(7)}"})
    return rows


def make_model(folder: Path, rows: list[dict[str, object]]) -> None:
    """Write a randomly initialised BERT of MiniLM's shape (6 layers of 384) with a tokenizer of the rows' words."""
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    trained = BertWordPieceTokenizer()
    trained.train_from_iterator([" ".join(row["tokens"]) for row in rows], vocab_size=30522, show_progress=False)
    BertTokenizerFast(tokenizer_object=trained._tokenizer).save_pretrained(folder)
    shape = {
        "hidden_size": 384,
        "num_hidden_layers": 1 if SMOKE else 6,
        "num_attention_heads": 12,
        "intermediate_size": 1536,
    }
    BertModel(BertConfig(vocab_size=30522, **shape)).save_pretrained(folder)


def task(name: str, kind: str, columns: dict[str, str]) -> dict[str, object]:
    """One task over the rows, with one head of the same name."""
    columns = {"tokens": "tokens", **columns}
    return {"name": name, "type": kind, "data_path": "rows.jsonl", "columns": columns, "heads": [{"name": name}]}


INTENT = task("intent", "classification", {"label": "intent"})
SLOTS = task("slots", "ner", {"ner_tags": "slots"})


def make_trainer(
    folder: Path, tasks: list[dict[str, object]], batch_size: int = BATCH_SIZE
) -> tuple[Trainer, Experiment]:
    """The trainer of `tasks`, and its experiment."""
    settings = {
        "model": {"base_model": str(folder / "model")},
        "tasks": tasks,
        "data_root": str(folder),
        "data": {"max_length": MAX_LENGTH, "valid_fraction": 0.2, "test_fraction": 0.0, "cache_dir": str(folder)},
        "training": {"batch_size": batch_size, "epochs": 1000, "learning_rate": 5e-5},
    }
    experiment = experiment_of(settings, folder)
    return trainer_of(experiment, folder), experiment


def steps(trainer: Trainer) -> Callable[[], None]:
    """Take the next step of training at each call, without end; the log records that fall due are written."""
    turns = cycle(trainer.sampler.epoch(0))
    return lambda: trainer.step(next(turns))


def hand_written(trainer: Trainer, experiment: Experiment) -> Callable[[], None]:
    """A joint loop in plain PyTorch over the same batches: collated beforehand, fused AdamW, clipping, a schedule."""
    from transformers import AutoModel, get_scheduler

    source = experiment.sources[0]
    sizes = {task: source.splits["train"].spaces[task, task].size for task in ("intent", "slots")}
    folder = experiment.bundle.config.model.base_model
    encoder = AutoModel.from_pretrained(folder, dtype=torch.float32)
    heads = torch.nn.ModuleDict({name: torch.nn.Linear(encoder.config.hidden_size, n) for name, n in sizes.items()})
    dropout = torch.nn.Dropout(0.1)
    parameters = [*encoder.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=5e-5, fused=True)
    schedule = get_scheduler("linear", optimizer, num_warmup_steps=100, num_training_steps=100_000)
    encoder.train()
    batches = cycle([source.splits["train"].batch(turn.rows) for turn in trainer.sampler.epoch(0)])

    def step() -> None:
        batch = next(batches)
        output = encoder(**batch.inputs)
        intent = heads["intent"](dropout(output.pooler_output))
        slots = heads["slots"](dropout(output.last_hidden_state))
        loss = torch.nn.functional.cross_entropy(intent, batch.labels["intent"]["intent"])
        loss = loss + torch.nn.functional.cross_entropy(slots.flatten(0, 1), batch.labels["slots"]["slots"].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()

    return step


def hugging_face(experiment: Experiment, folder: Path, n_steps: int) -> Callable[[], None]:
    """Two plain Trainer runs, one a task, over the same rows: its defaults, padding to the longest row of a batch."""
    from transformers import (
        AutoModelForSequenceClassification,
        AutoModelForTokenClassification,
        AutoTokenizer,
        DataCollatorForTokenClassification,
        DataCollatorWithPadding,
        TrainingArguments,
    )
    from transformers import Trainer as HuggingFaceTrainer

    split = experiment.sources[0].splits["train"]
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    rows: dict[str, list[dict[str, object]]] = {"intent": [], "slots": []}
    for i in range(len(split)):
        batch = split.batch([i])
        ids, mask = batch.inputs["input_ids"][0].tolist(), batch.inputs["attention_mask"][0].tolist()
        rows["intent"].append(
            {"input_ids": ids, "attention_mask": mask, "labels": int(batch.labels["intent"]["intent"])}
        )
        tags = batch.labels["slots"]["slots"][0].tolist()
        rows["slots"].append({"input_ids": ids, "attention_mask": mask, "labels": tags})
    arguments = TrainingArguments(
        output_dir=str(folder / "hf"), per_device_train_batch_size=BATCH_SIZE, max_steps=n_steps, use_cpu=True,
        report_to="none", save_strategy="no", disable_tqdm=True, logging_strategy="no",
    )  # fmt: skip
    trainers = [
        HuggingFaceTrainer(
            kind.from_pretrained(folder / "model", num_labels=split.spaces[name, name].size, dtype=torch.float32),
            arguments, collator(tokenizer), rows[name],
        )
        for name, kind, collator in (
            ("intent", AutoModelForSequenceClassification, DataCollatorWithPadding),
            ("slots", AutoModelForTokenClassification, DataCollatorForTokenClassification),
        )
    ]  # fmt: skip

    def run() -> None:
        for each in trainers:
            each.train()

    return run


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> None:
    from transformers.utils import logging

    logging.set_verbosity_error()


@pytest.mark.parametrize("batch_size", [32, 8, 1])
def test_joint_step_costs_little_over_a_hand_written_loop(batch_size: int, folder: Path, report_ratio: Report) -> None:
    """Ours, collating included, over the plain loop on ready batches. Bars: 1.03, 1.03 and 1.10."""
    trainer, experiment = make_trainer(folder, [INTENT, SLOTS], batch_size)
    # several steps a round: single steps of two threads scatter too widely
    ratio = compare(steps(trainer), hand_written(trainer, experiment), rounds=40, warmup=4, min_round_s=1.0)
    name = "train_step-fp32-snips" if batch_size == BATCH_SIZE else f"train_step-fp32-snips-{batch_size}_rows"
    report_ratio(f"{name}: jenga / hand-written joint loop", ratio)
    held(ratio, below=1.5)


def test_joint_run_against_two_hugging_face_runs(folder: Path, report_ratio: Report) -> None:
    """The same rows once, both tasks: ours over the sum of two Trainer runs. Bar: 0.42."""
    trainer, experiment = make_trainer(folder, [INTENT, SLOTS])
    n_steps = trainer.sampler.turns_in(0)
    step = steps(trainer)

    def ours() -> None:
        for _ in range(n_steps):
            step()

    ratio = compare(ours, hugging_face(experiment, folder, n_steps), rounds=6, warmup=1, min_round_s=0)
    report_ratio("train_epoch-fp32-snips: jenga / two Hugging Face Trainer runs", ratio)
    held(ratio, below=0.8)


def test_six_heads_cost_little_over_one(folder: Path, report_ratio: Report) -> None:
    """A step of six heads on one encoder pass over a step of one head. Bar: 1.15."""
    six = {**INTENT, "heads": [{"name": f"head{i}", "column": "intent"} for i in range(6)]}
    ratio = compare(
        steps(make_trainer(folder, [six])[0]), steps(make_trainer(folder, [INTENT])[0]), warmup=4, min_round_s=0
    )
    report_ratio("train_step-fp32-snips: six heads / one head", ratio)
    held(ratio, below=1.5)


# ----------------------------------------------------------------------------------------------------------------- LoRA


@pytest.mark.parametrize("baseline", ["frozen", "peft"])
@pytest.mark.parametrize("shape", lora_steps.SHAPES, ids=str)
def test_lora_step_of_a_whole_model_over(shape: lora_steps.Shape, baseline: str, report_ratio: Report) -> None:
    """PEFT's model through jenga.accelerate. Bars, MiniLM: 1.20 of the frozen model with dropout, 1.10 without."""
    problem = lora_steps.make_problem(shape)
    candidate, reference = lora_steps.accelerated(problem), lora_steps.PROVIDERS[baseline](problem)
    ratio = compare(candidate, reference, rounds=30, warmup=2, min_round_s=0)
    report_ratio(f"lora_step-fp32-{shape}: accelerated / {baseline}", ratio)
    held(ratio, below=1.33 if baseline == "peft" else 1.6)


@pytest.mark.slow
@pytest.mark.parametrize("shape", lora_steps.SHAPES, ids=str)
def test_lora_step_of_a_whole_model_over_compiled_peft(shape: lora_steps.Shape, report_ratio: Report) -> None:
    problem = lora_steps.make_problem(shape)
    candidate, reference = lora_steps.accelerated(problem), lora_steps.peft_compiled(problem)
    ratio = compare(candidate, reference, rounds=30, warmup=2, min_round_s=0)
    report_ratio(f"lora_step-fp32-{shape}: accelerated / peft_compiled", ratio)
    held(ratio, below=1.6)


def test_lora_step_needs_no_more_memory_than_peft(capsys: pytest.CaptureFixture[str]) -> None:
    """The peak of a step of MiniLM beyond weights and gradients, each in a process of its own."""
    peaks = {name: peak // 2**20 for name, peak in peak_bytes("lora_steps", "accelerated", "peft", "frozen").items()}
    if SMOKE:
        return
    with capsys.disabled():
        print(f"\nlora_step-fp32-minilm-32x64 peak memory, MiB: {peaks}")
    assert peaks["accelerated"] < peaks["peft"]
