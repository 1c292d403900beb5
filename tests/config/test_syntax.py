"""Broken YAML gets one problem with a place and a fix; nothing in it is run."""

from __future__ import annotations

import pytest
import yaml

from jenga.config.syntax import compose, kind_of_node, place_of
from jenga.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("a:\n\tb: 1", "2:1", "a tab cannot indent YAML; use spaces"),
        ("a: `x`", "1:4", "text cannot start with '`' here; put it in quotes"),
        ("a: b: c", "1:5", "a ':' too many"),
        ("a: b\n c: d", "2:3", "wrong indentation"),
        ("a: 1\nb\nc: 2", "2:1", "this line is no 'key: value'"),
        ('a: "x', "1:4", "this quote is never closed"),
        ("a: 'x\n---\n", "1:4", "this quote is never closed"),
        ("a: [1, 2\nb: 3", "1:4", "this '[' is not closed, or a ',' is missing"),
        ("a: {b: 1", "1:4", "this '{' is not closed, or a ',' is missing"),
        ("- a\nb: 1", "2:1", "indentation does not fit"),
        ("a: - b", "1:4", "a '- ' item must start on a line of its own"),
        ('a: "\\q"', "1:6", "no such escape; write"),
        ('a: "\\U00110000"', "1:7", "no character has this number"),
        ('a: "\\UFFFFFFFF"', "1:7", "no character has this number"),
        ('a: "\\U12"', "1:7", "no such escape; write"),
        ("a: *.csv", "1:4", "text that starts with '&' or '*' needs quotes"),
        ("a: >x", "1:4", "text that starts with '|' or '>' needs quotes"),
        ("{a: 1}\nb: 2", "2:1", "this stands outside the document"),
        ("a: *x", "1:4", "alias '*x' has no anchor '&x' above it"),
        ("a: &x 1\nb: &x 2", "2:4", "this anchor's name is taken"),
        ("a: 1\n---\nb: 2", "2:1", "the file holds several documents"),
        ("a: !e!x 1", "1:4", "tags ('!...') are not read"),
        ("a: [,]", "1:5", "a value is missing here"),
        ("a: 1\nbé: \x01", "2:5", "character U+0001 is not allowed in YAML"),
        ("%YAML 3.0\n---\na: 1", "1:1", "found incompatible YAML document"),
    ],
)
def test_a_syntax_error_has_its_place_and_a_fix(text: str, place: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose(text, "f.yml")
    assert str(caught.value).startswith(f"f.yml:{place}: ")
    assert words in str(caught.value)


def test_composing_makes_nodes_and_no_objects() -> None:
    node = compose("a: !!python/object/apply:os.system [exit 1]", "f.yml")
    assert isinstance(node, yaml.MappingNode)
    assert node.value[0][1].tag == "tag:yaml.org,2002:python/object/apply:os.system"


def test_no_document_is_no_node() -> None:
    assert compose("# only a comment", "f.yml") is None


def test_kinds_and_places_of_nodes() -> None:
    node = compose("a: [x]\nb: {c: d}", "f.yml")
    assert isinstance(node, yaml.MappingNode)
    kinds = [kind_of_node(node), *(kind_of_node(value) for _, value in node.value), kind_of_node(node.value[0][0])]
    assert kinds == ["a mapping", "a list", "a mapping", "a single value"]
    place = place_of("f.yml", node.value[1][1].start_mark)
    assert (place.line, place.column) == (2, 4)
    assert str(place.problem("b", "is wrong")) == "f.yml:2:4: b: is wrong"
    assert str(place_of("f.yml", None).problem("", "is wrong")) == "f.yml: is wrong"


def test_safe_loading_elsewhere_keeps_its_own_rules() -> None:
    """Our resolvers are added to a subclass; PyYAML's own loader must not see them."""
    assert yaml.safe_load("a: 012\nb: no") == {"a": 10, "b": False}
