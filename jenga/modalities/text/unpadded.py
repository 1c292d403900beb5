"""Encoders that compute the tokens of a batch alone, laid end to end, and none of what pads its shorter rows.

Embeddings, linear layers and norms, nearly all of an encoder's work on short texts, read ``(1, M, H)``: the M tokens of
all rows. Attention alone sees rows again, padded as they came and under the very mask of the ordinary pass, a sliding
window too, so that each token is what it is there. Attention in runs of rows of one length, which need no mask, was a
tenth quicker on a CPU in predicting rows at random, and no quicker in training or on rows in halves by length; it would
ask for an order of rows and for a window of its own.

transformers has a registry of attention functions and of their masks, to which ours are added; no model is changed.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from transformers.modeling_outputs import BaseModelOutputWithPooling

if TYPE_CHECKING:
    from collections.abc import Mapping

    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)
LEAST_SPARED, LEAST_SHARE = 12, 0.1
"""Padding below which it costs no more than laying rows end to end does, in places of a batch and as a share of them.

Measured on an encoder of 384 numbers a token, with batches of 2 to 32 rows (benchmarks/README.md)."""
_ATTENTION = "jenga_unpadded"
_EXACT = frozenset(
    {
        "bert", "camembert", "data2vec-text", "distilbert", "electra", "ernie", "eurobert", "gte", "modernbert",
        "nomic_bert", "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl",
    }
)  # fmt: skip
"""Kinds of models that are shown to give the same outputs (tests/modalities/text/test_unpadded.py): all their
attention asks the registry, and a token's place is given to them."""
_READ = frozenset({"input_ids", "attention_mask", "token_type_ids"})


@dataclass(frozen=True)
class Tokens:
    """Where the M tokens of a batch are in its rows: int64 ``places (M,)`` in ``(B x T)``."""

    places: torch.Tensor
    n_rows: int
    width: int

    def laid(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the tokens of ``(B, T, ...)`` end to end: ``(1, M, ...)``."""
        return rows.flatten(0, 1).index_select(0, self.places).unsqueeze(0)

    def by_row(self, laid: torch.Tensor) -> torch.Tensor:
        """Return ``(1, M, ...)`` as rows ``(B, T, ...)``, zeros where there is no token."""
        shape = laid.shape[2:]
        rows = laid.new_zeros(self.n_rows * self.width, *shape).index_copy(0, self.places, laid[0])
        return rows.view(self.n_rows, self.width, *shape)


def lay_tokens_end_to_end(encoder: PreTrainedModel) -> None:
    """Let `encoder` compute tokens alone, as `encoded_without_padding` asks it to, where its kind can."""
    settings = encoder.config
    if settings.model_type not in _EXACT or not type(encoder).__module__.startswith("transformers.models."):
        logger.info(
            "model: a %s model computes the padding of its batches too: its kind is not shown to be exact without it",
            settings.model_type,
        )  # fmt: skip
    # Another kind of attention than the usual one was asked for by name; a decoder's is causal.
    elif settings._attn_implementation == "sdpa" and not getattr(settings, "is_decoder", False):
        encoder.set_attn_implementation(_ATTENTION)


def lays_tokens_end_to_end(encoder: PreTrainedModel) -> bool:
    """Whether `encoder` computes tokens alone where `encoded_without_padding` asks it to."""
    return bool(encoder.config._attn_implementation == _ATTENTION)


def encoded_without_padding(
    encoder: PreTrainedModel, inputs: Mapping[str, torch.Tensor]
) -> BaseModelOutputWithPooling | None:
    """Return what `encoder` makes of its inputs ``(B, T)``, of their tokens alone; zeros stand at padding.

    None: the ordinary pass is to be taken, since it is as quick, or somebody needs rows throughout.
    """
    tokens = _tokens(encoder, inputs)
    if tokens is None:
        return None
    mask, ids = inputs["attention_mask"], inputs["input_ids"]
    laid = {name: tokens.laid(each) for name, each in inputs.items() if name != "attention_mask"}
    laid["position_ids"] = tokens.laid(_positions(encoder, ids))
    found = encoder(**laid, attention_mask=mask, tokens=tokens).last_hidden_state
    hidden = tokens.by_row(found)
    # The model has pooled already, but the first of all rows alone.
    pooler = getattr(encoder, "pooler", None)
    return BaseModelOutputWithPooling(hidden, None if pooler is None else pooler(hidden))


def _tokens(encoder: PreTrainedModel, inputs: Mapping[str, torch.Tensor]) -> Tokens | None:
    mask = inputs["attention_mask"]
    if not lays_tokens_end_to_end(encoder) or not _READ.issuperset(inputs):
        return None
    # How many tokens there are is no shape of the inputs: a graph would hold one batch's, and a GPU be waited for.
    if mask.device.type != "cpu" or torch.compiler.is_compiling() or torch.jit.is_tracing():
        return None
    # Who wants gradients of a model that does not learn asks what each token did, and expects rows.
    if torch.is_grad_enabled() and not encoder.training:
        return None
    real = mask != 0
    spared = mask.numel() - int(real.sum())
    if spared < max(LEAST_SPARED, LEAST_SHARE * mask.numel()) or not bool(real[:, 0].all()):
        return None
    return Tokens(real.flatten().nonzero().squeeze(1), *mask.shape)


def _positions(encoder: PreTrainedModel, input_ids: torch.Tensor) -> torch.Tensor:
    """Return each token's place, int64 ``(B, T)``, as the model would count it."""
    embeddings = getattr(encoder, "embeddings", None)
    count = getattr(embeddings, "create_position_ids_from_input_ids", None)
    if embeddings is not None and count is not None:  # RoBERTa begins behind the number of its padding token
        places: torch.Tensor = count(input_ids, embeddings.padding_idx)
        return places
    return torch.arange(input_ids.shape[1], device=input_ids.device).expand(input_ids.shape)


def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    tokens: Tokens | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attend within rows: of ``(B, heads, T, D)`` as they are, of ``(1, heads, M, D)`` by the rows of `tokens`."""
    if tokens is None:
        usual: tuple[torch.Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
        return usual
    rows = [tokens.by_row(each.transpose(1, 2)).transpose(1, 2) for each in (query, key, value)]
    found, _ = sdpa_attention_forward(module, *rows, attention_mask, **options)
    return tokens.laid(found), None


def _mask(
    *, batch_size: int, q_length: int, kv_length: int, attention_mask: torch.Tensor | None = None, **options: Any
) -> torch.Tensor | None:
    """Return the mask of a batch's rows, whose shape is that of its own mask, however its tokens are laid."""
    if attention_mask is not None:
        batch_size, kv_length = attention_mask.shape
        q_length = kv_length
    mask: torch.Tensor | None = sdpa_mask(
        batch_size=batch_size, q_length=q_length, kv_length=kv_length, attention_mask=attention_mask, **options
    )
    return mask


AttentionInterface.register(_ATTENTION, _attention)
AttentionMaskInterface.register(_ATTENTION, _mask)
