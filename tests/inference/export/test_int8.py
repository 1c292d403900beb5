"""Graphs in 8 bits: smaller, still right, and their loss told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import jenga
from jenga.errors import ConfigError, DataError
from jenga.inference.export import export
from jenga.inference.export.int8 import told
from jenga.inference.graphs import Graphs

pytest.importorskip("onnxruntime")


@pytest.mark.parametrize("method", ["dynamic", "static"])
def test_eight_bits_take_less_room_and_their_loss_is_told(
    event_run: Path, flows: list[dict[str, Any]], tmp_path: Path, method: str
) -> None:
    exact, small = export(event_run, tmp_path / "fp32", format="onnx"), tmp_path / "int8"
    export(event_run, small, format="onnx", int8=method)
    assert (small / "model.onnx").stat().st_size < 0.7 * (exact / "model.onnx").stat().st_size
    assert sorted(path.name for path in small.iterdir()) == sorted(path.name for path in exact.iterdir())
    said = Graphs.read(small)
    assert said.dtype == f"int8, {method}"
    wanted = jenga.load(event_run, device="cpu").evaluate(split="valid")["metrics"]
    before, after = said.measured["before"], said.measured["after"]
    # A tuned threshold lies at the score of some validation row, which a last digit moves to its other side.
    untuned = [name for name in before if not name.startswith("marks")]
    assert [before[name] for name in untuned] == pytest.approx([wanted[name] for name in untuned], rel=1e-3)
    assert before.keys() == after.keys()
    assert "find_threat_accuracy" in before
    (line,) = [each for each in told(small) if each.startswith("find_threat_accuracy ")]
    assert line.split()[1::2] == ["fp32", "int8"]
    one, other = (jenga.load(folder).logits(flows)["find", "threat"] for folder in (exact, small))
    off = (torch.stack(other) - torch.stack(one)).abs().numpy()
    # Three layers, each rounded to 1/127 of its largest weight and of its largest input.
    assert 0 < off.max() < 0.1 * np.abs(torch.stack(one).numpy()).max()


def test_a_score_that_there_is_no_more_is_told_as_none(tmp_path: Path) -> None:
    measured = {"rows": "those", "before": {"precision": 0.5, "loss": 1.0}, "after": {"loss": 2.0, "f1": 0.1}}
    Graphs("onnx", {}, "int8, static", measured=measured).write(tmp_path)
    assert told(tmp_path) == [
        "precision  fp32   0.5000  int8        -",
        "loss       fp32   1.0000  int8   2.0000",
        "f1         fp32        -  int8   0.1000",
    ]


def test_another_method_and_rows_that_are_gone_are_refused(event_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--int8: unknown 'fp4'"):
        export(event_run, tmp_path / "a", format="onnx", int8="fp4")
    moved = event_run.parents[2] / "flows.json"
    moved.rename(tmp_path / "flows.json")
    try:
        with pytest.raises(DataError, match="--int8: what it costs is measured on the run's validation rows"):
            export(event_run, tmp_path / "b", format="onnx", int8="dynamic")
    finally:
        (tmp_path / "flows.json").rename(moved)
    assert list(tmp_path.iterdir()) == []
