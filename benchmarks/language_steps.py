"""Steps of language models: one distillation step, and a fine-tuning as Jenga and as transformers' Trainer run it.

bench_language.py times them; `python benchmarks/peak_memory.py language_steps PROVIDER` measures one's memory. The
models have random weights, which cost what trained ones do, in the shape of SmolLM2-135M and of its every fourth layer.
"""

import gzip
import json
import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
from paired import SMOKE
from torch import Tensor
from torch.nn import functional as F

from jenga.kernels import linear_distillation

VOCABULARY, WIDTH = 8192 if SMOKE else 49_152, 576
ALPHA, TEMPERATURE = 0.5, 2.0
GSM8K = Path(__file__).parents[2] / "shared" / "data" / "gsm8k" / "train.jsonl.gz"
BATCH_SIZE, MAX_LENGTH, N_STEPS = (2, 256, 1) if SMOKE else (8, 256, 4)
Step = Callable[[], list[Tensor]]


@dataclass(frozen=True)
class Problem:
    """Tokens ``(1, T)`` to learn, and the layers of student and teacher."""

    ids: Tensor
    student_layers: int = 8
    teacher_layers: int = 30


def memory_problem(*, warmup: bool) -> Problem:
    torch.manual_seed(0)
    small = warmup or SMOKE
    ids = torch.randint(VOCABULARY, (1, 8 if small else 2048))
    return Problem(ids, 2, 2) if small else Problem(ids)


def make_model(n_layers: int) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=WIDTH, intermediate_size=1536, num_hidden_layers=n_layers,
        num_attention_heads=9, num_key_value_heads=3, tie_word_embeddings=True, use_cache=False,
        pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    return LlamaForCausalLM(config)


# ---------------------------------------------------------------------------------------------------- one distillation


def _step(problem: Problem, loss_of: Callable[[Any, Any, Tensor], Tensor]) -> Step:
    """Forward of both, backward of the student with its activations computed again, AdamW."""
    student, teacher = make_model(problem.student_layers).train(), make_model(problem.teacher_layers).eval()
    teacher.requires_grad_(False)
    student.activation_checkpointing_enable({"use_reentrant": False})
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-4, fused=True)

    def step(ids: Tensor = problem.ids) -> list[Tensor]:
        loss_of(student, teacher, ids).backward()
        gradients = [parameter.grad for parameter in student.parameters()]
        optimizer.step()
        optimizer.zero_grad()
        return gradients

    step(problem.ids[:, :4])  # makes the optimizer's moments, which no later step has to
    return step


def distilled(problem: Problem) -> Step:
    """What CausalLMTask and RunningTeacher do: hidden states of both, and the op."""

    def loss(student: Any, teacher: Any, ids: Tensor) -> Tensor:
        hidden = student.model(ids).last_hidden_state[:, :-1].flatten(0, 1)
        with torch.no_grad():
            said = teacher.model(ids).last_hidden_state[:, :-1].flatten(0, 1)
        return linear_distillation(
            hidden, student.lm_head.weight, said, teacher.lm_head.weight, ids[:, 1:].flatten(),
            alpha=ALPHA, temperature=TEMPERATURE,
        )  # fmt: skip

    return _step(problem, loss)


def distilled_plainly(problem: Problem) -> Step:
    """The same loss from both models' logits, as it is usually written."""

    def loss(student: Any, teacher: Any, ids: Tensor) -> Tensor:
        logits = student(ids).logits[:, :-1].flatten(0, 1)
        with torch.no_grad():
            said = teacher(ids).logits[:, :-1].flatten(0, 1)
        hard = F.cross_entropy(logits, ids[:, 1:].flatten())
        soft = F.kl_div(
            F.log_softmax(logits / TEMPERATURE, -1), F.softmax(said / TEMPERATURE, -1), reduction="batchmean"
        )
        return (1 - ALPHA) * hard + ALPHA * TEMPERATURE**2 * soft

    return _step(problem, loss)


def bodies_alone(problem: Problem) -> Step:
    """The same two forward passes and the backward one, without any logits: what the others hold beside the loss."""

    def loss(student: Any, teacher: Any, ids: Tensor) -> Tensor:
        hidden = student.model(ids).last_hidden_state
        with torch.no_grad():
            teacher.model(ids)
        return hidden.square().mean()

    return _step(problem, loss)


# ---------------------------------------------------------------------------------------------------------- fine-tuning


