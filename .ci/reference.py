"""Write the reference pages of docs/ from what they tell of: the schema, the commands, the public names.

    python .ci/reference.py

tests/test_reference.py fails where a page is not what this makes of the installed jenga.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

DOCS = Path(__file__).parents[1] / "docs"
WIDTH = 100
PACKAGES = (
    "jenga", "jenga.kernels", "jenga.refinery", "jenga.modalities", "jenga.labels", "jenga.tasks", "jenga.callbacks",
    "jenga.optimizers", "jenga.balance", "jenga.policy", "jenga.peft",
)  # fmt: skip
"""Whose `__all__` is what other projects may use."""
BOUNDS = {"minimum": "from {}", "exclusiveMinimum": "above {}", "maximum": "to {}", "exclusiveMaximum": "below {}"}
_MADE = "<!-- Made by .ci/reference.py: python .ci/reference.py -->"


def main() -> None:
    """Write all pages."""
    for name, page in pages().items():
        (DOCS / name).write_text(page, encoding="utf-8")


def pages() -> dict[str, str]:
    """Return the text of each page by its file in docs/."""
    return {"reference-yaml.md": yaml_page(), "reference-cli.md": cli_page(), "reference-python.md": python_page()}


# ---------------------------------------------------------------------------------------------------------------- YAML


def yaml_page() -> str:
    """Return a section for each block of an experiment, in the order in which a reader meets them."""
    from jenga.bundle import schema
    from jenga.config.render import json_schema

    whole = json_schema(schema())
    blocks: dict[str, dict[str, Any]] = whole["$defs"]
    names: dict[str, str] = {}
    waiting = [("", each["$ref"].rpartition("/")[2]) for each in whole["anyOf"]]
    while waiting:
        path, name = waiting.pop(0)
        if name in names:
            continue
        title = _title(path, name, blocks[name])
        names[name] = f"{title}, short form" if title in names.values() else title
        for key, value in blocks[name].get("properties", {}).items():
            waiting += [(f"{path}.{key}{part}".strip("."), found) for part, found in _references(value)]
    parts = [
        "# Keys of an experiment", _MADE,
        "What a YAML file of `jenga train` may say. `jenga schema` has the same for editors. "
        "A default in italics follows from other keys or from the rows; **required** has none. `x[]` is an item of a "
        "list, `x.<name>` a value under a name of your own.",
    ]  # fmt: skip
    for name, title in names.items():
        parts += [f"## {title}", *_block(blocks[name], names)]
    return "\n\n".join(parts) + "\n"


_SEVERAL = ("tasks[].heads[]", "tasks[].columns", "model")
"""Places where one of several blocks stands that no key of theirs tells apart."""


def _title(path: str, name: str, block: dict[str, Any]) -> str:
    if not path:
        return "The whole file" if name == "Experiment" else "The short form for a language model"
    told = [f"`{key}: {value['const']}`" for key, value in block["properties"].items() if "const" in value]
    if room := re.match(r"jenga__\w+?__(\w+?)__", name):
        told = [f"`{room[1]}`"]
    elif not told and (registered := re.match(r"([a-z_]+)_[A-Z]", name)):
        told = [f"`{'type' if path == 'tasks[]' else 'backbone_type'}: {registered[1]}`"]
    elif not told and path in _SEVERAL:
        told = [name]
    return ", ".join([f"`{path}`", *told])


def _references(value: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the names of the blocks that a value may be, each behind how it is reached in it."""
    if "$ref" in value:
        yield "", value["$ref"].rpartition("/")[2]
    for each in [*value.get("anyOf", ()), *value.get("allOf", ())]:
        yield from _references(each)
    for key, step in (("items", "[]"), ("additionalProperties", ".<name>")):
        if isinstance(inner := value.get(key), dict):
            yield from ((step + part, name) for part, name in _references(inner))


def _block(block: dict[str, Any], names: dict[str, str]) -> list[str]:
    required = block.get("required", ())
    rows = [
        f"| `{key}` | {_cell(_type(value, names))} | {_cell(_default(value, key in required))} "
        f"| {_cell(value.get('description', ''))} |"
        for key, value in block.get("properties", {}).items()
    ]
    table = "\n".join(["| key | value | default | |", "|---|---|---|---|", *rows])
    return [*([block["description"]] if block.get("description") else []), *([table] if rows else [])]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _default(value: dict[str, Any], required: bool) -> str:
    if required:
        return "**required**"
    default = value.get("default")
    if default is None:
        return "*open*" if "default" in value else ""
    return f"`{default}`" if not isinstance(default, bool) else f"`{str(default).lower()}`"


