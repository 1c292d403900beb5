"""Language models: a distillation step against plain PyTorch, a fine-tuning against transformers' Trainer."""

from collections.abc import Callable
from pathlib import Path

import language_steps
import pytest
from paired import SMOKE, PairedRatio, compare, held
from peak_memory import peak_bytes

Report = Callable[[str, PairedRatio], None]


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> None:
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def test_distillation_step_takes_no_longer_than_plain_pytorch(report_ratio: Report) -> None:
    """1 x 2,048 tokens, 49,152 of them in the vocabulary, 8 of 30 layers. Bar: 1.05."""
    problem = language_steps.memory_problem(warmup=False)
    ours, plain = language_steps.distilled(problem), language_steps.distilled_plainly(problem)
    ratio = compare(ours, plain, rounds=6, warmup=1, min_round_s=0)
    report_ratio(f"distillation_step-fp32-1x{problem.ids.shape[1]}: jenga / both models' logits", ratio)
    held(ratio, below=1.3)


def test_distillation_step_holds_little_beside_the_bodies(capsys: pytest.CaptureFixture[str]) -> None:
    """What a step holds beyond weights, optimizer, gradients and the bodies' activations. Bar: 0.15 of plain PyTorch.

    Each runs in a process of its own; the step of the bodies alone, which holds all that but no logits, is subtracted.
    """
    peaks = peak_bytes("language_steps", "distilled", "distilled_plainly", "bodies_alone")
    ours, plain = (peaks[name] - peaks["bodies_alone"] for name in ("distilled", "distilled_plainly"))
    if SMOKE:
        return
    with capsys.disabled():
        mib = {name: peak // 2**20 for name, peak in peaks.items()}
        print(f"\ndistillation_step-fp32 peak memory, MiB: {mib}; beside the bodies {ours / plain:.3f} of plain")
    assert ours < 0.3 * plain


def test_fine_tuning_against_a_hugging_face_trainer(tmp_path: Path, report_ratio: Report) -> None:
    """GSM8K, answers learnt, 8 rows a step, the same batches. Bar: 1.2 times as fast (0.83), or half its memory."""
    layers = language_steps.memory_problem(warmup=False).student_layers
    folder = language_steps.make_folder(tmp_path, layers, 200)
    trainer, experiment = language_steps.make_trainer(folder)
    theirs = language_steps.hugging_face_steps(trainer, experiment, folder)
    ratio = compare(language_steps.jenga_steps(trainer), theirs, rounds=6, warmup=1, min_round_s=0)
    report_ratio("language_steps-fp32-gsm8k: jenga / Hugging Face Trainer, same batches", ratio)
    held(ratio, below=1.1)


def test_fine_tuning_needs_less_memory_than_a_hugging_face_trainer(capsys: pytest.CaptureFixture[str]) -> None:
    """Whole peaks beyond the weights: gradients, optimizer and activations are in both."""
    peaks = peak_bytes("language_steps", "tuned", "tuned_by_hugging_face")
    if SMOKE:
        return
    with capsys.disabled():
        print(f"\nlanguage_steps-fp32-gsm8k peak memory, MiB: { ({n: p // 2**20 for n, p in peaks.items()}) }")
    assert peaks["tuned"] < peaks["tuned_by_hugging_face"]
