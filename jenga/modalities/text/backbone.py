"""Text backbone: any encoder or decoder of transformers, and a small preset that needs no download."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from jenga.errors import ConfigError, SetupError
from jenga.modalities.backbone import BackboneManager, Recipe
from jenga.modalities.text.language_model import load_language_model
from jenga.modalities.text.pretrained import UnknownPoolingError, load_encoder, published_pooling
from jenga.modalities.text.settings import ModelConfig
from jenga.modalities.transformer import TransformerBackbone, load_adapted, load_whole
from jenga.peft import base_of
from jenga.peft.base import read_object
from jenga.types import BackboneOutput, States

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from jenga.modalities.text.windows import Windows

logger = logging.getLogger(__name__)
_POOLING_FILE = "jenga_backbone.json"
_POOLINGS = tuple(each for each in get_args(ModelConfig.model_fields["pooling"].annotation) if each != "auto")
_OF_TOKENS = ("mean", "max")
"""Poolings over all tokens of a row; by the others one token, or what is made of it, stands for all that is read."""


@BackboneManager.register("text", config=ModelConfig)
class TextBackbone(TransformerBackbone):
    """A transformers model without its head.

    `pooler_output` is, by `config.pooling`: the model's own pooler, the first token, the mean or the maximum over
    real tokens, or the last real token.
    """

    modality = "text"

    def __init__(self, model_name: str, config: ModelConfig) -> None:
        super().__init__(model_name, config)
        self._language: tuple[PreTrainedModel, ...] = ()
        self.windows = config.windows
        if config.generates:
            model = load_language_model(model_name, config)
            encoder, has_pooler = model.base_model, False
            self._own_language_model(model)
        else:
            from jenga.modalities.text.unpadded import lay_tokens_end_to_end

            encoder, has_pooler = load_encoder(model_name, config)
            lay_tokens_end_to_end(encoder)
        self.encoder = encoder
        self.pooling = _resolve_pooling(config.pooling, model_name, encoder, has_pooler)
        if self.pooling != "pooler" and getattr(encoder, "pooler", None) is not None:
            encoder.pooler = None

    def _own_language_model(self, model: PreTrainedModel) -> None:
        """Keep the model around the encoder for its output layer and `generate`, and its own weights as ours."""
        # In a tuple, since its encoder is a module of this one already; an output layer tied to the embeddings too.
        self._language = (model,)
        output = model.get_output_embeddings()
        self._tied = output.weight is model.get_input_embeddings().weight
        if not self._tied:
            self.lm_head = output

    @property
    def language_model(self) -> PreTrainedModel:
        """The encoder with its output layer. Raises ConfigError where the backbone was made without one."""
        if not self._language:
            raise ConfigError(f"model.base_model: '{self.model_name}' was loaded without its output layer")
        return self._language[0]

    @property
    def output_layer(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Weight ``(V, H)`` and bias ``(V,)`` of the layer that turns hidden states into logits of tokens."""
        layer = self.language_model.get_output_embeddings()
        # The embeddings are a module of ours, whose weight may be elsewhere between calls; a tied layer is none.
        weight = self.language_model.get_input_embeddings().weight if self._tied else layer.weight
        return weight, getattr(layer, "bias", None)

    @property
    def embeddings(self) -> nn.Module | None:
        """The embeddings of tokens; None where rows are read in windows, whose tokens are no positions of rows."""
        if self.windows is not None:
            return None
        try:
            found: nn.Module = self.encoder.get_input_embeddings()
        except NotImplementedError:  # a model of somebody's own, which does not say where they are
            return None
        return found

    @property
    def max_positions(self) -> int | None:
        """Most tokens that the model has positions for; None: no limit known."""
        positions = getattr(self.encoder.config, "max_position_embeddings", None)
        if positions is not None and self.encoder.config.model_type in ("roberta", "xlm-roberta", "camembert"):
            positions -= self.encoder.config.pad_token_id + 1
        return positions

    @property
    def skips_padding(self) -> bool:
        """Whether the encoder computes the tokens of a batch alone."""
        from jenga.modalities.text.unpadded import lays_tokens_end_to_end

        return not self.wanted_states and lays_tokens_end_to_end(self.encoder)

    @property
    def recipe(self) -> Recipe:
        """By what the weights were before the first step: trained, or random (of a preset)."""
        if self.config.starts_from_nothing:
            return replace(Recipe.from_nothing(self.hidden_size), by_answers=True)
        recipe = replace(Recipe.pretrained(self.hidden_size), by_answers=True)
        if self._language:
            return replace(recipe, visits=10_000, most_epochs=3, largest_batch=8)
        return recipe

    @property
    def vocabulary_size(self) -> int | None:
        """Tokens that the model has embeddings for; None: not known."""
        size: int | None = getattr(self.encoder.config, "vocab_size", None)
        return size

    def forward(self, **inputs: torch.Tensor) -> BackboneOutput:
        """Encode ``input_ids (B, T)`` with ``attention_mask (B, T)``.

        For pairs also ``token_type_ids (B, T)``, which only a model with embeddings for them reads; for packed texts
        ``position_ids (B, T)`` that begin anew with each of them. Longer rows than a window are read in windows.
        """
        if getattr(self.encoder.config, "type_vocab_size", 0) < 2:
            inputs.pop("token_type_ids", None)
        mask = inputs["attention_mask"]
        if self.windows is not None:
            if torch.compiler.is_exporting():
                raise ConfigError(
                    "model.window_tokens: how many windows there are is told by a batch's values, which no graph asks "
                    "for; use --format transformers or mlflow"
                )
            if mask.shape[1] > self.windows.tokens:
                return self._in_windows(inputs, self.windows)
        output = self._read(inputs)
        pooled = self._pooled(output.last_hidden_state, mask, output.get("pooler_output"))
        wanted = bool(self.wanted_states) and self.training
        states = States(output.get("hidden_states"), output.get("attentions")) if wanted else None
        return BackboneOutput(output.last_hidden_state, pooled, mask, states=states)

    def _read(self, inputs: dict[str, torch.Tensor]) -> Any:
        """Return what the encoder makes of its inputs ``(B, T)``."""
        from jenga.modalities.text.unpadded import encoded_without_padding

        wanted = self.wanted_states if self.training else {}
        if self._language:
            # Padding stands behind the tokens, which do not see it; without a mask, attention takes its fast path, and
            # positions that begin anew part packed texts (transformers looks at them only where there is no cache).
            read = {name: each for name, each in inputs.items() if name != "attention_mask"}
            return self.encoder(**read, **wanted, use_cache=False)
        output = None if wanted else encoded_without_padding(self.encoder, inputs)
        return self.encoder(**inputs, **wanted) if output is None else output

    def _pooled(self, hidden: torch.Tensor, mask: torch.Tensor, own: torch.Tensor | None = None) -> torch.Tensor:
        """Return one vector a row ``(B, H)`` of its states ``(B, T, H)``; own: what the model's pooler made of them."""
        if self.pooling == "pooler":
            assert own is not None
            return own
        if self.pooling == "cls":
            return hidden[:, 0]
        if self.pooling == "max":
            return hidden.masked_fill(mask.unsqueeze(-1) == 0, torch.finfo(hidden.dtype).min).amax(1)
        if self.pooling == "mean":
            weights = mask.unsqueeze(-1).to(hidden.dtype)
            return (hidden * weights).sum(1) / weights.sum(1).clamp_min(1)
        last = (mask * torch.arange(mask.shape[1], device=mask.device)).argmax(1)
        return hidden[torch.arange(hidden.shape[0], device=hidden.device), last]

    def _in_windows(self, inputs: dict[str, torch.Tensor], windows: Windows) -> BackboneOutput:
        """Encode rows of any length: each token's state is that of the window that answers for it.

        The mean and the maximum are over all tokens of a row, each once. What stands for a window as a whole, its first
        or last token or what the pooler makes of it, is averaged, by the tokens that the window answers for: heads are
        linear, so that this is the mean of the windows' logits too, and a row has one loss, wherever its evidence is.
        """
        mask = inputs["attention_mask"]
        parts = windows.parts(mask)
        # Memory follows the states of a batch's tokens, and not the activations of all windows.
        forget = self.training and torch.is_grad_enabled() and len(parts) > 1
        found = []
        for part in parts:
            own = {name: each.flatten()[part.places] for name, each in inputs.items() if name != "attention_mask"}
            own["attention_mask"] = part.mask
            read = (own, part.kept)
            found.append(checkpoint(self._window, *read, use_reentrant=False) if forget else self._window(*read))
        kept, vectors = (torch.cat(each) for each in zip(*found, strict=True))
        hidden = kept.new_zeros(mask.numel(), kept.shape[-1])
        hidden = hidden.index_copy(0, torch.cat([part.where for part in parts]), kept).view(*mask.shape, -1)
        if self.pooling in _OF_TOKENS:
            return BackboneOutput(hidden, self._pooled(hidden, mask), mask)
        shares = torch.cat([part.shares for part in parts], dim=1)
        return BackboneOutput(hidden, shares.to(vectors.dtype) @ vectors, mask)

    def _window(self, inputs: dict[str, torch.Tensor], kept: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the states of the tokens `kept` of some windows ``(M, H)``, and a vector each of these ``(N, H)``."""
        output = self._read(inputs)
        hidden = output.last_hidden_state
        return hidden.flatten(0, 1)[kept], self._pooled(hidden, inputs["attention_mask"], output.get("pooler_output"))

    def keep_states(self, *, hidden_states: bool, attentions: bool) -> None:
        """Hand on what every layer makes, in training, for a teacher's sake. Raises ConfigError of windows."""
        if self.windows is not None:
            raise ConfigError(
                "model.window_tokens: windows hand on no inner states to match; remove it, or hidden_states and "
                "attentions of the teacher"
            )
        super().keep_states(hidden_states=hidden_states, attentions=attentions)

    def hidden_matrices(self) -> set[str]:
        """Return the names of the weights of hidden layers; what turns hidden states into tokens is none."""
        return {name for name in super().hidden_matrices() if not name.startswith("lm_head.")}

    @property
    def transformer(self) -> PreTrainedModel:
        """What is saved, and what adapters are part of: the encoder, with its output layer where it has one."""
        return self._language[0] if self._language else self.encoder

    def save(self, folder: Path) -> None:
        """Write a plain transformers checkpoint, which `AutoModel.from_pretrained` loads too.

        Of an encoder with adapters only they are written, as PEFT does it, and the name of their base.
        """
        super().save(folder)
        (folder / _POOLING_FILE).write_text(json.dumps({"pooling": self.pooling}) + "\n")

    @classmethod
    def load(cls, folder: Path, model_name: str, config: ModelConfig) -> TransformerBackbone:
        """Load what `save` wrote, with the pooling that it was trained with.

        model_name: the base of adapters; not read otherwise. Raises SetupError where it is not what they stand on, or
        the folder's files are not what `save` writes.
        """
        pooling = read_object(folder / _POOLING_FILE).get("pooling")
        if pooling not in _POOLINGS:
            raise SetupError(
                f"{folder / _POOLING_FILE}: pooling is {pooling!r}, which training never leaves; it is one of "
                f"{', '.join(_POOLINGS)}. Restore the folder from a copy or train again"
            )
        config = config.model_copy(update={"pooling": pooling})
        if base_of(folder) is None:
            # The folder holds the student that training cut from its teacher.
            whole = config.model_copy(update={"teacher_student_config": None})
            return load_whole(folder, lambda name: cls(name, whole))
        return load_adapted(folder, model_name, lambda name: cls(name, config))


def _resolve_pooling(pooling: str, name: str, encoder: PreTrainedModel, has_pooler: bool) -> str:
    if pooling == "pooler" and not has_pooler:
        raise ConfigError("model.pooling: this checkpoint has no trained pooler; use auto, cls, mean, max or last")
    if pooling != "auto":
        return pooling
    if preset := getattr(encoder.config, "default_pooling", None):
        if preset not in _POOLINGS:
            raise SetupError(
                f"model.base_model: default_pooling in config.json of '{name}' is {preset!r}; it is one of "
                f"{', '.join(_POOLINGS)}. Restore the file from a copy"
            )
        return str(preset)
    usual = "last" if _is_causal(encoder.config) else "pooler" if has_pooler else "mean"
    try:
        return published_pooling(name) or usual
    except UnknownPoolingError as error:
        logger.warning("model.pooling: '%s' %s; '%s' is taken, set the key if that is not it", name, error, usual)
        return usual


def _is_causal(settings: Any) -> bool:
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING

    kind = type(settings)
    return bool(getattr(settings, "is_decoder", False)) or (
        kind in MODEL_FOR_CAUSAL_LM_MAPPING and kind not in MODEL_FOR_MASKED_LM_MAPPING
    )
