"""Optimizers and schedules by name: each has parameters of its own, which only its part knows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, JsonValue, create_model

from jenga.config.explain import Finding
from jenga.config.strict import Strict
from jenga.config.yaml12 import Document, dotted
from jenga.errors import ConfigError


class NamedPart(Strict):
    """A part by its `name`, with its parameters beside it."""

    model_config = ConfigDict(extra="allow")

    name: str = Field(min_length=1)

    @property
    def parameters(self) -> dict[str, JsonValue]:
        """The parameters, as they were given."""
        return dict(self.model_extra or {})


class OptimizerConfig(NamedPart):
    """An optimizer and its parameters; the rates and the decay stand beside it."""

    name: str = Field(min_length=1, description="Of torch.optim, of pytorch-optimizer, or registered.")


class SchedulerConfig(NamedPart):
    """The shape of the rate and its parameters; the warmup stands beside it."""

    name: str = Field(min_length=1, description="Of transformers' get_scheduler, or registered.")


class LossBalanceConfig(NamedPart):
    """What weighs the losses of tasks, and its parameters."""

    name: str = Field(min_length=1, description="fixed, uncertainty, dwa, gradnorm, famo, or registered.")


USUAL_OPTIMIZER = "adamw"
"""The optimizer where none is named."""


class PartChoices(Protocol):
    """What a configuration asks of the parts that it can name."""

    def settings(self, name: str) -> type[Strict]:
        """Return the block of the parameters of `name`. Raises ConfigError where there is no such part."""

    def rates(self, name: str) -> frozenset[str]:
        """Return which rates there are for its sake alone, of `LearningRates`. Raises ConfigError as `settings`."""


def part_of(given: str | NamedPart) -> tuple[str, dict[str, JsonValue]]:
    """Return the name and the parameters of a part that is given by its name alone or as a mapping."""
    return (given, {}) if isinstance(given, str) else (given.name, given.parameters)


def unknown_parts(document: Document, choices: Mapping[str, PartChoices]) -> list[Finding]:
    """Return which parts in ``training`` there are not, which miss parameters, and rates that none has a use for.

    choices: by the part's key.
    """
    found = [finding for key, of_key in choices.items() for finding in _unknown(document, key, of_key)]
    return found + ([] if found or "optimizer" not in choices else list(_idle_rates(document, choices["optimizer"])))


def _unknown(document: Document, key: str, choices: PartChoices) -> Iterator[Finding]:
    path, name = _name_in(document, key)
    if name is None:
        return
    try:
        block = choices.settings(name)
    except ConfigError as error:
        message = str(error)
    else:
        needed = [each for each, info in block.model_fields.items() if info.is_required()]
        if path[-1] == "name" or not needed:
            return
        written = ", ".join([f"name: {name}", *(f"{each}: ..." for each in needed)])
        message = f"'{name}' needs {', '.join(needed)}; write {key}: {{{written}}}"
    yield Finding("part", path, document.value_place(path).problem(dotted(path), message))


def _idle_rates(document: Document, choices: PartChoices) -> Iterator[Finding]:
    _, name = _name_in(document, "optimizer")
    name = name or USUAL_OPTIMIZER
    several = document.value_at(("model", "backbones"))
    blocks = [("training",), *(("model", "backbones", each, "training") for each in several or ())]
    for path in [(*block, "learning_rate", "rest") for block in blocks]:
        if document.value_at(path) is not None and "rest" not in choices.rates(name):
            message = f"'{name}' trains all of a backbone at learning_rate.backbone; remove it, or choose muon"
            yield Finding("contradiction", path, document.value_place(path).problem(dotted(path), message))


def with_parameters(schema: type[BaseModel], document: Document, choices: Mapping[str, PartChoices]) -> type[BaseModel]:
    """Return `schema` with the parameters of the parts that ``training`` of `document` has as mappings."""
    fields: dict[str, Any] = {}
    for key, of_key in choices.items():
        path, name = _name_in(document, key)
        if name is not None and path[-1] == "name":
            try:
                block = of_key.settings(name)
            except ConfigError:
                continue
            own_name: Any = (Literal[name], ...)
            fields[key] = (create_model(block.__name__, __base__=block, name=own_name), ...)
    if not fields:
        return schema
    whole: Any = schema.model_fields["training"].annotation
    training = create_model(whole.__name__, __base__=whole, **fields)
    return create_model(schema.__name__, __base__=schema, training=(training, ...))


def _name_in(document: Document, key: str) -> tuple[tuple[str, ...], str | None]:
    given = document.value_at(("training", key))
    path: tuple[str, ...] = ("training", key)
    if isinstance(given, dict):
        path, given = (*path, "name"), given.get("name")
    return path, given if isinstance(given, str) and given else None
