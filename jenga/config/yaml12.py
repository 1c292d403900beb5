"""YAML text to plain data by the rules of YAML 1.2's core schema, with the place of every key and value."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import yaml

from jenga.config.syntax import PATTERNS, TAG, Place, compose, kind_of_node, place_of
from jenga.errors import ConfigError, Problem

KeyPath = tuple[str | int, ...]
"""Keys and list indices from the top of a document to one of its values."""

NODE_LIMIT = 100_000
"""Values a document may have once its aliases are expanded; more is an attack or a data file."""


@dataclass
class Document:
    """Plain data (dict with text keys, list, str, int, float, bool, None) and where each part of it came from.

    `keys` and `values` hold the places of keys and of their values; `texts` what was written for a plain value that is
    not text (``012`` for 12). `problems` are those of the reading itself.
    """

    file: str
    data: Any = None
    keys: dict[KeyPath, Place] = field(default_factory=dict)
    values: dict[KeyPath, Place] = field(default_factory=dict)
    texts: dict[KeyPath, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def key_place(self, path: KeyPath) -> Place:
        """Return the place of the key (or list item) at `path`, or of what holds it."""
        while path and path not in self.keys and path not in self.values:
            path = path[:-1]
        return self.keys.get(path) or self.values.get(path) or Place(self.file)

    def value_place(self, path: KeyPath) -> Place:
        """Return the place of the value at `path`, or of its key where the value starts on another line."""
        key, value = self.keys.get(path), self.values.get(path)
        if value is None or (key is not None and key.line != value.line):
            return self.key_place(path)
        return value

    def value_at(self, path: KeyPath) -> Any:
        """Return the value at `path`; None where there is none."""
        value = self.data
        for part in path:
            if isinstance(value, dict):
                value = value.get(part)
            elif isinstance(value, list) and isinstance(part, int) and part < len(value):
                value = value[part]
            else:
                return None
        return value

    def forget(self, path: KeyPath) -> None:
        """Drop the places of `path` and everything beneath it."""
        tables: tuple[dict[KeyPath, Any], ...] = (self.keys, self.values, self.texts)
        for table in tables:
            for known in [each for each in table if each[: len(path)] == path]:
                del table[known]


def dotted(path: KeyPath) -> str:
    """Return `path` as people write it: ``tasks[0].heads[1].name``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def read_document(text: str, *, file: str, least: str = "'model' and 'tasks'") -> Document:
    """Return the one YAML document in `text`, whose top level must be a mapping; least: the keys it cannot do without.

    Raises ConfigError where nothing can be read; what is wrong inside the document is in its `problems`.
    """
    document = Document(file)
    node = compose(text, file)
    if node is None or (isinstance(node, yaml.ScalarNode) and node.value == ""):
        raise ConfigError([Place(file).problem("", f"the file is empty; it must have at least {least}")])
    if not isinstance(node, yaml.MappingNode):
        advice = "; put a space after each ':'" if isinstance(node, yaml.ScalarNode) and ":" in node.value else ""
        message = f"the top level must be a mapping (key: value), not {kind_of_node(node)}{advice}"
        raise ConfigError([place_of(file, node.start_mark).problem("", message)])
    document.data = _Converter(document).value(node, ())
    return document


def read_value(text: str, *, file: str, path: KeyPath) -> Document:
    """Return one value as a document whose data stands at `path`. Raises ConfigError on bad syntax."""
    document = Document(file)
    node = compose(text, file)
    if node is not None:
        document.data = _Converter(document).value(node, path)
    return document


