"""Backbones of pictures: saved as they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from jenga.config.peft import LoraConfig
from jenga.errors import ConfigError
from jenga.modalities.vision.backbone import VisionBackbone
from jenga.modalities.vision.settings import TINY_VISION, VisionConfig

PICTURES = torch.randn(2, 3, 16, 16)


@pytest.fixture(params=["tiny", "vit"])
def config(request: pytest.FixtureRequest, vit: str) -> VisionConfig:
    return VisionConfig(base_model=TINY_VISION if request.param == "tiny" else vit)


def test_it_comes_back_from_disk_as_it_was_without_what_it_was_made_from(config: VisionConfig, tmp_path: Path) -> None:
    backbone = VisionBackbone(config.base_model, config)
    backbone.train()
    backbone(PICTURES)  # moves the running statistics of the preset
    backbone.eval().save(tmp_path / "saved")
    name = config.base_model if config.base_model == TINY_VISION else "gone"
    again = VisionBackbone.load(tmp_path / "saved", name, config).eval()
    assert torch.equal(again(PICTURES).pooler_output, backbone(PICTURES).pooler_output)


def test_adapters_are_for_models_of_transformers(vit: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'jenga/tiny-vision' is no model of transformers, and takes no adapters"):
        VisionBackbone(TINY_VISION, VisionConfig(base_model=TINY_VISION)).adapt(LoraConfig(type="lora"))
    config = VisionConfig(base_model=vit)
    backbone = VisionBackbone(vit, config)
    backbone.adapt(LoraConfig(type="lora", rank=2))
    for parameter in (each for each in backbone.parameters() if each.requires_grad):
        torch.nn.init.normal_(parameter, std=0.2)
    expected = backbone.eval()(PICTURES).pooler_output
    backbone.save(tmp_path / "saved")
    again = VisionBackbone.load(tmp_path / "saved", vit, config).eval()
    assert torch.equal(again(PICTURES).pooler_output, expected)
    again.merge()
    torch.testing.assert_close(again(PICTURES).pooler_output, expected, rtol=1e-4, atol=1e-5)


def test_it_tells_of_every_parameter_in_which_layer_it_stands(config: VisionConfig) -> None:
    backbone = VisionBackbone(config.base_model, config)
    depths, last = backbone.depths(), 3 if config.base_model == TINY_VISION else 2
    assert depths.keys() == dict(backbone.named_parameters()).keys()
    assert set(depths.values()) == set(range(last + 1))
    assert all(name.startswith("network.") for name in depths)


def test_recurring_work_is_refused_where_the_network_cannot(vit: str) -> None:
    tiny = VisionBackbone(TINY_VISION, VisionConfig(base_model=TINY_VISION))
    with pytest.raises(ConfigError, match="gradient_checkpointing"):
        tiny.checkpoint_activations()
    with pytest.raises(ConfigError, match="hands on no inner states"):
        tiny.keep_states(hidden_states=True, attentions=False)
    VisionBackbone(vit, VisionConfig(base_model=vit)).checkpoint_activations()
