"""A resolved configuration as YAML, as a digest, and its schema for editors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from jenga.config.schema import ExperimentConfig
from jenga.config.syntax import CORE_RESOLVERS

_NOT_THE_RUN: dict[str, Any] = {
    "output_dir": True, "tracking": True, "data": {"workers": True}, "training": {"fsdp": True}, "tune": True,
}  # fmt: skip
"""Settings that change how fast a run is, and where it is written and shown, not what it computes, or are of none."""


class _Dumper(yaml.SafeDumper):
    """PyYAML's dumper, which quotes what YAML 1.1 would misread; the resolvers below add what YAML 1.2 would."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    """Quote line breaks other than newline: PyYAML writes them bare and reads them as spaces."""
    style = '"' if any(each in text for each in "\r\x85\u2028\u2029") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)
for _tag, _pattern, _first in CORE_RESOLVERS:
    _Dumper.add_implicit_resolver(_tag, _pattern, ["" if each == "\0" else each for each in _first])


def to_yaml(config: ExperimentConfig) -> str:
    """Return `config` as YAML that `load_text` reads back as an equal configuration, and YAML 1.1 readers alike."""
    content = config.model_dump(mode="json")
    return str(yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100))


def computed(config: ExperimentConfig) -> dict[str, Any]:
    """Return, ready for JSON, what of a configuration decides a run's results."""
    return config.model_dump(mode="json", exclude=_NOT_THE_RUN)


def config_digest(config: ExperimentConfig) -> str:
    """Return the SHA-256, in hex, of what decides a run's results; equal for configurations that compute the same."""
    text = json.dumps(computed(config), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def differences(config: ExperimentConfig, begun: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return in what `config` is another configuration than `begun`, of which `computed` made this.

    By dotted key: the value there, and that of `config`; None: left open.
    """
    there = {key: each for key, each in _flat(begun).items() if not _is_no_matter(key)}
    here = _flat(computed(config))
    keys = dict.fromkeys([*here, *there])
    return {key: (there.get(key), here.get(key)) for key in keys if there.get(key) != here.get(key)}


def _is_no_matter(key: str) -> bool:
    first, _, rest = key.partition(".")
    found = _NOT_THE_RUN.get(first, {})
    return found is True or rest in found


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    """Return the leaves of a configuration by dotted key."""
    if isinstance(value, dict):
        inner = {f"{path}.{key}".removeprefix("."): each for key, each in value.items()}
    elif isinstance(value, list):
        inner = {f"{path}[{at}]": each for at, each in enumerate(value)}
    else:
        return {path: value}
    return {key: leaf for name, each in inner.items() for key, leaf in _flat(each, name).items()}


def json_schema(schema: type[ExperimentConfig]) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of experiment files, for editors.

    Types with aliases appear once, as ``anyOf``: pydantic lists one alternative an alias, which no value could match
    exactly once. Every form of an experiment is valid.
    """
    forms: list[type[BaseModel]] = [schema, *(form.schema(schema) for form in schema.forms)]
    _, both = models_json_schema([(each, "validation") for each in forms])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **_without_repeats(both),
        "anyOf": [{"$ref": f"#/$defs/{each.__name__}"} for each in forms],
        "title": "Jenga experiment",
    }


def _without_repeats(node: Any) -> Any:
    if isinstance(node, list):
        return [_without_repeats(each) for each in node]
    if not isinstance(node, dict):
        return node
    node = {key: _without_repeats(each) for key, each in node.items()}
    if isinstance(options := node.pop("oneOf", None), list):
        node["anyOf"] = [each for index, each in enumerate(options) if each not in options[:index]]
    return node
