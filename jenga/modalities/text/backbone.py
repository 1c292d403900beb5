"""Text backbone: any encoder or decoder of transformers, and a small preset that needs no download."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import torch
from safetensors import safe_open

from jenga.config.peft import PeftConfig
from jenga.errors import ConfigError, SetupError
from jenga.modalities.backbone import BackboneManager, BaseBackbone, Recipe
from jenga.modalities.text.language_model import load_language_model
from jenga.modalities.text.pretrained import UnknownPoolingError, load_encoder, published_pooling, quiet
from jenga.modalities.text.settings import ModelConfig
from jenga.peft import Adapters, base_of, inject, load_adapters
from jenga.peft.base import read_object
from jenga.types import BackboneOutput, States

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)
_POOLING_FILE = "jenga_backbone.json"
_POOLINGS = tuple(each for each in get_args(ModelConfig.model_fields["pooling"].annotation) if each != "auto")


@BackboneManager.register("text", config=ModelConfig)
class TextBackbone(BaseBackbone):
    """A transformers model without its head.

    `pooler_output` is, by `config.pooling`: the model's own pooler, the first token, the mean or the maximum over
    real tokens, or the last real token.
    """

    modality = "text"
    pretrained = True

    def __init__(self, model_name: str, config: ModelConfig) -> None:
        super().__init__(model_name, config)
        self._language: tuple[PreTrainedModel, ...] = ()
        if config.generates:
            model = load_language_model(model_name, config)
            encoder, has_pooler = model.base_model, False
            self._own_language_model(model)
        else:
            encoder, has_pooler = load_encoder(model_name, config)
        self.encoder = encoder
        self.pooling = _resolve_pooling(config.pooling, model_name, encoder, has_pooler)
        if self.pooling != "pooler" and getattr(encoder, "pooler", None) is not None:
            encoder.pooler = None
        self.adapters: Adapters | None = None
        self._states: dict[str, bool] = {}

    def _own_language_model(self, model: PreTrainedModel) -> None:
        """Keep the model around the encoder for its output layer and `generate`, and its own weights as ours."""
        # In a tuple, since its encoder is a module of this one already; an output layer tied to the embeddings too.
        self._language = (model,)
        output = model.get_output_embeddings()
        if output.weight is not model.get_input_embeddings().weight:
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
        return layer.weight, getattr(layer, "bias", None)

    def keep_states(self, *, hidden_states: bool, attentions: bool) -> None:
        """Hand on what every layer makes, in training, for a teacher's sake."""
        self._states = {"output_hidden_states": hidden_states, "output_attentions": attentions}
        if attentions:
            # Faster kinds of attention never hold the probabilities.
            self.transformer.set_attn_implementation("eager")

    def checkpoint_activations(self) -> None:
        """Compute activations again in the backward pass. Raises ConfigError where the encoder cannot."""
        if not self.encoder.supports_gradient_checkpointing:
            raise ConfigError(
                f"training.gradient_checkpointing: a {self.encoder.config.model_type} model cannot; remove the key"
            )
        self.encoder.activation_checkpointing_enable({"use_reentrant": False})

    @property
    def max_positions(self) -> int | None:
        """Most tokens that the model has positions for; None: no limit known."""
        positions = getattr(self.encoder.config, "max_position_embeddings", None)
        if positions is not None and self.encoder.config.model_type in ("roberta", "xlm-roberta", "camembert"):
            positions -= self.encoder.config.pad_token_id + 1
        return positions

    @property
    def recipe(self) -> Recipe:
        """By what the weights were before the first step: trained, or random (of a preset)."""
        if self.config.starts_from_nothing:
            return Recipe.from_nothing(self.hidden_size)
        recipe = Recipe.pretrained(self.hidden_size)
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
        ``position_ids (B, T)`` that begin anew with each of them.
        """
        if getattr(self.encoder.config, "type_vocab_size", 0) < 2:
            inputs.pop("token_type_ids", None)
        mask = inputs["attention_mask"]
        wanted = self._states if self.training else {}
        if self._language:
            # Padding stands behind the tokens, which do not see it; without a mask, attention takes its fast path, and
            # positions that begin anew part packed texts (transformers looks at them only where there is no cache).
            read = {name: each for name, each in inputs.items() if name != "attention_mask"}
            output = self.encoder(**read, **wanted, use_cache=False)
        else:
            output = self.encoder(**inputs, **wanted)
        hidden = output.last_hidden_state
        if self.pooling == "pooler":
            pooled = output.pooler_output
        elif self.pooling == "cls":
            pooled = hidden[:, 0]
        elif self.pooling == "max":
            pooled = hidden.masked_fill(mask.unsqueeze(-1) == 0, torch.finfo(hidden.dtype).min).amax(1)
        elif self.pooling == "mean":
            weights = mask.unsqueeze(-1).to(hidden.dtype)
            pooled = (hidden * weights).sum(1) / weights.sum(1).clamp_min(1)
        else:
            last = (mask * torch.arange(mask.shape[1], device=mask.device)).argmax(1)
            pooled = hidden[torch.arange(len(hidden), device=hidden.device), last]
        states = States(output.get("hidden_states"), output.get("attentions")) if wanted else None
        return BackboneOutput(hidden, pooled, mask, states=states)

    def adapt(self, config: PeftConfig) -> None:
        """Freeze the encoder and put adapters into it, which change nothing yet."""
        self.adapters = inject(self.transformer, config, base_name=self.model_name)

    @property
    def transformer(self) -> PreTrainedModel:
        """What is saved, and what adapters are part of: the encoder, with its output layer where it has one."""
        return self._language[0] if self._language else self.encoder

    def convert(self, dtype: torch.dtype) -> None:
        """Keep the encoder's weights in another type. Raises ConfigError where one of them has no value there."""
        self.encoder.to(dtype)
        broken = [name for name, each in self.encoder.named_parameters() if not each.isfinite().all()]
        if broken:
            kind = {torch.float16: "fp16", torch.bfloat16: "bf16"}.get(dtype, str(dtype))
            raise ConfigError(f"--dtype: {broken[0]} holds numbers that {kind} has not; use bf16 or fp32")

    @property
    def adapted(self) -> bool:
        """Whether the encoder is frozen but for the adapters in it."""
        return self.adapters is not None

    @property
    def base(self) -> Mapping[str, Any] | None:
        """Fingerprint of the frozen encoder beneath the adapters; None where there are none."""
        return None if self.adapters is None else self.adapters.base

    def merge(self) -> None:
        """Work the adapters into the encoder's weights. Raises ConfigError where they cannot be, or there are none."""
        if self.adapters is None:
            return super().merge()
        merged = self.adapters.merge()
        if not self._language:
            self.encoder = merged
        self.adapters = None

    def save(self, folder: Path) -> None:
        """Write a plain transformers checkpoint, which `AutoModel.from_pretrained` loads too.

        Of an encoder with adapters only they are written, as PEFT does it, and the name of their base.
        """
        if self.adapters is not None:
            self.adapters.save(folder)
        else:
            with quiet():
                self.transformer.save_pretrained(folder)
        (folder / _POOLING_FILE).write_text(json.dumps({"pooling": self.pooling}) + "\n")

    @classmethod
    def load(cls, folder: Path, model_name: str, config: ModelConfig) -> TextBackbone:
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
            try:
                backbone = cls(str(folder), config.model_copy(update={"teacher_student_config": None}))
            except ConfigError as error:  # what could be configured is settled: it is the folder that is another one
                raise SetupError(f"{folder}: {error}. Restore the folder from a copy or train again") from error
            _check_all_read(folder, backbone.transformer)
            return backbone
        try:
            backbone = cls(model_name, config)
        except (ConfigError, SetupError) as error:
            reason = str(error.__cause__ or error).strip().splitlines()[0]
            raise SetupError(
                f"{folder}: holds adapters alone, and their base '{model_name}' cannot be loaded: {reason} Give its "
                "place with --base-model; jenga export --merge, where the base is, makes a model that needs none"
            ) from error
        backbone.adapters = load_adapters(backbone.transformer, folder, base_name=model_name)
        return backbone


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


def _check_all_read(folder: Path, model: PreTrainedModel) -> None:
    """Raise SetupError where weights in `folder` have no place in `model`, which its config.json made."""
    stored = 0
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            stored += sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    # Tied weights are stored once.
    held = sum({each.data_ptr(): each.numel() for each in model.state_dict().values()}.values())
    if stored > held:
        raise SetupError(
            f"{folder / 'config.json'}: makes a model of {held} values, but {stored} are stored beside it; restore the "
            "folder from a copy or train again"
        )


def _is_causal(settings: Any) -> bool:
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING

    kind = type(settings)
    return bool(getattr(settings, "is_decoder", False)) or (
        kind in MODEL_FOR_CAUSAL_LM_MAPPING and kind not in MODEL_FOR_MASKED_LM_MAPPING
    )
