"""Text rows as tokens: tokenised once, aligned to words, kept in a cache on disk."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from jenga.errors import ConfigError, SetupError
from jenga.files import atomic_file
from jenga.rows.batches import Encoded

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)
_FORMAT = 1
_CHUNK_ROWS = 1000
WordSpans = Sequence[Sequence[tuple[int, int]]]


@dataclass
class EncodedText(Encoded):
    """The tokens of M rows, laid end to end.

    `input_ids` int32 and `type_ids` int8 (pairs only) of all rows; row i is ``[offsets[i]:offsets[i + 1]]``.
    `word_token` int32: for each word its first token's place in the row, -1 where it has none (cut off, or inside the
    token of the word before); row i is ``[word_offsets[i]:word_offsets[i + 1]]``. `truncated` bool (M,).
    `pad_token_id`: what stands behind shorter rows of a batch.
    """

    unit: ClassVar[str] = "tokens"

    input_ids: np.ndarray
    offsets: np.ndarray
    truncated: np.ndarray
    type_ids: np.ndarray | None = None
    word_token: np.ndarray | None = None
    word_offsets: np.ndarray | None = None
    pad_token_id: int = 0

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row, int64 (M,)."""
        return np.diff(self.offsets)

    @property
    def tokens(self) -> EncodedText | None:
        """Itself, where words are aligned to its tokens."""
        return None if self.word_token is None else self

    def inputs(self, index: Sequence[int]) -> dict[str, torch.Tensor]:
        """Return the model's inputs for the rows at `index`, padded on the right to the longest of them."""
        import torch

        inputs = {"input_ids": self.padded(self.input_ids, index, self.pad_token_id)}
        width = inputs["input_ids"].shape[1]
        lengths = torch.from_numpy(self.lengths[list(index)])
        inputs["attention_mask"] = (torch.arange(width) < lengths.unsqueeze(1)).long()
        if self.type_ids is not None:
            inputs["token_type_ids"] = self.padded(self.type_ids, index, 0)
        return inputs

    def padded(self, flat: np.ndarray, index: Sequence[int], fill: int) -> torch.Tensor:
        """Return the values of `flat`, one a token of all rows, of the rows at `index`: int64 ``(B, T)``."""
        import torch

        starts = self.offsets[index]
        lengths = self.offsets[np.asarray(index) + 1] - starts
        rows = np.full((len(index), int(lengths.max(initial=0))), fill, np.int64)
        for row, start, length in zip(rows, starts, lengths, strict=True):
            row[:length] = flat[start : start + length]
        return torch.from_numpy(rows)

    def spread(self, by_word: Sequence[np.ndarray], fill: int) -> np.ndarray:
        """Put the value of each word of each row on the word's first token, and `fill` on every other: int64."""
        laid = np.full(len(self.input_ids), fill, np.int64)
        for row, values in enumerate(by_word):
            tokens = self.words(row)
            kept = tokens >= 0
            laid[self.offsets[row] + tokens[kept]] = values[kept]
        return laid

    def words(self, row: int) -> np.ndarray:
        """First token of each word of `row`, int32 (W,)."""
        assert self.word_token is not None
        assert self.word_offsets is not None
        return self.word_token[self.word_offsets[row] : self.word_offsets[row + 1]]


def encode(
    texts: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int,
    pairs: Sequence[str] | None = None,
    words: WordSpans | None = None,
    cache_dir: Path | None = None,
) -> EncodedText:
    """Tokenise `texts` (with `pairs`), cut to `max_length` tokens, and align the character spans of `words`.

    With `cache_dir`, the result is kept there under a hash of everything that it depends on. Raises SetupError when
    words are wanted of a tokenizer that cannot say where its tokens come from, ConfigError when nothing but special
    tokens fits.
    """
    if words is not None and not tokenizer.is_fast:
        raise SetupError(
            f"model.tokenizer: {type(tokenizer).__name__} gives no character offsets, which tags need; "
            "choose a fast one"
        )
    added = tokenizer.num_special_tokens_to_add(pair=pairs is not None)
    if max_length <= added:
        raise ConfigError(f"max_length: {max_length} leaves no room for text beside {added} special tokens; raise it")
    path = None
    if cache_dir is not None:
        path = cache_dir / f"{_key(texts, pairs, words, tokenizer, max_length)}.safetensors"
        if path.exists() and (cached := _read(path)) is not None:
            cached.pad_token_id = tokenizer.pad_token_id or 0
            return cached
    encoded = _encode(texts, tokenizer, max_length=max_length, pairs=pairs, words=words)
    if path is not None:
        _write(path, encoded)
    encoded.pad_token_id = tokenizer.pad_token_id or 0
    return encoded


