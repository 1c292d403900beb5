"""Checkpoints of transformers as they are read: configuration, encoder, tokenizer, and why one cannot be had."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from safetensors import SafetensorError

from jenga.errors import ConfigError, JengaError, SetupError
from jenga.modalities.text.layers import keep_layers, n_layers
from jenga.modalities.text.remote_code import named_code, never_asked, refused_code, refused_kernel
from jenga.modalities.text.settings import ModelConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TINY_TEXT = "jenga/tiny-text"
UNREADABLE = (OSError, ValueError, ImportError, RuntimeError, SafetensorError)
"""What transformers raises where a checkpoint cannot be had, or is none."""
_POOLING_FILE = "1_Pooling/config.json"
_MODE = "pooling_mode_"
_MODES = {"cls_token": "cls", "mean_tokens": "mean", "max_tokens": "max", "lasttoken": "last"}
_PICKLED = "its weights are a pickle, of which some would run code (UnpicklingError); get them as safetensors."

_DROPOUT_KEYS = (
    "hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout",
    "resid_pdrop", "embd_pdrop", "attn_pdrop", "embedding_dropout", "mlp_dropout",
)  # fmt: skip


def load_tokenizer(config: ModelConfig, *, key: str = "model.base_model") -> PreTrainedTokenizerBase:
    """Return the tokenizer of `config`, with a padding token. Raises SetupError when it cannot be had.

    key: what named the model, whose own tokenizer it is unless `config` names another.
    """
    name = checkpoint_of(config.tokenizer or config.base_model)
    key = "model.tokenizer" if config.tokenizer else key
    tokenizer = read_tokenizer(name, allowed=config.trust_remote_code, key=key, causal=config.generates)
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise ConfigError(f"model.tokenizer: '{name}' has neither a padding nor an end token; choose another one")
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def read_tokenizer(name: str, *, allowed: bool, key: str, causal: bool = False) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a checkpoint as it is. Raises SetupError when it cannot be had, or its code is needed.

    allowed: whether code that comes with it may run. key: what named it. causal: for a language model.
    """
    from transformers import AutoTokenizer

    import jenga.modalities.text.tiny  # noqa: F401 -- makes the preset known to transformers

    try:
        with never_asked(allowed):
            tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(name, trust_remote_code=allowed)
            tokenizer("a")  # some files are read without a word, and cannot encode anything
    except JengaError:
        raise
    except Exception as error:  # as in `read_checkpoint`
        raise cannot_load(key, name, error, causal=causal) from error
    return tokenizer


def checkpoint_of(name: str) -> str:
    """Return the encoder's folder where `name` is a run folder of Jenga, or a model that it wrote; else `name`."""
    for folder in (Path(name) / "best" / "backbone", Path(name) / "backbone"):
        if (folder / "config.json").is_file():
            return str(folder)
    return name


def checkpoint_folder(name: str, *, key: str) -> Path:
    """Return the folder of a checkpoint's weights and configuration, the hub's cache where it is one of the hub's.

    key: what named it. Raises SetupError where it cannot be had.
    """
    from huggingface_hub import snapshot_download

    name = checkpoint_of(name)
    if Path(name).is_dir():
        return Path(name)
    try:
        return Path(snapshot_download(name, allow_patterns=["*.safetensors", "config.json"]))
    except UNREADABLE as error:
        raise cannot_load(key, name, error, causal=True) from error


def load_encoder(name: str, config: ModelConfig, *, key: str = "model.base_model") -> tuple[PreTrainedModel, bool]:
    """Return a checkpoint without its head, and whether it has a trained pooler. Raises as `read_checkpoint`."""
    from transformers import AutoModel

    model, missing = read_checkpoint(AutoModel, name, config, key=key)
    check_complete(name, [each for each in missing if not each.startswith("pooler.")], key=key)
    model = cut_student(model, config)
    has_pooler = getattr(model, "pooler", None) is not None and not missing
    return model, has_pooler


class CheckpointConfig(Protocol):
    """What the block of a model says of how its checkpoint is read; `generates`: whether it predicts tokens."""

    @property
    def trust_remote_code(self) -> bool: ...
    @property
    def dropout(self) -> float | None: ...
    @property
    def generates(self) -> bool: ...


class UnknownPoolingError(Exception):
    """It is not known how a checkpoint pools, though it may say so; the message is why, its name left out."""


def published_pooling(name: str) -> str | None:
    """Return the pooling that a checkpoint was published with, as sentence encoders say it; None: it says nothing.

    Raises UnknownPoolingError where the hub could not be asked, or the pooling is none of `model.pooling`; SetupError
    where the file that says it cannot be read: what it means is not to be guessed.
    """
    file = _pooling_file(checkpoint_of(name))
    if file is None:
        return None
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise SetupError(f"{file}: cannot be read ({error}); restore it, or set model.pooling") from error
    if not isinstance(settings, dict):
        found = type(settings).__name__
        raise SetupError(f"{file}: holds {found}, not an object; restore it, or set model.pooling")
    chosen = [mode.removeprefix(_MODE) for mode, value in settings.items() if mode.startswith(_MODE) and value is True]
    if len(chosen) != 1 or chosen[0] not in _MODES:
        raise UnknownPoolingError(f"pools by {' and '.join(chosen) or 'nothing'} ({_POOLING_FILE}), which is none here")
    return _MODES[chosen[0]]


