"""What a type of backbone means for the other settings: what it has no use for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jenga.config.explain import Finding
from jenga.config.schema import DataConfig, ExperimentConfig
from jenga.config.yaml12 import Document, KeyPath, dotted

_TEXT_COLUMNS = ("text", "text_pair", "tokens", "entities", "ner_tags")


PRESETS_FROM_NOTHING = ("jenga/tiny-text",)
"""Encoders that start from random weights: frozen, they would stay random."""


def misplaced(document: Document, schema: type[ExperimentConfig]) -> list[Finding]:
    """Return the settings of `document` that only texts have, where its backbone reads events.

    Where it reads texts, those that only events have. A setting that has its default's value says nothing, and may come
    from a resolved configuration.
    """
    modality = _modality(document.data, schema)
    if modality is None:
        return []
    if modality == "text":
        return [
            *_baselines(document, "boosting", "reads features of events, and texts have none"),
            *_presets(document),
            *_rates(document),
        ]
    return [
        *_adapters(document, f"{document.value_at(('model', 'backbone_type'))} starts from nothing"),
        *_general(document),
        *_baselines(document, "tfidf", "reads texts, and events have none"),
        *_tasks(document, schema.token_tasks),
    ]


def _modality(data: Any, schema: type[ExperimentConfig]) -> str | None:
    model = data.get("model") if isinstance(data, dict) else None
    kind = model.get("backbone_type", "text") if isinstance(model, dict) else None
    return schema.modalities.get(kind) if isinstance(kind, str) else None


def _general(document: Document) -> Iterator[Finding]:
    for key in ("max_length", "cache_dir"):
        path = ("data", key)
        value = document.value_at(path)
        if value is not None and value != DataConfig.model_fields[key].default:
            yield _finding(document, path, "is for texts; events have no tokens. Remove it")


def _presets(document: Document) -> Iterator[Finding]:
    name = document.value_at(("model", "base_model"))
    if name in PRESETS_FROM_NOTHING:
        yield from _adapters(document, f"{name} starts from nothing")


def _adapters(document: Document, why: str) -> Iterator[Finding]:
    if document.value_at(("peft",)) is not None:
        message = f"freezes a pretrained encoder, but {why}; name a checkpoint in model.base_model, or remove the block"
        place = document.key_place(("peft",))
        yield Finding("contradiction", ("peft",), place.problem("peft", message))


def _rates(document: Document) -> Iterator[Finding]:
    if document.value_at(("peft",)) is not None:
        key, why = (
            "backbone",
            "is of an encoder that peft freezes; its adapters learn at training.learning_rate.adapters",
        )
    else:
        key, why = "adapters", "is of parts that only the block peft makes; add it, or remove the rate"
    path = ("training", "learning_rate", key)
    if document.value_at(path) is not None:
        yield _finding(document, path, why)


def _baselines(document: Document, strange: str, why: str) -> Iterator[Finding]:
    baselines = document.value_at(("evaluation", "baselines"))
    for index, name in enumerate(baselines if isinstance(baselines, list) else ()):
        if name == strange:
            yield _finding(document, ("evaluation", "baselines", index), f"{strange} {why}; remove it")


def _tasks(document: Document, token_tasks: frozenset[str]) -> Iterator[Finding]:
    tasks = document.value_at(("tasks",))
    for index, task in enumerate(tasks if isinstance(tasks, list) else ()):
        if not isinstance(task, dict):
            continue
        if task.get("type") in token_tasks:
            message = f"'{task['type']}' labels words of a text, and events have none; choose another type"
            yield _finding(document, ("tasks", index, "type"), message)
        if task.get("max_length") is not None:
            yield _finding(document, ("tasks", index, "max_length"), "is for texts; events have no tokens. Remove it")
        columns = task.get("columns")
        for key, value in columns.items() if isinstance(columns, dict) else ():
            if key in _TEXT_COLUMNS and value is not None:
                message = "is for texts; every field of an event is read as model.refinery says. Remove it"
                yield _finding(document, ("tasks", index, "columns", key), message)


def _finding(document: Document, path: KeyPath, message: str) -> Finding:
    return Finding("contradiction", path, document.value_place(path).problem(dotted(path), message))
