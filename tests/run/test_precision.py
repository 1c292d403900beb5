"""`training.precision: auto`: what a trial decides, and that a run keeps to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from stops import StopAt

import jenga
from jenga.errors import InterruptedRun
from jenga.run import precision
from jenga.run.experiment import train
from jenga.run.precision import multiplies_bf16, ratio, settled

CPU = torch.device("cpu")


@pytest.mark.parametrize(("share", "chosen"), [(0.5, "bf16"), (0.95, "fp32"), (7.0, "fp32")])
def test_bf16_is_taken_where_it_is_clearly_the_faster(
    share: float, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "ratio", lambda device: share)
    found, why = settled(CPU)
    assert found == chosen
    assert f"takes {share:.2f} of its time in fp32 here" in why
    assert (multiplies_bf16()[1] in why) == (chosen == "fp32")


def test_a_trial_computes_in_both_and_leaves_random_numbers_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    monkeypatch.setattr(precision, "_step", lambda layer, x, *, reduced: seen.append(reduced))
    before = torch.random.get_rng_state()
    ratio(CPU)
    assert set(seen) == {True, False}
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_slow_trial_ends_after_its_first_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([9.0, 1.0])
    monkeypatch.setattr(precision, "_seconds", lambda step, device: next(seconds))
    assert ratio(CPU) == 9.0


@pytest.mark.parametrize(
    ("found", "able", "why"),
    [
        ({"avx512_bf16": True, "amx_bf16": True}, True, "the processor has AMX-BF16 and AVX512-BF16"),
        ({"avx2": True, "amx_bf16": False}, False, "neither AVX512-BF16 nor AMX"),
    ],
)
def test_what_a_processor_has_for_bf16_is_named(
    found: dict[str, bool], able: bool, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    assert multiplies_bf16()[0] == able
    assert why in multiplies_bf16()[1]


def test_a_torch_that_does_not_tell_what_a_processor_has_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert multiplies_bf16() == (False, f"torch {torch.__version__} does not tell what the processor has for bf16")


@pytest.mark.usefixtures("without_report")
def test_a_run_keeps_the_precision_that_it_began_with(
    settings: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = settings("mood", training={"precision": "auto", "epochs": None, "max_steps": 4})
    monkeypatch.setattr(precision, "ratio", lambda device: 0.5)
    console = Console(record=True, width=200)
    with pytest.raises(InterruptedRun):
        train(content, device="cpu", console=console, callbacks=[StopAt(3)])
    said = "training.precision: bf16: a layer's step in bf16 takes 0.50 of its time in fp32 here"
    assert said in console.export_text()
    monkeypatch.setattr(precision, "ratio", lambda device: 2.0)
    run = train(content, device="cpu", resume="auto").run
    assert [path.parent for path in Path(content["output_dir"]).rglob("run.json")] == [run]
    assert "precision: bf16" in (run / "config.yml").read_text()
    assert json.loads((run / "run.json").read_text())["given"]["training"]["precision"] == "auto"
    assert jenga.load(run).bundle.config.training.precision == "bf16"