def _pooling_file(name: str) -> Path | None:
    """Return the file that says how the checkpoint `name` pools; None where it has none."""
    from huggingface_hub import _CACHED_NO_EXIST, hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    if Path(name).is_dir():
        return Path(name) / _POOLING_FILE if (Path(name) / _POOLING_FILE).is_file() else None
    try:
        return Path(hf_hub_download(name, _POOLING_FILE))
    except Exception as error:  # whatever a network makes it raise
        absent = isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError)
        if absent or try_to_load_from_cache(name, _POOLING_FILE) is _CACHED_NO_EXIST:
            return None
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UnknownPoolingError(f"could not be asked how it pools ({reason})") from error


def read_checkpoint(
    kind: Any, name: str, config: CheckpointConfig, *, key: str, decoders: bool = False
) -> tuple[PreTrainedModel, list[str]]:
    """Return a checkpoint in float32 as a model of `kind`, an auto class of transformers, and what weights it lacks.

    key: what named it. decoders: whether it may be an encoder-decoder. Raises ConfigError for an architecture that is
    no `kind`, or an encoder-decoder; SetupError where it cannot be had.
    """
    from transformers import AutoConfig

    import jenga.modalities.text.tiny  # noqa: F401 -- makes the preset known to transformers

    name, allowed = checkpoint_of(name), config.trust_remote_code
    try:
        with never_asked(allowed):
            settings = AutoConfig.from_pretrained(name, trust_remote_code=allowed)
        _check_parts(settings, name, allowed=allowed, key=key)
        if settings.is_encoder_decoder and not decoders:
            raise ConfigError(
                f"{key}: '{name}' is an encoder-decoder ({settings.model_type}); choose an encoder or a decoder"
            )
        if config.dropout is not None:
            _set_dropout(settings, config.dropout)
        with quiet(), never_asked(allowed):
            model, info = kind.from_pretrained(
                name, config=settings, dtype=torch.float32, output_loading_info=True, trust_remote_code=allowed
            )
    except JengaError:
        raise
    except Exception as error:  # whatever files that say anything make transformers raise
        if config.generates and "Unrecognized configuration class" in str(error):
            raise ConfigError(
                f"{key}: '{name}' is a {settings.model_type} model, which predicts no next token; choose a causal "
                "language model"
            ) from error
        raise cannot_load(key, name, error, causal=config.generates) from error
    return model, list(info["missing_keys"])


def check_complete(name: str, missing: list[str], *, key: str) -> None:
    """Raise SetupError where a checkpoint, which `key` named, lacks weights."""
    if missing:
        raise SetupError(
            f"{key}: the checkpoint '{name}' lacks {len(missing)} weights, such as {min(missing)}; "
            "it would start from random values there"
        )


def cut_student(model: PreTrainedModel, config: ModelConfig) -> PreTrainedModel:
    """Return the student of `model`, its teacher, with the layers that it keeps; `model` itself where none is asked."""
    settings = config.teacher_student_config
    if settings is None or settings.student is None:
        return model
    return keep_layers(model, settings.student.layers(n_layers(model)))


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


def _check_parts(settings: Any, name: str, *, allowed: bool, key: str) -> None:
    """Raise SetupError where transformers would load more than the checkpoint `name` is, which `key` named.

    Adapters inside a checkpoint bring settings of their own, down to modules to import; a kernel is compiled code.
    """
    from transformers.utils import find_adapter_config_file

    if (file := find_adapter_config_file(name)) is not None:
        raise SetupError(
            f"{key}: '{name}' is a whole model with adapters in it ({Path(file).name}), of which only one can be "
            "loaded; take that file out, or merge the adapters"
        )
    for each in (settings, *(getattr(settings, part, None) for part in settings.sub_configs)):
        kernel = getattr(each, "_attn_implementation", None)
        if not allowed and isinstance(kernel, str) and "/" in kernel:
            raise refused_kernel(f"{key}: '{name}'", kernel)


def _set_dropout(settings: Any, dropout: float) -> None:
    present = [key for key in _DROPOUT_KEYS if hasattr(settings, key)]
    if not present:
        raise ConfigError(f"model.dropout: a {settings.model_type} model has no dropout setting; remove the key")
    for key in present:
        setattr(settings, key, dropout)


def cannot_load(key: str, name: str, error: Exception, *, causal: bool = False) -> SetupError:
    """Return the error that says why the checkpoint that `key` names cannot be had; causal: for a language model."""
    if "trust_remote_code" in str(error):
        return refused_code(f"{key}: '{name}'", named_code(name) or "of a part, or of its tokenizer")
    reason = str(error).strip().splitlines()[0] if str(error).strip() else ""
    if not isinstance(error, UNREADABLE) or not reason:
        reason = f"{type(error).__name__}: {reason}"
    if type(error).__name__ == "UnpicklingError":
        reason = _PICKLED
    reason = _broken_file(name) or reason
    logging.getLogger(__name__).debug("loading %s failed", name, exc_info=error)
    if Path(name).is_dir():
        return SetupError(f"{key}: cannot load '{name}': {reason} Restore the folder from a copy, or make it anew.")
    preset = "" if causal else f", or {TINY_TEXT}, which needs none"
    return SetupError(
        f"{key}: cannot load '{name}': {reason} If this machine has no access to the hub, give the folder of a "
        f"downloaded checkpoint{preset}."
    )


def _broken_file(name: str) -> str | None:
    """Return which JSON file of a checkpoint's folder holds no object, as a sentence; transformers does not tell it."""
    for file in sorted(Path(name).glob("*.json")):
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            return f"{file.name} is no JSON ({error})."
        if not isinstance(content, dict):
            return f"{file.name} holds {type(content).__name__}, not an object."
    return None
