"""Training and answering on short clips: Jenga's Whisper encoder at their own length, and transformers' at 30 s.

bench_audio.py times them; `python benchmarks/peak_memory.py audio_steps PROVIDER` measures one's memory. Both adapt, by
LoRA, the query and value projections of a Whisper of tiny.en's size; random weights cost what trained ones do.
transformers' has its features computed once too, which its published recipes do.
"""

import json
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from paired import SMOKE
from torch import Tensor
from train_steps import steps_of

from jenga import Predictor
from jenga.run.build import build
from jenga.run.experiment import load_config

RATE, BATCH_SIZE = 16_000, 8
N_CLIPS = 32 if SMOKE else 128
SECONDS = (0.2, 0.9)
"""Shortest and longest clip, about those of spoken digits."""
LABELS = [str(digit) for digit in range(10)]
RANK = 16
LEARNING_RATE = 1e-3
Step = Callable[[], list[Tensor]]


@dataclass
class Problem:
    """Clips in files, and a checkpoint, in a folder that goes with the process."""

    sounds: list[np.ndarray]
    stack: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        import soundfile

        self.folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.checkpoint = self.folder / "whisper"
        _write_whisper(self.checkpoint)
        rows = []
        for at, sound in enumerate(self.sounds):
            soundfile.write(self.folder / f"{at}.wav", sound, RATE)
            rows.append({"audio": f"{at}.wav", "label": LABELS[at % len(LABELS)]})
        self.rows = self.folder / "rows.jsonl"
        self.rows.write_text("".join(json.dumps(row) + "\n" for row in rows))

    @property
    def settings(self) -> dict[str, Any]:
        """The experiment."""
        return {
            "model": {"backbone_type": "audio", "base_model": str(self.checkpoint), "augment": None},
            "peft": {"type": "lora", "rank": RANK, "dropout": 0.0, "target": ["q_proj", "v_proj"]},
            "tasks": [{"name": "digit", "type": "classification", "data_path": str(self.rows), "dropout": 0.0}],
            "data": {"valid_fraction": 0.1, "test_fraction": 0.0, "cache_dir": str(self.folder / "cache")},
            "training": {"batch_size": BATCH_SIZE, "epochs": 1000, "learning_rate": LEARNING_RATE},
        }


def make_problem(n_clips: int = N_CLIPS) -> Problem:
    draw = np.random.default_rng(0)
    lengths = (draw.uniform(*SECONDS, n_clips) * RATE).astype(int)
    return Problem([draw.normal(0, 0.1, length).astype(np.float32) for length in lengths])


def memory_problem(*, warmup: bool) -> Problem:
    return make_problem(32 if warmup else N_CLIPS)


def ours(problem: Problem) -> Step:
    """Return a step of Jenga's training."""
    torch.manual_seed(0)
    steps = problem.stack.enter_context(steps_of(problem.settings, problem.folder))

    def step() -> list[Tensor]:
        assert problem.rows.exists(), "the folder of the problem, which lasts as long as this step"
        steps()
        return []

    return step


def padded(problem: Problem) -> Step:
    """Return a step of transformers' own model of recordings over features of 30 s, AdamW, clipping, a schedule."""
    from transformers import get_scheduler

    model, features = _hugging_face(problem)
    targets = torch.arange(len(features)) % len(LABELS)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=LEARNING_RATE, fused=True)
    schedule = get_scheduler("linear", optimizer, num_warmup_steps=100, num_training_steps=100_000)
    draw = torch.Generator().manual_seed(0)

    def step() -> list[Tensor]:
        at = torch.randperm(len(features), generator=draw)[:BATCH_SIZE]
        model(input_features=features[at], labels=targets[at]).loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        return []

    return step


def ours_answering(problem: Problem) -> Step:
    """Return Jenga's answers to a batch of clips in memory, their features made each time."""
    predictor = Predictor(build(load_config(problem.settings), problem.folder).bundle)
    batches = _batches(problem)

    def answer() -> list[Tensor]:
        predictor.predict([{"audio": {"array": sound, "sampling_rate": RATE}} for sound in next(batches)])
        return []

    return answer


def padded_answering(problem: Problem) -> Step:
    """Return transformers' logits of a batch of clips in memory, padded to 30 s by its extractor each time."""
    from transformers import WhisperFeatureExtractor

    model, _ = _hugging_face(problem)
    extractor = WhisperFeatureExtractor.from_pretrained(problem.checkpoint)
    batches = _batches(problem)
    model.eval()

    @torch.inference_mode()
    def answer() -> list[Tensor]:
        made = extractor(next(batches), sampling_rate=RATE, return_tensors="pt")
        model(input_features=made["input_features"]).logits.softmax(-1)
        return []

    return answer


def _batches(problem: Problem) -> Any:
    while True:
        for start in range(0, len(problem.sounds), BATCH_SIZE):
            yield problem.sounds[start : start + BATCH_SIZE]


def _hugging_face(problem: Problem) -> tuple[Any, Tensor]:
    from peft import LoraConfig, get_peft_model
    from transformers import WhisperFeatureExtractor, WhisperForAudioClassification

    torch.manual_seed(0)
    model = WhisperForAudioClassification.from_pretrained(problem.checkpoint, num_labels=len(LABELS))
    adapters = LoraConfig(
        r=RANK, lora_alpha=2 * RANK, target_modules=["q_proj", "v_proj"], modules_to_save=["projector", "classifier"]
    )
    extractor = WhisperFeatureExtractor.from_pretrained(problem.checkpoint)
    features = extractor(problem.sounds, sampling_rate=RATE, return_tensors="pt")["input_features"]
    return get_peft_model(model, adapters).train(), features


def _write_whisper(folder: Path) -> None:
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

    torch.manual_seed(0)
    config = WhisperConfig(
        vocab_size=64, d_model=384, encoder_layers=1 if SMOKE else 4, encoder_attention_heads=6, encoder_ffn_dim=1536,
        decoder_layers=1, decoder_attention_heads=6, decoder_ffn_dim=64, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        decoder_start_token_id=1,
    )  # fmt: skip
    WhisperModel(config).save_pretrained(folder)
    WhisperFeatureExtractor().save_pretrained(folder)


PROVIDERS: dict[str, Callable[[Problem], Step]] = {
    "ours": ours, "padded": padded, "ours_answering": ours_answering, "padded_answering": padded_answering
}  # fmt: skip
