"""A model small enough to build in milliseconds, for tests whose subject is not the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

WORDS = "a and are call good great hello help is it late no not play right song thanks the to wrong yes you".split()


@pytest.fixture(scope="session")
def make_bert(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that writes a random BERT and its tokenizer, a token a word, and returns their folder.

    Words that are not among `words` become one unknown token each.
    """

    def make(*, words: Sequence[str] = WORDS, hidden_size: int = 16) -> Path:
        import torch
        from tokenizers import BertWordPieceTokenizer
        from transformers import BertConfig, BertModel, BertTokenizerFast

        folder = tmp_path_factory.mktemp("bert")
        pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
        tokenizer = BertWordPieceTokenizer(vocab={piece: at for at, piece in enumerate(pieces)})
        BertTokenizerFast(tokenizer_object=tokenizer._tokenizer).save_pretrained(folder)
        config = BertConfig(
            vocab_size=len(pieces), hidden_size=hidden_size, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=hidden_size, max_position_embeddings=300, pad_token_id=0,
        )  # fmt: skip
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            BertModel(config).save_pretrained(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def tiny_bert(make_bert: Callable[..., Path]) -> Path:
    """The folder of a random BERT of one layer and width 16."""
    return make_bert()
