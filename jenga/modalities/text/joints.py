"""Written texts as tokens; a question has the same tokens where it is asked and where its answer is learnt."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import Any, NamedTuple

from jenga.modalities.text.written import Written

_CHUNK_TEXTS = 1000


class Tokens(NamedTuple):
    """The tokens of a text, the characters that each is of, and how many stand before each of its answers begins."""

    ids: list[int]
    places: list[tuple[int, int]]
    before: dict[int, int]


def tokenise(written: Sequence[Written], tokenizer: Any) -> list[Tokens]:
    """Return the tokens of each text, without an end token that the tokenizer puts behind every text.

    A token that reaches over the place where an answer begins (``": " + "so"`` is ``":", " so"`` to most) would never
    be asked for: a text is taken whole where its question has the same tokens alone, else question and answer apart.
    """
    found: list[Tokens] = []
    for start in range(0, len(written), _CHUNK_TEXTS):
        for special, group in groupby(written[start : start + _CHUNK_TEXTS], lambda each: each.special):
            found += _tokenised(list(group), tokenizer, special=special)
    return found


def _tokenised(written: Sequence[Written], tokenizer: Any, *, special: bool) -> list[Tokens]:
    parts = iter(_read([each.text[:stop] for each in written for stop in _stops(each)], tokenizer, special=special))
    found = []
    for each in written:
        own = [next(parts) for _ in _stops(each)]
        if all(longer[0][: len(shorter[0])] == shorter[0] for shorter, longer in pairwise(own)):
            before = {stop: len(ids) for stop, (ids, _) in zip(each.begins, own, strict=False)}
            found.append(Tokens(*own[-1], before))
        else:
            found.append(_apart(each, tokenizer))
    return found


def _stops(written: Written) -> tuple[int, ...]:
    return (*written.begins, len(written.text))


def _apart(written: Written, tokenizer: Any) -> Tokens:
    """Return the tokens of a text, cut wherever an answer's first ones would change those of its question."""
    (ids, places), *_ = _read([written.text[: _stops(written)[0]]], tokenizer, special=written.special)
    before: dict[int, int] = {}
    # What lies before the last cut is settled.
    cut, settled = 0, Tokens([], [], before)
    for begin, stop in pairwise(_stops(written)):
        before[begin] = len(ids)
        whole = _behind(settled, cut, written, stop, tokenizer)
        if whole.ids[: len(ids)] != ids:
            cut, settled = begin, Tokens(ids, places, before)
            whole = _behind(settled, cut, written, stop, tokenizer)
        ids, places = whole.ids, whole.places
    return Tokens(ids, places, before)


def _behind(settled: Tokens, cut: int, written: Written, stop: int, tokenizer: Any) -> Tokens:
    ((ids, places),) = _read([written.text[cut:stop]], tokenizer, special=written.special and not cut)
    moved = [(begin + cut, end + cut) for begin, end in places]
    return Tokens([*settled.ids, *ids], [*settled.places, *moved], settled.before)


def _read(texts: list[str], tokenizer: Any, *, special: bool) -> list[tuple[list[int], list[tuple[int, int]]]]:
    batch = tokenizer(
        texts, add_special_tokens=special, return_offsets_mapping=True, return_attention_mask=False,
        return_token_type_ids=False, verbose=False,
    )  # fmt: skip
    found = []
    for ids, places in zip(batch["input_ids"], batch["offset_mapping"], strict=True):
        ended = special and ids and ids[-1] == tokenizer.eos_token_id
        found.append((ids[:-1], places[:-1]) if ended else (ids, places))
    return found
