"""YAML text to plain data by the rules of YAML 1.2's core schema, with the place of every key and value."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import yaml

from jenga.errors import ConfigError, Problem

Path = tuple[str | int, ...]
"""Keys and list indices from the top of a document to one of its values."""

NODE_LIMIT = 100_000
"""Values a document may have once its aliases are expanded; more is an attack or a data file."""

DEPTH_LIMIT = 100

_TAG = "tag:yaml.org,2002:"
_CORE: dict[str, tuple[str, str]] = {
    # tag: (YAML 1.2.2 section 10.3.2, first characters)
    "null": (r"~|null|Null|NULL|", "~nN\0"),
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    "float": (
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
    "merge": (r"<<", "<"),
}
CORE_RESOLVERS = tuple((_TAG + name, re.compile(rf"(?:{text})\Z"), first) for name, (text, first) in _CORE.items())
"""(tag, pattern, first characters) of each kind of plain text that is not a string; most specific first."""

_PATTERNS = {tag: pattern for tag, pattern, _ in CORE_RESOLVERS}

_ADVICE: tuple[tuple[str, str, bool], ...] = (
    # (PyYAML's problem, our words, whether the place is where the broken thing starts)
    (r"found character '\\t'", "a tab cannot indent YAML; use spaces", False),
    (r"found character '(.+)' that cannot start", "text cannot start with '{0}' here; put it in quotes", False),
    (r"mapping values are not allowed", "a ':' too many, or wrong indentation; text with ': ' needs quotes", False),
    (r"could not find expected ':'", "this line is no 'key: value'; add a ':' and a space after the key", True),
    (r"found unexpected end of stream", "this quote is never closed", True),
    (r"found unexpected document separator", "this quote is never closed", True),
    (r"expected ',' or '\]'", "this '[' is not closed, or a ',' is missing", True),
    (r"expected ',' or '\}'", "this '{' is not closed, or a ',' is missing", True),
    (r"expected <block end>", "indentation does not fit the lines above; keys of one block start in one column", False),
    (r"sequence entries are not allowed", "a '- ' item must start on a line of its own", False),
    (r"found unknown escape character", "no such escape in double quotes; write '\\\\', or use single quotes", False),
    (r"found undefined alias '?(.+?)'?$", "alias '*{0}' has no anchor '&{0}' above it", False),
    (r"second occurrence", "this anchor's name is taken; rename one of the two", False),
    (r"but found another document", "the file holds several documents; keep one and remove the '---' line", False),
    (r"found undefined tag handle", "tags ('!...') are not read; remove it", False),
)


@dataclass(frozen=True)
class Place:
    """Where something stands; `line` and `column` count from 1, and are 0 where there is no text to point at."""

    file: str
    line: int = 0
    column: int = 0

    def problem(self, key: str, message: str) -> Problem:
        """Return a Problem at this place."""
        return Problem(self.file, self.line, self.column, key, message)


@dataclass
class Document:
    """Plain data (dict with text keys, list, str, int, float, bool, None) and where each part of it came from.

    `keys` and `values` hold the places of keys and of their values; `texts` what was written for a plain value that is
    not text (``012`` for 12). `problems` are those of the reading itself.
    """

    file: str
    data: Any = None
    keys: dict[Path, Place] = field(default_factory=dict)
    values: dict[Path, Place] = field(default_factory=dict)
    texts: dict[Path, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def key_place(self, path: Path) -> Place:
        """Return the place of the key (or list item) at `path`, or of what holds it."""
        while path and path not in self.keys and path not in self.values:
            path = path[:-1]
        return self.keys.get(path) or self.values.get(path) or Place(self.file)

    def value_place(self, path: Path) -> Place:
        """Return the place of the value at `path`, or of its key where the value starts on another line."""
        key, value = self.keys.get(path), self.values.get(path)
        if value is None or (key is not None and key.line != value.line):
            return self.key_place(path)
        return value

    def value_at(self, path: Path) -> Any:
        """Return the value at `path`; None where there is none."""
        value = self.data
        for part in path:
            if isinstance(value, dict) or (isinstance(value, list) and isinstance(part, int) and part < len(value)):
                value = value.get(part) if isinstance(value, dict) else value[part]  # type: ignore[index]
            else:
                return None
        return value

    def forget(self, path: Path) -> None:
        """Drop the places of `path` and everything beneath it."""
        for table in (self.keys, self.values, self.texts):
            for known in [each for each in table if each[: len(path)] == path]:
                del table[known]  # type: ignore[attr-defined]


def dotted(path: Path) -> str:
    """Return `path` as people write it: ``tasks[0].heads[1].name``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def read_document(text: str, *, file: str) -> Document:
    """Return the one YAML document in `text`, whose top level must be a mapping.

    Raises ConfigError where nothing can be read; what is wrong inside the document is in its `problems`.
    """
    document = Document(file)
    node = _compose(text, file)
    if node is None or (isinstance(node, yaml.ScalarNode) and node.value == ""):
        raise ConfigError([Place(file).problem("", "the file is empty; it must have at least 'model' and 'tasks'")])
    if not isinstance(node, yaml.MappingNode):
        advice = "; put a space after each ':'" if isinstance(node, yaml.ScalarNode) and ":" in node.value else ""
        message = f"the top level must be a mapping (key: value), not {_kind(node)}{advice}"
        raise ConfigError([_place(file, node.start_mark).problem("", message)])
    document.data = _Converter(document).value(node, ())
    return document


