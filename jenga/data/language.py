"""Texts to learn token by token: tokenised, cut to length, packed, and laid out as batches."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from jenga.data.collate import EncodedSplit
from jenga.data.dialogue import Dialogue, LanguageSpec, Written, write
from jenga.data.rows import Rows
from jenga.data.text import EncodedText
from jenga.errors import ConfigError, SetupError
from jenga.types import IGNORE_INDEX, Batch, HeadSpace

_CHUNK_ROWS = 1000
Key = tuple[str, str]


@dataclass
class EncodedLanguage:
    """The tokens of P pieces of rows, laid end to end, and which of them are learnt.

    `text`: tokens, by piece. `targets` int32: the token to predict behind each token, -100 where that is not learnt;
    never one of the next piece. `rows` int64 (P,): the row that a piece is of. `cut`: rows whose end was cut off.
    `silent`: rows of which nothing to learn is left, and which have no piece.
    """

    text: EncodedText
    targets: np.ndarray
    rows: np.ndarray
    cut: int = 0
    silent: int = 0

    @property
    def learnt(self) -> np.ndarray:
        """Tokens to predict in each piece, int64 (P,)."""
        counts = np.concatenate([[0], np.cumsum(self.targets != IGNORE_INDEX)])
        return np.diff(counts[self.text.offsets])


def encode_language(
    dialogues: Sequence[Dialogue], tokenizer: Any, spec: LanguageSpec, *, max_length: int
) -> EncodedLanguage:
    """Tokenise dialogues, each ended by the tokenizer's end token, and cut them to `max_length` tokens.

    A plain text that is longer goes on in a further piece. Raises SetupError for a tokenizer that cannot say where its
    tokens come from.
    """
    if not tokenizer.is_fast:
        raise SetupError(
            f"model.tokenizer: {type(tokenizer).__name__} gives no character offsets, which tell learnt tokens from "
            "others; choose a fast one"
        )
    if max_length < 2:
        raise ConfigError(f"max_length: {max_length} leaves no token to predict behind another; raise it")
    ids: list[np.ndarray] = []
    targets: list[np.ndarray] = []
    rows: list[int] = []
    cut = silent = 0
    for row, (tokens, learnt) in enumerate(_tokens(dialogues, tokenizer, spec)):
        is_text = dialogues[row].is_text
        # A further piece begins with the last token of the one before, so that each but the first is predicted once.
        step = max_length - 1 if is_text else max(len(tokens), 1)
        cut += not is_text and len(tokens) > max_length
        found = False
        for begin in range(0, max(len(tokens) - 1, 1), step):
            part = slice(begin, begin + max_length)
            wanted = _next_tokens(tokens[part], learnt[part])
            if (wanted != IGNORE_INDEX).any():
                ids.append(tokens[part])
                targets.append(wanted)
                rows.append(row)
                found = True
        silent += not found
    offsets = np.zeros(len(ids) + 1, np.int64)
    np.cumsum([len(each) for each in ids], out=offsets[1:])
    text = EncodedText(_joined(ids), offsets, np.zeros(len(ids), bool))
    return EncodedLanguage(text, _joined(targets), np.array(rows, np.int64), cut, silent)


def _tokens(
    dialogues: Sequence[Dialogue], tokenizer: Any, spec: LanguageSpec
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the tokens, int32, of each dialogue and whether each is learnt."""
    end = tokenizer.eos_token_id
    for start in range(0, len(dialogues), _CHUNK_ROWS):
        chunk = [write(each, tokenizer, spec) for each in dialogues[start : start + _CHUNK_ROWS]]
        for special, group in itertools.groupby(chunk, lambda each: each.special):
            written = list(group)
            batch = tokenizer(
                [each.text for each in written], add_special_tokens=special, return_offsets_mapping=True,
                return_attention_mask=False, return_token_type_ids=False, verbose=False,
            )  # fmt: skip
            for each, tokens, places in zip(written, batch["input_ids"], batch["offset_mapping"], strict=True):
                learnt = _learnt(each, places)
                if special and end is not None and (not tokens or tokens[-1] != end):
                    tokens, learnt = [*tokens, end], [*learnt, True]
                elif special and end is not None:
                    learnt[-1] = True
                yield np.array(tokens, np.int32), np.array(learnt, bool)


def _learnt(written: Written, places: Sequence[tuple[int, int]]) -> list[bool]:
    """Return which tokens lie in a learnt span, at least in part; one without characters is none of the text's."""
    return [any(start < stop and end > begin for begin, stop in written.learnt) for start, end in places]


def _next_tokens(tokens: np.ndarray, learnt: np.ndarray) -> np.ndarray:
    wanted = np.full(len(tokens), IGNORE_INDEX, np.int32)
    wanted[:-1] = np.where(learnt[1:], tokens[1:], IGNORE_INDEX)
    return wanted


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.int32), *parts])


