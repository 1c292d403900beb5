"""How deep parameters lie in a network, and which are hidden matrices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    ASTConfig,
    ASTModel,
    BartConfig,
    BartModel,
    BertConfig,
    BertModel,
    ConvNextConfig,
    ConvNextModel,
    DebertaV2Config,
    DebertaV2Model,
    DistilBertConfig,
    DistilBertModel,
    GPT2Config,
    GPT2Model,
    LlamaConfig,
    LlamaModel,
    SwinConfig,
    SwinModel,
    ViTConfig,
    ViTModel,
    Wav2Vec2Config,
    Wav2Vec2Model,
    WhisperConfig,
)
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from jenga.modalities.audio.tiny import tiny_encoder
from jenga.modalities.parameters import depths_of, hidden_matrices
from jenga.modalities.text.tiny import TinyTextConfig, TinyTextModel
from jenga.modalities.vision.networks import TinyVision

WIDE = {"hidden_size": 8, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 8}
MODELS: dict[str, Callable[[], nn.Module]] = {
    "bert": lambda: BertModel(BertConfig(vocab_size=9, **WIDE)),
    "deberta-v2": lambda: DebertaV2Model(
        DebertaV2Config(vocab_size=9, relative_attention=True, position_buckets=4, norm_rel_ebd="layer_norm", **WIDE)
    ),
    "distilbert": lambda: DistilBertModel(DistilBertConfig(vocab_size=9, dim=8, n_layers=3, n_heads=2, hidden_dim=8)),
    "gpt2": lambda: GPT2Model(GPT2Config(vocab_size=9, n_embd=8, n_layer=3, n_head=2)),
    "llama": lambda: LlamaModel(LlamaConfig(vocab_size=9, num_key_value_heads=2, **WIDE)),
    "bart": lambda: BartModel(
        BartConfig(
            vocab_size=9, d_model=8, encoder_layers=3, decoder_layers=2, encoder_attention_heads=2,
            decoder_attention_heads=2, encoder_ffn_dim=8, decoder_ffn_dim=8, max_position_embeddings=9,
        )
    ),
    "whisper": lambda: WhisperEncoder(
        WhisperConfig(d_model=8, encoder_layers=3, encoder_attention_heads=2, encoder_ffn_dim=8, num_mel_bins=4)
    ),
    "wav2vec2": lambda: Wav2Vec2Model(
        Wav2Vec2Config(conv_dim=(8, 8), conv_kernel=(3, 3), conv_stride=(2, 2), num_conv_pos_embeddings=4,
                       num_conv_pos_embedding_groups=2, **WIDE)
    ),
    "ast": lambda: ASTModel(ASTConfig(**WIDE)),
    "vit": lambda: ViTModel(ViTConfig(image_size=16, patch_size=8, **WIDE)),
    "swin": lambda: SwinModel(SwinConfig(image_size=32, patch_size=4, embed_dim=8, depths=[1, 2], num_heads=[2, 2])),
    "convnext": lambda: ConvNextModel(ConvNextConfig(hidden_sizes=[8, 16], depths=[1, 2], num_stages=2)),
    "tiny-audio": lambda: tiny_encoder(None),
    "tiny-vision": TinyVision,
    "tiny-text": lambda: TinyTextModel(TinyTextConfig(vocab_size=9, embedding_size=8, hidden_size=8)),
}  # fmt: skip
FIRST, LAST = 0, -1
EXPECTED: dict[str, tuple[int, dict[str, int]]] = {
    "bert": (3, {"embeddings.word": 0, "encoder.layer.0.": 1, "encoder.layer.2.": 3, "pooler.dense": 3}),
    "deberta-v2": (3, {"embeddings.word": 0, "encoder.rel_embeddings": 0, "encoder.layer.1.": 2}),
    "distilbert": (3, {"embeddings.": 0, "transformer.layer.0.": 1, "transformer.layer.2.": 3}),
    "gpt2": (3, {"wte": 0, "wpe": 0, "h.0.": 1, "h.2.": 3, "ln_f": 3}),
    "llama": (3, {"embed_tokens": 0, "layers.0.": 1, "layers.2.": 3, "norm.": 3}),
    "bart": (5, {"shared": 0, "encoder.layers.2.": 3, "decoder.embed_positions": 0, "decoder.layers.0.": 4}),
    "whisper": (3, {"conv1": 0, "embed_positions": 0, "layers.0.": 1, "layer_norm": 3}),
    "wav2vec2": (3, {"masked_spec_embed": 0, "feature_extractor.": 0, "feature_projection": 0,
                     "encoder.pos_conv": 0, "encoder.layers.0.": 1, "encoder.layers.2.": 3}),
    "ast": (3, {"embeddings.cls_token": 0, "embeddings.patch": 0, "layers.0.": 1, "layernorm": 3}),
    "vit": (3, {"embeddings.cls_token": 0, "embeddings.patch": 0, "layers.0.": 1, "layernorm": 3}),
    "swin": (3, {"embeddings.patch": 0, "encoder.layers.0.blocks.0.": 1, "encoder.layers.0.downsample": 1,
                 "encoder.layers.1.blocks.0.": 2, "encoder.layers.1.blocks.1.": 3, "layernorm": 3}),
    "convnext": (3, {"embeddings.patch": 0, "encoder.stages.0.layers.0.": 1, "encoder.stages.1.downsampling": 1,
                     "encoder.stages.1.layers.1.": 3, "layernorm": 3}),
    "tiny-audio": (2, {"conv1": 0, "layers.0.": 1, "layers.1.": 2, "layer_norm": 2}),
    "tiny-vision": (3, {"stem": 0, "stages.0.": 1, "stages.2.": 3}),
    "tiny-text": (1, {"embeddings": 0, "forward_lstm": 1, "backward_lstm": 1, "norm": 1}),
}  # fmt: skip
"""The last layer's number, and the depths of the parameters whose names have this in them."""


