"""Texts to learn token by token: tokenised, cut to length, packed, and laid out as batches."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch

from jenga.errors import ConfigError, SetupError
from jenga.labels.column import RowError
from jenga.modalities.text.dialogue import Dialogue, LanguageSpec
from jenga.modalities.text.joints import Tokens, tokenise
from jenga.modalities.text.tokens import EncodedText
from jenga.modalities.text.written import Written, write
from jenga.rows.batches import Encoded
from jenga.types import IGNORE_INDEX


class _Laid(NamedTuple):
    """A batch, all int64 ``(B, T)``."""

    ids: np.ndarray
    mask: np.ndarray
    positions: np.ndarray
    targets: np.ndarray


@dataclass
class EncodedLanguage(Encoded):
    """The tokens of P pieces of rows, laid end to end, and which of them are learnt.

    An entry of a batch is a piece, or one of `packs`: the numbers of several pieces, laid end to end.

    `text`: tokens, by piece. `targets` int32: the token to predict behind each token, -100 where that is not learnt;
    never one of the next piece. `rows` int64 (P,): the row that a piece is of. `cut`: rows whose end was cut off.
    `silent`: rows of which nothing to learn is left, and which have no piece. `endless`: rows whose last answer teaches
    no end. `refused`: rows that cannot be written out, which have no piece either, and why.
    """

    unit: ClassVar[str] = "tokens"
    in_tokens: ClassVar[bool] = True

    text: EncodedText
    targets: np.ndarray
    rows: np.ndarray
    cut: int = 0
    silent: int = 0
    endless: int = 0
    refused: dict[int, str] = field(default_factory=dict)
    packs: list[list[int]] | None = None
    _laid: tuple[list[int], _Laid] | None = field(init=False, default=None, repr=False, compare=False)

    @property
    def packed(self) -> bool:
        """Whether an entry holds several pieces."""
        return self.packs is not None

    def __len__(self) -> int:
        return len(self.rows) if self.packs is None else len(self.packs)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each entry of a batch, int64."""
        pieces = self.text.lengths
        return pieces if self.packs is None else np.array([pieces[pack].sum() for pack in self.packs], np.int64)

    def inputs(self, index: Sequence[int]) -> dict[str, torch.Tensor]:
        """Return the entries at `index`, padded on the right.

        ``input_ids``, ``attention_mask`` and, of packs, ``position_ids`` that begin anew with each piece and with the
        padding, all int64 ``(B, T)``.
        """
        laid = self._lay(index)
        inputs = {"input_ids": torch.from_numpy(laid.ids), "attention_mask": torch.from_numpy(laid.mask)}
        if self.packs is not None:
            inputs["position_ids"] = torch.from_numpy(laid.positions)
        return inputs

    def next_tokens(self, index: Sequence[int]) -> torch.Tensor:
        """Return the token to predict behind each of the entries at `index`, int64 ``(B, T)``, -100 for none."""
        return torch.from_numpy(self._lay(index).targets)

    def rows_of(self, index: Sequence[int]) -> list[int]:
        """Return the row of each entry's first piece."""
        return [int(self.rows[group[0]]) for group in self._groups(index)]

    def pieces(self, index: Sequence[int]) -> list[int]:
        """Return the pieces of the entries at `index`, in their order."""
        return [piece for group in self._groups(index) for piece in group]

    def _groups(self, index: Sequence[int]) -> list[list[int]]:
        return [[piece] for piece in index] if self.packs is None else [self.packs[entry] for entry in index]

    def _lay(self, index: Sequence[int]) -> _Laid:
        # Inputs and targets of a batch are asked for one after the other.
        if self._laid is None or self._laid[0] != list(index):
            self._laid = list(index), self._lay_out(index)
        return self._laid[1]

    def _lay_out(self, index: Sequence[int]) -> _Laid:
        groups, offsets = self._groups(index), self.text.offsets
        lengths = [[int(offsets[p + 1] - offsets[p]) for p in group] for group in groups]
        shape = (len(groups), max(map(sum, lengths), default=0))
        ids = np.full(shape, self.text.pad_token_id, np.int64)
        targets = np.full(shape, IGNORE_INDEX, np.int64)
        mask, positions = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        for row, (group, sizes) in enumerate(zip(groups, lengths, strict=True)):
            at = np.concatenate([np.arange(offsets[piece], offsets[piece + 1]) for piece in group])
            used = sum(sizes)
            ids[row, :used], targets[row, :used] = self.text.input_ids[at], self.targets[at]
            mask[row, :used] = 1
            positions[row] = np.concatenate([np.arange(size) for size in (*sizes, shape[1] - used)])
        return _Laid(ids, mask, positions, targets)

    @property
    def learnt(self) -> np.ndarray:
        """Tokens to predict in each piece, int64 (P,)."""
        counts = np.concatenate([[0], np.cumsum(self.targets != IGNORE_INDEX)])
        return np.diff(counts[self.text.offsets])


