"""The preset `jenga/tiny-text`: a small encoder that learns from a few thousand rows alone, on a CPU, in minutes.

A transformer of this size, started from random weights, needs far more rows; a recurrent one reads word order and who
is speaking from the first epochs. It is an ordinary transformers model, so that everything else treats it as any other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from jenga.dropout import Dropout
from jenga.modalities.text.pretrained import quiet

_ALPHABET = 1000


class TinyTextConfig(PretrainedConfig):
    """Sizes of a `TinyTextModel`."""

    model_type = "jenga-tiny-text"
    default_pooling = "max"

    def __init__(
        self,
        *,
        vocab_size: int = 4096,
        embedding_size: int = 128,
        hidden_size: int = 128,
        dropout: float = 0.2,
        **kwargs: Any,
    ) -> None:
        self.vocab_size = vocab_size
        self.embedding_size = embedding_size
        self.hidden_size = hidden_size
        self.dropout = dropout
        super().__init__(**kwargs)


class TinyTextModel(PreTrainedModel):
    """Embeddings and one bidirectional LSTM (Hochreiter & Schmidhuber 1997), half of `hidden_size` each way."""

    config_class = TinyTextConfig
    base_model_prefix = "encoder"

    def __init__(self, config: TinyTextConfig) -> None:
        super().__init__(config)
        half = config.hidden_size // 2
        self.embeddings = nn.Embedding(config.vocab_size, config.embedding_size)
        self.forward_lstm = nn.LSTM(config.embedding_size, half, batch_first=True)
        self.backward_lstm = nn.LSTM(config.embedding_size, half, batch_first=True)
        self.norm = nn.LayerNorm(config.hidden_size)
        self.dropout = Dropout(config.dropout)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.1)

    def get_input_embeddings(self) -> nn.Module:
        """Return the embeddings of tokens."""
        return self.embeddings

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> BaseModelOutput:
        """Encode ``(B, T)`` token ids, padded on the right, to hidden states ``(B, T, H)``.

        Each row is turned round within its own length for the way back, so that padding is read last in both
        directions and changes nothing. Packed sequences would say the same but miss the CPU's fused kernel: 2.4 times
        slower on one thread.
        """
        embedded = self.dropout(self.embeddings(input_ids))
        length = attention_mask.sum(1, keepdim=True)
        place = torch.arange(input_ids.shape[1], device=input_ids.device)
        mirror = torch.where(place < length, length - 1 - place, place).unsqueeze(-1)
        there = self.forward_lstm(embedded)[0]
        back = self.backward_lstm(_reorder(embedded, mirror))[0]
        return BaseModelOutput(
            last_hidden_state=self.dropout(self.norm(torch.cat([there, _reorder(back, mirror)], -1)))
        )


def make_tiny_text(folder: Path, texts: Sequence[str], *, seed: int) -> None:
    """Write the preset to `folder` as a checkpoint: a WordPiece tokenizer of the training texts, random weights."""
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertTokenizerFast

    vocabulary = _train_vocabulary(texts)
    made = BertWordPieceTokenizer(vocabulary, lowercase=False, strip_accents=False)
    tokenizer = BertTokenizerFast(tokenizer_object=made._tokenizer, do_lower_case=False)
    config = TinyTextConfig(vocab_size=made.get_vocab_size(), pad_token_id=tokenizer.pad_token_id)
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(seed)
        TinyTextModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _train_vocabulary(texts: Sequence[str]) -> dict[str, int]:
    """Return WordPiece's vocabulary of `texts`, the same in every process.

    The trainer numbers the pieces that continue a word in the random order of its hash maps, and breaks ties by number:
    hence they are numbered beforehand, in order of frequency, as if they were special.
    """
    from tokenizers import BertWordPieceTokenizer

    trained = BertWordPieceTokenizer(lowercase=False, strip_accents=False)
    normalize = trained._tokenizer.normalizer.normalize_str
    counts = Counter(char for text in texts for char in normalize(text) if not char.isspace())
    alphabet = sorted(counts, key=lambda char: (-counts[char], char))[:_ALPHABET]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trained.train_from_iterator(
        texts, vocab_size=4096, min_frequency=2, show_progress=False, initial_alphabet=alphabet,
        limit_alphabet=len(alphabet), special_tokens=special + [f"##{char}" for char in alphabet],
    )  # fmt: skip
    return dict(trained.get_vocab())


def _reorder(hidden: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    return hidden.gather(1, order.expand(-1, -1, hidden.shape[-1]))


AutoConfig.register(TinyTextConfig.model_type, TinyTextConfig)
AutoModel.register(TinyTextConfig, TinyTextModel)
