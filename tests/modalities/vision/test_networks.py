"""Networks of pictures by name, and what they hand on."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from jenga.errors import ConfigError, SetupError
from jenga.modalities.vision.backbone import VisionBackbone
from jenga.modalities.vision.networks import is_of_timm, network
from jenga.modalities.vision.pixels import Pixels
from jenga.modalities.vision.settings import TINY_VISION, VisionConfig
from jenga.trainer.optim import has_no_layers


def test_the_preset_makes_tokens_of_places() -> None:
    made = network(TINY_VISION, VisionConfig(base_model=TINY_VISION))
    hidden, pooled = made(torch.randn(2, 3, 28, 28))
    assert hidden.shape == (2, 49, made.width)
    torch.testing.assert_close(pooled, hidden.mean(1))


def test_an_image_model_of_transformers_says_how_it_reads_pictures(vit: str) -> None:
    made = network(vit, VisionConfig(base_model=vit))
    assert (made.size, made.mean, made.std) == (16, (0.5,) * 3, (0.25,) * 3)
    hidden, pooled = made.eval()(torch.randn(2, 3, 16, 16))
    assert hidden.shape == (2, 17, 16)
    assert pooled.shape == (2, 16)


def test_a_run_to_go_on_from_reads_pictures_as_it_was_trained_to(vit: str, tmp_path: Path) -> None:
    best = tmp_path / "best" / "backbone"
    best.mkdir(parents=True)
    config = VisionConfig(base_model=vit)
    VisionBackbone(vit, config).save(best)
    Pixels(16, (0.1, 0.2, 0.3), (0.5,) * 3).write(best)
    made = network(str(tmp_path), config)
    assert (made.size, made.mean, made.std) == (16, (0.1, 0.2, 0.3), (0.5,) * 3)


def test_a_model_of_texts_is_refused(tiny_bert: Any) -> None:
    with pytest.raises(ConfigError, match="is a bert model, which reads no pictures"):
        network(str(tiny_bert), VisionConfig(base_model=str(tiny_bert)))


class Maps(nn.Module):
    """Stands in for a network of timm with feature maps."""

    num_features = 6
    pretrained_cfg = {"input_size": (3, 32, 32), "mean": (0.1, 0.2, 0.3), "std": (1.0, 1.0, 1.0)}  # noqa: RUF012

    def __init__(self, last: bool) -> None:
        super().__init__()
        self.patch, self.last = nn.Conv2d(3, 6, 8, 8), last

    def forward_features(self, pixels: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.patch(pixels)
        return made.permute(0, 2, 3, 1) if self.last else made

    def forward_head(self, hidden: torch.Tensor, pre_logits: bool) -> torch.Tensor:
        return hidden.mean((1, 2) if self.last else (2, 3))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Stand in for timm, whose networks have channels last in a folder alone; the list fills with what it was asked."""
    found: list[Any] = []
    stub = ModuleType("timm")

    def create_model(name: str, **options: Any) -> nn.Module:
        found.append((name, options))
        made = Maps(last=name.endswith("_last"))
        if name.startswith("local-dir:"):
            made.load_state_dict(load_file(Path(name.removeprefix("local-dir:")) / "model.safetensors"))
        return made

    def save_for_hf(model: nn.Module, folder: str, **options: Any) -> None:
        assert options == {"model_args": {"num_classes": 0}, "safe_serialization": True}
        save_file(model.state_dict(), Path(folder) / "model.safetensors")
        (Path(folder) / "config.json").write_text(json.dumps({"architecture": "maps", "num_classes": 0}))

    stub.create_model = create_model  # type: ignore[attr-defined]
    stub.models = SimpleNamespace(save_for_hf=save_for_hf)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "timm", stub)
    return found


@pytest.mark.parametrize("name", ["timm/maps", "timm/maps_last"])
def test_feature_maps_of_timm_become_tokens_wherever_their_channels_stand(name: str, asked: list[Any]) -> None:
    made = network(name, VisionConfig(base_model="x", dropout=0.2))
    assert asked == [(name.removeprefix("timm/"), {"pretrained": True, "num_classes": 0, "drop_rate": 0.2})]
    assert (made.size, made.mean) == (32, (0.1, 0.2, 0.3))
    hidden, pooled = made(torch.randn(2, 3, 32, 32))
    assert hidden.shape == (2, 16, 6)
    torch.testing.assert_close(pooled, hidden.mean(1))


def test_a_network_of_timm_is_saved_as_a_folder_that_is_a_base_model_too(tmp_path: Path, asked: list[Any]) -> None:
    config = VisionConfig(base_model="maps")
    backbone = VisionBackbone("maps", config)
    backbone.save(tmp_path / "backbone")
    assert is_of_timm(tmp_path / "backbone")
    pixels = torch.randn(2, 3, 32, 32)
    for again in (
        VisionBackbone.load(tmp_path / "backbone", "gone", config),
        VisionBackbone(str(tmp_path / "backbone"), config),
    ):
        # Its weights are in the folder, and nowhere else.
        assert asked[-1] == (f"local-dir:{tmp_path / 'backbone'}", {"pretrained": True, "num_classes": 0})
        torch.testing.assert_close(again(pixels).last_hidden_state, backbone(pixels).last_hidden_state)


def test_a_folder_of_transformers_or_of_something_else_is_none_of_timm(vit: str, tmp_path: Path) -> None:
    assert not is_of_timm(Path(vit))
    assert not is_of_timm(tmp_path)
    # As transformers writes a network of timm that it has wrapped.
    for other in ([], {"model_type": "timm_wrapper", "architecture": "resnet18"}):
        (tmp_path / "config.json").write_text(json.dumps(other))
        assert not is_of_timm(tmp_path)


class Grouped(Maps):
    """As networks of timm with layers, it says which parameters make one."""

    def group_matcher(self, coarse: bool) -> dict[str, Any]:
        assert not coarse
        return {"stem": "patch", "blocks": r"blocks\.(\d+)"}


@pytest.mark.parametrize("kind", [Grouped, Maps])
def test_layers_of_timm_are_those_of_its_own_matcher(kind: type[Maps], monkeypatch: pytest.MonkeyPatch) -> None:
    stub, models = ModuleType("timm"), ModuleType("timm.models")

    def group_parameters(model: nn.Module, matcher: Any, *, reverse: bool) -> dict[str, int]:
        assert matcher == {"stem": "patch", "blocks": r"blocks\.(\d+)"}
        assert reverse
        return {"patch.weight": 0, "patch.bias": 1}

    stub.create_model = lambda name, **options: kind(last=False)  # type: ignore[attr-defined]
    models.group_parameters = group_parameters  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "timm", stub)
    monkeypatch.setitem(sys.modules, "timm.models", models)
    backbone = VisionBackbone("timm/x", VisionConfig(base_model="timm/x"))
    if kind is Maps:
        assert backbone.depths() == {}
        assert has_no_layers(backbone) == "VisionBackbone ('timm/x') tells of no layers by its depths(); remove the key"
    else:
        assert backbone.depths() == {"network.model.patch.weight": 0, "network.model.patch.bias": 1}
        assert backbone.depths().keys() == dict(backbone.named_parameters()).keys()
        assert has_no_layers(backbone) is None


def test_without_timm_an_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(SetupError, match=r"pip install 'jenga\[vision\]'"):
        network("resnet18", VisionConfig(base_model="resnet18"))
