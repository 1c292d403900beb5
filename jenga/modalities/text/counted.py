"""How many tokens rows have, told without encoding them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from jenga.rows.columns import lookup
from jenga.rows.raw import RawRows

_CHARACTERS = 16
"""Characters looked at for each token that is read: texts have fewer in one, and what lies behind is seldom read."""


def token_counter(tokenizer: Any, columns: Sequence[str], *, longest: int) -> Callable[[Sequence[RawRows]], list[int]]:
    """Return what counts the tokens of the texts in `columns` of each caller's rows, of each row at most `longest`."""
    count = _of_fast(tokenizer) if tokenizer.is_fast else _of_slow(tokenizer)
    most = longest * _CHARACTERS

    def counted(raws: Sequence[RawRows]) -> list[int]:
        rows = [row for raw in raws for row in raw.rows]
        texts = [" ".join(each for name in columns for each in _texts(lookup(row, name)))[:most] for row in rows]
        tokens = iter(count(texts))
        return [sum(min(longest, max(1, each)) for each in islice(tokens, len(raw.rows))) for raw in raws]

    return counted


def _of_fast(tokenizer: Any) -> Callable[[list[str]], list[int]]:
    from tokenizers import Tokenizer

    # One of its own: a tokenizer of Rust's refuses to be changed, as each call that cuts does, while it is read.
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
