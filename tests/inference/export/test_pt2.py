"""Packages of AOTInductor: models of events from features, and from bytes, without Python's model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import jenga
from jenga.errors import ConfigError, SetupError
from jenga.inference.export import export, pt2
from jenga.inference.graphs import Graphs
from jenga.samples.network import generate_flows

FIELDS = {"backbone_type": "ft_transformer", "base_model": "ft_transformer_small"}


def test_only_models_of_events_are_compiled(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is for models of events, .* encoder 'shared' reads something else"):
        export(run, tmp_path / "pt2", format="pt2")
    assert not (tmp_path / "pt2").exists()


def test_weights_are_laid_out_once_whoever_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch freezes nothing while gradients are on, and says nothing of it."""
    seen: list[tuple[bool, bool]] = []

    def compiled(*_: Any, inductor_configs: dict[str, Any], **__: Any) -> None:
        seen.append((inductor_configs["freezing"], torch.is_grad_enabled()))

    monkeypatch.setattr(torch._inductor, "aoti_compile_and_package", compiled)
    program: Any = None
    with torch.enable_grad():
        pt2._package(program, tmp_path / "model.pt2", "shared")
    assert seen == [(True, False)]


def test_without_a_compiler_nothing_is_written(
    event_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("No working C++ compiler found")

    monkeypatch.setattr(torch._inductor, "aoti_compile_and_package", fail)
    with pytest.raises(SetupError, match=r"cannot compile the pass .* No working C\+\+ compiler .*--format onnx"):
        export(event_run, tmp_path / "pt2", format="pt2")
    assert not (tmp_path / "pt2").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [{"base_model": "security_mlp_v1"}, {**FIELDS, "hidden_size": 8, "num_hidden_layers": 1}],
    ids=["sequential", "ft_transformer"],
)
def test_a_package_gives_what_torch_gives_of_features_and_of_bytes(
    event_settings: Callable[..., Any], saved_model: Callable[..., Path], tmp_path: Path, model: dict[str, Any]
) -> None:
    # Without a time, by which a row follows from the one before it.
    flows = [{key: value for key, value in flow.items() if key != "timestamp"} for flow in generate_flows(80)]
    run = saved_model(event_settings(rows=flows, model=model))
    made = export(run, tmp_path / "pt2", format="pt2")
    with pytest.raises(SetupError, match="holds compiled code, which can do all that you can"):
        jenga.load(made)
    wanted = jenga.load(run, device="cpu").logits(flows)
    predictor = jenga.load(made, trust_remote_code=True)
    for size in (1, None):
        found = predictor.logits(flows, batch_size=size)
        for key, each in wanted.items():
            np.testing.assert_allclose(torch.stack(found[key]), torch.stack(each), rtol=0, atol=1e-5)
    (graph,) = Graphs.read(made).graphs.values()
    assert graph.from_bytes == "model.from_bytes.pt2"
    package = torch._inductor.aoti_load_package(str(made / graph.from_bytes))
    rows = [json.dumps(flow).encode() for flow in flows]
    rows.insert(2, b'{"bytes_in": ')
    ends = np.cumsum([len(row) for row in rows])
    offsets = torch.from_numpy(np.stack([np.concatenate([[0], ends[:-1]]), ends], axis=1))
    *logits, bad = package(torch.frombuffer(bytearray(b"".join(rows)), dtype=torch.uint8), offsets)
    assert bad[:, 0].tolist() == [2]
    assert list(graph.outputs) == ["find.threat"]
    np.testing.assert_allclose(logits[0], torch.stack(wanted["find", "threat"]), rtol=0, atol=1e-5)
