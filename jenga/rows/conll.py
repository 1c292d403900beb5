"""Files of words in columns, a word a line and a blank line between sentences, as the CoNLL shared tasks have them.

Tjong Kim Sang and De Meulder 2003; CoNLL-U: Nivre et al. 2016.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from jenga.rows.raw import RawRows

WORDS, TAGS = "tokens", "ner_tags"
"""The columns of a row for its words, the first of the file, and for its tags, the last one."""
_TAG = re.compile(r"O|[BIESLUMW]-\S+")
_DOCUMENT = "-DOCSTART-"
_LOOKED_AT = 400
Line = tuple[int, list[str]]


def read_conll(raw: RawRows, text: str, *, universal: bool = False) -> None:
    """Add a row a sentence: lists of its words and tags, and of every column as ``column_1``, ``column_2`` and so on.

    universal: the file is CoNLL-U, whose words stand in the second column. Lines beside words are left out: comments,
    marks of documents, and, in CoNLL-U, words that are made of others.
    """
    sentences = list(_sentences(text, universal))
    widths = Counter(len(cells) for sentence in sentences for _, cells in sentence)
    width = widths.most_common(1)[0][0] if widths else 0
    for sentence in sentences:
        number, first = sentence[0]
        if len(sentence) == 1 and first[0] == _DOCUMENT:
            continue
        odd = next((line for line in sentence if len(line[1]) != width), None)
        if odd is not None:
            reason = f"line {odd[0]} has {len(odd[1])} columns, most lines have {width}"
            raw.refuse(number, reason, " ".join(cells[0] for _, cells in sentence))
            continue
        columns = [list(column) for column in zip(*(cells for _, cells in sentence), strict=True)]
        row = {f"column_{at}": column for at, column in enumerate(columns, start=1)}
        row[WORDS] = columns[1 if universal and width > 1 else 0]
        if width > 1 and not universal:
            row[TAGS] = columns[-1]
        raw.add(number, row)


def looks_like_conll(text: str) -> bool:
    """Whether most lines end with a tag behind a word, as no lines of running text do."""
    lines = [line.split() for line in text.split("\n", _LOOKED_AT)[:_LOOKED_AT] if line.strip()]
    tagged = [cells for cells in lines if len(cells) > 1 and _TAG.fullmatch(cells[-1])]
    return len(tagged) >= 0.9 * len(lines) and any(cells[-1] != "O" for cells in tagged)


def _sentences(text: str, universal: bool) -> Iterator[list[Line]]:
    sentence: list[Line] = []
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.rstrip("\r")
        if not line.strip():
            if sentence:
                yield sentence
            sentence = []
            continue
        # Words behind tabs may hold blanks.
        cells = [cell.strip() for cell in line.split("\t")] if "\t" in line else line.split()
        if _is_comment(line, cells, begins=not sentence, universal=universal):
            continue
        if universal and not cells[0].isdigit():
            continue
        sentence.append((number, cells))
    if sentence:
        yield sentence


def _is_comment(line: str, cells: list[str], *, begins: bool, universal: bool) -> bool:
    """Whether a line is a comment, and not the word ``#`` with its tag."""
    if not line.startswith("#"):
        return False
    return universal or (begins and (len(cells) == 1 or not _TAG.fullmatch(cells[-1])))
