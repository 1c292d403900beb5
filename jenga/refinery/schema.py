"""The schema of the refinery: which field of an event becomes which columns, and what is left out and why."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag, ValidationError, field_validator, model_validator

from jenga.config.explain import findings, hidden_findings, validate
from jenga.config.strict import Strict
from jenga.config.yaml12 import Document, read_document
from jenga.errors import ConfigError, Problem, suggest
from jenga.refinery.fields import KINDS, AnyField, CategoricalField, HistoryField, TimestampField
from jenga.refinery.flow import flow, scalar

SIZE_LIMIT = 4 << 20
"""Bytes of a schema file; more is a data file given by mistake."""

MISSING_WORDS = (
    "-", "(empty)", "?", "n/a", "N/A", "NA", "<NA>", "null", "NULL", "Null", "none", "None", "NONE", "nan", "NaN",
)  # fmt: skip
"""Texts that stand for nothing where a number, a flag, a moment or an address should be."""


def _kind_of(value: Any) -> str | None:
    return value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)


FieldUnion: Any = Annotated[
    reduce(or_, [Annotated[model, Tag(kind)] for kind, model in KINDS.items()]), Discriminator(_kind_of)
]


class RefinerySchema(Strict):
    """Which fields of an event are read, what becomes of each, and which are left out and why."""

    name: str | None = Field(None, description="Name of the schema, shown in reports.")
    fields: list[FieldUnion] = Field(min_length=1, description="The fields, in the order of their columns.")
    missing: list[str] = Field(
        list(MISSING_WORDS),
        description="Texts that count as null; to categorical and text fields they are values like others.",
    )
    left_out: dict[str, str] = Field(
        default_factory=dict, description="Paths that are not read on purpose, each with the reason."
    )

    @field_validator("fields")
    @classmethod
    def _fields_fit_together(cls, fields: list[AnyField]) -> list[AnyField]:
        problems = [
            f"path '{field.path}' leads to many values, which fields of kind {field.kind} do not take; use [0], or "
            "kind numeric, or categorical by onehot or hash"
            for field in fields
            if field.is_set and (field.kind not in ("numeric", "categorical") or _is_frequency(field))
        ]
        problems += [
            f"by: '{field.by}', of '{field.path}', is the path of no field of kind {', '.join(_ENTITY_KINDS)} without "
            f"[*]; add {{path: {field.by}, kind: entity}}"
            for field in fields
            if isinstance(field, TimestampField | HistoryField)
            and field.by is not None
            and not _has_entity(fields, field.by)
        ]
        problems += [words for field in fields if isinstance(field, HistoryField) for words in _untold(fields, field)]
        problems += _clashes(fields)
        if problems:
            raise ValueError("; ".join(problems))
        return fields

    @field_validator("missing")
    @classmethod
    def _words_are_different(cls, words: list[str]) -> list[str]:
        return list(dict.fromkeys(word.strip() for word in words))

    @model_validator(mode="after")
    def _left_out_is_not_read(self) -> RefinerySchema:
        both = [path for field in self.fields for path in field.all_paths if path in self.left_out]
        if both:
            raise ValueError(f"left_out: '{both[0]}' is read by a field too; remove it from one of the two")
        return self

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that `read_schema` reads back as an equal schema; what equals its default is not in it."""
        content: dict[str, Any] = {} if self.name is None else {"name": self.name}
        content["fields"] = [_shortest(field) for field in self.fields]
        if self.missing != list(MISSING_WORDS):
            content["missing"] = list(self.missing)
        return {**content, "left_out": dict(self.left_out)} if self.left_out else content

    def to_yaml(self) -> str:
        """Return YAML that `read_schema` reads back as an equal schema, with comments for whoever edits it."""
        lines = ["# What the refinery reads of each event; remove, add and change fields as you like."]
        lines += [] if self.name is None else [f"name: {scalar(self.name)}"]
        lines += ["fields:", *(f"  - {flow(_shortest(field))}" for field in self.fields)]
        if self.missing != list(MISSING_WORDS):
            lines += ["missing:", *(f"  - {scalar(word)}" for word in self.missing)]
        if self.left_out:
            lines += [
                "",
                f"# Left out, each with the reason. To read one, move it up: - {{path: ..., kind: {KIND_HINT}}}",
            ]
            lines += ["left_out:", *(f"  {scalar(path)}: {scalar(why)}" for path, why in self.left_out.items())]
        return "\n".join(lines) + "\n"


KIND_HINT = " | ".join(kind for kind in KINDS if kind != "history")