def pack(lengths: np.ndarray, capacity: int) -> list[list[int]]:
    """Share out pieces of `lengths` (P,) over packs of at most `capacity` tokens: longest first, where it fits best.

    Every piece is in one pack, and a pack's pieces are in their order.
    """
    packs: list[list[int]] = []
    room: list[tuple[int, int]] = []  # (tokens that still fit, number of the pack), ascending
    for piece in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[piece])
        at = bisect.bisect_left(room, (length, -1))
        if at < len(room):
            free, number = room.pop(at)
            packs[number].append(piece)
        else:
            free, number = capacity, len(packs)
            packs.append([piece])
        if free - length > 0:
            bisect.insort(room, (free - length, number))
    return [sorted(each) for each in packs]


@dataclass
class LanguageSplit(EncodedSplit):
    """Pieces of rows, or packs of several pieces, from which batches of tokens to predict are made.

    `spec`: how the rows were written out. `packs`: the pieces of each row of a batch; one each where nothing is packed.
    `token_teacher`: called with the pieces of a batch in their order, returns what a teacher said of their learnt
    tokens.
    """

    language: EncodedLanguage = field(kw_only=True)
    spec: LanguageSpec = field(kw_only=True)
    packs: list[list[int]] | None = field(kw_only=True, default=None)
    token_teacher: Callable[[Sequence[int]], Any] | None = field(kw_only=True, default=None)

    def __len__(self) -> int:
        return len(self.language.rows) if self.packs is None else len(self.packs)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row of a batch, int64."""
        pieces = self.text.lengths
        return pieces if self.packs is None else np.array([pieces[pack].sum() for pack in self.packs], np.int64)

    def batch(self, index: Sequence[int]) -> Batch:
        """Return the pieces or packs at `index`, padded on the right.

        ``input_ids``, ``attention_mask`` and, of packs, ``position_ids`` that begin anew with each piece and with the
        padding, all ``(B, T)``; labels: the token to predict behind each, int64 ``(B, T)``.
        """
        index = list(index)
        groups = [[piece] for piece in index] if self.packs is None else [self.packs[i] for i in index]
        offsets = self.text.offsets
        lengths = [[int(offsets[p + 1] - offsets[p]) for p in group] for group in groups]
        shape = (len(groups), max(map(sum, lengths), default=0))
        ids = np.full(shape, self.pad_token_id, np.int64)
        targets = np.full(shape, IGNORE_INDEX, np.int64)
        mask, positions = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        for row, (group, sizes) in enumerate(zip(groups, lengths, strict=True)):
            at = np.concatenate([np.arange(offsets[piece], offsets[piece + 1]) for piece in group])
            used = sum(sizes)
            ids[row, :used], targets[row, :used] = self.text.input_ids[at], self.language.targets[at]
            mask[row, :used] = 1
            positions[row] = np.concatenate([np.arange(size) for size in (*sizes, shape[1] - used)])
        inputs = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
        if self.packs is not None:
            inputs["position_ids"] = torch.from_numpy(positions)
        task, head = next(iter(self.spaces))
        pieces = [piece for group in groups for piece in group]
        return Batch(
            inputs,
            {task: {head: torch.from_numpy(targets)}},
            [self.rows.ids[self.language.rows[group[0]]] for group in groups],
            self.source,
            index,
            {} if self.token_teacher is None else {task: {head: self.token_teacher(pieces)}},
        )


def language_split(
    source: str,
    rows: Rows,
    tokenizer: Any,
    spec: LanguageSpec,
    spaces: Mapping[Key, HeadSpace],
    *,
    max_length: int,
    packed: bool,
) -> LanguageSplit:
    """Tokenise the dialogues of `rows`; packed: lay several of them end to end."""
    assert rows.dialogues is not None
    language = encode_language(rows.dialogues, tokenizer, spec, max_length=max_length)
    packs = pack(language.text.lengths, max_length) if packed else None
    return LanguageSplit(
        source, rows, language.text, spaces, tokenizer.pad_token_id, language=language, spec=spec, packs=packs
    )  # fmt: skip


def language_warnings(name: str, split: str, part: LanguageSplit, max_length: int) -> list[str]:
    """Return what was cut or left out of a split, a sentence each."""
    found = []
    if part.language.cut:
        found.append(
            f"{name}, {split}: {part.language.cut} of {len(part.rows)} rows are longer than max_length {max_length} "
            "tokens and lose their ends"
        )
    if part.language.silent:
        found.append(
            f"{name}, {split}: {part.language.silent} of {len(part.rows)} rows teach nothing: their prompts alone fill "
            f"max_length {max_length}; raise it"
        )
    return found
