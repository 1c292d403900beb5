"""YAML text to a tree of nodes: YAML 1.2's core schema, safe, with syntax errors in our words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, ClassVar

import yaml

from jenga.errors import ConfigError, Problem

DEPTH_LIMIT = 100
"""Levels of lists and mappings inside each other; PyYAML recurses for each."""

TAG = "tag:yaml.org,2002:"
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
CORE_RESOLVERS = tuple((TAG + name, re.compile(rf"(?:{text})\Z"), first) for name, (text, first) in _CORE.items())
"""(tag, pattern, first characters) of each kind of plain text that is not a string; most specific first."""

PATTERNS = {tag: pattern for tag, pattern, _ in CORE_RESOLVERS}
"""What plain text of each tag looks like."""

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
    (r"expected the node content", "a value is missing here, or this symbol needs quotes", False),
    (r"sequence entries are not allowed", "a '- ' item must start on a line of its own", False),
    (r"expected alphabetic or numeric", "text that starts with '&' or '*' needs quotes", True),
    (r"expected a comment or a line break|expected chomping", "text that starts with '|' or '>' needs quotes", True),
    (r"expected '<document start>'", "this stands outside the document; check the lines above", False),
    (r"unknown escape character|escape sequence", "no such escape; write '\\\\', or use single quotes", False),
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


class _Loader(yaml.SafeLoader):
    """PyYAML's composer without its YAML 1.1 readings; nodes are never turned into objects by it."""

    yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, re.Pattern[str]]]]] = {}  # type: ignore[misc]

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


def compose(text: str, file: str) -> yaml.Node | None:
    """Return the tree of the one document in `text`, None for no document. Raises ConfigError on bad syntax."""
    try:
        loader = _Loader(text)
        try:
            return loader.get_single_node()
        except (ValueError, OverflowError):
            # PyYAML hands the digits of \U escapes and %YAML versions to chr() and int() unchecked.
            message = "no character has this number; write the character itself"
            raise ConfigError([place_of(file, loader.get_mark()).problem("", message)]) from None
        finally:
            loader.dispose()
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
    return place_of(file, mark).problem("", words)


def place_of(file: str, mark: Any) -> Place:
    """Return the place of PyYAML's `mark`, which counts from 0 and may be None."""
    return Place(file, mark.line + 1, mark.column + 1) if mark is not None else Place(file)


def kind_of_node(node: yaml.Node) -> str:
    """Return words for what `node` is."""
    if isinstance(node, yaml.ScalarNode):
        return "a single value"
    return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"
