"""Pydantic's errors as ours: one problem a mistake, at its key or value, with what is allowed and the fix."""

from __future__ import annotations

import copy
import difflib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from jenga.config.shape import Branch, Kind, entry_branches, homes, item_branches, kind_of_value, tag_key
from jenga.config.words import got, known_tags, needs, wrong_key, wrong_value
from jenga.config.yaml12 import Document, KeyPath, dotted
from jenga.errors import Problem, suggest

Model = TypeVar("Model", bound=BaseModel)
TAG_ERRORS = ("union_tag_invalid", "union_tag_not_found")

_SURE = 0.8
"""Likeness of names from which a misspelt type is read as the one it resembles; a suggestion may dare more."""

_SYNONYMS = {
    "gradient_clip_val": "max_grad_norm",
    "lr": "learning_rate",
    "lr_scheduler_type": "scheduler",
    "model_name": "base_model",
    "name": "base_model",
    "num_train_epochs": "epochs",
    "num_warmup_steps": "warmup_steps",
    "per_device_train_batch_size": "batch_size",
}
"""What other trainers call our keys, where the spelling is too far off to guess."""

_LABELS: tuple[tuple[str, Kind], ...] = (
    ("literal[", "text"),
    ("enum", "text"),
    ("str", "text"),
    ("int", "number"),
    ("float", "number"),
    ("bool", "flag"),
    ("list[", "list"),
    ("tuple[", "list"),
    ("set[", "list"),
    ("dict[", "mapping"),
)
"""How pydantic's names of union alternatives begin, and the kind of value each takes."""


@dataclass(frozen=True)
class Finding:
    """A problem, the pydantic error type behind it, and the path of what it is about.

    `types`: the alternatives of a block whose `type` is wrong.
    """

    kind: str
    path: KeyPath
    problem: Problem
    types: tuple[Branch, ...] = ()


@dataclass(frozen=True)
class _Spot:
    """Where an error's location leads: the path in the document, and what the schema accepts there.

    `holder`: what it accepts one level up. `others`: the alternatives at `path` for values of other kinds.
    `off_branch`: the location entered one of those.
    """

    path: KeyPath
    accepts: tuple[Branch, ...]
    holder: tuple[Branch, ...]
    others: tuple[Branch, ...] = ()
    off_branch: bool = False


def validate(schema: type[Model], data: Any) -> Model:
    """Return `schema` made of `data` without conversions such as '3' to 3. Raises pydantic's ValidationError.

    Read as JSON, since strict mode would otherwise refuse the paths, enums and tuples of a part's model.
    """
    return schema.model_validate_json(json.dumps(data), strict=True)


def findings(schema: type[BaseModel], document: Document) -> list[Finding]:
    """Return what `schema` finds wrong with `document`, one finding a mistake; none when it is valid."""
    try:
        validate(schema, document.data)
    except ValidationError as error:
        return _explain(error.errors(include_url=False, include_input=False), schema, document)
    return []


def hidden_findings(known: Sequence[Finding], schema: type[BaseModel], document: Document) -> list[Finding]:
    """Return what is wrong inside the blocks whose `type` is wrong, as the `known` findings say.

    Pydantic does not look into them. They are read as the type that was probably meant; without such a guess, only
    keys that all types read alike are judged.
    """
    guess = replace(document, data=copy.deepcopy(document.data))
    blocks: dict[KeyPath, set[str] | None] = {}
    for finding in known:
        block = guess.value_at(finding.path[:-1])
        # There are no tags where the whole block is of the wrong kind.
        tags = [each.tag for each in finding.types if each.tag]
        if finding.kind in TAG_ERRORS and tags and isinstance(block, dict):
            key = str(finding.path[-1])
            meant = difflib.get_close_matches(str(block.get(key)), tags, n=1, cutoff=_SURE)
            block[key] = meant[0] if meant else tags[0]
            blocks[finding.path[:-1]] = None if meant else _common_keys(finding.types)
    return [
        each
        for each in (findings(schema, guess) if blocks else [])
        for block_path, keys in blocks.items()
        if each.path[: len(block_path)] == block_path
        and (keys is None or each.path[len(block_path) : len(block_path) + 1] in {(key,) for key in keys})
    ]


def _common_keys(types: Sequence[Branch]) -> set[str]:
    models = [each.model for each in types if each.model]
    shared = set.intersection(*(set(model.model_fields) for model in models))
    return {key for key in shared if len({str(model.model_fields[key].annotation) for model in models}) == 1}


def _explain(errors: Sequence[Any], schema: type[BaseModel], document: Document) -> list[Finding]:
    found: dict[KeyPath, Finding] = {}
    unions: dict[KeyPath, Finding] = {}
    for error in errors:
        spot = _locate(error, schema, document)
        if spot.off_branch:
            message = f"needs {needs(spot.accepts)}, got {got(document, spot.path, spot.accepts)}"
            problem = document.value_place(spot.path).problem(dotted(spot.path), message)
            unions[spot.path] = Finding("union", spot.path, problem)
        elif spot.path not in found:
            found[spot.path] = _finding(error, spot, schema, document)
    for path, finding in unions.items():
        if not any(each[: len(path)] == path for each in found):
            found[path] = finding
    return [each for each in found.values() if not _is_misspelt(each, found)]


