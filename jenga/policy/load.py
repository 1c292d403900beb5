"""Read a policy file: YAML with places, every mistake at once."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic.json_schema import models_json_schema

from jenga.config.explain import findings, validate
from jenga.config.load import text_of
from jenga.config.yaml12 import Document, KeyPath, dotted, read_document
from jenga.errors import ConfigError, Problem, suggest
from jenga.policy.allow import AllowList, network_of
from jenga.policy.match import seconds_of
from jenga.policy.schema import PolicyConfig
from jenga.refinery.paths import is_set

LOG = "log"
"""The action that every alert has, named or not."""


@dataclass(frozen=True)
class Answered:
    """What the answers of one head hold: its labels, and what rules may ask of them (see `schema.When.asks`)."""

    labels: Sequence[str]
    holds: frozenset[str]


Model = Mapping[str, Mapping[str, Answered]]
"""What a model's answers hold, by task and head; what a task tells of all its heads has the head ''."""


@dataclass(frozen=True)
class PolicyFile:
    """A policy as it was read. `digest`: SHA-256 of the file."""

    config: PolicyConfig
    document: Document
    digest: str

    @property
    def folder(self) -> Path:
        """The folder that its paths are relative to."""
        return Path(os.path.abspath(self.document.file)).parent

    def path(self, name: str) -> Path:
        """Return a path of the file as one of this machine."""
        return self.folder / os.path.expanduser(name)

    def check(self, model: Model) -> None:
        """Raise ConfigError where a rule asks for what the model never answers."""
        if problems := list(_misfits(self, model)):
            raise ConfigError(problems)


