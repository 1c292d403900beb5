"""Which inputs a configuration gets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jenga.errors import ConfigError
from jenga.modalities import BackboneManager, BaseBackbone, Inputs, EventEncoder, TextEncoder, load_inputs, prepare
from jenga.run.build import source_specs
from jenga.run.experiment import load_config


def everything(source: Any) -> np.ndarray:
    return np.ones(len(source.splits["train"]), bool)


@pytest.mark.parametrize("kind", [TextEncoder, EventEncoder])
def test_a_backbones_modality_decides_and_what_is_saved_comes_back(
    kind: type[Inputs], settings: Callable[..., Any], event_settings: Callable[..., Any], tmp_path: Path
) -> None:
    config = load_config(settings("mood") if kind is TextEncoder else event_settings())
    made = prepare(config, source_specs(config), tmp_path / "work", everything)
    assert type(made.inputs) is kind
    (tmp_path / "saved").mkdir()
    made.inputs.save(tmp_path / "saved")
    again = load_inputs(tmp_path / "saved", config)
    assert type(again) is kind
    assert again.describe() == made.inputs.describe()


def test_rows_that_teach_nothing_are_dropped_before_anything_is_made(
    settings: Callable[..., Any], event_settings: Callable[..., Any], tmp_path: Path
) -> None:
    for config in (load_config(settings("mood")), load_config(event_settings())):
        specs = source_specs(config)
        made = prepare(config, specs, tmp_path / config.tasks[0].name, lambda source: everything(source).cumsum() < 10)
        assert len(made.loaded[0].splits["train"]) == 9


def test_a_registered_backbone_of_events_needs_settings_for_features(
    event_settings: Callable[..., Any], tmp_path: Path
) -> None:
    class Forest(BaseBackbone):
        modality = "tabular"

    BackboneManager.register("forest")(Forest)
    try:
        config = load_config(event_settings(model={"base_model": "oak", "backbone_type": "forest"}))
        with pytest.raises(ConfigError, match="'forest' reads features, but is registered without settings for them"):
            prepare(config, source_specs(config), tmp_path, everything)
    finally:
        del BackboneManager._REGISTRY["forest"]