def read_value(text: str, *, file: str, path: Path) -> Document:
    """Return one value as a document whose data stands at `path`. Raises ConfigError on bad syntax."""
    document = Document(file)
    node = _compose(text, file)
    if node is not None:
        document.data = _Converter(document).value(node, path)
    return document


class _Loader(yaml.SafeLoader):
    """PyYAML's composer without its YAML 1.1 readings; nodes are never turned into objects by it."""

    yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, re.Pattern[str]]]]] = {}

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.depth += 1
        if self.depth > DEPTH_LIMIT:
            mark = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(None, None, f"nested more than {DEPTH_LIMIT} levels deep", mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


for _tag, _pattern, _first in CORE_RESOLVERS:
    _Loader.add_implicit_resolver(_tag, _pattern, ["" if each == "\0" else each for each in _first])


def _compose(text: str, file: str) -> yaml.Node | None:
    try:
        loader = _Loader(text)
        try:
            return loader.get_single_node()
        finally:
            loader.dispose()  # type: ignore[no-untyped-call]
    except yaml.MarkedYAMLError as error:
        raise ConfigError([_syntax_problem(error, file)]) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        column = error.position - (text.rfind("\n", 0, error.position) + 1) + 1
        message = f"character U+{error.character:04X} is not allowed in YAML; remove it"
        raise ConfigError([Problem(file, line, column, "", message)]) from None


def _syntax_problem(error: yaml.MarkedYAMLError, file: str) -> Problem:
    words = error.problem or "not YAML"
    mark = error.problem_mark or error.context_mark
    for pattern, advice, at_start in _ADVICE:
        if found := re.search(pattern, words):
            words = advice.replace("{0}", found.group(1)) if found.re.groups else advice
            mark = error.context_mark if at_start and error.context_mark else mark
            break
    return _place(file, mark).problem("", words)


def _place(file: str, mark: Any) -> Place:
    return Place(file, mark.line + 1, mark.column + 1) if mark is not None else Place(file)


def _kind(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        return "a single value"
    return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"


class _Converter:
    """Turns nodes into plain data and fills the document's places and problems on the way."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.nodes = 0
        self.open: list[yaml.Node] = []

    def value(self, node: yaml.Node, path: Path) -> Any:
        place = _place(self.document.file, node.start_mark)
        self.document.values[path] = place
        self._count(place)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path, place)
        standard = "seq" if isinstance(node, yaml.SequenceNode) else "map"
        if node.tag != _TAG + standard:
            self._refuse_tag(node, path, place)
        with self._inside(node, path, place) as entered:
            if not entered:
                return None
            if isinstance(node, yaml.SequenceNode):
                return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
            data = {}
            for key, key_node, value_node in self._pairs(node, path):
                self.document.keys[(*path, key)] = _place(self.document.file, key_node.start_mark)
                data[key] = self.value(value_node, (*path, key))
            return data

    def _count(self, place: Place) -> None:
        self.nodes += 1
        if self.nodes > NODE_LIMIT:
            message = f"more than {NODE_LIMIT} values once aliases are expanded; is this a configuration?"
            raise ConfigError([place.problem("", message)])

    @contextmanager
    def _inside(self, node: yaml.Node, path: Path, place: Place) -> Iterator[bool]:
        if any(node is each for each in self.open):
            self._report(place, path, "this anchor contains an alias to itself")
            yield False
            return
        self.open.append(node)
        yield True
        self.open.pop()

    def _pairs(self, node: yaml.MappingNode, path: Path) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
        """Yield each key once: the mapping's own first, then those of its merge keys (`<<`)."""
        seen: dict[str, Place] = {}
        merges: list[yaml.Node] = []
        for key_node, value_node in node.value:
            place = _place(self.document.file, key_node.start_mark)
            merge = key_node.tag == _TAG + "merge"
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
        self, node: yaml.Node, path: Path, seen: dict[str, Place]
    ) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
        place = _place(self.document.file, node.start_mark)
        self._count(place)
        if not isinstance(node, yaml.MappingNode):
            self._report(place, (*path, "<<"), f"merges mappings only, not {_kind(node)}")
            return
        with self._inside(node, path, place) as entered:
            if entered:
                for key, key_node, value_node in self._pairs(node, path):
                    if key not in seen:
                        seen[key] = place
                        yield key, key_node, value_node

    def _key(self, node: yaml.Node, path: Path, place: Place) -> str | None:
        if isinstance(node, yaml.ScalarNode) and node.tag == _TAG + "str":
            return str(node.value)
        advice = f"; put it in quotes: '{node.value}'" if isinstance(node, yaml.ScalarNode) else ""
        self._report(place, path, f"a key must be text, not {_kind(node)}{advice}")
        return None

    def _scalar(self, node: yaml.ScalarNode, path: Path, place: Place) -> Any:
        text, tag = str(node.value), node.tag.removeprefix(_TAG)
        if tag in ("str", "merge"):
            if any("\ud800" <= each <= "\udfff" for each in text):
                self._report(place, path, "half of a surrogate pair is no character; write the character itself")
            return text
        if tag not in _CORE:
            self._refuse_tag(node, path, place)
            return None
        if not _PATTERNS[node.tag].match(text) or len(text) > 400:
            self._report(place, path, f"'{text[:40]}' cannot be read as {tag}")
            return None
        self.document.texts[path] = text
        return _parse(tag, text)

    def _refuse_tag(self, node: yaml.Node, path: Path, place: Place) -> None:
        tag = node.tag.replace(_TAG, "!!", 1)
        self._report(place, path, f"tag '{tag}' is not read: a configuration is plain data; remove the tag")

    def _report(self, place: Place, path: Path, message: str) -> None:
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
