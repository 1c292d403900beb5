"""One training with parted encoders (training.fsdp) against the same in one process."""

from __future__ import annotations

from pathlib import Path

import pytest
from launches import NO_DROPOUT, Make, compared, run_of, start, without_dropout

from jenga.run.experiment import train


@pytest.mark.slow
def test_parted_encoders_make_the_run_of_one_process(settings: Make, tmp_path: Path) -> None:
    training = {"epochs": 2, "batch_size": 7, "gradient_accumulation_steps": 2, "log_every_steps": 1}
    content = without_dropout(settings("mood", "price", "names", training=training, **NO_DROPOUT))
    alone = train(content, device="cpu").run
    content["training"]["fsdp"] = True
    assert start(content, tmp_path / "two", "--processes", "2").wait(timeout=300) == 0, (
        tmp_path / "two" / "told"
    ).read_text()
    compared(alone, run_of(tmp_path / "two"))
