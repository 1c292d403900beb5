"""Tracing: what varies from batch to batch stays open, and what cannot be traced is refused by name."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from jenga import saved
from jenga.bundle import Bundle
from jenga.errors import ConfigError
from jenga.inference.export.traced import hushed, traced


def test_rows_and_tokens_stay_open_and_some_of_the_example_is_padding(
    settings: Callable[..., Any], saved_model: Callable[..., Path]
) -> None:
    folder = saved_model(settings("mood", "names"))
    (one,) = traced(Bundle.load(folder), saved.read(folder))
    mask = one.inputs["attention_mask"]
    assert 0 < mask.sum() < mask.numel()
    assert one.outputs == [("mood", "mood"), ("mood", "topic"), ("names", "names")]
    shapes = [node.meta["val"].shape for node in one.program.graph.nodes if node.name.startswith("inputs_")]
    assert len(shapes) == len(one.inputs)
    assert not any(isinstance(size, int) for shape in shapes for size in shape)


@pytest.mark.usefixtures("registries_as_before")
def test_a_backbone_that_asks_for_values_is_refused(
    event_settings: Callable[..., Any], saved_model: Callable[..., Path]
) -> None:
    from jenga.modalities import BackboneManager
    from jenga.modalities.events.backbone import SequentialBackbone, SequentialConfig
    from jenga.types import BackboneOutput

    @BackboneManager.register("asking", config=SequentialConfig)
    class Asking(SequentialBackbone):
        def forward(self, *, features: torch.Tensor) -> BackboneOutput:  # type: ignore[override]
            return super().forward(features=features if float(features.sum()) > 0 else -features)

    folder = saved_model(event_settings(model={"backbone_type": "asking"}))
    with pytest.raises(ConfigError, match=r"the pass of encoder 'shared' cannot be traced .*--format transformers"):
        list(traced(Bundle.load(folder), saved.read(folder)))


def test_windows_are_refused(settings: Callable[..., Any], saved_model: Callable[..., Path]) -> None:
    folder = saved_model(settings("mood", model={"window_tokens": 16}))
    with pytest.raises(ConfigError, match=r"model\.window_tokens: how many windows there are .*--format transformers"):
        list(traced(Bundle.load(folder), saved.read(folder)))


def test_what_is_hushed_is_told_again_afterwards(caplog: pytest.LogCaptureFixture) -> None:
    with hushed():
        logging.getLogger("jenga").warning("inside")
        warnings.warn("inside", UserWarning, stacklevel=1)
    logging.getLogger("jenga").warning("outside")
    assert [each.message for each in caplog.records] == ["outside"]
