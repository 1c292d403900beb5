"""A strict JSON reader over bytes, a row at a time: the slow truth of what the refinery's walk finds and refuses.

A row is judged in this order: its bytes as a whole (UTF-8, control characters in strings, unclosed strings), then
whether it is an object at all, then one walk in reading order, whose first error counts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, TypeAlias

from .reference_paths import EVERY, Way, inside_list, inside_object, parts_of

MAX_DEPTH = 64
WHITESPACE = b" \t\n\r"
NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")

_TOKEN = re.compile(rb'[^ \t\n\r,:{}\[\]"]+')
# A backslash outside strings is an error of the walk, but it hides the byte behind it from the checks before.
_STRING = re.compile(rb'\\.|"(?:[^"\\]|\\.)*("?)', re.DOTALL)
_CONTROL = re.compile(rb"[\x00-\x1f]")
_HEX = re.compile(rb"[0-9a-fA-F]{4}")
_NUMBER_PREFIX = re.compile(rb"-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|(?:0|[1-9][0-9]*)(?:\.[0-9]+)?[eE][+-]?[0-9]*)?")
_LITERALS = {b"true": "literal", b"false": "literal", b"null": "null"}
_NAN_TOKENS = (b"NaN", b"Infinity", b"-Infinity")
_ESCAPES = dict(zip(b'"\\/bfnrt', b'"\\/\b\f\n\r\t', strict=True))


class Code(IntEnum):
    """Why a row stands in quarantine; the numbers are frozen."""

    INVALID_UTF8 = 1
    CONTROL_CHARACTER = 2
    UNCLOSED_STRING = 3
    TRUNCATED = 4
    NOT_AN_OBJECT = 5
    SYNTAX = 6
    BAD_NUMBER = 7
    BAD_LITERAL = 8
    BAD_ESCAPE = 9
    LONE_SURROGATE = 10
    NAN_TOKEN = 11
    TOO_DEEP = 12
    TRAILING_BYTES = 13
    DUPLICATE_KEY = 14
    ROW_TOO_LONG = 15
    ARRAY_STRUCTURE = 16
    MISSING_FIELD = 17


class RowError(Exception):
    """A row that can't be kept: its code, the byte where the problem is, and the JSON pointer of that place."""

    def __init__(self, code: Code, position: int, pointer: str = "") -> None:
        super().__init__(f"{code.name.lower()} at byte {position} ({pointer!r})")
        self.code = code
        self.position = position
        self.pointer = pointer


class Value(NamedTuple):
    """A JSON value: `raw` as it stands, `text` the bytes that a string spells (the token of any other scalar).

    kind: string, number, literal (true, false), null, nan, object or array.
    """

    kind: str
    raw: bytes
    text: bytes = b""


Members: TypeAlias = "dict[tuple[int, ...], Value]"
"""The values that a path with [*] leads to, by the elements that these stand for."""


@dataclass
class Found:
    """What a row holds of the fields: the last value of each path, and how often the path came up again."""

    values: list[Value | Members | None]
    repeats: list[int]


def parse_row(row: bytes, paths: Sequence[str], *, nan: str = "quarantine", duplicates: str = "last") -> Found:
    """Read one row whole and return what stands at `paths`. Raises RowError, with a position in `row` as given."""
    begin = len(row) - len(row.lstrip(WHITESPACE))
    end = max(begin, len(row.rstrip(WHITESPACE)))
    stop = _byte_error(row, begin, end)
    reader = _Reader(row[:end], begin, paths, stop, nan == "missing", duplicates == "quarantine")
    try:
        if row[begin : begin + 1] != b"{":
            raise RowError(Code.NOT_AN_OBJECT, begin)
        return reader.read()
    except RowError as error:
        if stop is None:
            raise
        raise RowError(stop.code, stop.position, error.pointer) from None


