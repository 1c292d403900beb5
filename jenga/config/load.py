"""Read an experiment: YAML with places, `--set`, every mistake at once, paths made absolute."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from jenga.config.checks import contradictions
from jenga.config.explain import Finding, findings, hidden_findings, validate
from jenga.config.modality import misplaced
from jenga.config.optimization import unknown_parts, with_parameters
from jenga.config.overrides import apply_overrides
from jenga.config.parts import ShortForm
from jenga.config.paths import absolute, resolved_paths
from jenga.config.schema import ExperimentConfig
from jenga.config.space import Dimension, contradictions_of, searched, with_values
from jenga.config.strict import PROJECT_LENGTH, UNSEEN
from jenga.config.tune import TuneConfig
from jenga.config.yaml12 import Document, KeyPath, dotted, read_document
from jenga.errors import ConfigError, Problem, suggest

DATA_ROOT_VARIABLE = "JENGA_DATA_ROOT"
SIZE_LIMIT = 1 << 20
"""Bytes of a configuration file; more is a data file given by mistake."""


def load(
    path: str | os.PathLike[str],
    *,
    schema: type[ExperimentConfig],
    overrides: Sequence[str] = (),
) -> ExperimentConfig:
    """Return the experiment in the YAML file `path`, resolved: see `load_text`.

    `schema`: what `experiment_model` returned. `overrides`: ``key=value`` texts that win over the file.
    Raises ConfigError with every mistake in reading order.
    """
    file = os.fspath(path)
    return load_text(text_of(file), file=file, schema=schema, overrides=overrides)


def load_text(
    text: str,
    *,
    file: str,
    schema: type[ExperimentConfig],
    overrides: Sequence[str] = (),
) -> ExperimentConfig:
    """Return the experiment in YAML `text`; `file` is the name in messages, and its folder that of relative paths.

    Every `data_path` becomes absolute: relative to `data_root`, else to the environment variable JENGA_DATA_ROOT,
    else to the file's folder; names that begin with ``hf://`` or ``jenga/`` stay. Other settings that name files are
    relative to the file's folder (see `jenga.config.paths`). A short form (see `jenga.config.parts`) becomes a whole
    experiment.
    A missing `project_name` is the file's stem.
    """
    return _written(text, file, schema, overrides).experiment()


def from_mapping(
    mapping: Mapping[str, Any],
    *,
    schema: type[ExperimentConfig],
    overrides: Sequence[str] = (),
    folder: str | os.PathLike[str] = ".",
) -> ExperimentConfig:
    """Return the experiment in `mapping`, resolved as `load_text` does it; `folder` stands in for the file's.

    Values may be what YAML can hold, tuples and path objects. A missing `project_name` is 'experiment'.
    """
    return _given(mapping, folder, schema, overrides).experiment()


def load_search(
    config: str | os.PathLike[str] | Mapping[str, Any],
    *,
    schema: type[ExperimentConfig],
    overrides: Sequence[str] = (),
) -> Search:
    """Return what the block `tune` of a file or a mapping asks for, with every value of its space found good.

    Raises ConfigError as `load` does, also for values of two keys that contradict one another, and without the block.
    """
    if isinstance(config, Mapping):
        written = _given(config, ".", schema, overrides)
    else:
        written = _written(text_of(os.fspath(config)), os.fspath(config), schema, overrides)
    return written.search()


@dataclass(frozen=True)
class Search:
    """What `jenga tune` is to do: `config` with its block `tune`, the dimensions by key, and what makes trials."""

    config: ExperimentConfig
    tune: TuneConfig
    dimensions: Mapping[str, Dimension]
    _written: _Written

    def experiment(self, values: Mapping[str, Any]) -> ExperimentConfig:
        """Return the experiment with `values` by key, without the block. Raises ConfigError where they do not agree."""
        return replace(self._written, document=with_values(self._written.document, values)).experiment()


@dataclass(frozen=True)
class _Written:
    """A document that is to be an experiment: what is relative to `folder`, and called `project_name` by default."""

    document: Document
    folder: Path
    project_name: str
    schema: type[ExperimentConfig]

    def experiment(self) -> ExperimentConfig:
        document = copy.deepcopy(self.document)
        problems = self._problems(document)
        if _has_space(self.document.data):
            problems += searched(self.document, self._problems).problems
        if problems:
            raise ConfigError(list(dict.fromkeys(problems)))
        short = self._short(document)
        if short is not None:
            document.data = short.whole(document.data)
            _complete(document.data, self.schema)
        data = {**document.data, "data_root": _data_root(document.data.get("data_root"), self.folder)}
        if data.get("project_name") is None:
            data["project_name"] = self.project_name
        try:
            experiment = validate(self.schema, data)
        except ValidationError as error:
            raise AssertionError("a valid short form became an invalid experiment") from error
        return resolved_paths(experiment, folder=self.folder, data_root=Path(data["data_root"]))

    def search(self) -> Search:
        config = self.experiment()
        if config.tune is None:
            message = "required block is missing: what to search, as in tune: {space: {training.batch_size: [16, 32]}}"
            raise ConfigError([self.document.key_place(()).problem("tune", message)])
        space = searched(self.document, self._problems)
        if problems := contradictions_of(self.document, space, self._problems):
            raise ConfigError(problems)
        return Search(config, config.tune, space.dimensions, self)

    def _short(self, document: Document) -> ShortForm | None:
        return next((each for each in self.schema.forms if each.used_in(document.data)), None)

    def _problems(self, document: Document) -> list[Problem]:
        """Return what is wrong with `document`, which is completed."""
        schema, short = self.schema, self._short(document)
        form: type[BaseModel] = schema
        if short is not None:
            form = short.schema(schema)
            document.data.setdefault("data", {})  # so that what is missing is `data.path`
        else:
            _complete(document.data, schema)
        form = with_parameters(form, document, schema.parts)
        found = findings(form, document)
        found += hidden_findings(found, form, document)
        known = {each.path for each in found}
        paths = () if short is None else short.data_paths
        judged = (
            *contradictions(document, data_paths=paths),
            *misplaced(document, schema),
            *unknown_parts(document, schema.parts),
        )
        clashes = [each for each in judged if each.path not in known]
        unread = {problem.key for problem in document.problems}
        found = [each for each in found if each.problem.key not in unread and not _said_by(clashes, each)]
        return document.problems + [each.problem for each in found + clashes]


def _written(text: str, file: str, schema: type[ExperimentConfig], overrides: Sequence[str]) -> _Written:
    document = read_document(text, file=file)
    apply_overrides(document, overrides)
    name = re.sub(rf"[\\\s{UNSEEN}]+", "-", Path(file).stem)[:PROJECT_LENGTH].strip("-.") or "experiment"
    return _Written(document, Path(os.path.abspath(file)).parent, name, schema)


def _given(
    mapping: Mapping[str, Any],
    folder: str | os.PathLike[str],
    schema: type[ExperimentConfig],
    overrides: Sequence[str],
) -> _Written:
    document = Document("")
    document.data = _plain(mapping, (), document.problems)
    apply_overrides(document, overrides)
    return _Written(document, Path(os.path.abspath(folder)), "experiment", schema)


def _has_space(data: Any) -> bool:
    return isinstance(data, dict) and isinstance(data.get("tune"), dict)


def text_of(file: str) -> str:
    """Return the text of a configuration file. Raises ConfigError saying why it cannot be read."""
    path = Path(file)
    try:
        with path.open("rb") as content:
            raw = content.read(SIZE_LIMIT + 1)  # a device has no size, and no end
        if len(raw) > SIZE_LIMIT:
            raise ConfigError([Problem(file, 0, 0, "", "larger than 1 MiB; is this a data file?")])
    except OSError as error:
        raise ConfigError([Problem(file, 0, 0, "", _why_unreadable(error, path))]) from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        line, column = before.count(b"\n") + 1, len(before.rpartition(b"\n")[2].decode("utf-8", "replace")) + 1
        message = f"byte 0x{raw[error.start]:02X} is not UTF-8; save the file as UTF-8"
        raise ConfigError([Problem(file, line, column, "", message)]) from None


def _why_unreadable(error: OSError, path: Path) -> str:
    if isinstance(error, IsADirectoryError):
        found = ", ".join(sorted(each.name for each in path.glob("*.y*ml"))[:5])
        return f"is a folder; {f'it holds {found}' if found else 'give the YAML file itself'}"
    if isinstance(error, FileNotFoundError):
        near = suggest(path.name, [each.name for each in path.parent.glob("*.y*ml")])
        return f"no such file{near or f'; looked from {Path.cwd()}'}"
    return f"cannot be read: {error.strerror}"


def _plain(value: Any, path: KeyPath, problems: list[Problem]) -> Any:
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        if wrong := [key for key in value if not isinstance(key, str)]:
            problems.append(Problem("", 0, 0, dotted(path), f"a key must be text, not {wrong[0]!r}"))
        return {key: _plain(each, (*path, key), problems) for key, each in value.items() if isinstance(key, str)}
    if isinstance(value, (list, tuple)):
        return [_plain(each, (*path, index), problems) for index, each in enumerate(value)]
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    problems.append(Problem("", 0, 0, dotted(path), f"needs what YAML can hold, not a {kind}"))
    return None


def _complete(data: Any, schema: type[ExperimentConfig]) -> None:
    """Let the modality of each backbone fill in what its settings say without naming it."""
    model = data.get("model") if isinstance(data, dict) else None
    several = model.get("backbones") if isinstance(model, dict) else None
    if isinstance(several, dict):
        for name, block in several.items():
            if isinstance(block, dict) and name in schema.modalities:
                block.setdefault("backbone_type", name)
    blocks = list(several.values()) if isinstance(several, dict) else [model]
    for block in blocks:
        own = schema.modality_of({"model": block})
        if own is not None and isinstance(block, dict):
            own.complete(block)


def _data_root(given: str | None, folder: Path) -> str:
    if given is not None:
        return absolute(given, folder)
    variable = os.environ.get(DATA_ROOT_VARIABLE)
    return os.path.abspath(os.path.expanduser(variable)) if variable else str(folder)


def _said_by(clashes: Sequence[Finding], finding: Finding) -> bool:
    """Whether `finding` is the schema's word, at the list, on a name given twice that a clash puts at its item."""
    return finding.kind == "value_error" and any(
        clash.path[-1] == "name" and clash.path[:-2] == finding.path for clash in clashes
    )
