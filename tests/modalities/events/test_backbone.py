"""The backbone over features: its presets and settings, what it gives, and its file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from feature_networks import N_FEATURES, config, fitted, made, training_features
from pydantic import ValidationError
from torch import nn

from jenga.modalities import BackboneManager, Recipe
from jenga.modalities.events.backbone import PRESETS, SequentialBackbone, SequentialConfig
from jenga.types import BackboneOutput


def linears(backbone: SequentialBackbone) -> list[tuple[int, int]]:
    return [(part.in_features, part.out_features) for part in backbone.modules() if isinstance(part, nn.Linear)]


def test_the_preset_is_two_layers_of_128_and_64() -> None:
    backbone = made()
    assert linears(backbone) == [(N_FEATURES, 128), (128, 64)]
    assert (backbone.hidden_size, backbone.n_features) == (64, N_FEATURES)


def test_the_first_layer_reads_the_features_and_is_no_hidden_one() -> None:
    backbone = made("mlp", hidden_sizes=[4, 6, 8], residual=True)
    assert backbone.hidden_matrices() == {
        "layers.1.linear.weight", "layers.1.shortcut.weight", "layers.2.linear.weight", "layers.2.shortcut.weight"
    }  # fmt: skip
    assert {name: depth for name, depth in backbone.depths().items() if "linear.bias" in name} == {
        "layers.0.linear.bias": 1, "layers.1.linear.bias": 2, "layers.2.linear.bias": 3
    }  # fmt: skip


def test_the_presets_settings_can_be_overridden() -> None:
    backbone = made(hidden_sizes=[7], activation="tanh", dropout=0.5, normalization="layer")
    assert linears(backbone) == [(N_FEATURES, 7)]
    kinds = {type(part) for part in backbone.modules()}
    assert {nn.Tanh, nn.LayerNorm} <= kinds
    assert nn.ReLU not in kinds
    assert [part.p for part in backbone.modules() if isinstance(part, nn.Dropout)] == [0.5]


def test_an_output_is_one_token_a_row_and_hands_the_features_on() -> None:
    features = torch.randn(3, N_FEATURES)
    output = BackboneOutput.of(made()(features=features), {"features": features})
    assert output.last_hidden_state.shape == (3, 1, 64)
    assert output.pooler_output.shape == (3, 64)
    assert torch.equal(output.last_hidden_state[:, 0], output.pooler_output)
    assert output.attention_mask.tolist() == [[1]] * 3
    assert output.features is not None
    assert torch.equal(output.features, features)


@pytest.mark.parametrize("drawn", [{"clip": 1.0}, {"log_scale": 10.0}])
def test_features_that_are_drawn_together_are_handed_on_as_they_came_too(drawn: dict[str, float]) -> None:
    features = torch.randn(3, N_FEATURES)
    output = made(**drawn)(features=features)
    assert torch.equal(output.given, features)
    assert not torch.allclose(output.features, features)


def test_a_layer_is_activation_of_norm_of_linear() -> None:
    backbone = made(hidden_sizes=[4], normalization="layer", activation="silu").eval()
    features = torch.randn(6, N_FEATURES)
    linear, norm = backbone.layers[0].linear, backbone.layers[0].norm
    wanted = nn.functional.silu(norm(linear(features)))
    assert torch.equal(backbone(features=features).pooler_output, wanted)


def test_a_residual_layer_adds_its_input() -> None:
    backbone = made(hidden_sizes=[4, 4], residual=True).eval()
    features = torch.randn(6, N_FEATURES)
    first, second = backbone.layers
    hidden = torch.relu(first.linear(features)) + first.shortcut(features)  # projected: 5 wide to 4
    wanted = torch.relu(second.linear(hidden)) + hidden
    assert torch.allclose(backbone(features=features).pooler_output, wanted)
    assert isinstance(second.shortcut, nn.Identity)


@pytest.mark.parametrize("n_rows", [1, 2])
def test_batch_normalisation_takes_a_batch_of_any_size(n_rows: int) -> None:
    backbone = made(normalization="batch").train()
    loss = backbone(features=torch.randn(n_rows, N_FEATURES)).pooler_output.sum()
    loss.backward()
    assert bool(torch.isfinite(loss))


def test_a_single_row_leaves_running_statistics_alone() -> None:
    backbone = made(normalization="batch").train()
    before = backbone.layers[0].norm.running_mean.clone()
    backbone(features=torch.randn(1, N_FEATURES))
    assert torch.equal(backbone.layers[0].norm.running_mean, before)
    backbone(features=torch.randn(2, N_FEATURES))
    assert not torch.equal(backbone.layers[0].norm.running_mean, before)


# ------------------------------------------------------------------------------------- members, intervals and clipping


def test_batch_normalisation_sees_members_as_rows() -> None:
    """What stands in place of its forward in several processes takes channels for the second dimension."""
    backbone, seen = made(normalization="batch", members=3, hidden_sizes=[4]).train(), []
    alone = backbone.layers[0].norm.forward
    backbone.layers[0].norm.forward = lambda hidden: seen.append(hidden.shape) or alone(hidden)
    assert backbone(features=torch.randn(2, N_FEATURES)).pooler_output.shape == (2, 4)
    assert seen == [(6, 4)]


def test_intervals_are_those_that_a_run_began_with_whatever_rows_it_has_now(tmp_path: Path) -> None:
    asked = config("mlp", hidden_sizes=[6, 4], bins=8)
    begun = asked.fitted(training_features, tmp_path).pieces
    later = asked.fitted(lambda: pytest.fail("they are kept"), tmp_path).pieces
    assert begun is not None
    assert later is not None
    assert all(map(torch.equal, begun, later))


def test_members_are_one_network_with_scales_of_their_own() -> None:
    backbone, features = fitted(members=3, activation="tanh").eval(), torch.randn(7, N_FEATURES)
    for name, parameter in backbone.named_parameters():
        if "scale" in name:
            nn.init.normal_(parameter)
    layers: list[Any] = list(backbone.layers)
    output = backbone(features=features)
    assert output.members is not None
    for member in range(3):
        hidden = features
        for layer in layers:
            shared = nn.functional.linear(hidden * layer.scale_in[member], layer.linear.weight)
            hidden = torch.tanh(shared * layer.scale_out[member] + layer.shift[member])
        torch.testing.assert_close(output.members[:, member], hidden)
    torch.testing.assert_close(output.pooler_output, output.members.mean(1))
    assert output.last_hidden_state.shape == (7, 1, 4)


def test_members_differ_from_the_start() -> None:
    members = fitted(members=4)(features=torch.randn(7, N_FEATURES)).members
    assert members is not None
    assert members.std(1).mean() > 0.1 * members.abs().mean()


@pytest.mark.parametrize("normalization", ["none", "layer", "batch"])
@pytest.mark.parametrize("n_rows", [1, 3])
def test_members_take_every_normalisation_and_shortcut(normalization: str, n_rows: int) -> None:
    backbone = fitted(members=3, normalization=normalization, residual=True, dropout=0.2).train()
    members = backbone(features=torch.randn(n_rows, N_FEATURES)).members
    assert members is not None
    assert members.shape == (n_rows, 3, 4)
    members.sum().backward()
    assert all(each.grad is not None and each.grad.isfinite().all() for each in backbone.parameters())


def test_far_off_numbers_say_no_more_than_the_farthest_seen() -> None:
    backbone = fitted(bins=8, clip=1.0).eval()
    far, farther = torch.full((1, N_FEATURES), 1e4), torch.full((1, N_FEATURES), 1e6)
    one, other = (backbone(features=each).pooler_output for each in (far, farther))
    torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


# ------------------------------------------------------------------------------------------------------------ settings


def test_a_preset_fills_what_is_not_given() -> None:
    found = config("security_tab_v1", bins=5)
    assert (found.bins, found.widths) == (5, PRESETS["security_tab_v1"]["hidden_sizes"])
    assert found.dropout == PRESETS["security_tab_v1"]["dropout"]
    assert (config().bins, config().clip, config().members) == (None, None, None)


def test_mlp_needs_its_widths() -> None:
    with pytest.raises(ValidationError, match=r"hidden_sizes: base_model 'mlp' needs the widths of its layers"):
        SequentialConfig(base_model="mlp")
    assert SequentialConfig(base_model="mlp", hidden_sizes=[3]).widths == [3]


def test_an_unknown_network_is_suggested() -> None:
    with pytest.raises(ValidationError, match=r"unknown 'security_mlp'; did you mean 'security_mlp_v1'\? Known: .*mlp"):
        SequentialConfig(base_model="security_mlp")


def test_null_turns_off_what_a_preset_has_and_leaves_it_the_widths() -> None:
    found = config("security_tab_v1", clip=None, bins=None, hidden_sizes=None)
    assert (found.clip, found.bins) == (None, None)
    assert found.widths == PRESETS["security_tab_v1"]["hidden_sizes"]
    again = SequentialConfig.model_validate(found.model_dump(mode="json"))
    assert (again.clip, again.bins) == (None, None), "as a run's config.yml has it"


def test_the_network_for_tables_is_trained_with_a_decay_and_a_rate_of_its_own() -> None:
    found = {name: recipe_of(name) for name in ("security_mlp_v1", "tabular_v1")}
    assert {name: each.weight_decay for name, each in found.items()} == {"security_mlp_v1": 0.01, "tabular_v1": 0.3}
    assert {name: each.rates["heads"] for name, each in found.items()} == {"security_mlp_v1": 1e-3, "tabular_v1": 3e-3}


def recipe_of(base_model: str) -> Recipe:
    backbone = BackboneManager.create("sequential", base_model, config(base_model, bins=None, values_shared_by=None))
    return backbone.recipe
