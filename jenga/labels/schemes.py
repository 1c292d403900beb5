"""Schemes of tags of words, read as IOB2: IOB1, BIOES, BILOU, BMEWO, and types alone.

Ramshaw and Marcus 1995; Tjong Kim Sang and Veenstra 1999 (IOB1, IOB2, IOE); Ratinov and Roth 2009 (BILOU).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

OUTSIDE = "O"
_ALONE, _LAST, _INNER = "SUW", "EL", "IM"
_PREFIXES = f"B{_ALONE}{_LAST}{_INNER}"


def is_tag(name: str) -> bool:
    """Whether `name` is ``O``, or a type behind a prefix of some scheme."""
    return name == OUTSIDE or (len(name) > 2 and name[0] in _PREFIXES and name[1] == "-")


def are_tags(names: Iterable[str]) -> bool:
    """Whether `names` are tags, and not types that merely look alike, such as ``E-mail``."""
    names = [name for name in names if name != OUTSIDE]
    return bool(names) and all(map(is_tag, names)) and any(name[0] in "BI" for name in names)


def repair(names: Sequence[str]) -> list[str]:
    """Return IOB2 tags: a word begins an entity where its tag says so, or where it continues none of its type."""
    fixed: list[str] = []
    running = ""
    for name in names:
        if name == OUTSIDE:
            fixed.append(name)
            running = ""
            continue
        prefix, kind = name[0], name[2:]
        begins = prefix not in _INNER + _LAST or kind != running
        fixed.append(f"{'B' if begins else 'I'}-{kind}")
        running = "" if prefix in _ALONE + _LAST else kind
    return fixed


def opens_by_inside(names: Sequence[str], repaired: Sequence[str]) -> bool:
    """Whether some tag of a word inside an entity continues none; repaired: what `repair` made of `names`."""
    return any(name[0] in _INNER + _LAST and fixed[0] == "B" for name, fixed in zip(names, repaired, strict=True))
