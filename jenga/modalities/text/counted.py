"""About how many tokens rows have, told without encoding them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from jenga.rows.columns import lookup
from jenga.rows.raw import RawRows

SAMPLE_ROWS = 256
"""Rows whose tokens are counted; of those that follow, the characters are, since it takes a tenth of encoding."""
_CHARACTERS = 16
"""Characters looked at for each token that is read: texts have fewer in one, and what lies behind is seldom read."""


class TokenCounter:
    """Tells the tokens of the texts in `columns` of rows, of each row at most `longest`; prefix: of each row."""

    def __init__(self, tokenizer: Any, columns: Sequence[str], *, longest: int, prefix: str = "") -> None:
        self._count = _of_fast(tokenizer) if tokenizer.is_fast else _of_slow(tokenizer)
        self._columns, self._longest, self._prefix = tuple(columns), longest, prefix
        self._rows, self._tokens, self._characters = 0, 0, 0

    def __call__(self, raws: Sequence[RawRows]) -> list[int]:
        """Return the tokens of each caller's rows together."""
        texts = [self._text(row) for raw in raws for row in raw.rows]
        tokens = iter(self._told(texts))
        return [sum(min(self._longest, max(1, each)) for each in islice(tokens, len(raw.rows))) for raw in raws]

    def _text(self, row: Mapping[str, Any]) -> str:
        words = [each for name in self._columns for each in _texts(lookup(row, name))]
        return (self._prefix + " ".join(words))[: self._longest * _CHARACTERS]

    def _told(self, texts: list[str]) -> list[int]:
        if self._rows >= SAMPLE_ROWS:
            share = self._tokens / max(self._characters, 1)
            return [round(len(text) * share) for text in texts]
        found = self._count(texts)
        self._rows += len(texts)
        self._tokens += sum(found)
        self._characters += sum(map(len, texts))
        return found


def _of_fast(tokenizer: Any) -> Callable[[list[str]], list[int]]:
    from tokenizers import Tokenizer

    # One of its own, which neither cuts nor pads, as the last call to the other one left that set.
    own = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    own.no_truncation()
    own.no_padding()
    return lambda texts: [len(each) for each in own.encode_batch_fast(list(map(_whole, texts)))]


def _of_slow(tokenizer: Any) -> Callable[[list[str]], list[int]]:
    return lambda texts: [len(tokenizer.tokenize(text)) for text in texts]


def _whole(text: str) -> str:
    """Return a text that Rust can hold: halves of characters are told of where the row is read."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _texts(cell: Any) -> Iterator[str]:
    """Yield the texts in a cell: itself, words in a list, what is said in turns."""
    if isinstance(cell, str):
        yield cell
    elif isinstance(cell, Mapping):
        for each in cell.values():
            yield from _texts(each)
    elif isinstance(cell, list | tuple):
        for each in cell:
            yield from _texts(each)
