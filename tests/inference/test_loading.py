"""Loading a model: by torch, or by its graphs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import jenga
from jenga.errors import ConfigError


def test_a_run_is_answered_by_its_graph_where_that_is_asked_for(
    event_run: Path, graphs: Path, flows: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    made = jenga.load(event_run, runtime="onnx")
    assert "is no folder of graphs: making them first" in caplog.text
    found, wanted = (each.logits(flows[:9]) for each in (made, jenga.load(graphs, runtime="onnx")))
    assert wanted
    assert all(torch.equal(torch.stack(found[key]), torch.stack(each)) for key, each in wanted.items())


def test_what_graphs_cannot_be_asked_for_is_refused(graphs: Path, event_run: Path) -> None:
    with pytest.raises(ConfigError, match=r"--runtime torch: .* holds graphs"):
        jenga.load(graphs, runtime="torch")
    with pytest.raises(ConfigError, match="--device cuda: graphs run on the CPU"):
        jenga.load(graphs, device="cuda")
    with pytest.raises(ConfigError, match=r"--base-model: the graphs .* need no base"):
        jenga.load(graphs, base_model="x")
    with pytest.raises(ConfigError, match=r"runtime: unknown 'onx'; did you mean 'onnx'\? Known: torch, onnx"):
        jenga.load(event_run, runtime="onx")
