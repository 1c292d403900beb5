from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import seeds
import torch
import transformers

from jenga.errors import ConfigError
from jenga.modalities.text.layers import keep_layers, n_layers

N_LAYERS = 6
KEPT = [0, 2, 5]
SMALL: dict[str, Any] = {
    "vocab_size": 64, "hidden_size": 32, "num_hidden_layers": N_LAYERS, "num_attention_heads": 4,
    "intermediate_size": 48, "max_position_embeddings": 64,
}  # fmt: skip
GROUPED = {**SMALL, "num_key_value_heads": 2, "head_dim": 8}
CAUSAL = {
    "GPT2": {"vocab_size": 64, "n_embd": 32, "n_layer": N_LAYERS, "n_head": 4, "n_positions": 64,
             "scale_attn_by_inverse_layer_idx": True},
    "Llama": GROUPED,
    "Qwen2": {**GROUPED, "use_sliding_window": True, "max_window_layers": 3, "sliding_window": 4},
    "Gemma2": {**GROUPED, "sliding_window": 4},
    "Gemma3Text": {**GROUPED, "sliding_window": 4},
    "Mistral": GROUPED,
    "GPTNeoX": SMALL,
    "Phi": SMALL,
    "OPT": {**{k: v for k, v in SMALL.items() if k != "intermediate_size"}, "ffn_dim": 48, "word_embed_proj_dim": 32},
}  # fmt: skip
ENCODERS = {
    "Bert": SMALL,
    "Roberta": {**SMALL, "max_position_embeddings": 66},
    "ModernBert": SMALL,
    "DistilBert": {"vocab_size": 64, "dim": 32, "n_layers": N_LAYERS, "n_heads": 4, "hidden_dim": 48},
}
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 63, "cls_token_id": 1, "sep_token_id": 2}


def make(kind: str, settings: dict[str, Any]) -> Any:
    names = {"Gemma3Text": ("Gemma3TextConfig", "Gemma3ForCausalLM")}
    head = "Model" if kind in ENCODERS else "LMHeadModel" if kind == "GPT2" else "ForCausalLM"
    config_name, model_name = names.get(kind, (f"{kind}Config", f"{kind}{head}"))
    torch.manual_seed(seeds.derived(0))
    config = getattr(transformers, config_name)(**settings, **SPECIAL)
    return getattr(transformers, model_name)(config).eval()


def output(model: Any, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=ids)[0]


IDS = torch.arange(3, 15)[None]


@pytest.mark.parametrize("kind", [*CAUSAL, *ENCODERS])
def test_a_cut_model_is_saved_and_loaded_as_it_is(kind: str, tmp_path: Path) -> None:
    model = make(kind, {**CAUSAL, **ENCODERS}[kind])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model = keep_layers(model, KEPT)
    assert n_layers(model) == len(KEPT)
    expected = output(model, IDS)
    assert not torch.equal(expected, output(make(kind, {**CAUSAL, **ENCODERS}[kind]), IDS))
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path).eval()
    assert again.config.num_hidden_layers == len(KEPT)
    torch.testing.assert_close(output(again, IDS), expected, rtol=0, atol=0)
    kept = [value for name, value in model.state_dict().items() if ".1." in f".{name}"]
    assert kept
    assert all(any(torch.equal(value, old) for old in before.values()) for value in kept)


@pytest.mark.parametrize("kind", CAUSAL)
def test_a_cut_model_generates_with_a_cache_as_without(kind: str) -> None:
    model = make(kind, CAUSAL[kind])
    model = keep_layers(model, KEPT)
    with torch.no_grad():
        cached = model.generate(IDS, max_new_tokens=8, do_sample=False, eos_token_id=None, pad_token_id=0)
        plain = model.generate(
            IDS, max_new_tokens=8, do_sample=False, eos_token_id=None, pad_token_id=0, use_cache=False
        )
    assert cached.shape[1] == IDS.shape[1] + 8
    assert cached.tolist() == plain.tolist()


def test_keeping_every_layer_changes_nothing() -> None:
    model = make("Llama", GROUPED)
    expected = output(model, IDS)
    assert torch.equal(output(keep_layers(model, range(N_LAYERS)), IDS), expected)


def test_a_layer_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match=r"from_teacher: layer 7, but '.*' has 6 \(0 to 5\)"):
        keep_layers(make("Llama", GROUPED), [0, 7])


def test_layers_that_are_shared_are_refused() -> None:
    shared = transformers.AlbertModel(transformers.AlbertConfig(**SMALL, embedding_size=16))
    with pytest.raises(ConfigError, match=r"albert.*no one stack"):
        n_layers(shared)
