"""Read an experiment: YAML with places, `--set`, every mistake at once, paths made absolute."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from jenga.config.checks import contradictions
from jenga.config.explain import TAG_ERRORS, Finding, findings, hidden_findings, validate
from jenga.config.language_form import as_experiment, is_language_form, language_form, name_student
from jenga.config.modality import misplaced
from jenga.config.optimization import unknown_parts, with_parameters
from jenga.config.overrides import apply_overrides
from jenga.config.schema import ExperimentConfig
from jenga.config.yaml12 import Document, KeyPath, dotted, read_document
from jenga.errors import ConfigError, Problem, SetupError, suggest

DATA_ROOT_VARIABLE = "JENGA_DATA_ROOT"
SIZE_LIMIT = 1 << 20
"""Bytes of a configuration file; more is a data file given by mistake."""

PLANNED: Mapping[str, str] = {
    "model.backbone_type=audio": "the audio backbone",
    "model.backbone_type=vision": "the vision backbone",
    "model.backbones": "several backbones",
    "tasks[].backbone": "several backbones",
    "callbacks.nested_learning": "nested learning",
    "callbacks.sentinel": "the security sentinel",
    "training.loss_balance": "balancing losses",
    "training.gradient_conflict": "resolving gradient conflicts",
    "data.streaming": "streaming data",
    "evaluation.calibration": "calibration",
}
"""Settings that are designed but not built, as dotted keys or `key=value`; one that the schema knows is built."""


def load(
    path: str | os.PathLike[str],
    *,
    schema: type[ExperimentConfig],
    overrides: Sequence[str] = (),
    planned: Mapping[str, str] = PLANNED,
) -> ExperimentConfig:
    """Return the experiment in the YAML file `path`, resolved: see `load_text`.

    `schema`: what `experiment_model` returned. `overrides`: ``key=value`` texts that win over the file.
    Raises ConfigError with every mistake in reading order, SetupError where all is well but for parts not built yet.
    """
    file = os.fspath(path)
    return load_text(_read(file), file=file, schema=schema, overrides=overrides, planned=planned)


def load_text(
    text: str,
    *,
    file: str,
    schema: type[ExperimentConfig],
    overrides: Sequence[str] = (),
    planned: Mapping[str, str] = PLANNED,
) -> ExperimentConfig:
    """Return the experiment in YAML `text`; `file` is the name in messages, and its folder that of relative paths.

    Every `data_path` becomes absolute: relative to `data_root`, else to the environment variable JENGA_DATA_ROOT,
    else to the file's folder; names that begin with ``hf://`` or ``jenga/`` stay. A `base_model` or `tokenizer` that
    begins with ``./``, ``../``, ``~/`` or ``/`` is a folder, relative to the file's folder, as is a refinery's schema.
    The short form of a language model's experiment (see `language_form`) becomes an experiment with one task.
    A missing `project_name` is the file's stem.
    """
    return _finish(
        read_document(text, file=file),
        folder=Path(os.path.abspath(file)).parent,
        project_name=re.sub(r"[\\\s]+", "-", Path(file).stem).strip("-.") or "experiment",
        schema=schema,
        overrides=overrides,
        planned=planned,
    )


def from_mapping(
    mapping: Mapping[str, Any],
    *,
    schema: type[ExperimentConfig],
    overrides: Sequence[str] = (),
    folder: str | os.PathLike[str] = ".",
    planned: Mapping[str, str] = PLANNED,
) -> ExperimentConfig:
    """Return the experiment in `mapping`, resolved as `load_text` does it; `folder` stands in for the file's.

    Values may be what YAML can hold, tuples and path objects. A missing `project_name` is 'experiment'.
    """
    document = Document("")
    document.data = _plain(mapping, (), document.problems)
    return _finish(
        document,
        folder=Path(os.path.abspath(folder)),
        project_name="experiment",
        schema=schema,
        overrides=overrides,
        planned=planned,
    )


def _read(file: str) -> str:
    """Return the text of a configuration file. Raises ConfigError saying why it cannot be read."""
    path = Path(file)
    try:
        if path.is_file() and path.stat().st_size > SIZE_LIMIT:
            raise ConfigError([Problem(file, 0, 0, "", "larger than 1 MiB; is this a data file?")])
        raw = path.read_bytes()
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


def _finish(
    document: Document,
    *,
    folder: Path,
    project_name: str,
    schema: type[ExperimentConfig],
    overrides: Sequence[str],
    planned: Mapping[str, str],
) -> ExperimentConfig:
    apply_overrides(document, overrides)
    short = is_language_form(document.data)
    form = with_parameters(language_form(schema) if short else schema, document, schema.parts)
    if short:
        document.data.setdefault("data", {})  # so that what is missing is `data.path`
    else:
        name_student(document.data)
    found, unbuilt = _split(findings(form, document), document, planned)
    found += hidden_findings(found, form, document)
    known = {each.path for each in found}
    judged = (*contradictions(document), *misplaced(document, schema), *unknown_parts(document, schema.parts))
    clashes = [each for each in judged if each.path not in known]
    unread = {problem.key for problem in document.problems}
    found = [each for each in found if each.problem.key not in unread and not _said_by(clashes, each)]
    problems = document.problems + [each.problem for each in found + clashes]
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    if unbuilt:
        raise SetupError("\n".join(map(str, sorted(unbuilt))))
    if short:
        document.data = as_experiment(document.data)
        name_student(document.data)
    _resolve(document.data, folder)
    if document.data.get("project_name") is None:
        document.data["project_name"] = project_name
    try:
        return validate(schema, document.data)
    except ValidationError as error:
        raise AssertionError("a valid configuration became invalid when its paths were resolved") from error


def _split(
    found: Sequence[Finding], document: Document, planned: Mapping[str, str]
) -> tuple[list[Finding], list[Problem]]:
    """Part mistakes from the use of what is `planned`; what only such a use makes look wrong is dropped."""
    mistakes, unbuilt = [], []
    for each in found:
        what = _planned(each, document, planned)
        if what:
            unbuilt.append(document.key_place(each.path).problem(dotted(each.path), f"not built yet: {what}"))
        else:
            mistakes.append(each)
    other_model = any(each.key.startswith("model.") for each in unbuilt)
    excused: set[KeyPath] = {("model", "base_model")} if other_model else set()
    return [each for each in mistakes if each.kind != "missing" or each.path not in excused], unbuilt


def _planned(finding: Finding, document: Document, planned: Mapping[str, str]) -> str | None:
    key = ".".join("[]" if isinstance(part, int) else part for part in finding.path).replace(".[]", "[]")
    if finding.kind in TAG_ERRORS:
        value = document.value_at(finding.path)
        what = planned.get(f"{key}={value}")
        return f"{what} ('{value}')" if what else None
    if finding.kind != "extra_forbidden":
        return None
    return planned.get(key)


def _said_by(clashes: Sequence[Finding], finding: Finding) -> bool:
    """Whether `finding` is the schema's word, at the list, on a name given twice that a clash puts at its item."""
    return finding.kind == "value_error" and any(
        clash.path[-1] == "name" and clash.path[:-2] == finding.path for clash in clashes
    )


