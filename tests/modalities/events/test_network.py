"""What networks over features share: how they show themselves numbers, and their files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from feature_networks import N_FEATURES, config, fitted, made
from safetensors.torch import load_file, save_file

from jenga.errors import SetupError
from jenga.modalities import BackboneManager
from jenga.types import BackboneOutput


def test_an_absurd_number_ends_in_finite_states() -> None:
    features = torch.zeros(2, N_FEATURES)
    features[0, 0], features[1, 1] = torch.finfo(torch.float32).max, -torch.finfo(torch.float32).max
    output = BackboneOutput.of(made()(features=features), {"features": features})
    assert output.pooler_output.isfinite().all()
    assert output.features is not None
    assert output.features.square().isfinite().all()


def test_it_comes_back_from_disk_as_it_was(tmp_path: Path) -> None:
    backbone = made(residual=True, normalization="batch")
    backbone.train()(features=torch.randn(8, N_FEATURES))
    backbone.eval().save(tmp_path)
    again = BackboneManager.load("sequential", tmp_path, "security_mlp_v1", backbone.config).eval()
    features = torch.randn(3, N_FEATURES)
    assert torch.equal(again(features=features).pooler_output, backbone(features=features).pooler_output)
    shape = json.loads((tmp_path / "jenga_backbone.json").read_text())
    assert (shape["n_features"], shape["hidden_sizes"]) == (N_FEATURES, [128, 64])
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors"}


def test_intervals_and_members_come_back_from_disk(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"bins": 8, "values_shared_by": 1, "members": 3, "log_scale": 2.0}
    backbone = fitted(**settings).eval()
    backbone.save(tmp_path)
    again = BackboneManager.load("sequential", tmp_path, "mlp", config("mlp", hidden_sizes=[6, 4], **settings)).eval()
    features = torch.randn(3, N_FEATURES)
    assert torch.equal(again(features=features).pooler_output, backbone(features=features).pooler_output)


def test_a_model_of_before_there_were_members_is_read(tmp_path: Path) -> None:
    backbone = made().eval()
    backbone.save(tmp_path)
    path = tmp_path / "jenga_backbone.json"
    shape = {
        k: v
        for k, v in json.loads(path.read_text()).items()
        if k not in ("bins", "clip", "log_scale", "members", "values_shared_by")
    }
    path.write_text(json.dumps(shape))
    again = BackboneManager.load("sequential", tmp_path, "security_mlp_v1", config()).eval()
    features = torch.randn(3, N_FEATURES)
    assert torch.equal(again(features=features).pooler_output, backbone(features=features).pooler_output)


def test_weights_without_the_intervals_are_refused(tmp_path: Path) -> None:
    fitted(bins=8).save(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    save_file({name: value for name, value in weights.items() if name != "bins.low"}, tmp_path / "model.safetensors")
    with pytest.raises(SetupError, match=r"model.safetensors: has no bins.low, the intervals of the features; restore"):
        BackboneManager.load("sequential", tmp_path, "mlp", config("mlp", hidden_sizes=[6, 4], bins=8))


def test_features_of_another_width_are_refused(tmp_path: Path) -> None:
    made().save(tmp_path)
    with pytest.raises(SetupError, match="reads 5 features, but the refinery beside it makes 6"):
        BackboneManager.load("sequential", tmp_path, "security_mlp_v1", config(n_features=6))


@pytest.mark.parametrize("content", ["[]", "{", "null", '{"n_features": 5}'])
def test_a_shape_that_cannot_be_read_is_refused_with_its_file(tmp_path: Path, content: str) -> None:
    made().save(tmp_path)
    (tmp_path / "jenga_backbone.json").write_text(content)
    with pytest.raises(SetupError, match=r"jenga_backbone.json: (holds|cannot be read|base_model is None).*restore"):
        BackboneManager.load("sequential", tmp_path, "security_mlp_v1", config())


@pytest.mark.parametrize("other", [{"activation": "gelu"}, {"residual": True}, {"hidden_sizes": [64, 64]}])
def test_settings_of_another_network_than_was_saved_are_refused(tmp_path: Path, other: dict[str, Any]) -> None:
    made().save(tmp_path)
    with pytest.raises(SetupError, match=rf"jenga_backbone.json: {next(iter(other))} is .*, but the model's settings"):
        BackboneManager.load("sequential", tmp_path, "security_mlp_v1", config(**other))