def escaped(key: str) -> str:
    """Return a key as a JSON pointer spells it (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")


def _byte_error(row: bytes, begin: int, end: int) -> RowError | None:
    try:
        row[begin:end].decode()
    except UnicodeDecodeError as error:
        return RowError(Code.INVALID_UTF8, begin + error.start)
    strings = [string for string in _STRING.finditer(row, begin, end) if string[0].startswith(b'"')]
    for string in strings:
        if control := _CONTROL.search(row, *string.span()):
            return RowError(Code.CONTROL_CHARACTER, control.start())
    unclosed = [string for string in strings if not string[1]]
    return RowError(Code.UNCLOSED_STRING, unclosed[0].start()) if unclosed else None


class _Reader:
    """One walk over a row. `stop` is an error already known: the walk only finds out whose place it is."""

    def __init__(
        self, row: bytes, begin: int, paths: Sequence[str], stop: RowError | None, keep_nan: bool, refuse_repeats: bool
    ) -> None:
        self.row, self.at = row, begin
        self.stop = len(row) if stop is None else stop.position
        self.keep_nan, self.refuse_repeats = keep_nan, refuse_repeats
        self.ways = [Way(index, parts_of(path)) for index, path in enumerate(paths)]
        self.found = Found([None] * len(paths), [0] * len(paths))
        self.place: list[str] = []
        self.key_at = begin
        self.depth = 0

    def read(self) -> Found:
        self._value(self.ways)
        self._skip_whitespace()
        if self.at < len(self.row):
            raise RowError(Code.TRAILING_BYTES, self.at)
        return self.found

    def _fail(self, code: Code, position: int) -> RowError:
        return RowError(code, position, "".join(f"/{key}" for key in self.place))

    def _skip_whitespace(self) -> None:
        while self.row[self.at : self.at + 1] in (b" ", b"\t", b"\n", b"\r"):
            self.at += 1

    def _next(self) -> int:
        """Return the next byte that is not whitespace, without taking it."""
        self._skip_whitespace()
        if self.at == len(self.row):
            raise self._fail(Code.TRUNCATED, self.at)
        return self.row[self.at]

    def _take(self, allowed: bytes) -> int:
        byte = self._next()
        if byte not in allowed:
            raise self._fail(Code.SYNTAX, self.at)
        self.at += 1
        return byte

    def _value(self, ways: list[Way]) -> Value:
        """Read a value; `ways`: what is left of the fields' paths that lead to it or into it."""
        listed = [way for way in ways if way.parts and isinstance(way.parts[0], int)]
        self._next()
        begin, key_at = self.at, self.key_at
        value = self._whole([way for way in ways if way not in listed])
        if listed:
            behind = self.at
            self.key_at = key_at
            self._enter_list(begin, value, listed)
            self.at = behind
        return value

    def _whole(self, ways: list[Way]) -> Value:
        first = self._next()
        begin = self.at
        if first in b"{[":
            if self.depth == MAX_DEPTH:
                raise self._fail(Code.TOO_DEEP, begin)
            self.depth += 1
            self.at += 1
            if first in b"{":
                self._members(ways)
            else:
                self._elements()
            self.depth -= 1
            return Value("object" if first in b"{" else "array", self.row[begin : self.at])
        if first in b'"':
            text = self._string()
            return Value("string", self.row[begin : self.at], text)
        return self._scalar()

    def _enter_list(self, begin: int, value: Value, ways: list[Way]) -> None:
        """Read the value at `begin` again for those of its elements that are asked for; what is no list is one."""
        is_list = value.kind == "array"
        for way in ways:
            is_last = len(way.parts) == 1
            if way.parts[0] == EVERY and (is_list or value.kind == "object" or is_last):
                self._begin_set(way)
        number = 0
        self.at = begin + is_list
        while not is_list or self._next() not in b"]":
            within = inside_list(ways, number)
            at = self.at
            self.place += [str(number)] if is_list else []
            read = self._value([way for way in within if way.parts])
            self._keep([way for way in within if not way.parts], read)
            self.place[len(self.place) - is_list :] = []
            assert self.at > at
            if not is_list or self._take(b",]") in b"]":
                return
            number += 1

    def _begin_set(self, way: Way) -> None:
        members = self.found.values[way.field]
        assert members is None or isinstance(members, dict)
        if members is not None and (not way.element or _within(members, way.element)):
            if self.refuse_repeats:
                raise self._fail(Code.DUPLICATE_KEY, self.key_at)
            self._forget([way])
        if self.found.values[way.field] is None:
            self.found.values[way.field] = {}

    def _members(self, ways: list[Way]) -> None:
        if self._next() in b"}":
            self.at += 1
            return
        seen: set[bytes] = set()
        while True:
            if self._next() not in b'"':
                raise self._fail(Code.SYNTAX, self.at)
            key_at = self.at
            key = self._string()
            inside = inside_object(ways, key)
            here, within = [way for way in inside if not way.parts], [way for way in inside if way.parts]
            self._take(b":")
            self.place.append(escaped(key.decode()))
            is_taken = key in seen or any(self._is_taken(way) for way in here)
            is_refused = self.refuse_repeats and is_taken
            # A scalar is read first: what is wrong with it counts more.
            if is_refused and self._next() in b"{[":
                raise self._fail(Code.DUPLICATE_KEY, key_at)
            if key in seen:
                # Of a key given twice the last value counts, be it an object or not.
                self._forget(within)
            seen.add(key)
            self.key_at = key_at
            value = self._value(within)
            if is_refused:
                raise self._fail(Code.DUPLICATE_KEY, key_at)
            self.place.pop()
            self._keep(here, value)
            if self._take(b",}") in b"}":
                return

    def _is_taken(self, way: Way) -> bool:
        value = self.found.values[way.field]
        return way.element in value if isinstance(value, dict) else value is not None

    def _keep(self, ways: list[Way], value: Value) -> None:
        for way in ways:
            self.found.repeats[way.field] += self._is_taken(way)
            if way.element:
                members = self.found.values[way.field]
                assert isinstance(members, dict)
                members.pop(way.element, None)
                members[way.element] = value
            else:
                self.found.values[way.field] = value

    def _forget(self, ways: list[Way]) -> None:
        for way in ways:
            members = self.found.values[way.field]
            if not way.element:
                self.found.repeats[way.field] += members is not None
                self.found.values[way.field] = None
            elif isinstance(members, dict) and (gone := _within(members, way.element)):
                self.found.repeats[way.field] += 1
                for element in gone:
                    del members[element]

    def _elements(self) -> None:
        number = 0
        while True:
            self.place.append(str(number))
            is_empty = self._next() in b"]" and number == 0
            if not is_empty:
                self._value([])
            self.place.pop()
            if self._take(b",]" if not is_empty else b"]") in b"]":
                return
            number += 1

    def _scalar(self) -> Value:
        token = _TOKEN.match(self.row, self.at)
        if token is None:
            raise self._fail(Code.SYNTAX, self.at)
        begin, text = self.at, token[0]
        self.at = token.end()
        if self.at > self.stop:
            raise self._fail(Code.SYNTAX, begin)
        if self.at == len(self.row) and _may_go_on(text):
            raise self._fail(Code.TRUNCATED, self.at)
        if kind := _LITERALS.get(text):
            return Value(kind, text, text)
        if NUMBER.fullmatch(text):
            return Value("number", text, text)
        if text in _NAN_TOKENS:
            if not self.keep_nan:
                raise self._fail(Code.NAN_TOKEN, begin)
            return Value("nan", text, text)
        is_word, is_number = text[:1].isalpha(), text[0] in b"-+.0123456789"
        raise self._fail(Code.BAD_LITERAL if is_word else Code.BAD_NUMBER if is_number else Code.SYNTAX, begin)

    def _string(self) -> bytes:
        """Read a string and return the bytes that it spells."""
        self.at += 1
        spelt = bytearray()
        while (byte := self.row[self.at : self.at + 1]) != b'"':
            if self.at >= self.stop:
                raise self._fail(Code.UNCLOSED_STRING, self.at)
            if byte == b"\\":
                spelt += self._escape()
            else:
                spelt += byte
                self.at += 1
        self.at += 1
        return bytes(spelt)

    def _escape(self) -> bytes:
        begin = self.at
        letter = self.row[begin + 1]
        self.at += 2
        if letter in _ESCAPES:
            return bytes([_ESCAPES[letter]])
        unit = self._code_unit(begin)
        if 0xD800 <= unit < 0xDC00 and self.row[self.at : self.at + 2] == b"\\u":
            low = _HEX.match(self.row, self.at + 2)
            if low and 0xDC00 <= int(low[0], 16) < 0xE000:
                self.at += 6
                return chr(0x10000 + ((unit - 0xD800) << 10) + int(low[0], 16) - 0xDC00).encode()
        if 0xD800 <= unit < 0xE000:
            raise self._fail(Code.LONE_SURROGATE, begin)
        return chr(unit).encode()

    def _code_unit(self, begin: int) -> int:
        digits = _HEX.match(self.row, self.at)
        if self.row[begin + 1] not in b"u" or digits is None:
            raise self._fail(Code.BAD_ESCAPE, begin)
        self.at += 4
        return int(digits[0], 16)


def _within(members: Members, element: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return which of `members` lie within `element` of a list."""
    return [each for each in members if each[: len(element)] == element]


def _may_go_on(text: bytes) -> bool:
    """Whether a row that ends with `text` could go on as a good one."""
    words = (*_LITERALS, *_NAN_TOKENS)
    return bool(_NUMBER_PREFIX.fullmatch(text)) or any(word.startswith(text) for word in words)
