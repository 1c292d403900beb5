"""Bottleneck adapters: where they stand, what they compute, their files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from jenga.config.peft import BottleneckConfig
from jenga.errors import ConfigError, SetupError
from jenga.peft import inject, load_adapters
from jenga.peft.adapters import Bottleneck, places

KINDS = ("bert", "distilbert", "gpt2", "llama", "roberta", "vit", "whisper")
Encoder = Callable[[str], Any]
HOULSBY = BottleneckConfig(type="adapter", style="houlsby", bottleneck=4)
PFEIFFER = BottleneckConfig(type="adapter", style="pfeiffer", bottleneck=4)


@pytest.mark.parametrize("config", [HOULSBY, PFEIFFER], ids=lambda each: each.style)
@pytest.mark.parametrize("kind", KINDS)
def test_adapters_begin_as_the_identity_and_survive_saving(
    kind: str, config: BottleneckConfig, encoder: Encoder, hidden: Any, shake: Any, tmp_path: Path
) -> None:
    plain = encoder(kind)
    before = hidden(plain)
    adapters = inject(plain, config, base_name="base")
    assert torch.equal(hidden(plain), before)
    shake(plain)
    wanted = hidden(plain)
    assert (wanted - before).abs().max() > 0.05
    adapters.save(tmp_path)
    names = {"bottleneck_config.json", "bottleneck_model.safetensors", "base.json"}
    assert {each.name for each in tmp_path.iterdir()} == names
    again = load_adapters(encoder(kind), tmp_path, base_name="base")
    assert torch.equal(hidden(again.encoder.eval()), wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_houlsby_stands_after_attention_and_feed_forward_and_pfeiffer_after_the_latter(
    kind: str, encoder: Encoder
) -> None:
    model = encoder(kind)
    after_feed_forward, both = places(model, "pfeiffer"), places(model, "houlsby")
    layers = 3 if kind == "whisper" else 2
    assert len(after_feed_forward) == layers
    # A layer of Whisper's decoder has two attentions.
    assert len(both) == (7 if kind == "whisper" else 4)
    assert set(after_feed_forward) < set(both)
    assert all(("attn" in name) or ("attention" in name) for name in set(both) - set(after_feed_forward))


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_adapters_are_trained(kind: str, encoder: Encoder) -> None:
    plain = encoder(kind)
    total = sum(each.numel() for each in plain.parameters())
    inject(plain, HOULSBY, base_name="base")
    trained = {name for name, each in plain.named_parameters() if each.requires_grad}
    assert trained
    assert all(".bottleneck." in name for name in trained)
    assert sum(each.numel() for each in plain.parameters() if not each.requires_grad) == total


def test_what_joins_the_residual_stream_is_the_adapters_output(encoder: Encoder) -> None:
    """Before the residual addition and the norm (Houlsby et al. 2019, figure 2)."""
    model = encoder("bert")
    inject(model, PFEIFFER, base_name="base")
    output = model.encoder.layer[0].output
    x, residual = torch.randn(2, 3, 24), torch.randn(2, 3, 16)
    adapter = output.dense.bottleneck
    nn.init.normal_(adapter.up.weight)
    with torch.no_grad():
        plain = nn.functional.linear(x, output.dense.weight, output.dense.bias)
        update = adapter.up(nn.functional.gelu(adapter.down(plain)))
        torch.testing.assert_close(output(x, residual), output.LayerNorm(plain + update + residual))


@pytest.mark.parametrize("activation", ["gelu", "relu", "silu", "tanh"])
def test_each_activation_is_what_its_name_says(activation: str) -> None:
    config = BottleneckConfig(type="adapter", activation=activation, bottleneck=4)  # type: ignore[arg-type]
    adapter, x = Bottleneck(6, config), torch.randn(5, 6)
    nn.init.normal_(adapter.up.weight)
    function = torch.tanh if activation == "tanh" else getattr(nn.functional, activation)
    torch.testing.assert_close(adapter(x), x + adapter.up(function(adapter.down(x))))


def test_merging_is_refused(encoder: Encoder) -> None:
    with pytest.raises(ConfigError, match=r"cannot be merged: they are no change of weights. Export without --merge"):
        inject(encoder("bert"), PFEIFFER, base_name="base").merge()


def test_an_unknown_architecture_is_refused_with_the_known_ones(encoder: Encoder) -> None:
    with pytest.raises(
        ConfigError, match=r"peft.type: adapter knows no places in a 'gpt_neo' model.*bart, bert, .*vit"
    ):
        inject(encoder("gpt_neo"), PFEIFFER, base_name="base")


def test_files_that_do_not_fit_are_refused(encoder: Encoder, tmp_path: Path) -> None:
    inject(encoder("bert"), PFEIFFER, base_name="base").save(tmp_path)
    weights = load_file(tmp_path / "bottleneck_model.safetensors")
    lost = min(weights)
    save_file({name: each for name, each in weights.items() if name != lost}, tmp_path / "bottleneck_model.safetensors")
    with pytest.raises(SetupError, match=f"the adapters do not fit 'base', for example at {lost}"):
        load_adapters(encoder("bert"), tmp_path, base_name="base")
