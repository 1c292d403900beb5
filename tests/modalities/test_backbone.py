"""What every backbone is, and the registry of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from jenga.config.peft import LoraConfig
from jenga.errors import ConfigError
from jenga.modalities import BackboneManager, BaseBackbone
from jenga.modalities.events.backbone import SequentialBackbone
from jenga.modalities.text.backbone import TextBackbone


class Plain(BaseBackbone):
    """A user's backbone: an encoder that says its own width."""

    def __init__(self, model_name: str, config: Any) -> None:
        super().__init__(model_name, config)
        self.encoder = torch.nn.Linear(3, 5)
        self.encoder.num_features = 5  # as timm's models have it

    def forward(self, **inputs: torch.Tensor) -> dict[str, Any]:
        hidden = self.encoder(inputs["features"])
        return {"last_hidden_state": hidden, "pooler_output": hidden[:, 0]}


@pytest.fixture
def registered() -> Iterator[None]:
    BackboneManager._REGISTRY["plain"] = Plain
    yield
    del BackboneManager._REGISTRY["plain"]


def test_a_backbone_is_added_by_assignment(registered: None) -> None:
    backbone = BackboneManager.create("plain", "any-name", {"a": 1})
    assert isinstance(backbone, Plain)
    assert (backbone.model_name, backbone.config) == ("any-name", {"a": 1})


def test_an_unknown_type_names_the_known_ones(registered: None) -> None:
    with pytest.raises(
        ConfigError,
        match=r"model.backbone_type: unknown 'txt'.*Known: audio, ft_transformer, plain, sequential, text, vision",
    ):
        BackboneManager.create("txt", "x", None)
    with pytest.raises(ConfigError, match="unknown 'txt'"):
        BackboneManager.load("txt", Path(), "x", None)


def test_hidden_size_comes_from_the_encoder() -> None:
    backbone = Plain("x", None)
    assert backbone.hidden_size == 5
    backbone.encoder.config = SimpleNamespace(hidden_size=7)  # as transformers' models have it
    assert backbone.hidden_size == 7


def test_a_backbone_without_a_known_width_says_what_to_define() -> None:
    with pytest.raises(TypeError, match="BaseBackbone: define hidden_size"):
        _ = BaseBackbone("x", None).hidden_size


def test_a_backbone_without_forward_says_so() -> None:
    with pytest.raises(TypeError, match="BaseBackbone has no forward"):
        BaseBackbone("x", None)(features=torch.zeros(1))


def test_weights_are_saved_as_safetensors_and_come_back_bit_equal(tmp_path: Path, registered: None) -> None:
    backbone = Plain("x", None)
    backbone.save(tmp_path / "backbone")
    assert set(load_file(tmp_path / "backbone" / "model.safetensors")) == {"encoder.weight", "encoder.bias"}
    again = BackboneManager.load("plain", tmp_path / "backbone", "x", None)
    for name, value in backbone.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)


def test_a_backbone_without_a_place_for_adapters_says_so(registered: None) -> None:
    backbone = BackboneManager.create("plain", "any-name", {})
    assert (backbone.adapted, backbone.base) == (False, None)
    with pytest.raises(
        ConfigError, match=r"peft: Plain takes no adapters \(it has no adapt\(config\)\); remove the block"
    ):
        backbone.adapt(LoraConfig(type="lora"))
    with pytest.raises(ConfigError, match="--merge: there are no adapters to merge"):
        backbone.merge()


def test_only_a_backbone_that_says_so_has_its_weights_from_a_checkpoint() -> None:
    assert (BaseBackbone.pretrained, TextBackbone.pretrained, SequentialBackbone.pretrained) == (False, True, False)
