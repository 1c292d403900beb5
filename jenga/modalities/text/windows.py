"""Texts that are longer than an encoder reads at once: in windows that overlap, and put together again behind it.

A window is a row of its own to the encoder: the special tokens that its row begins and ends with, the model's prefix,
and a stretch of the text. Behind the encoder each token has the state of one window, that in which it stands furthest
from where the text is cut, so that heads, fusion and labels by word see a row's tokens as they would without windows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch

from jenga.errors import ConfigError
from jenga.modalities.text.prefix import prefix_of, prefix_tokens

WINDOWS_AT_ONCE = 32
"""Windows whose activations are held at a time, however many a batch has: as many as rows of a usual batch."""


class Part(NamedTuple):
    """Some windows of a batch of rows ``(B, T)``, the longest of which has W tokens.

    `places` int64 ``(N, W)``: where each token of a window stands in ``(B x T)``; `mask` int64 ``(N, W)``: 0 behind a
    window's last. `kept` int64 ``(M,)``: tokens in ``(N x W)`` whose states are their rows'; `where` int64 ``(M,)``:
    the places of these in ``(B x T)``. `shares` float32 ``(B, N)``: of its row's tokens, those that a window has kept.
    """

    places: torch.Tensor
    mask: torch.Tensor
    kept: torch.Tensor
    where: torch.Tensor
    shares: torch.Tensor


class _Window(NamedTuple):
    """One window: its row, its tokens' places in ``(B x T)``, and which of them, from-to, it answers for."""

    row: int
    places: np.ndarray
    own: tuple[int, int]


@dataclass(frozen=True)
class Windows:
    """How long texts are cut. `tokens`: of a window, special ones included; `stride`: from one's first to the next's.

    `before`, `behind`: tokens at the beginning and the end of a row that each window has: special ones, a prefix's.
    """

    tokens: int
    stride: int
    before: int
    behind: int

    @property
    def room(self) -> int:
        """Tokens of the text in a window."""
        return self.tokens - self.before - self.behind

    def starts(self, length: int) -> list[int]:
        """Return the first token of each window of a text of `length` tokens; the last window ends where it does."""
        last = max(0, length - self.room)
        return [*range(0, last, self.stride), last]

    def parts(self, mask: torch.Tensor) -> list[Part]:
        """Return the windows of rows by their mask ``(B, T)``, padded behind; rows that fit into one are one."""
        n_rows, width = mask.shape
        lengths = mask.sum(1).tolist()
        found = [window for row, length in enumerate(lengths) for window in self._of_row(row, length, row * width)]
        # Of like length together, as short ones are padded.
        found.sort(key=lambda window: -len(window.places))
        groups = [found[at : at + WINDOWS_AT_ONCE] for at in range(0, len(found), WINDOWS_AT_ONCE)]
        return [_part(group, n_rows, lengths, mask.device) for group in groups]

    def _of_row(self, row: int, length: int, offset: int) -> Iterator[_Window]:
        places = np.arange(offset, offset + length)
        if length <= self.tokens:
            yield _Window(row, places, (0, length))
            return
        text = places[self.before : length - self.behind]
        starts = self.starts(len(text))
        # Between two windows the middle of what they share is the same way from the end of one and the start of the
        # other. The text's own ends are no cuts: nothing is missing there.
        cuts = [(one + self.room + other) // 2 for one, other in pairwise(starts)]
        for start, first, last in zip(starts, [0, *cuts], [*cuts, len(text)], strict=True):
            stretch = text[start : start + self.room]
            own = (self.before + first - start, self.before + last - start)
            # A row's special tokens are the first window's and the last one's.
            own = (0 if start == 0 else own[0], self.tokens if last == len(text) else own[1])
            ends = (places[: self.before], stretch, places[length - self.behind :])
            yield _Window(row, np.concatenate(ends), own)


def windows_of(model: Any, tokenizer: Any) -> Windows | None:
    """Return how a model's block says that long texts are read; None where it does not.

    Raises ConfigError where the tokenizer's special tokens leave no room in a window, or a gap between two.
    """
    tokens: int | None = getattr(model, "window_tokens", None)
    if tokens is None:
        return None
    before, behind = special_tokens(tokenizer)
    of_prefix = prefix_tokens(tokenizer, prefix_of(model))
    before += of_prefix
    room, stride = tokens - before - behind, model.window_stride_tokens
    if room < 1:
        beside = f"{before + behind - of_prefix} special tokens"
        beside += f" and {of_prefix} of model.prefix" if of_prefix else ""
        raise ConfigError(f"model.window_tokens: {tokens} leaves no room for text beside {beside}; raise it")
    if stride is not None and stride > room:
        raise ConfigError(
            f"model.window_stride_tokens: {stride} is more than the {room} tokens of a text that a window of {tokens} "
            "holds; what lies between two windows would not be read. Lower it"
        )
    return Windows(tokens, stride or max(1, room * 3 // 4), before, behind)


def special_tokens(tokenizer: Any) -> tuple[int, int]:
    """Return how many special tokens a tokenizer puts before a text, and behind it."""
    whole, alone = (tokenizer("a", add_special_tokens=added, verbose=False)["input_ids"] for added in (True, False))
    for before in range(len(whole) - len(alone) + 1 if alone else 0):
        if list(whole[before : before + len(alone)]) == list(alone):
            return before, len(whole) - len(alone) - before
    raise ConfigError(
        f"model.window_tokens: {type(tokenizer).__name__} does not tell special tokens from a text's, and every "
        "window has to have them; remove the key, or choose another tokenizer"
    )


def _part(windows: Sequence[_Window], n_rows: int, lengths: Sequence[int], device: torch.device) -> Part:
    width = max(len(window.places) for window in windows)
    places = np.zeros((len(windows), width), np.int64)
    mask = np.zeros((len(windows), width), np.int64)
    shares = np.zeros((n_rows, len(windows)), np.float32)
    kept, where = [], []
    for at, (row, own, (first, last)) in enumerate(windows):
        places[at, : len(own)], mask[at, : len(own)] = own, 1
        kept.append(np.arange(first, last) + at * width)
        where.append(own[first:last])
        shares[row, at] = (last - first) / max(lengths[row], 1)
    arrays = (places, mask, np.concatenate(kept), np.concatenate(where), shares)
    return Part(*(torch.from_numpy(each).to(device) for each in arrays))
