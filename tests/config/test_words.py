"""The words for what a setting needs and what it got."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from jenga.config.shape import Branch, Kind
from jenga.config.training import LearningRates
from jenga.config.words import got, known_tags, needs, wrong_value
from jenga.config.yaml12 import Document, read_document


@pytest.mark.parametrize(
    ("annotations", "words"),
    [
        ([str], "text"),
        ([str, list[str]], "text or a list"),
        ([float, LearningRates], "a number or a mapping of backbone, rest, adapters, fusion, heads"),
        ([float, Literal["tuned"]], "a number or 'tuned'"),
        ([int, float, bool], "a number or true or false"),
        ([dict[str, str]], "a mapping (key: value)"),
        ([], ""),
    ],
)
def test_what_is_needed_names_every_alternative(annotations: list[Any], words: str) -> None:
    assert needs([Branch(each) for each in annotations]) == words


@pytest.mark.parametrize(
    ("text", "wanted", "words"),
    [
        ("three", "number", "text 'three'"),
        ("'3e-2'", "number", "text '3e-2'; remove the quotes"),
        ("'3'", "text", "text '3'"),
        ("012", "text", "012; put it in quotes: '012'"),
        ("true", "text", "true; put it in quotes: 'true'"),
        ("yes", "flag", "text 'yes'; write true"),
        ("Off", "flag", "text 'Off'; write false"),
        ("", "mapping", "nothing; indent its settings beneath it, or remove the key"),
        ("", "number", "nothing"),
        ("{a: 1}", "list", "a mapping (key: value); start each item with '- '"),
        ("[1]", "text", "a list"),
        ("x" * 100, "number", f"text '{'x' * 57}...'"),
    ],
)
def test_what_was_got_comes_with_the_fix(text: str, wanted: Kind, words: str) -> None:
    document = read_document(f"key: {text}\n", file="f.yml")
    assert got(document, ("key",), wanted=[wanted]) == words


def test_aliases_are_left_out_of_the_known_types() -> None:
    class A(LearningRates): ...

    class B(LearningRates): ...

    assert known_tags([Branch(B, "b"), Branch(A, "a"), Branch(A, "also_a")]) == "a, b"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ({"type": "greater_than", "ctx": {"gt": 0.0}}, "must be greater than 0, got 5"),
        ({"type": "less_than_equal", "ctx": {"le": 4}}, "must be at most 4, got 5"),
        ({"type": "string_too_short", "ctx": {"min_length": 1}}, "must not be empty"),
        ({"type": "string_too_short", "ctx": {"min_length": 3}}, "needs at least 3 characters"),
        ({"type": "too_short", "ctx": {"min_length": 2, "actual_length": 0}}, "needs at least 2 items, got none"),
        ({"type": "too_long", "ctx": {"max_length": 1, "actual_length": 2}}, "needs at most 1 item, got 2"),
        ({"type": "string_pattern_mismatch", "ctx": {"pattern": "^x$"}}, "does not match the pattern ^x$, got 5"),
        ({"type": "value_error", "msg": "Value error, odd"}, "odd"),
        ({"type": "url_parsing", "msg": "Input should be a URL"}, "input should be a URL, got 5"),
    ],
)
def test_the_words_of_pydantics_errors(error: dict[str, Any], words: str) -> None:
    document = Document("f.yml", {"key": 5})
    assert wrong_value({"msg": "", **error}, [], [], document, ("key",)) == words
