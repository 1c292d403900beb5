"""What rows a run was made of, in few bytes, and what is no longer so when it is resumed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np

from jenga.rows.loaded import LoadedSource
from jenga.rows.parse import Rows
from jenga.rows.strings import coded


class Fingerprint(TypedDict):
    """SHA-256 of the rows of each file, by its name, and of which rows are in each split, by source."""

    files: dict[str, str]
    splits: dict[str, dict[str, str]]


def fingerprint(loaded: Sequence[LoadedSource]) -> Fingerprint:
    """Return the fingerprint of all that sources read, ready for JSON.

    It is of the rows as they stand in their files; of sound or pictures that a row only names it is of the name.
    """
    files = {name: digest for source in loaded for name, digest in source.digests.items()}
    splits = {source.spec.name: {split: _places(rows) for split, rows in source.splits.items()} for source in loaded}
    return {"files": files, "splits": splits}


def changes(known: Fingerprint, found: Fingerprint) -> list[str]:
    """Return what differs, in words: the files, or, where these are as they were, the sources split otherwise."""
    words = [*_files(known["files"], found["files"])]
    if words:
        return words
    names = dict.fromkeys([*known["splits"], *found["splits"]])
    return [
        f"the rows of {name} are split otherwise than by the Jenga that began it"
        for name in names
        if known["splits"].get(name) != found["splits"].get(name)
    ]


def _files(known: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    return [
        f"{name} {'was not read then' if name not in known else 'is not read now' if name not in found else 'changed'}"
        for name in dict.fromkeys([*known, *found])
        if known.get(name) != found.get(name)
    ]


def _places(rows: Rows) -> str:
    codes: dict[str, int] = {}
    files = coded(rows.files, codes)
    digest = hashlib.sha256(json.dumps(list(codes)).encode())
    for part in (files, np.asarray(rows.numbers, np.int64)):
        digest.update(part.tobytes())
    return digest.hexdigest()
