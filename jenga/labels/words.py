"""Words of a text."""

from __future__ import annotations

import re
import unicodedata
from functools import cache

from jenga.labels.base import Span

# Han and kana are written without spaces: each character is a word, lest an entity be a part of one.
_UNSPACED = "\u3005-\u3007\u3041-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_ASCII_WORD = re.compile(r"\w+|[^\w\s]")


@cache
def _word() -> re.Pattern[str]:
    # Python's \w leaves out combining marks, which Yoruba, Hindi or Arabic words hold, and joiners inside words.
    marks = "".join(chr(code) for code in range(0x20000) if unicodedata.category(chr(code)).startswith("M"))
    inner = f"{re.escape(marks)}\u200c\u200d\U000e0100-\U000e01ef"
    return re.compile(rf"[{_UNSPACED}][{inner}]*|[^\W{_UNSPACED}](?:[^\W{_UNSPACED}]|[{inner}])*|[^\w\s][{inner}]*")


def split_words(text: str) -> list[Span]:
    """Return the character spans of the words of `text`: runs of letters, digits and ``_``, or one other mark.

    Apostrophes and hyphens stand alone, so that the entity in ``Otieno's`` or ``Nairobi-based`` is whole words.
    """
    return [match.span() for match in (_ASCII_WORD if text.isascii() else _word()).finditer(text)]


def words_by_space(text: str) -> list[Span]:
    """Return the character spans of the words of ``text.split()``."""
    return [match.span() for match in re.finditer(r"\S+", text)]