def encode_language(
    dialogues: Sequence[Dialogue], tokenizer: Any, spec: LanguageSpec, *, packed: bool = False
) -> EncodedLanguage:
    """Tokenise dialogues, each ended by the tokenizer's end token, and cut them to `spec.max_length` tokens.

    A plain text that is longer goes on in a further piece. packed: lay several pieces end to end. Raises SetupError for
    a tokenizer that cannot say where its tokens come from.
    """
    if not tokenizer.is_fast:
        raise SetupError(
            f"model.tokenizer: {type(tokenizer).__name__} gives no character offsets, which tell learnt tokens from "
            "others; choose a fast one"
        )
    max_length = spec.max_length
    if max_length < 2:
        raise ConfigError(f"max_length: {max_length} leaves no token to predict behind another; raise it")
    ids: list[np.ndarray] = []
    targets: list[np.ndarray] = []
    rows: list[int] = []
    cut, silent, endless = set[int](), set[int](), set[int]()
    written, refused = _written(dialogues, tokenizer, spec)
    texts = [text for _, text in written]
    for (row, text), read in zip(written, tokenise(texts, tokenizer), strict=True):
        tokens, learnt = _ended(text, read, tokenizer.eos_token_id)
        is_text = dialogues[row].is_text
        # A further piece begins with the last token of the one before, so that each but the first is predicted once.
        step = max_length - 1 if is_text else max(len(tokens), 1)
        silent.add(row)
        if not is_text and len(tokens) > max_length:
            cut.add(row)
        if not is_text and (tokens[learnt][-1:] != tokenizer.eos_token_id).all():
            endless.add(row)
        for begin in range(0, max(len(tokens) - 1, 1), step):
            part = slice(begin, begin + max_length)
            wanted = _next_tokens(tokens[part], learnt[part])
            if (wanted != IGNORE_INDEX).any():
                ids.append(tokens[part])
                targets.append(wanted)
                rows.append(row)
    silent -= set(rows)
    offsets = np.zeros(len(ids) + 1, np.int64)
    np.cumsum([len(each) for each in ids], out=offsets[1:])
    text_tokens = EncodedText(_joined(ids), offsets, np.zeros(len(ids), bool), pad_token_id=tokenizer.pad_token_id or 0)
    packs = pack(text_tokens.lengths, max_length) if packed else None
    return EncodedLanguage(
        text_tokens, _joined(targets), np.array(rows, np.int64), len(cut), len(silent), len(endless), refused, packs
    )


def _written(
    dialogues: Sequence[Dialogue], tokenizer: Any, spec: LanguageSpec
) -> tuple[list[tuple[int, Written]], dict[int, str]]:
    """Return the texts of all rows, each with its row, and why the others cannot be written out."""
    found: list[tuple[int, Written]] = []
    refused: dict[int, str] = {}
    for row, dialogue in enumerate(dialogues):
        try:
            found += [(row, text) for text in write(dialogue, tokenizer, spec)]
        except RowError as error:
            refused[row] = str(error)
    return found, refused


def _ended(written: Written, read: Tokens, end: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the tokens of a text, int32, with the end token where that is to be learnt, and which of them are."""
    ids = list(read.ids)
    learnt = np.zeros(len(ids), bool)
    for begin, stop in written.learnt:
        # Those of the question are counted, for a token may be said to be of characters of the next.
        first = read.before.get(begin, 0)
        # A token without characters is none of the text's.
        learnt[first:] |= np.array([at < stop and to > begin for at, to in read.places[first:]], bool)
    if written.open_end and end is not None:
        # A text that ends in the token itself needs no other.
        if not ids or ids[-1] != end:
            ids, learnt = [*ids, end], np.append(learnt, False)
        learnt[-1] = True
    return np.array(ids, np.int32), learnt


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


def language_warnings(name: str, split: str, encoded: EncodedLanguage, *, rows: int, max_length: int) -> list[str]:
    """Return what was cut or left out of the `rows` of a split, a sentence each."""
    found = []
    if encoded.cut:
        found.append(
            f"{name}, {split}: {encoded.cut} of {rows} rows are longer than max_length {max_length} tokens and lose "
            "their ends"
        )
    if encoded.silent:
        found.append(
            f"{name}, {split}: {encoded.silent} of {rows} rows teach nothing: their prompts alone fill max_length "
            f"{max_length}; raise it"
        )
    if encoded.endless:
        found.append(
            f"{name}, {split}: the answers of {encoded.endless} of {rows} rows teach no end token, so that answers may "
            "run on to max_new_tokens; use a tokenizer that has one, and a chat template whose marks include it"
        )
    if encoded.refused:
        row, reason = next(iter(encoded.refused.items()))
        found.append(
            f"{name}, {split}: {len(encoded.refused)} of {rows} rows cannot be written out and do not count; the first "
            f"is number {row + 1}: {reason}"
        )
    return found