def _type(value: dict[str, Any], names: dict[str, str]) -> str:
    if "$ref" in value:
        title = names[value["$ref"].rpartition("/")[2]]
        return f"[{title}](#{_anchor(title)})"
    if "anyOf" in value:
        options = [_type(each, names) for each in value["anyOf"] if each.get("type") != "null"]
        return " or ".join(dict.fromkeys(options))
    if "const" in value or "enum" in value:
        return ", ".join(f"`{each}`" for each in value.get("enum", [value.get("const")]))
    bounds = [words.format(f"{value[key]:g}") for key, words in BOUNDS.items() if key in value]
    kind = {"string": "text", "integer": "integer", "number": "number", "boolean": "`true`, `false`"}.get(
        value.get("type", ""), ""
    )
    if value.get("type") == "array":
        inner = _type(value.get("items", {}), names)
        kind = f"list of {inner}" if inner else "list"
    elif value.get("type") == "object":
        inner = value.get("additionalProperties")
        kind = f"{_type(inner, names) or 'anything'} by name" if isinstance(inner, dict) else "values by name"
    return " ".join([kind or "anything", *bounds])


def _anchor(title: str) -> str:
    """Return the address of a heading within its page, as Python-Markdown makes it."""
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", title.lower())).strip("-")


# ------------------------------------------------------------------------------------------------------------ commands


def cli_page() -> str:
    """Return the help of every command."""
    from jenga.cli.main import jenga

    parts = ["# Commands", _MADE, "What `--help` says of each. `jenga-train` is `jenga train`."]
    for name, command in _commands("jenga", jenga):
        context = click.Context(
            command, info_name=name, max_content_width=WIDTH, terminal_width=WIDTH, **jenga.context_settings
        )
        parts += [f"## {name}", f"```text\n{command.get_help(context).rstrip()}\n```"]
    return "\n\n".join(parts) + "\n"


def _commands(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        for inner, each in command.commands.items():
            yield from _commands(f"{name} {inner}", each)


# -------------------------------------------------------------------------------------------------------------- Python


def python_page() -> str:
    """Return the public names of each package with their signatures."""
    parts = [
        "# Python", _MADE,
        "The names that other projects may use, with their signatures. A change here is told in CHANGELOG.md.",
    ]  # fmt: skip
    for package in PACKAGES:
        module = importlib.import_module(package)
        lines = [line for name in sorted(module.__all__) for line in _lines(name, getattr(module, name))]
        parts += [f"## {package}", "```text\n" + "\n".join(lines) + "\n```"]
    return "\n\n".join(parts) + "\n"


def _lines(name: str, value: Any) -> Iterator[str]:
    if inspect.isclass(value):
        bases = [base.__name__ for base in value.__bases__ if base is not object]
        yield f"class {name}({', '.join(bases)})" if bases else f"class {name}"
        yield from (f"    {line}" for line in _members(value))
    elif inspect.isroutine(value):
        yield f"{name}{_signature(value)}"
    else:
        yield name


def _members(value: type) -> Iterator[str]:
    """Yield what jenga itself defines of a class: how it is made, methods and properties."""
    found: dict[str, Any] = {}
    for base in reversed(value.__mro__):
        if base.__module__.partition(".")[0] == "jenga":
            found |= vars(base)
    for name, member in sorted(found.items()):
        if name.startswith("_") and name != "__init__":
            continue
        inner = getattr(member, "__func__", member)
        if isinstance(member, property):
            yield f"{name}: {inspect.signature(member.fget).return_annotation}" if member.fget else name
        elif inspect.isfunction(inner):
            yield f"{name}{_signature(inner)}"


class _Bare:
    """An annotation as it is written, without quotes."""

    def __init__(self, annotation: Any) -> None:
        self.annotation = annotation

    def __repr__(self) -> str:
        return self.annotation if isinstance(self.annotation, str) else inspect.formatannotation(self.annotation)


def _bare(annotation: Any) -> Any:
    return annotation if annotation is inspect.Signature.empty else _Bare(annotation)


def _signature(value: Any) -> str:
    whole = inspect.signature(value)
    parameters = [each.replace(annotation=_bare(each.annotation)) for each in whole.parameters.values()]
    text = str(whole.replace(parameters=parameters, return_annotation=_bare(whole.return_annotation)))
    # What an object is, and where it stands in memory, is no part of a signature.
    return re.sub(r"<(?:built-in )?(?:function|class|object) '?([\w.]+)[^>]*>", r"\1", text)


if __name__ == "__main__":
    main()
