"""The words for what a setting needs and what it got."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from jenga.config.shape import Branch, Kind, kind_of_value, literals
from jenga.config.strict import BACKBONE_NAME, NAME, PROJECT, UNSEEN
from jenga.config.syntax import CORE_RESOLVERS
from jenga.config.yaml12 import Document, KeyPath
from jenga.errors import suggest

_BOUNDS = {
    "greater_than": ("gt", "must be greater than"),
    "greater_than_equal": ("ge", "must be at least"),
    "less_than": ("lt", "must be less than"),
    "less_than_equal": ("le", "must be at most"),
}
_NEEDS: dict[str, tuple[str, Kind]] = {
    "int_type": ("a whole number", "number"),
    "float_type": ("a number", "number"),
    "finite_number": ("a finite number", "number"),
    "string_type": ("text", "text"),
    "bool_type": ("true or false", "flag"),
    "list_type": ("a list", "list"),
    "dict_type": ("a mapping (key: value)", "mapping"),
}
_KIND_WORDS: dict[Kind, str] = {
    "text": "text",
    "number": "a number",
    "flag": "true or false",
    "list": "a list",
    "mapping": "a mapping (key: value)",
    "nothing": "nothing",
    "any": "a value",
}
_PATTERNS = {
    NAME: "must have no '.', no '/', no space and no control character in it",
    BACKBONE_NAME: "must be of letters, digits, '_' and '-' alone",
    PROJECT: "must have no '/' or '\\' and no control character or line break in it, and not start with '.' or a space",
}
_SHOWN = 60
"""Characters of a value that a message repeats."""


def needs(accepts: Sequence[Branch]) -> str:
    """Return the words for all alternatives: ``a number or a mapping of name and momentum``."""
    words = []
    for each in accepts:
        if (values := literals(each)) is not None:
            words += [f"'{value}'" for value in values]
        elif each.model:
            words.append(f"a mapping of {', '.join(each.model.model_fields) or 'nothing'}")
        else:
            words.append(_KIND_WORDS[each.kind])
    return _either(list(dict.fromkeys(words)))


def got(document: Document, path: KeyPath, accepts: Sequence[Branch] = (), *, wanted: Sequence[Kind] = ()) -> str:
    """Return the words for the value at `path`, with the fix where its kind gives away the slip."""
    value = document.value_at(path)
    kinds = {*wanted, *(each.kind for each in accepts)}
    written = document.texts.get(path, str(value).lower() if isinstance(value, bool) else str(value))
    kind = kind_of_value(value)
    fix = ""
    if kind == "nothing" and kinds & {"mapping", "list"}:
        fix = "; indent its settings beneath it, or remove the key"
    elif kind == "text" and "number" in kinds and _is_number(value):
        fix = "; remove the quotes"
    elif kind == "text" and "flag" in kinds and value.lower() in ("yes", "no", "on", "off", "true", "false"):
        fix = f"; write {'true' if value.lower() in ('yes', 'on', 'true') else 'false'}"
    elif kind in ("number", "flag") and "text" in kinds:
        fix = f"; put it in quotes: '{written}'"
    elif kind == "mapping" and "list" in kinds:
        fix = "; start each item with '- '"
    words = {"text": f"text '{_short(written)}'", "number": _short(written), "flag": _short(written)}
    return words.get(kind, _KIND_WORDS[kind]) + fix


def known_tags(types: Sequence[Branch]) -> str:
    """Return the main name of each type of a discriminated block, aliases left out."""
    names: dict[Any, str] = {}
    for each in types:
        names.setdefault(each.model, str(each.tag))
    return ", ".join(sorted(names.values()))


def wrong_value(
    error: Any, accepts: Sequence[Branch], types: Sequence[Branch], document: Document, path: KeyPath
) -> str:
    """Return the message for pydantic's `error` about the value at `path`.

    `types`: the alternatives that the value is to choose from by its tag; none of them has one where a whole block is
    of the wrong kind.
    """
    kind, context = error["type"], error.get("ctx", {})
    value = document.value_at(path)
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        return f"{words} {context[name]:g}, got {got(document, path)}"
    if kind in _NEEDS:
        words, wanted = _NEEDS[kind]
        whole = kind == "int_type" and isinstance(value, float) and value.is_integer()
        return f"needs {words}, got {got(document, path, wanted=[wanted])}" + (f"; write {value:.0f}" if whole else "")
    if kind.startswith("union_tag"):
        return _wrong_type(value, types, document, path)
    if kind in ("literal_error", "enum"):
        known = [str(option) for each in accepts for option in literals(each) or ()]
        if isinstance(value, str):
            return f"unknown '{_short(value)}'{suggest(value, known) or '.'} Known: {', '.join(known)}"
        return f"needs {_either([repr(each) for each in known])}, got {got(document, path)}"
    if kind in ("model_type", "model_attributes_type"):
        return f"needs {needs(accepts)}, got {got(document, path, wanted=['mapping'])}"
    return _wrong_size(error, document, path)


def wrong_key(error: Any, document: Document, path: KeyPath) -> str:
    """Return the message for pydantic's `error` about a name of the user's own, the last of `path`."""
    if error["type"] == "string_pattern_mismatch":
        return f"the name {_pattern(error)}"
    return f"the name {_wrong_size(error, document, path)}"


def _wrong_type(value: Any, types: Sequence[Branch], document: Document, path: KeyPath) -> str:
    tags = [each.tag for each in types if each.tag]
    if not tags:
        return f"needs a mapping (key: value), got {got(document, path, wanted=['mapping'])}"
    if isinstance(value, str):
        return f"unknown '{_short(value)}'{suggest(value, tags) or '.'} Known: {known_tags(types)}"
    return f"needs one of {known_tags(types)}; got {got(document, path)}"


def _wrong_size(error: Any, document: Document, path: KeyPath) -> str:
    kind, context, message = error["type"], error.get("ctx", {}), str(error["msg"])
    if kind == "string_too_short":
        least = context["min_length"]
        return "must not be empty" if least == 1 else f"needs at least {least} characters"
    if kind in ("too_short", "too_long"):
        limit = f"at least {context['min_length']}" if kind == "too_short" else f"at most {context['max_length']}"
        return f"needs {limit} item{'s' if limit.split()[-1] != '1' else ''}, got {context['actual_length'] or 'none'}"
    if kind == "string_pattern_mismatch":
        return f"{_pattern(error)}, got {got(document, path)}"
    if kind == "value_error":
        return message.removeprefix("Value error, ")
    return f"{message[:1].lower()}{message[1:]}, got {got(document, path)}"


def _pattern(error: Any) -> str:
    pattern = error["ctx"]["pattern"]
    return _PATTERNS.get(pattern, f"does not match the pattern {pattern}")


def _is_number(text: str) -> bool:
    return any(pattern.match(text) for tag, pattern, _ in CORE_RESOLVERS if tag.endswith((":int", ":float")))


def _either(words: Sequence[str]) -> str:
    return " or ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def _short(text: str) -> str:
    # A terminal would obey an escape, and a line end would make two problems of one.
    text = re.sub(f"[{UNSEEN}]", lambda found: repr(found[0])[1:-1], text)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