class _Converter:
    """Turns nodes into plain data and fills the document's places and problems on the way."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.nodes = 0
        self.open: list[yaml.Node] = []

    def value(self, node: yaml.Node, path: KeyPath) -> Any:
        place = place_of(self.document.file, node.start_mark)
        self.document.values[path] = place
        self._count(place)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path, place)
        standard = "seq" if isinstance(node, yaml.SequenceNode) else "map"
        if node.tag != TAG + standard:
            self._refuse_tag(node, path, place)
        with self._inside(node, path, place) as entered:
            if not entered:
                return None
            if not isinstance(node, yaml.MappingNode):
                return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
            data = {}
            for key, key_node, value_node in self._pairs(node, path):
                self.document.keys[(*path, key)] = place_of(self.document.file, key_node.start_mark)
                data[key] = self.value(value_node, (*path, key))
            return data

    def _count(self, place: Place) -> None:
        self.nodes += 1
        if self.nodes > NODE_LIMIT:
            message = f"more than {NODE_LIMIT} values once aliases are expanded; is this a configuration?"
            raise ConfigError([place.problem("", message)])

    @contextmanager
    def _inside(self, node: yaml.Node, path: KeyPath, place: Place) -> Iterator[bool]:
        if any(node is each for each in self.open):
            self._report(place, path, "this anchor contains an alias to itself")
            yield False
            return
        self.open.append(node)
        yield True
        self.open.pop()

    def _pairs(self, node: yaml.MappingNode, path: KeyPath) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
        """Yield each key once: the mapping's own first, then those of its merge keys (`<<`)."""
        seen: dict[str, Place] = {}
        merges: list[yaml.Node] = []
        for key_node, value_node in node.value:
            place = place_of(self.document.file, key_node.start_mark)
            merge = key_node.tag == TAG + "merge"
            key = "<<" if merge else self._key(key_node, path, place)
            if key is None:
                continue
            if key in seen:
                first = seen[key]
                self._report(place, (*path, key), f"given twice; first at line {first.line}, column {first.column}")
            elif merge:
                merges = value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
            else:
                yield key, key_node, value_node
            seen.setdefault(key, place)
        for merged in merges:
            yield from self._merged(merged, path, seen)

    def _merged(
        self, node: yaml.Node, path: KeyPath, seen: dict[str, Place]
    ) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
        place = place_of(self.document.file, node.start_mark)
        self._count(place)
        if not isinstance(node, yaml.MappingNode):
            self._report(place, (*path, "<<"), f"merges mappings only, not {kind_of_node(node)}")
            return
        with self._inside(node, path, place) as entered:
            if entered:
                for key, key_node, value_node in self._pairs(node, path):
                    if key not in seen:
                        seen[key] = place
                        yield key, key_node, value_node

    def _key(self, node: yaml.Node, path: KeyPath, place: Place) -> str | None:
        if isinstance(node, yaml.ScalarNode) and node.tag == TAG + "str":
            return str(node.value)
        advice = f"; put it in quotes: '{node.value}'" if isinstance(node, yaml.ScalarNode) else ""
        self._report(place, path, f"a key must be text, not {kind_of_node(node)}{advice}")
        return None

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath, place: Place) -> Any:
        text, tag = str(node.value), node.tag.removeprefix(TAG)
        if tag in ("str", "merge"):
            if any("\ud800" <= each <= "\udfff" for each in text):
                self._report(place, path, "half of a surrogate pair is no character; write the character itself")
            if "\0" in text:
                self._report(place, path, "the character U+0000 cannot be in a name or a path; remove it")
            return text
        if node.tag not in PATTERNS:
            self._refuse_tag(node, path, place)
            return None
        if not PATTERNS[node.tag].match(text) or len(text) > 400:
            self._report(place, path, f"'{text[:40]}' cannot be read as {tag}")
            return None
        self.document.texts[path] = text
        return _parse(tag, text)

    def _refuse_tag(self, node: yaml.Node, path: KeyPath, place: Place) -> None:
        tag = node.tag.replace(TAG, "!!", 1)
        self._report(place, path, f"tag '{tag}' is not read: a configuration is plain data; remove the tag")

    def _report(self, place: Place, path: KeyPath, message: str) -> None:
        self.document.problems.append(place.problem(dotted(path), message))


def _parse(tag: str, text: str) -> Any:
    if tag == "null":
        return None
    if tag == "bool":
        return text.lower() == "true"
    if tag == "int":
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        return int(text if base == 10 else text[2:], base)
    return float(re.sub(r"\.(?=[a-zA-Z])", "", text))