def read_policy(path: str | os.PathLike[str]) -> PolicyFile:
    """Return the policy in the YAML file `path`. Raises ConfigError with every mistake, each with its place."""
    file = os.fspath(path)
    text = text_of(file)
    document = read_document(text, file=file, least="'rules'")
    wrong = findings(PolicyConfig, document)
    problems = document.problems + [each.problem for each in wrong]
    if problems:
        raise ConfigError(problems)
    config = validate(PolicyConfig, document.data)
    if problems := list(_contradictions(config, document)):
        raise ConfigError(problems)
    return PolicyFile(config, document, hashlib.sha256(text.encode()).hexdigest())


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of policy files, for editors."""
    _, found = models_json_schema([(PolicyConfig, "validation")])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **found,
        "$ref": "#/$defs/PolicyConfig",
        "title": "Jenga policy",
    }


def ended(config: PolicyConfig) -> list[int]:
    """Return the places of entries of `allow` that hold no longer."""
    return AllowList(config.allow).ended(time.time())


def _contradictions(config: PolicyConfig, document: Document) -> Iterator[Problem]:
    yield from _rules(config, document)
    yield from _allowed(config, document)
    if LOG in config.hooks:
        message = f"'{LOG}' is what every alert does; give the hook another name"
        yield _problem(document, ("hooks", LOG), message, key=True)
    for name, hook in config.hooks.items():
        if not hook.run[0]:
            yield _problem(document, ("hooks", name, "run", 0), "must not be empty: it is the program to run")
    if config.key_file is not None and config.key_env is not None:
        yield _problem(document, ("key_env",), "key_file and key_env both name the secret; keep one of the two")
    if config.time is not None and is_set(config.time):
        yield _problem(document, ("time",), f"'{config.time}' leads to several values; name one, such as [0]")
    for place, path in enumerate(config.keep):
        if is_set(path):
            message = f"'{path}' leads to several values; name one, such as [0], or the list without its brackets"
            yield _problem(document, ("keep", place), message)


def _rules(config: PolicyConfig, document: Document) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for at, rule in enumerate(config.rules):
        here: KeyPath = ("rules", at)
        if rule.name in first:
            yield _problem(document, (*here, "name"), f"'{rule.name}' is the name of rules[{first[rule.name]}] already")
        first.setdefault(rule.name, at)
        if not rule.when.asks:
            known = "label, alert, min_probability, min_score, max_score, min_value, max_value"
            yield _problem(document, (*here, "when"), f"every answer would fit; give a condition: {known}")
        for what in ("score", "value"):
            low, high = getattr(rule.when, f"min_{what}"), getattr(rule.when, f"max_{what}")
            if low is not None and high is not None and low > high:
                message = f"{high:g} is less than min_{what}, {low:g}, so nothing fits"
                yield _problem(document, (*here, "when", f"max_{what}"), message)
        for place, path in enumerate(rule.identity):
            if is_set(path):
                message = f"'{path}' leads to several values, and an identity has one; name one, such as [0]"
                yield _problem(document, (*here, "identity", place), message)
        for place, action in enumerate(rule.actions):
            if action not in config.hooks and action != LOG:
                known = ", ".join([LOG, *config.hooks])
                message = f"no hook is called '{action}'{suggest(action, [LOG, *config.hooks]) or '.'} Known: {known}"
                yield _problem(document, (*here, "actions", place), message)


def _allowed(config: PolicyConfig, document: Document) -> Iterator[Problem]:
    rules = {rule.name: rule for rule in config.rules}
    for at, entry in enumerate(config.allow):
        here: KeyPath = ("allow", at)
        for place, name in enumerate(entry.rules or ()):
            if name not in rules:
                message = f"no rule is called '{name}'{suggest(name, rules) or '.'} Known: {', '.join(rules)}"
                yield _problem(document, (*here, "rules", place), message)
        own = [rules[name] for name in entry.rules or rules if name in rules]
        known = list(dict.fromkeys(path for rule in own for path in rule.identity))
        for path, text in entry.fields.items():
            if path not in known:
                message = f"no identity of its rules has this field{suggest(path, known) or '.'} Fields: "
                yield _problem(document, (*here, "fields", path), message + (", ".join(known) or "none"), key=True)
            try:
                network_of(text)
            except ValueError as error:
                yield _problem(document, (*here, "fields", path), str(error))
        if not any(set(entry.fields) <= set(rule.identity) for rule in own) and set(entry.fields) <= set(known):
            yield _problem(document, (*here, "fields"), "no one rule has all of these fields in its identity")
        if entry.until is not None and seconds_of(entry.until, "s") is None:
            message = f"'{entry.until}' is no time; write one such as 2027-01-31 or 2027-01-31T12:00:00Z"
            yield _problem(document, (*here, "until"), message)


def _problem(document: Document, path: KeyPath, message: str, *, key: bool = False) -> Problem:
    place = document.key_place(path) if key else document.value_place(path)
    return place.problem(dotted(path), message)


# --------------------------------------------------------------------------------------------------------------- model


def _misfits(file: PolicyFile, model: Model) -> Iterator[Problem]:
    for at, rule in enumerate(file.config.rules):
        when, here = rule.when, ("rules", at, "when")

        def problem(key: str, message: str, here: KeyPath = here) -> Problem:
            return _problem(file.document, (*here, key), message)

        if when.task not in model:
            tasks = ", ".join(model)
            yield problem(
                "task", f"the model has no task '{when.task}'{suggest(when.task, model) or '.'} It has: {tasks}"
            )
            continue
        heads = {name: each for name, each in model[when.task].items() if name}
        if when.head is not None and when.head not in heads:
            message = f"task '{when.task}' has no head '{when.head}'{suggest(when.head, heads) or '.'} It has: "
            yield problem("head", message + ", ".join(heads))
            continue
        name = when.head or (next(iter(heads)) if len(heads) == 1 else "")
        found = model[when.task].get(name)
        if found is None:
            yield problem("task", f"task '{when.task}' has several heads; name one (head): {', '.join(heads)}")
            continue
        where = f"the answers of {when.task}{f'.{name}' if name else ''}"
        for what, key in when.asks:
            if what not in found.holds:
                holds = f"they hold: {', '.join(sorted(found.holds))}" if found.holds else "no rule can judge them"
                yield problem(key, f"{where} hold no {what}; {holds}")
        if "label" in found.holds:
            for place, label in enumerate(when.label or ()):
                if label not in found.labels:
                    near = suggest(label, found.labels) or "."
                    message = f"{where} are never '{label}'{near} Labels: {', '.join(found.labels)}"
                    yield _problem(file.document, (*here, "label", place), message)
