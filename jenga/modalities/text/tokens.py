"""Text rows as tokens: tokenised once, aligned to words, kept in a cache on disk."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from jenga.arrays import ArrayWriter, mapped_arrays
from jenga.digests import DIGESTS, KnownDigests
from jenga.errors import ConfigError, SetupError
from jenga.files import MANIFEST, atomic_folder, damage
from jenga.modalities.text.prefix import moved, prefix_tokens, prefixed
from jenga.rows.batches import Encoded
from jenga.rows.strings import Strings

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)
_FORMAT = 2
_CHUNK_ROWS = 1000
_LENGTHS = " lengths"
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
    in_tokens: ClassVar[bool] = True

    input_ids: np.ndarray
    offsets: np.ndarray
    truncated: np.ndarray
    type_ids: np.ndarray | None = None
    word_token: np.ndarray | None = None
    word_offsets: np.ndarray | None = None
    pad_token_id: int = 0

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
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
    prefix: str = "",
    cache_dir: Path | None = None,
) -> EncodedText:
    """Tokenise `texts` (with `pairs`), cut to `max_length` tokens, and align the character spans of `words`.

    `prefix` is put before each text; the spans are those of the texts without it. With `cache_dir`, the result is kept
    there under a hash of everything that it depends on. Raises SetupError when words are wanted of a tokenizer that
    cannot say where its tokens come from, ConfigError when nothing but special tokens and prefixes fits.
    """
    if words is not None and not tokenizer.is_fast:
        raise SetupError(
            f"model.tokenizer: {type(tokenizer).__name__} gives no character offsets, which tags need; "
            "choose a fast one"
        )
    added = tokenizer.num_special_tokens_to_add(pair=pairs is not None)
    of_prefix = prefix_tokens(tokenizer, prefix) * (1 if pairs is None else 2)
    if max_length <= added + of_prefix:
        beside = f"{added} special tokens" + (f" and {of_prefix} of model.prefix" if of_prefix else "")
        raise ConfigError(f"max_length: {max_length} leaves no room for text beside {beside}; raise it")
    parts = partial(_all_parts, texts, tokenizer, max_length=max_length, pairs=pairs, words=words, prefix=prefix)
    encoded = None
    if cache_dir is not None:
        encoded = _kept(cache_dir / _key(texts, pairs, words, tokenizer, max_length, prefix), parts)
    if encoded is None:
        encoded = _laid(parts())
    encoded.pad_token_id = tokenizer.pad_token_id or 0
    return encoded


def _all_parts(texts: Sequence[str], tokenizer: Any, **options: Any) -> Iterator[dict[str, np.ndarray]]:
    """Yield an empty part, so that no array is missing where there is no row, and `_parts` behind it."""
    none = {"input_ids": np.int32, f"input_ids{_LENGTHS}": np.int32, "truncated": np.bool_}
    none |= {} if options["pairs"] is None else {"type_ids": np.int8}
    none |= {} if options["words"] is None else {"word_token": np.int32, f"word_token{_LENGTHS}": np.int32}
    yield {name: np.zeros(0, dtype) for name, dtype in none.items()}
    yield from _parts(texts, tokenizer, **options)


def _parts(
    texts: Sequence[str], tokenizer: Any, *, max_length: int, pairs: Sequence[str] | None, words: WordSpans | None,
    prefix: str,
) -> Iterator[dict[str, np.ndarray]]:  # fmt: skip
    """Yield the arrays of `EncodedText`, of some rows after the other, with lengths in place of offsets."""
    for start in range(0, len(texts), _CHUNK_ROWS):
        part = slice(start, start + _CHUNK_ROWS)
        own, others = prefixed(texts[part], prefix), None if pairs is None else prefixed(pairs[part], prefix)
        if tokenizer.is_fast and words is None:
            yield _tokenised(own, others, tokenizer, max_length)
        else:
            yield _aligned(own, others, tokenizer, max_length, None if words is None else moved(words[part], prefix))


def _tokenised(texts: list[str], pairs: list[str] | None, tokenizer: Any, max_length: int) -> dict[str, np.ndarray]:
    """Tokenise texts as the tokenizer's own call does, without the objects and the offsets that it makes of them."""
    from transformers.tokenization_utils_base import TruncationStrategy
    from transformers.utils import PaddingStrategy

    tokenizer.set_truncation_and_padding(
        PaddingStrategy.DO_NOT_PAD, TruncationStrategy.LONGEST_FIRST, max_length, 0, None, None
    )
    backend = tokenizer.backend_tokenizer
    if backend.encode_special_tokens != tokenizer.split_special_tokens:
        backend.encode_special_tokens = tokenizer.split_special_tokens
    found = backend.encode_batch_fast(texts if pairs is None else list(zip(texts, pairs, strict=True)))
    arrays = _flat("input_ids", [each.ids for each in found], np.int32)
    arrays["truncated"] = np.array([bool(each.overflowing) for each in found], bool)
    if pairs is not None:
        arrays["type_ids"] = _flat("type_ids", [each.type_ids for each in found], np.int8)["type_ids"]
    return arrays