def default_cache_dir() -> Path:
    """Return the folder for tokenised rows under the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "jenga" / "tokens"


def _encode(
    texts: Sequence[str], tokenizer: Any, *, max_length: int, pairs: Sequence[str] | None, words: WordSpans | None
) -> EncodedText:
    ids: list[list[int]] = []
    types: list[list[int]] = []
    word_tokens: list[list[int]] = []
    truncated: list[bool] = []
    for start in range(0, len(texts), _CHUNK_ROWS):
        part = slice(start, start + _CHUNK_ROWS)
        batch = tokenizer(
            list(texts[part]), None if pairs is None else list(pairs[part]), truncation=True, max_length=max_length,
            return_attention_mask=False, return_token_type_ids=pairs is not None,
            return_offsets_mapping=words is not None, return_overflowing_tokens=tokenizer.is_fast,
        )  # fmt: skip
        rows = _first_pieces(batch, len(texts[part]))
        ids += [batch["input_ids"][piece] for piece, _ in rows]
        truncated += [cut or len(batch["input_ids"][piece]) > max_length for piece, cut in rows]
        if pairs is not None:
            types += [batch["token_type_ids"][piece] for piece, _ in rows]
        if words is not None:
            for (piece, _), spans in zip(rows, words[part], strict=True):
                own = [side == 0 for side in batch.sequence_ids(piece)]
                word_tokens.append(_align(spans, batch["offset_mapping"][piece], own))
    flat_ids, offsets = _flatten(ids, np.int32)
    encoded = EncodedText(flat_ids, offsets, np.array(truncated, bool))
    if pairs is not None:
        encoded.type_ids = _flatten(types, np.int8)[0]
    if words is not None:
        encoded.word_token, encoded.word_offsets = _flatten(word_tokens, np.int32)
    return encoded


def _first_pieces(batch: Any, n_rows: int) -> list[tuple[int, bool]]:
    """Return, for each row, the index of its first piece and whether more followed (a row was cut)."""
    mapping = batch.get("overflow_to_sample_mapping")
    if mapping is None:
        return [(i, False) for i in range(n_rows)]
    firsts: dict[int, int] = {}
    pieces = [0] * n_rows
    for piece, row in enumerate(mapping):
        firsts.setdefault(row, piece)
        pieces[row] += 1
    return [(firsts[row], pieces[row] > 1) for row in range(n_rows)]


def _align(spans: Sequence[tuple[int, int]], offsets: Sequence[tuple[int, int]], own: Sequence[bool]) -> list[int]:
    """Return the first token of each word: the first not yet taken that shares a character with it, else -1."""
    tokens: list[int] = []
    at, last = 0, len(offsets)
    for start, stop in spans:
        while at < last and (not own[at] or offsets[at][1] <= start):
            at += 1
        if at < last and offsets[at][0] < stop:
            tokens.append(at)
            at += 1
        else:
            tokens.append(-1)
    return tokens


def _flatten(rows: Sequence[Sequence[int]], dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    offsets = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(row) for row in rows], out=offsets[1:])
    flat = np.fromiter((value for row in rows for value in row), dtype, count=int(offsets[-1]))
    return flat, offsets


def _key(
    texts: Sequence[str], pairs: Sequence[str] | None, words: WordSpans | None, tokenizer: Any, max_length: int
) -> str:
    digest = hashlib.sha256(json.dumps([_FORMAT, max_length, type(tokenizer).__name__]).encode())
    digest.update(json.dumps(tokenizer_identity(tokenizer), sort_keys=True).encode(errors="surrogatepass"))
    for part in (texts, pairs, words):
        digest.update(json.dumps(part, ensure_ascii=False).encode(errors="surrogatepass"))
    return digest.hexdigest()[:32]


def tokenizer_identity(tokenizer: Any) -> Any:
    """Return all that decides what `tokenizer` does, but for the cutting and padding that its last call left set."""
    if not tokenizer.is_fast:
        return [repr(tokenizer), tokenizer.get_vocab()]
    return json.loads(tokenizer.backend_tokenizer.to_str()) | {"truncation": None, "padding": None}


def _write(path: Path, encoded: EncodedText) -> None:
    from safetensors.numpy import save

    arrays = {name: value for name, value in vars(encoded).items() if isinstance(value, np.ndarray)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as file:
            file.write(save(arrays))
    except (OSError, SetupError) as error:
        logger.warning("tokens are not cached: %s; the next run tokenises again", error)


def _read(path: Path) -> EncodedText | None:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays: dict[str, Any] = load_file(path)
        return EncodedText(**arrays)
    except (OSError, SafetensorError, TypeError) as error:
        logger.warning("cached tokens in %s cannot be read: %s; tokenising again", path, error)
        return None