@pytest.mark.parametrize("name", MODELS)
def test_embeddings_come_first_and_what_follows_the_last_layer_is_as_deep_as_it(name: str) -> None:
    with torch.device("meta"):
        found = depths_of(MODELS[name]())
    last, expected = EXPECTED[name]
    assert max(found.values()) == last
    for part, depth in expected.items():
        named = {key: each for key, each in found.items() if part in key}
        if part.startswith(("layer", "norm")) and "." not in part.rstrip("."):
            named = {key: each for key, each in named.items() if key.startswith(part)}
        assert named, part
        assert set(named.values()) == {depth}, named


def test_a_network_without_layers_or_embeddings_has_one_depth() -> None:
    assert set(depths_of(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))).values()) == {1}


class Odd(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(5, 4)
        self.places = nn.Parameter(torch.zeros(6, 4))
        self.inner = nn.Linear(4, 3)
        self.norm = nn.LayerNorm(3)
        self.gate = nn.Linear(3, 1)
        self.attention = nn.MultiheadAttention(4, 2)
        self.seen = nn.Conv2d(3, 4, 2)
        self.memory = nn.LSTM(4, 2)


def test_hidden_matrices_are_weights_of_two_dimensions_that_are_no_embeddings() -> None:
    assert hidden_matrices(Odd()) == {
        "inner.weight", "attention.in_proj_weight", "attention.out_proj.weight", "memory.weight_ih_l0",
        "memory.weight_hh_l0",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["bert", "gpt2", "whisper"])
def test_of_a_transformer_the_matrices_of_its_layers_are_hidden(name: str) -> None:
    with torch.device("meta"):
        model: Any = MODELS[name]()
    found, depths = hidden_matrices(model), depths_of(model)
    in_layers = {key for key, p in model.named_parameters() if p.ndim == 2 and depths[key] > 0}
    assert len(in_layers) >= 12
    assert found == in_layers