def _aligned(
    texts: list[str], pairs: list[str] | None, tokenizer: Any, max_length: int, words: WordSpans | None
) -> dict[str, np.ndarray]:
    """Tokenise texts by the tokenizer's call, and align their words."""
    batch = tokenizer(
        texts, pairs, truncation=True, max_length=max_length, return_attention_mask=False,
        return_token_type_ids=pairs is not None, return_offsets_mapping=words is not None,
        return_overflowing_tokens=tokenizer.is_fast,
    )  # fmt: skip
    rows = _first_pieces(batch, len(texts))
    arrays = _flat("input_ids", [batch["input_ids"][piece] for piece, _ in rows], np.int32)
    arrays["truncated"] = np.array([cut or len(batch["input_ids"][piece]) > max_length for piece, cut in rows], bool)
    if pairs is not None:
        types = [batch["token_type_ids"][piece] for piece, _ in rows]
        arrays["type_ids"] = _flat("type_ids", types, np.int8)["type_ids"]
    if words is not None:
        places = []
        for (piece, _), spans in zip(rows, words, strict=True):
            own = [side == 0 for side in batch.sequence_ids(piece)]
            places.append(_align(spans, batch["offset_mapping"][piece], own))
        arrays |= _flat("word_token", places, np.int32)
    return arrays


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


def _flat(name: str, rows: Sequence[Sequence[int]], dtype: Any) -> dict[str, np.ndarray]:
    """Return values of rows end to end, and how many each row has."""
    lengths = np.fromiter(map(len, rows), np.int32, len(rows))
    flat = np.fromiter(chain.from_iterable(rows), dtype, int(lengths.sum()))
    return {name: flat, f"{name}{_LENGTHS}": lengths}


def _laid(parts: Iterable[dict[str, np.ndarray]]) -> EncodedText:
    pieces: dict[str, list[np.ndarray]] = {}
    for part in parts:
        for name, piece in part.items():
            pieces.setdefault(name, []).append(piece)
    return _with_offsets({name: np.concatenate(each) for name, each in pieces.items()})


def _with_offsets(arrays: Mapping[str, np.ndarray]) -> EncodedText:
    def ends(name: str) -> np.ndarray | None:
        if (lengths := arrays.get(f"{name}{_LENGTHS}")) is None:
            return None
        offsets = np.zeros(len(lengths) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        return offsets

    offsets = ends("input_ids")
    assert offsets is not None
    return EncodedText(
        arrays["input_ids"], offsets, arrays["truncated"], arrays.get("type_ids"), arrays.get("word_token"),
        ends("word_token"),
    )  # fmt: skip


def _key(
    texts: Sequence[str], pairs: Sequence[str] | None, words: WordSpans | None, tokenizer: Any, max_length: int,
    prefix: str,
) -> str:  # fmt: skip
    said_first = [_FORMAT, max_length, type(tokenizer).__name__, *([prefix] if prefix else [])]
    digest = hashlib.sha256(json.dumps(said_first).encode())
    digest.update(json.dumps(tokenizer_identity(tokenizer), sort_keys=True).encode(errors="surrogatepass"))
    for part in (texts, pairs, words):
        said = ["kept", part.digest] if isinstance(part, Strings) else part
        digest.update(json.dumps(said, ensure_ascii=False).encode(errors="surrogatepass"))
    return digest.hexdigest()[:32]


def tokenizer_identity(tokenizer: Any) -> Any:
    """Return all that decides what `tokenizer` does, but for the cutting and padding that its last call left set."""
    if not tokenizer.is_fast:
        return [repr(tokenizer), tokenizer.get_vocab()]
    return json.loads(tokenizer.backend_tokenizer.to_str()) | {"truncation": None, "padding": None}


def _kept(folder: Path, parts: Callable[[], Iterable[dict[str, np.ndarray]]]) -> EncodedText | None:
    """Return the tokens that are kept in `folder`, else those of `parts`, kept there; None where they cannot be."""
    known = KnownDigests(folder.parent / DIGESTS)
    if (folder / MANIFEST).exists() and (cached := _read(folder, known)) is not None:
        known.save()
        return cached
    try:
        with atomic_folder(folder) as staging:
            writer = ArrayWriter(staging)
            try:
                for part in parts():
                    for name, piece in part.items():
                        writer.append(name, piece)
            except BaseException:
                writer.abandon()
                raise
            writer.close()
    except (OSError, SetupError) as error:
        logger.warning("tokens are not cached: %s; the next run tokenises again", error)
        return None
    known.note_folder(folder)
    known.save()
    return _read(folder, known)


def _read(folder: Path, known: KnownDigests) -> EncodedText | None:
    try:
        if (harm := damage(folder, known.of)) is not None:
            raise ValueError(harm)
        return _with_offsets(mapped_arrays(folder))
    except (OSError, ValueError, KeyError, TypeError) as error:
        logger.warning("cached tokens cannot be read: %s; tokenising again", error)
        return None
