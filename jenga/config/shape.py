"""What a pydantic schema accepts at each place, read from its annotations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, Tag

Kind = Literal["mapping", "list", "text", "number", "flag", "nothing", "any"]
"""The kinds of YAML values; `any` for an annotation that says none of them."""


@dataclass(frozen=True)
class Branch:
    """One alternative of an annotation; `tag` where a discriminator picks it."""

    annotation: Any
    tag: str | None = None

    @property
    def kind(self) -> Kind:
        """The kind of value that this alternative takes."""
        return kind_of_annotation(self.annotation)

    @property
    def model(self) -> type[BaseModel] | None:
        """The model of a mapping with fixed keys."""
        return self.annotation if _is_model(self.annotation) else None


def branches(annotation: Any, metadata: Sequence[Any] = ()) -> list[Branch]:
    """Return the alternatives of `annotation`, null left out, unions and `Annotated` opened."""
    tag = next((str(each.tag) for each in metadata if isinstance(each, Tag)), None)
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *more = get_args(annotation)
        return branches(inner, (*metadata, *more))
    if origin in (Union, UnionType):
        return [branch for each in get_args(annotation) for branch in branches(each)]
    return [] if annotation is NoneType else [Branch(annotation, tag)]


def field_branches(model: type[BaseModel], key: str) -> list[Branch]:
    """Return the alternatives of a model's field; none where it has no such field."""
    info = model.model_fields.get(key)
    return branches(info.annotation, info.metadata) if info else []


def item_branches(alternatives: Sequence[Branch]) -> list[Branch]:
    """Return the alternatives of the items of those `alternatives` that are lists."""
    return [
        branch
        for each in alternatives
        if each.kind == "list"
        for item in get_args(each.annotation)
        if item is not Ellipsis
        for branch in branches(item)
    ]


def entry_branches(alternatives: Sequence[Branch], key: str) -> list[Branch]:
    """Return the alternatives of the value under `key` in those `alternatives` that are mappings."""
    found = []
    for each in alternatives:
        if each.model:
            found += field_branches(each.model, key)
        elif get_origin(each.annotation) is dict:
            found += branches(get_args(each.annotation)[1])
    return found


def kind_of_annotation(annotation: Any) -> Kind:
    """Return the kind of value that an annotation without unions takes."""
    origin = get_origin(annotation) or annotation
    if origin is Literal:
        return kind_of_value(get_args(annotation)[0])
    if not isinstance(origin, type):
        return "any"
    for kind, types in _KINDS:
        if issubclass(origin, types):
            return kind
    return "any"


def kind_of_value(value: Any) -> Kind:
    """Return the kind of a value."""
    return "nothing" if value is None else kind_of_annotation(type(value))


def literals(branch: Branch) -> list[Any] | None:
    """Return the values of a Literal or Enum alternative, else None."""
    if get_origin(branch.annotation) is Literal:
        return list(get_args(branch.annotation))
    if isinstance(branch.annotation, type) and issubclass(branch.annotation, Enum):
        return [each.value for each in branch.annotation]
    return None


def tag_key(alternatives: Sequence[Branch]) -> str | None:
    """Return the key by whose value a discriminated union's models are told apart."""
    for branch in alternatives:
        for key in branch.model.model_fields if branch.tag and branch.model else ():
            if any(branch.tag in (literals(each) or ()) for each in field_branches(branch.model, key)):  # type: ignore[arg-type]
                return key
    return None


def homes(schema: type[BaseModel], key: str) -> list[str]:
    """Return where in `schema` a mapping may have `key`, as ``training`` or ``tasks[].heads[] of type 'ner'``.

    '' stands for the top level. A place that every type of a discriminated union has is named without types, and so is
    one of a member that has no type.
    """
    places: dict[str, set[str]] = {}
    everywhere: dict[str, set[str]] = {}
    for path, tag, model in _models(schema, "", ""):
        everywhere.setdefault(path, set()).add(tag)
        if key in model.model_fields:
            places.setdefault(path, set()).add(tag)
    return [
        path
        if "" in tags or tags == everywhere[path] - {""}
        else f"{path} of type {' or '.join(map(repr, sorted(tags)))}"
        for path, tags in places.items()
    ]


def _models(model: type[BaseModel], path: str, tag: str) -> Iterator[tuple[str, str, type[BaseModel]]]:
    yield path, tag, model
    if path.count(".") == _DEEPEST:
        return
    for key in model.model_fields:
        found = field_branches(model, key)
        below = f"{path}.{key}".removeprefix(".")
        for suffix, alternatives in (("", found), ("[]", item_branches(found))):
            seen: set[type[BaseModel]] = set()
            told_by = tag_key(alternatives)
            for branch in alternatives:
                if branch.model and branch.model not in seen:
                    seen.add(branch.model)
                    own = branch.tag if told_by in branch.model.model_fields else None
                    yield from _models(branch.model, below + suffix, own or tag)


_DEEPEST = 6
"""Levels searched, so that a part whose model contains itself ends the search."""


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


_KINDS: tuple[tuple[Kind, tuple[type, ...]], ...] = (
    ("mapping", (BaseModel, dict)),
    ("list", (list, tuple, set, frozenset)),
    ("text", (str, Enum)),
    ("flag", (bool,)),
    ("number", (int, float)),
)