def read_schema(source: RefinerySchema | Mapping[str, Any] | str | os.PathLike[str]) -> RefinerySchema:
    """Return the schema in `source`: a schema, plain data, or the path of a YAML file.

    Raises ConfigError with every mistake, each with file, line and column where it comes from a file.
    """
    if isinstance(source, RefinerySchema):
        return source
    if isinstance(source, Mapping):
        document = Document("")
        try:
            document.data = json.loads(json.dumps(dict(source), allow_nan=False))
        except (TypeError, ValueError) as error:
            raise ConfigError(f"schema: needs what YAML can hold: {error}") from None
        return _checked(document)
    file = os.fspath(source)
    return parse_schema(_read(file), file=file)


def parse_schema(text: str, *, file: str) -> RefinerySchema:
    """Return the schema in YAML `text`; `file` is its name in messages. Raises ConfigError with every mistake."""
    if not text.strip():
        raise ConfigError([Problem(file, 0, 0, "", "the file is empty; a schema needs at least 'fields'")])
    return _checked(read_document(text, file=file))


def _checked(document: Document) -> RefinerySchema:
    found = findings(RefinerySchema, document)
    found += hidden_findings(found, RefinerySchema, document)
    problems = document.problems + [each.problem for each in found]
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    try:
        return validate(RefinerySchema, document.data)
    except ValidationError as error:
        raise AssertionError("a schema without findings must be valid") from error


def _read(file: str) -> str:
    path = Path(file)
    try:
        with path.open("rb") as content:
            raw = content.read(SIZE_LIMIT + 1)  # a device has no size, and no end
        if len(raw) > SIZE_LIMIT:
            raise ConfigError([Problem(file, 0, 0, "", "larger than 4 MiB; is this a data file?")])
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"byte {error.start} is not UTF-8; save the file as UTF-8"
        raise ConfigError([Problem(file, 0, 0, "", message)]) from None
    except OSError as error:
        folder = path.parent if path.parent.is_dir() else Path()
        near = suggest(path.name, [each.name for each in folder.glob("*.y*ml")])
        message = f"no such schema file{near}" if isinstance(error, FileNotFoundError) else f"cannot be read: {error}"
        raise ConfigError([Problem(file, 0, 0, "", message)]) from None


_ENTITY_KINDS = ("entity", "categorical", "ip", "text")


def _has_entity(fields: list[AnyField], path: str) -> bool:
    return any(field.path == path and field.kind in _ENTITY_KINDS and not field.is_set for field in fields)


def _untold(fields: list[AnyField], field: HistoryField) -> list[str]:
    """Return what a history lacks to be told: a moment to count by, and the field of whose values it tells."""
    problems = []
    moments = [each.path for each in fields if each.kind == "timestamp"]
    if field.time_of(fields) not in moments:
        named = "no time is named" if field.time is None else f"time: '{field.time}' is none"
        problems.append(f"'{field.path}': {named}; fields of kind timestamp: {', '.join(moments) or 'none, add one'}")
    known = [each.path for each in fields if each.kind not in ("timestamp", "history") and not each.is_set]
    if field.of is not None and field.of not in known:
        near = suggest(field.of, known)
        problems.append(f"of: '{field.of}', of '{field.path}', is the path of no field with one value{near}; add one")
    return problems


def _is_frequency(field: AnyField) -> bool:
    return isinstance(field, CategoricalField) and field.encoding == "frequency"


def _clashes(fields: list[AnyField]) -> list[str]:
    """Return what is wrong with the paths and names of fields together."""
    problems, names = [], set[str]()
    owners: dict[str, AnyField] = {}
    for field in fields:
        given_twice = next((path for path in field.all_paths if path in owners), None)
        owners |= dict.fromkeys(field.all_paths, field)
        if given_twice is not None or len(set(field.all_paths)) < len(field.all_paths):
            path = given_twice or next(each for each in field.all_paths if field.all_paths.count(each) > 1)
            problems.append(f"path '{path}' is given twice; a value is read by one field")
        elif field.name in names:
            problems.append(f"name '{field.name}' is given twice; names of columns must differ, set another 'name'")
        names.add(field.name)
    for path in sorted(owners):
        parts = path.split(".")
        for inner in (".".join(parts[:count]) for count in range(1, len(parts))):
            # The paths of one field may be a value in some rows and an object in others.
            if inner in owners and owners[inner] is not owners[path]:
                problems.append(
                    f"path '{inner}' cannot be a value, since '{path}' lies inside it; remove one of the two"
                )
    return problems


def _shortest(field: AnyField) -> dict[str, Any]:
    given = field.model_dump(mode="json", exclude_defaults=True)
    place: dict[str, Any] = {"paths": field.paths} if field.paths else {"path": field.path}
    if isinstance(field, HistoryField):
        place = {}
    content = {
        **place,
        "kind": field.kind,
        **{key: value for key, value in given.items() if key not in ("path", "paths")},
    }
    return {key: value for key, value in content.items() if key != "name" or value != field.path}
