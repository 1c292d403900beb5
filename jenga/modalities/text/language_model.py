"""Causal language models: loaded with their output layer, and tried before anything is trained on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from jenga.errors import ConfigError
from jenga.modalities.text.pretrained import check_complete, cut_student, read_checkpoint
from jenga.modalities.text.settings import ModelConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_TRIED_TOKENS = 6
_TOLERANCE = 1e-3
"""Share of the largest value by which two ways to compute one thing in float32 may differ."""


def load_language_model(name: str, config: ModelConfig, *, key: str = "model.base_model") -> PreTrainedModel:
    """Return a checkpoint as a causal language model in float32, in evaluation mode, with the layers a student keeps.

    key: what named it. Raises ConfigError where it is none, or turns hidden states into logits by more than one linear
    layer, or where its tokens see those behind them; SetupError where it cannot be had, or lacks weights.
    """
    from transformers import AutoModelForCausalLM

    model, missing = read_checkpoint(AutoModelForCausalLM, name, config.for_language(), key=key)
    check_causal(model, name, key=key)
    check_complete(name, missing, key=key)
    check_output_layer(model, name, key=key)
    return cut_student(model, config)


def check_causal(model: PreTrainedModel, name: str, *, key: str) -> None:
    """Raise ConfigError where tokens see those behind them: an encoder that transformers also gives an output layer.

    Tried, for the configuration of a BERT says alike of itself as encoder and as decoder.
    """
    tokens = torch.arange(_TRIED_TOKENS, device=model.device)[None] % model.config.vocab_size
    half = _TRIED_TOKENS // 2
    with torch.no_grad():
        first = model.base_model(input_ids=tokens[:, :half], use_cache=False).last_hidden_state
        whole = model.base_model(input_ids=tokens, use_cache=False).last_hidden_state[:, :half]
    if (first - whole).abs().max() > _TOLERANCE * whole.abs().max():
        raise ConfigError(
            f"{key}: '{name}' ({model.config.model_type}) reads each token with those behind it, so that it cannot "
            "learn to predict them; choose a causal language model"
        )


def check_output_layer(model: PreTrainedModel, name: str, *, key: str) -> None:
    """Raise ConfigError unless logits of `model` are its last hidden states times its output layer, and nothing more.

    Losses over a large vocabulary are taken chunk by chunk from the output layer's weight, which is right only then.
    """
    output = model.get_output_embeddings()
    tokens = torch.arange(_TRIED_TOKENS, device=model.device)[None] % model.config.vocab_size
    with torch.no_grad():
        logits = model(input_ids=tokens, use_cache=False).logits
        if output is not None:
            hidden = model.base_model(input_ids=tokens, use_cache=False).last_hidden_state
            expected = torch.nn.functional.linear(hidden, output.weight, getattr(output, "bias", None))
            if (expected - logits).abs().max() <= _TOLERANCE * logits.abs().max():
                return
    raise ConfigError(
        f"{key}: '{name}' ({model.config.model_type}) does more to its logits than its output layer (a scale, or a "
        "soft cap), which causal_lm does not compute; choose another model"
    )


def check_packing(encoder: PreTrainedModel) -> None:
    """Raise ConfigError where packed texts would see one another in `encoder`: tried on two short ones."""
    size = encoder.config.vocab_size
    first, second = (torch.arange(begin, begin + _TRIED_TOKENS, device=encoder.device) % size for begin in (1, 3))
    positions = torch.arange(_TRIED_TOKENS, device=encoder.device).repeat(2)[None]
    was_training = encoder.training
    encoder.eval()
    with torch.no_grad():
        alone = encoder(input_ids=second[None], use_cache=False).last_hidden_state
        packed = torch.cat([first, second])[None]
        beside = encoder(input_ids=packed, position_ids=positions, use_cache=False).last_hidden_state
    encoder.train(was_training)
    if (beside[:, _TRIED_TOKENS:] - alone).abs().max() > _TOLERANCE * alone.abs().max():
        raise ConfigError(
            f"packing: texts laid end to end would see one another in a {encoder.config.model_type} model; set "
            "packing: false"
        )
