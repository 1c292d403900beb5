"""What a checkpoint that was made to write what is said hears characters by: its output layer and its vocabulary."""

from __future__ import annotations

from typing import Any

import torch

from jenga.errors import JengaError
from jenga.modalities.audio.settings import AudioConfig
from jenga.modalities.text.pretrained import cannot_load, read_checkpoint
from jenga.modalities.text.remote_code import never_asked

_MADE_FOR_IT = "ForCTC"
_KEY = "model.base_model"


def read_characters(name: str, config: AudioConfig) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Return the weight ``(H,)`` and bias ``()`` of each character of a checkpoint ``...ForCTC``; {} of any other.

    '' is the blank of CTC, ' ' the blank between words. Raises SetupError where its parts cannot be read.
    """
    from transformers import AutoConfig, AutoModelForCTC, AutoTokenizer

    allowed = config.trust_remote_code
    with never_asked(allowed):
        settings = AutoConfig.from_pretrained(name, trust_remote_code=allowed)
    if not str((settings.architectures or [""])[0]).endswith(_MADE_FOR_IT):
        return {}
    try:
        with never_asked(allowed):
            tokenizer: Any = AutoTokenizer.from_pretrained(name, trust_remote_code=allowed)
    except JengaError:
        raise
    except Exception as error:  # whatever files that say anything make transformers raise
        raise cannot_load(_KEY, name, error) from error
    layer = read_checkpoint(AutoModelForCTC, name, config, key=_KEY)[0].lm_head
    # Wav2Vec2 writes the blank between words as a mark of its own.
    names = {tokenizer.pad_token: "", getattr(tokenizer, "word_delimiter_token", None) or " ": " "}
    rows = {names.get(token, token): place for token, place in tokenizer.get_vocab().items()}
    known = {each: place for each, place in rows.items() if len(each) <= 1 and place < len(layer.weight)}
    return {each: (layer.weight[place].detach(), layer.bias[place].detach()) for each, place in known.items()}
