"""Text backbone: any encoder or decoder of transformers, and a small preset that needs no download."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError

from jenga.backbones.base import BackboneManager, BaseBackbone
from jenga.config.peft import PeftConfig
from jenga.config.schema import ModelConfig
from jenga.errors import ConfigError, SetupError
from jenga.peft import Adapters, base_of, inject, load_adapters
from jenga.types import BackboneOutput

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TINY_TEXT = "jenga/tiny-text"
_POOLING_FILE = "jenga_backbone.json"
_DROPOUT_KEYS = (
    "hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout",
    "resid_pdrop", "embd_pdrop", "attn_pdrop", "embedding_dropout", "mlp_dropout",
)  # fmt: skip


@BackboneManager.register("text", config=ModelConfig)
class TextBackbone(BaseBackbone):
    """A transformers model without its head.

    `pooler_output` is, by `config.pooling`: the model's own pooler, the first token, the mean or the maximum over
    real tokens, or the last real token.
    """

    def __init__(self, model_name: str, config: ModelConfig) -> None:
        super().__init__(model_name, config)
        encoder, has_pooler = _load(model_name, config)
        self.encoder = encoder
        self.pooling = _resolve_pooling(config.pooling, encoder, has_pooler)
        if self.pooling != "pooler" and getattr(encoder, "pooler", None) is not None:
            encoder.pooler = None
        self.adapters: Adapters | None = None

    @property
    def max_positions(self) -> int | None:
        """Most tokens that the model has positions for; None: no limit known."""
        positions = getattr(self.encoder.config, "max_position_embeddings", None)
        if positions is not None and self.encoder.config.model_type in ("roberta", "xlm-roberta", "camembert"):
            positions -= self.encoder.config.pad_token_id + 1
        return positions

    @property
    def vocabulary_size(self) -> int | None:
        """Tokens that the model has embeddings for; None: not known."""
        size: int | None = getattr(self.encoder.config, "vocab_size", None)
        return size

    def forward(self, **inputs: torch.Tensor) -> BackboneOutput:
        """Encode ``input_ids (B, T)`` with ``attention_mask (B, T)``.

        For pairs also ``token_type_ids (B, T)``, which only a model with embeddings for them reads.
        """
        if getattr(self.encoder.config, "type_vocab_size", 0) < 2:
            inputs.pop("token_type_ids", None)
        output = self.encoder(**inputs)
        hidden, mask = output.last_hidden_state, inputs["attention_mask"]
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
        return BackboneOutput(hidden, pooled, mask)

    def adapt(self, config: PeftConfig) -> None:
        """Freeze the encoder and put adapters into it, which change nothing yet."""
        self.adapters = inject(self.encoder, config, base_name=self.model_name)

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
        self.encoder = self.adapters.merge()
        self.adapters = None

    def save(self, folder: Path) -> None:
        """Write a plain transformers checkpoint, which `AutoModel.from_pretrained` loads too.

        Of an encoder with adapters only they are written, as PEFT does it, and the name of their base.
        """
        if self.adapters is not None:
            self.adapters.save(folder)
        else:
            with quiet():
                self.encoder.save_pretrained(folder)
        (folder / _POOLING_FILE).write_text(json.dumps({"pooling": self.pooling}) + "\n")

    @classmethod
    def load(cls, folder: Path, model_name: str, config: ModelConfig) -> TextBackbone:
        """Load what `save` wrote, with the pooling that it was trained with.

        model_name: the base of adapters; not read otherwise. Raises SetupError where it is not what they stand on.
        """
        pooling = json.loads((folder / _POOLING_FILE).read_text())["pooling"]
        config = config.model_copy(update={"pooling": pooling})
        if base_of(folder) is None:
            return cls(str(folder), config)
        try:
            backbone = cls(model_name, config)
        except (ConfigError, SetupError) as error:
            reason = str(error.__cause__ or error).strip().splitlines()[0]
            raise SetupError(
                f"{folder}: holds adapters alone, and their base '{model_name}' cannot be loaded: {reason} Give its "
                "place with --base-model; jenga export --merge, where the base is, makes a model that needs none"
            ) from error
        backbone.adapters = load_adapters(backbone.encoder, folder, base_name=model_name)
        return backbone


def load_tokenizer(config: ModelConfig) -> PreTrainedTokenizerBase:
    """Return the tokenizer of `config`, with a padding token. Raises SetupError when it cannot be had."""
    from transformers import AutoTokenizer

    name = config.tokenizer or config.base_model
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=config.trust_remote_code)
    except (OSError, ValueError, ImportError) as error:
        raise _cannot_load("model.tokenizer" if config.tokenizer else "model.base_model", name, error) from error
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise ConfigError(f"model.tokenizer: '{name}' has neither a padding nor an end token; choose another one")
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _load(name: str, config: ModelConfig) -> tuple[PreTrainedModel, bool]:
    from transformers import AutoConfig, AutoModel

    import jenga.backbones.tiny  # noqa: F401 -- makes the preset known to transformers

    try:
        settings = AutoConfig.from_pretrained(name, trust_remote_code=config.trust_remote_code)
        if settings.is_encoder_decoder:
            raise ConfigError(
                f"model.base_model: '{name}' is an encoder-decoder ({settings.model_type}); "
                "choose an encoder or a decoder"
            )
        if config.dropout is not None:
            _set_dropout(settings, config.dropout)
        with quiet():
            model, info = AutoModel.from_pretrained(
                name, config=settings, dtype=torch.float32, output_loading_info=True,
                trust_remote_code=config.trust_remote_code,
            )  # fmt: skip
    except (OSError, ValueError, ImportError, RuntimeError, SafetensorError) as error:
        raise _cannot_load("model.base_model", name, error) from error
    missing = [key for key in info["missing_keys"] if not key.startswith("pooler.")]
    if missing:
        raise SetupError(
            f"model.base_model: the checkpoint '{name}' lacks {len(missing)} weights, such as {sorted(missing)[0]}; "
            "it would start from random values there"
        )
    has_pooler = getattr(model, "pooler", None) is not None and not info["missing_keys"]
    return model, has_pooler


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' bars and its list of unused weights, which says nothing to a user here, off the terminal."""
    from transformers.utils import logging as transformers_logging

    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()


