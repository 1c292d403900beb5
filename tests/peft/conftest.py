"""Random models of each architecture, a few thousand parameters each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import seeds

BASE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
TEXT = {"vocab_size": 50, **BASE}
WHISPER = {
    "vocab_size": 50, "d_model": 16, "encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "num_mel_bins": 8,
    "max_source_positions": 10, "max_target_positions": 12, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    "decoder_start_token_id": 1,
}  # fmt: skip
KINDS = ("bert", "distilbert", "gpt2", "llama", "roberta", "vit", "whisper")


@pytest.fixture(autouse=True)
def kernel_at_every_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the kernel in layers that are too small for it to pay, as those of tests are."""
    from jenga.peft import fused

    monkeypatch.setattr(fused, "least_tokens", lambda layer: 0)


def make_model(kind: str) -> Any:
    import transformers as t

    match kind:
        case "bert":
            return t.BertModel(t.BertConfig(**TEXT))
        case "roberta":
            return t.RobertaModel(t.RobertaConfig(**TEXT), add_pooling_layer=False)
        case "distilbert":
            return t.DistilBertModel(t.DistilBertConfig(vocab_size=50, dim=16, n_layers=2, n_heads=2, hidden_dim=24))
        case "gpt2":
            ends = {"bos_token_id": 0, "eos_token_id": 0}
            return t.GPT2Model(t.GPT2Config(vocab_size=50, n_embd=16, n_layer=2, n_head=2, **ends))
        case "llama":
            return t.LlamaModel(t.LlamaConfig(num_key_value_heads=1, **TEXT))
        case "vit":
            return t.ViTModel(t.ViTConfig(image_size=8, patch_size=4, **BASE))
        case "whisper":
            return t.WhisperModel(t.WhisperConfig(**WHISPER))
        case "gpt_neo":  # whose layers no table of ours knows
            ends = {"bos_token_id": 0, "eos_token_id": 0}
            types = [[["global"], 2]]
            return t.GPTNeoModel(
                t.GPTNeoConfig(vocab_size=50, hidden_size=16, num_layers=2, num_heads=2, attention_types=types, **ends)
            )
        case "albert":  # whose usual layers PEFT does not know
            return t.AlbertModel(t.AlbertConfig(embedding_size=8, **TEXT))
    raise ValueError(kind)


@pytest.fixture
def encoder() -> Callable[[str], Any]:
    """Return a function that makes a random encoder, the same one each time, in evaluation mode."""
    import torch

    def make(kind: str) -> Any:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seeds.derived(0))
            return make_model(kind).eval()

    return make


@pytest.fixture
def hidden() -> Callable[[Any], Any]:
    """Return a function that runs an encoder on inputs that suit it and returns its last hidden states."""
    import torch

    def run(model: Any) -> Any:
        dice = seeds.generator(1)
        ids = torch.randint(3, 50, (3, 9), generator=dice)
        inputs = {
            "vit": {"pixel_values": torch.randn(3, 3, 8, 8, generator=dice).to(model.dtype)},
            "whisper": {
                "input_features": torch.randn(3, 8, 20, generator=dice).to(model.dtype),
                "decoder_input_ids": ids,
            },
        }.get(model.config.model_type, {"input_ids": ids})
        with torch.inference_mode():
            return model(**inputs).last_hidden_state

    return run


@pytest.fixture
def shake() -> Callable[[Any], None]:
    """Return a function that gives every trained parameter a random value, so that adapters change something."""
    import torch

    def act(model: Any) -> None:
        dice = seeds.generator(2)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn(parameter.shape, generator=dice) * 0.3)

    return act