def _locate(error: Any, schema: type[BaseModel], document: Document) -> _Spot:
    """Follow pydantic's location, leaving out its names of union alternatives, which the document does not hold."""
    path: KeyPath = ()
    accepts: tuple[Branch, ...] = (Branch(schema),)
    holder = accepts
    others: tuple[Branch, ...] = ()
    open_union = False
    for part in error["loc"]:
        if open_union:
            open_union = False
            if any(each.tag for each in accepts):
                accepts = tuple(each for each in accepts if each.tag == part)
                continue
            kind = kind_of_value(document.value_at(path))
            if _label_kind(str(part), accepts) not in (kind, "any"):
                return _Spot(path, accepts, holder, off_branch=True)
            others = tuple(each for each in accepts if each.kind not in (kind, "any"))
            accepts = tuple(each for each in accepts if each not in others)
        elif part != "[key]":
            path, holder, others = (*path, part), accepts, ()
            accepts = tuple(item_branches(accepts) if isinstance(part, int) else entry_branches(accepts, part))
            open_union = len(accepts) > 1 or any(each.tag for each in accepts)
    if error["type"] in TAG_ERRORS and isinstance(document.value_at(path), dict) and (key := tag_key(accepts)):
        path, holder = (*path, key), accepts
    return _Spot(path, accepts, holder, others)


def _label_kind(label: str, accepts: Sequence[Branch]) -> Kind:
    if any(each.model and each.model.__name__ == label for each in accepts):
        return "mapping"
    label = re.sub(r"^(?:constrained-|function-[a-z]+\[)+", "", label)
    return next((kind for prefix, kind in _LABELS if label.startswith(prefix)), "any")


def _finding(error: Any, spot: _Spot, schema: type[BaseModel], document: Document) -> Finding:
    kind, path = error["type"], spot.path
    types = spot.holder if kind in TAG_ERRORS else ()
    block = document.value_at(path[:-1])
    absent = bool(path) and isinstance(block, dict) and path[-1] not in block
    if kind == "extra_forbidden":
        place, message = document.key_place(path), _unknown_key(spot, schema)
    elif absent:
        place, message = document.key_place(path[:-1]), "required key is missing" + _meaning(spot, types)
    elif error["loc"][-1:] == ("[key]",):
        place, message = document.key_place(path), wrong_key(error, document, path)
    else:
        place, message = document.value_place(path), wrong_value(error, spot.accepts, spot.holder, document, path)
        if kind == "literal_error" and spot.others:
            message += f", or {needs(spot.others)}"
        if kind == "value_error" and (word := re.match(r"\w+", message)) and (*path, word.group()) in document.keys:
            place = document.key_place((*path, word.group()))
    return Finding(kind, path, place.problem(dotted(path), message), types)


def _unknown_key(spot: _Spot, schema: type[BaseModel]) -> str:
    key = str(spot.path[-1])
    known = [name for each in spot.holder if each.model for name in each.model.model_fields]
    ours = _SYNONYMS.get(key, key)
    hint = f"; did you mean '{ours}'?" if ours in known else suggest(key, known)
    elsewhere = homes(schema, key) or homes(schema, ours)
    here = re.sub(r"\[\d+\]", "[]", dotted(spot.path[:-1]))
    of_other_types = [each for each in elsewhere if each.startswith(f"{here} of type ")]
    elsewhere = of_other_types or [each for each in elsewhere if each != here]
    if of_other_types or (elsewhere and not hint):
        places = [f"under {each}" if each else "at the top level" for each in elsewhere[:3]]
        name = "" if homes(schema, key) else f", as '{ours}'"
        hint = f"; it belongs {' or '.join(places)}{name}."
    return f"unknown key{hint or '.'} Known: {', '.join(known) or 'none'}"


def _meaning(spot: _Spot, types: Sequence[Branch]) -> str:
    if types:
        return f". Known: {known_tags(types)}"
    for each in spot.holder:
        if each.model and (info := each.model.model_fields.get(str(spot.path[-1]))) and info.description:
            return f": {info.description}"
    return ""


def _is_misspelt(finding: Finding, found: dict[KeyPath, Finding]) -> bool:
    """Whether a required key is missing only because an unknown key beside it was meant."""
    key = str(finding.path[-1]) if finding.path else ""
    return "required key is missing" in finding.problem.message and any(
        other.kind == "extra_forbidden"
        and other.path[:-1] == finding.path[:-1]
        and f"did you mean '{key}'?" in other.problem.message
        for other in found.values()
    )