def _resolve_pooling(pooling: str, encoder: PreTrainedModel, has_pooler: bool) -> str:
    if pooling == "pooler" and not has_pooler:
        raise ConfigError("model.pooling: this checkpoint has no trained pooler; use auto, cls, mean, max or last")
    if pooling != "auto":
        return pooling
    if preset := getattr(encoder.config, "default_pooling", None):
        return str(preset)
    if _is_causal(encoder.config):
        return "last"
    return "pooler" if has_pooler else "mean"


def _is_causal(settings: Any) -> bool:
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING

    kind = type(settings)
    return bool(getattr(settings, "is_decoder", False)) or (
        kind in MODEL_FOR_CAUSAL_LM_MAPPING and kind not in MODEL_FOR_MASKED_LM_MAPPING
    )


def _set_dropout(settings: Any, dropout: float) -> None:
    present = [key for key in _DROPOUT_KEYS if hasattr(settings, key)]
    if not present:
        raise ConfigError(f"model.dropout: a {settings.model_type} model has no dropout setting; remove the key")
    for key in present:
        setattr(settings, key, dropout)


def _cannot_load(key: str, name: str, error: Exception) -> SetupError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    logging.getLogger(__name__).debug("loading %s failed", name, exc_info=error)
    return SetupError(
        f"{key}: cannot load '{name}': {reason} If this machine has no access to the hub, give the folder of a "
        f"downloaded checkpoint, or {TINY_TEXT}, which needs none."
    )
