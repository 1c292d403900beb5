"""What stands before every text: encoders such as E5 were trained with ``query: `` there, and are worse without it.

It is part of what the tokenizer reads and of nothing else: words, entities and characters are told by the text alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from jenga.labels.base import Span

_PROBES = ("a", "Z", "7", "(")
"""Texts that begin unlike each other: what all of them are read with is the prefix."""
_E5 = re.compile(r"(?<![a-z0-9])e5(?![a-z0-9])", re.IGNORECASE)


def prefix_of(model: Any) -> str:
    """Return what a model's block puts before every text; empty where it says nothing."""
    return getattr(model, "prefix", None) or ""


def prefixed(texts: Iterable[str], prefix: str) -> list[str]:
    """Return texts as the tokenizer reads them."""
    return [prefix + text for text in texts] if prefix else list(texts)


def moved(words: Iterable[Sequence[Span]], prefix: str) -> list[list[Span]]:
    """Return where the words of texts stand behind their prefix."""
    by = len(prefix)
    return [[(start + by, stop + by) for start, stop in row] for row in words]


def without(places: Iterable[Span], prefix: str) -> tuple[Span, ...]:
    """Return the characters of tokens as those of the text; the prefix's own tokens have none, as special ones."""
    by = len(prefix)
    return tuple((max(0, start - by), max(0, stop - by)) for start, stop in places)


def prefix_tokens(tokenizer: Any, prefix: str) -> int:
    """Return with how many tokens every text begins for its prefix; one that may hold the text's own is none."""
    if not prefix:
        return 0
    # A space at its end may be of the text's first token.
    texts = [prefix.rstrip(), *prefixed(_PROBES, prefix)]
    read = [tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"] for text in texts]
    alike = [len(set(column)) == 1 for column in zip(*read, strict=False)]
    return alike.index(False) if False in alike else len(alike)


def missing_prefix(model: Any) -> str | None:
    """Return what to set where the base model is one of E5's and its block says nothing of a prefix."""
    if getattr(model, "prefix", None) is not None or (name := _e5(model.base_model)) is None:
        return None
    return (
        f"model.prefix: '{name}' seems to be one of the E5 models, which were trained with a prefix before every text "
        'and are worse without it; set prefix: "query: " (the instruct ones: "Instruct: <your task>\\nQuery: "), or '
        'prefix: "" to read texts as they are'
    )


def _e5(base_model: str) -> str | None:
    """Return the name by which a base model is one of E5's: its own, or of what its checkpoint was made of."""
    names = [base_model.rstrip("/")]
    try:
        config = json.loads((Path(base_model) / "config.json").read_text(encoding="utf-8"))
        names.append(str(config.get("_name_or_path", "")))
    except (OSError, ValueError, AttributeError):
        pass  # of the hub, or told as broken where it is loaded
    return next((name for name in names if _E5.search(name.rsplit("/", 1)[-1])), None)