def _resolve(data: dict[str, Any], folder: Path) -> None:
    """Make the paths in valid `data` absolute."""
    variable = os.environ.get(DATA_ROOT_VARIABLE)
    if data.get("data_root") is not None:
        root = _absolute(data["data_root"], folder)
    else:
        root = os.path.abspath(os.path.expanduser(variable)) if variable else str(folder)
    data["data_root"] = root
    for task in data["tasks"]:
        task["data_path"] = _resolved(task.get("data_path"), Path(root))
    teacher = data["model"].get("teacher_student_config") or {}
    for block, key in ((data["model"], "base_model"), (data["model"], "tokenizer"), (teacher, "teacher_model")):
        name = block.get(key)
        if isinstance(name, str) and name.startswith(("./", "../", "~/", "/")):
            block[key] = _absolute(name, folder)
    if isinstance(teacher.get("top_k_dir"), str):
        teacher["top_k_dir"] = _absolute(teacher["top_k_dir"], folder)
    refinery = data["model"].get("refinery")
    if isinstance(refinery, dict) and isinstance(refinery.get("schema"), str):
        refinery["schema"] = _absolute(refinery["schema"], folder)


def _resolved(data_path: Any, root: Path) -> Any:
    if isinstance(data_path, dict):
        return {split: _resolved(each, root) for split, each in data_path.items()}
    if isinstance(data_path, list):
        return [_resolved(each, root) for each in data_path]
    if data_path is None or data_path.startswith(("hf://", "jenga/")):
        return data_path
    return _absolute(data_path, root)


def _absolute(path: str, folder: Path) -> str:
    return os.path.abspath(folder / os.path.expanduser(path))