def gsm8k_rows(n_rows: int) -> list[dict[str, str]]:
    """Questions and answers, real ones where they are beside the checkout, else words of the same lengths."""
    if GSM8K.exists():
        with gzip.open(GSM8K, "rt", encoding="utf-8") as file:
            return [json.loads(line) for line, _ in zip(file, range(n_rows), strict=False)]
    rng = random.Random(0)

    def words(mean: float) -> str:
        return " ".join(f"w{rng.randrange(2000)}" for _ in range(max(5, round(rng.gammavariate(8, mean / 8)))))

    return [{"question": words(45), "answer": words(50)} for _ in range(n_rows)]


def make_folder(folder: Path, n_layers: int, n_rows: int) -> Path:
    """Write rows, a model and a tokenizer of the rows' words."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    rows = gsm8k_rows(n_rows)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    trained = ByteLevelBPETokenizer()
    texts = [text for row in rows for text in (row["question"], row["answer"])]
    trained.train_from_iterator(
        texts, vocab_size=8000, special_tokens=["<pad>", "<begin>", "<end>"], show_progress=False
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=trained._tokenizer, pad_token="<pad>", eos_token="<end>")
    tokenizer.save_pretrained(folder / "model")
    make_model(n_layers).save_pretrained(folder / "model")
    return folder


def make_trainer(folder: Path) -> tuple[Any, Any]:
    """The trainer, and its experiment."""
    from train_steps import experiment_of, trainer_of

    settings = {
        "model": {"name": str(folder / "model")},
        "data": {"path": str(folder / "rows.jsonl"), "prompt": "question", "completion": "answer",
                 "max_length": MAX_LENGTH, "valid_fraction": 0.1, "test_fraction": 0.0},
        "training": {"batch_size": BATCH_SIZE, "epochs": 1000},
        "generation": {"rows": 0},
    }  # fmt: skip
    experiment = experiment_of(settings, folder)
    return trainer_of(experiment, folder), experiment


def jenga_steps(trainer: Any) -> Callable[[], None]:
    """Take the next `N_STEPS` steps at each call, without end."""
    turns = cycle(trainer.sampler.epoch(0))

    def run() -> None:
        for _ in range(N_STEPS):
            trainer.step(next(turns))

    return run


def hugging_face_steps(trainer: Any, experiment: Any, folder: Path) -> Callable[[], None]:
    """A plain Trainer run of `N_STEPS` over the very batches of ours, labels on completions alone."""
    from torch.utils.data import SequentialSampler
    from transformers import AutoModelForCausalLM, AutoTokenizer, DataCollatorForSeq2Seq, TrainingArguments
    from transformers import Trainer as HuggingFaceTrainer

    class InOrder(HuggingFaceTrainer):
        def _get_train_sampler(self, *_: Any) -> SequentialSampler:
            return SequentialSampler(self.train_dataset)

    part = experiment.sources[0].splits["train"]
    rows = []
    for turn in trainer.sampler.epoch(0):
        for row in turn.rows:
            batch = part.batch([row])
            targets = batch.labels["lm"]["text"][0].tolist()
            # Ours stand where the token before is; transformers shifts its own.
            rows.append({"input_ids": batch.inputs["input_ids"][0].tolist(), "labels": [-100, *targets[:-1]]})
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    arguments = TrainingArguments(
        output_dir=str(folder / "hf"), per_device_train_batch_size=BATCH_SIZE, max_steps=N_STEPS, use_cpu=True,
        report_to="none", save_strategy="no", disable_tqdm=True, logging_strategy="no", optim="adamw_torch_fused",
    )  # fmt: skip
    model = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32)
    theirs = InOrder(model, arguments, DataCollatorForSeq2Seq(tokenizer, model), rows)
    return lambda: theirs.train()


def _tuned(problem: Problem, kind: str) -> Step:
    warmup = problem.ids.shape[1] <= 8
    folder = make_folder(Path(tempfile.mkdtemp(prefix="jenga-bench-")), 2 if warmup else problem.student_layers, 200)
    trainer, experiment = make_trainer(folder)
    run = jenga_steps(trainer) if kind == "jenga" else None
    if run is None:
        run = hugging_face_steps(trainer, experiment, folder)
        del trainer, experiment

    def step() -> list[Tensor]:
        run()
        return []

    return step


PROVIDERS = {
    "distilled": distilled,
    "distilled_plainly": distilled_plainly,
    "bodies_alone": bodies_alone,
    "tuned": lambda problem: _tuned(problem, "jenga"),
    "tuned_by_hugging_face": lambda problem: _tuned(problem, "hugging_face"),
}
