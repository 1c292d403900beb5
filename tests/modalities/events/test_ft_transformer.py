"""FT-Transformer: what its tokens and layers compute, whose features are whose, and its file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from feature_networks import N_FEATURES, training_features
from pydantic import ValidationError
from torch import nn

from jenga.modalities import BackboneManager
from jenga.modalities.events.ft_transformer import FieldLayer, FieldTokens, FTTransformer, FTTransformerConfig
from jenga.types import BackboneOutput

WIDTHS = (2, 1, 2)
BASE = "ft_transformer_small"


def config(**settings: Any) -> FTTransformerConfig:
    return FTTransformerConfig(base_model=BASE, hidden_size=8, num_attention_heads=2, **settings).with_features(
        N_FEATURES, WIDTHS
    )


def made(folder: Path, **settings: Any) -> FTTransformer:
    found = config(**settings).fitted(training_features, folder)
    backbone = BackboneManager.create("ft_transformer", found.base_model, found)
    assert isinstance(backbone, FTTransformer)
    return backbone


def test_a_token_is_linear_in_the_numbers_of_its_field() -> None:
    tokens = FieldTokens([[0, 3], [2], [1, 4]], 8)
    numbers = torch.randn(6, N_FEATURES)
    found = tokens(numbers)
    assert found.shape == (6, 4, 8)
    assert torch.equal(found[:, 0], tokens.first[0].expand(6, 8))
    for place, own in enumerate([[0, 3], [2], [1, 4]]):
        torch.testing.assert_close(found[:, 1 + place], tokens.fields[place](numbers[:, own]))


def test_a_category_of_flags_has_its_vector_as_an_embedding_has() -> None:
    tokens = FieldTokens([[0, 1, 2]], 8)
    torch.testing.assert_close(tokens(torch.eye(3))[:, 1] - tokens.fields[0].bias, tokens.fields[0].weight.T)


def test_a_layer_is_pytorchs_attention_and_a_gated_network() -> None:
    layer = FieldLayer(config(), first=False).eval()
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    with torch.no_grad():
        attention.in_proj_weight.copy_(layer.query_key_value.weight)
        attention.in_proj_bias.copy_(layer.query_key_value.bias)
        attention.out_proj.weight.copy_(layer.attended.weight)
        attention.out_proj.bias.copy_(layer.attended.bias)
    hidden = torch.randn(3, 4, 8)
    read = layer.attention_norm(hidden)
    after = hidden + attention(read, read, read)[0]
    value, gate = layer.gated(layer.norm(after)).split(10, 2)  # 4/3 of 8
    torch.testing.assert_close(layer(hidden), after + layer.output(value * gate.clamp(min=0)))


def test_the_first_layer_reads_tokens_without_a_norm(tmp_path: Path) -> None:
    first, second = made(tmp_path).layers
    assert isinstance(first.attention_norm, nn.Identity)
    assert isinstance(second.attention_norm, nn.LayerNorm)


def test_attention_is_dropped_in_training_alone() -> None:
    layer = FieldLayer(config(attention_dropout=0.9, dropout=0.0), first=True)
    hidden = torch.randn(3, 4, 8)
    assert not torch.equal(layer.train()(hidden), layer(hidden))
    assert torch.equal(layer.eval()(hidden), layer(hidden))


def test_an_output_is_one_token_a_row_and_hands_the_features_on(tmp_path: Path) -> None:
    features = torch.randn(3, N_FEATURES)
    output = BackboneOutput.of(made(tmp_path).eval()(features=features), {"features": features})
    assert output.last_hidden_state.shape == (3, 1, 8)
    assert torch.equal(output.last_hidden_state[:, 0], output.pooler_output)
    assert output.attention_mask.tolist() == [[1]] * 3
    assert torch.equal(output.given, features)
    assert torch.equal(output.features, features.sign() * (10 * features.abs()).log1p())


def test_what_heads_read_is_the_first_token_normalised_and_cut_at_nothing(tmp_path: Path) -> None:
    backbone = made(tmp_path).eval()
    features = torch.randn(3, N_FEATURES)
    hidden = backbone.tokens(backbone.shown(features)[0])
    for layer in backbone.layers:
        hidden = layer(hidden)
    assert torch.equal(backbone(features=features).pooler_output, backbone.norm(hidden[:, 0]).clamp(min=0))


@pytest.mark.parametrize(("width", "rate"), [(32, 1e-3), (64, 1e-3), (192, 3.3e-4)])
def test_the_wider_it_is_the_lower_its_rate(width: int, rate: float) -> None:
    found = FTTransformerConfig(base_model=BASE, hidden_size=width).with_features(N_FEATURES, WIDTHS)
    recipe = BackboneManager.create("ft_transformer", BASE, found).recipe
    assert set(recipe.rates.values()) == {rate}


def test_intervals_belong_to_the_field_of_their_feature(tmp_path: Path) -> None:
    backbone = made(tmp_path, bins=4)
    assert backbone.bins is not None
    own = backbone.columns()
    field_of = [0, 0, 1, 2, 2]
    for place, feature in enumerate(backbone.bins.feature.tolist()):
        assert [N_FEATURES + place in columns for columns in own] == [field == field_of[feature] for field in range(3)]
    assert sum(map(len, own)) == backbone.n_inputs > N_FEATURES
    assert [field.in_features for field in backbone.tokens.fields] == list(map(len, own))


def test_a_field_reaches_the_state_through_attention_alone(tmp_path: Path) -> None:
    """The token that is read belongs to no field, so nothing else carries a field to it."""
    backbone = made(tmp_path).eval()
    features = torch.randn(2, N_FEATURES)
    changed = features.clone()
    changed[:, 2] += 1
    assert not torch.equal(backbone(features=features).pooler_output, backbone(features=changed).pooler_output)
    for layer in backbone.layers:
        nn.init.zeros_(layer.attended.weight)
    assert torch.equal(backbone(features=features).pooler_output, backbone(features=changed).pooler_output)


def test_a_preset_fills_what_is_not_given() -> None:
    found = FTTransformerConfig(base_model="ft_transformer", num_hidden_layers=1)
    assert (found.hidden_size, found.num_hidden_layers, found.num_attention_heads) == (192, 1, 8)
    assert config().num_hidden_layers == 2


def test_heads_that_cannot_share_the_width_are_refused() -> None:
    with pytest.raises(ValidationError, match="num_attention_heads: 3 heads cannot share hidden_size 64 evenly"):
        FTTransformerConfig(base_model=BASE, num_attention_heads=3)


def test_it_comes_back_from_disk_with_its_intervals(tmp_path: Path) -> None:
    backbone = made(tmp_path, bins=4).eval()
    backbone.save(tmp_path)
    again = BackboneManager.load("ft_transformer", tmp_path, BASE, config(bins=4)).eval()
    features = torch.randn(3, N_FEATURES)
    assert torch.equal(again(features=features).pooler_output, backbone(features=features).pooler_output)


def test_optimizers_for_matrices_leave_its_tokens_alone(tmp_path: Path) -> None:
    names = made(tmp_path).hidden_matrices()
    assert {f"layers.0.{name}.weight" for name in ("query_key_value", "attended", "gated", "output")} <= names
    assert not [name for name in names if name.startswith("tokens.")]
