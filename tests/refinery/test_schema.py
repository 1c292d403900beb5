"""The refinery's schema: what it accepts, and what its errors say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from jenga.errors import ConfigError
from jenga.refinery.fields import KINDS, NumericField
from jenga.refinery.schema import RefinerySchema, parse_schema, read_schema


def schema(*fields: dict[str, Any], **rest: Any) -> RefinerySchema:
    return read_schema({"fields": list(fields), **rest})


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as error:
        parse_schema(text, file="s.yml")
    return str(error.value).splitlines()


def test_a_name_defaults_to_the_path() -> None:
    first, second = schema({"path": "a.b", "kind": "ip"}, {"path": "c", "kind": "text", "name": "d"}).fields
    assert (first.name, second.name) == ("a.b", "d")


def test_every_mistake_is_told_at_its_place() -> None:
    text = """\
fields:
  - {path: a, kind: numric}
  - {path: b}
  - {path: c, kind: text, ngram: 0}
  - {path: d, kind: port, buckets: 3}
extra: 1
"""
    found = problems(text)
    assert [line.split(": ")[0] for line in found] == [
        "s.yml:2:21", "s.yml:3:5", "s.yml:4:34", "s.yml:5:27", "s.yml:6:1",
    ]  # fmt: skip
    assert (
        "did you mean 'numeric'? Known: boolean, categorical, entity, history, ip, numeric, port, text, timestamp"
        in found[0]
    )
    assert "required key is missing" in found[1]
    assert "must be at least 1, got 0" in found[2]
    assert "did you mean 'n_buckets'?" in found[3]


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("clip: [3, 1]", "clip: the lower bound comes first and must be smaller, got [3, 1]"),
        ("clip_quantiles: [0.5, 0.5]", "clip_quantiles: the lower bound comes first"),
        ("clip: [1, 2], clip_quantiles: [0, 1]", "keep one of the two"),
        ("clip: [1]", "needs at least 2 items, got 1"),
        ("clip_quantiles: [0, 2]", "must be at most 1, got 2"),
        ("limit: 0", "must be greater than 0, got 0"),
        ("scale: std", "unknown 'std'"),
        ("log1p: 'yes'", "needs true or false"),
    ],
)
def test_a_numeric_field_refuses(field: str, message: str) -> None:
    (found,) = problems(f"fields:\n  - {{path: a, kind: numeric, {field}}}\n")
    assert message in found


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("[{path: a, kind: ip}, {path: a, kind: text}]", "path 'a' is given twice"),
        ("[{path: a, kind: ip}, {path: b, kind: text, name: a}]", "name 'a' is given twice"),
        ("[{path: a.b, kind: ip}, {path: a, kind: text}]", "path 'a' cannot be a value, since 'a.b' lies inside it"),
        ("[]", "needs at least 1 item, got none"),
        ('[{path: "", kind: ip}]', "must not be empty"),
        ('[{path: "a\\n", kind: ip}]', "does not match"),
        ("[{paths: [a, b], kind: ip}, {path: b, kind: text}]", "path 'b' is given twice"),
        ("[{paths: [a, a], kind: ip}]", "path 'a' is given twice"),
        ("[{paths: [a, b.c], kind: ip}, {path: b, kind: ip}]", "path 'b' cannot be a value, since 'b.c' lies inside"),
        ("[{path: x, paths: [a, b], kind: ip}]", "path and paths are both given; keep one of the two"),
        ("[{paths: [], kind: ip}]", "required key is missing"),
        ('[{paths: ["a[*]", b], kind: categorical}]', "'a[*]' and 'b' must both have [*], or neither"),
        ('[{path: "a[0].", kind: ip}]', "path 'a[0].' names no key behind its brackets"),
        ('[{path: "a[0][0][0][0][0][0][0][0][0]", kind: ip}]', "has more than 8 brackets"),
        ('[{path: "a[*]", kind: text}]', "path 'a[*]' leads to many values, which fields of kind text do not take"),
        ('[{path: "a[*]", kind: categorical, encoding: frequency}]', "which fields of kind categorical do not take"),
        ('[{path: "a[*]", kind: numeric}]', "reduce (count, sum, mean, min, max) makes them one"),
        ("[{path: a, kind: numeric, reduce: sum}]", "reduce goes with a path that has [*]"),
        ("[{path: t, kind: timestamp, by: u}]", "by: 'u', of 't', is the path of no field of kind entity, categorical"),
        ("[{path: t, kind: timestamp, by: u}, {path: u, kind: port}]", "add {path: u, kind: entity}"),
        ("[{path: t, kind: timestamp, by: t}]", "by: 't', of 't', is the path of no field"),
        (
            '[{path: t, kind: timestamp, by: "u[*]"}, {path: "u[*]", kind: categorical, encoding: hash}]',
            "by: 'u[*]', of 't', is the path of no field",
        ),
        ("[{path: t, kind: timestamp, by: u, inter_arrival: false}, {path: u, kind: entity}]", "set inter_arrival"),
        ("[{path: t, kind: timestamp, by: u, max_entities: 0}, {path: u, kind: entity}]", "max_entities"),
    ],
)
def test_fields_that_do_not_fit_together_are_refused(fields: str, message: str) -> None:
    assert any(message in line for line in problems(f"fields: {fields}\n"))


def test_the_first_of_several_paths_is_that_of_the_field() -> None:
    made = schema({"paths": ["user.name", "user", "u[0]"], "kind": "text"}, left_out={"uid": "an id"})
    (field,) = made.fields
    assert (field.path, field.name, field.all_paths) == ("user.name", "user.name", ["user.name", "user", "u[0]"])
    assert parse_schema(made.to_yaml(), file="x") == made
    assert read_schema(made.to_dict()) == read_schema(made.model_dump(mode="json")) == made
    assert '  - {paths: [user.name, user, "u[0]"], kind: text}\n' in made.to_yaml()
    with pytest.raises(ConfigError, match="left_out: 'user' is read by a field too"):
        schema({"paths": ["a", "user"], "kind": "ip"}, left_out={"user": "secret"})


def test_a_common_prefix_without_a_dot_is_no_conflict() -> None:
    assert len(schema({"path": "id", "kind": "text"}, {"path": "idle", "kind": "numeric"}).fields) == 2


def test_a_path_is_read_or_left_out_but_not_both() -> None:
    with pytest.raises(ConfigError, match="left_out: 'a' is read by a field too"):
        schema({"path": "a", "kind": "ip"}, left_out={"a": "secret"})


def test_raw_is_no_kind_of_a_schema() -> None:
    with pytest.raises(ConfigError, match="unknown 'raw'"):
        schema({"path": "a", "kind": "raw"})


def test_what_python_makes_is_checked_as_well() -> None:
    with pytest.raises(ValidationError, match="the lower bound comes first"):
        NumericField(path="a", clip=[2.0, 1.0])
    with pytest.raises(ConfigError, match="needs what YAML can hold"):
        schema({"path": object(), "kind": "ip"})


def test_yaml_reads_back_as_the_same_schema() -> None:
    made = schema(
        {"path": "yes", "kind": "numeric", "clip": (None, 1e-9), "log1p": True, "limit": 10},
        {"path": "@ts é\u2028😀\u0085", "kind": "timestamp", "name": "12"},
        {"path": "a b/c, {d}: #e", "kind": "categorical", "encoding": "hash", "indicator": False},
        {"path": "t", "kind": "timestamp", "by": "user: name", "max_entities": 10},
        {"path": "user: name", "kind": "entity"},
        name="x: y",
        left_out={"no": "because: '\"quotes\"'", "null": "- # not a comment"},
    )
    assert parse_schema(made.to_yaml(), file="x") == made
    assert read_schema(made.to_dict()) == made


def test_yaml_says_why_fields_are_left_out_and_keeps_defaults_short() -> None:
    text = schema({"path": "a", "kind": "ip"}, left_out={"uid": "an id"}).to_yaml()
    assert "  - {path: a, kind: ip}\n" in text
    assert "# Left out, each with the reason." in text
    assert "  uid: an id\n" in text


def test_a_missing_or_unreadable_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "flows.yml").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"flow\.yml: no such schema file; did you mean 'flows\.yml'"):
        read_schema(tmp_path / "flow.yml")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        read_schema(tmp_path / "flows.yml")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_schema(tmp_path)
    (tmp_path / "flows.yml").write_bytes(b"")
    with pytest.raises(ConfigError, match="the file is empty"):
        read_schema(str(tmp_path / "flows.yml"))


def test_every_key_has_a_description() -> None:
    for model in (RefinerySchema, *KINDS.values()):
        assert all(info.description for info in model.model_fields.values()), model


def test_a_device_is_read_no_further_than_a_schema_can_reach() -> None:
    with pytest.raises(ConfigError, match="/dev/zero: larger than 4 MiB; is this a data file"):
        read_schema("/dev/zero")
