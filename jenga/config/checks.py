"""Contradictions between settings, which no single setting's type can tell."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from jenga.config.explain import Finding
from jenga.config.schema import DataConfig, TrackingConfig
from jenga.config.yaml12 import Document, KeyPath, dotted
from jenga.errors import suggest
from jenga.extras import command, is_here

_WHOLE: tuple[KeyPath, ...] = (
    ("stages",), ("continual", "replay"), ("continual", "agem"), ("continual", "ewc"), ("data", "max_rows"),
    ("data", "exclude"), ("callbacks", "sentinel"), ("model", "teacher_student_config"),
)  # fmt: skip
_ALL_ROWS = "needs all rows, of which data.streaming sees one after the other; remove one of the two"
_PER_LABEL = ("class_weight", "pos_weight", "item_weights")
_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]*)://")


def contradictions(document: Document, *, data_paths: Sequence[KeyPath] = ()) -> list[Finding]:
    """Return what contradicts itself in `document`, whose values may still have wrong types.

    data_paths: where a short form names data beside tasks. What one backbone's settings contradict, `of_backbone` says.
    """
    return [
        *_warmup(document),
        *_tokens(document),
        *_together(document),
        *_sharded(document),
        *_streaming(document),
        *_fractions(document),
        *_stopping(document, data_paths),
        *_stages(document),
        *_names(document),
        *_joined_names(document),
        *_lengths(document),
        *_addresses(document, data_paths),
        *_tracking(document),
    ]


def of_backbone(document: Document, language_tasks: frozenset[str]) -> list[Finding]:
    """Return what contradicts itself in a document of one backbone. language_tasks: types that predict tokens."""
    return [*_teachers(document, language_tasks), *_rates(document)]


def _warmup(document: Document) -> Iterator[Finding]:
    warmup = _number(document, ("training", "warmup_steps"), None)
    steps = _number(document, ("training", "max_steps"), None)
    if warmup is not None and steps is not None and warmup >= steps:
        message = f"{warmup} steps of warmup leave none of training.max_steps ({steps}); lower it"
        yield finding(document, ("training", "warmup_steps"), message)


def _tokens(document: Document) -> Iterator[Finding]:
    """A step is planned by its rows or by its tokens, and by these of rows that are all there."""
    backbones = document.value_at(("model", "backbones"))
    names = backbones if isinstance(backbones, dict) else ()
    blocks: list[KeyPath] = [("training",), *(("model", "backbones", name, "training") for name in names)]
    for path in blocks:
        place = (*path, "tokens_per_step")
        if document.value_at(place) is None:
            continue
        for other in ("batch_size", *(("rows_per_step",) if path == ("training",) else ())):
            if document.value_at((*path, other)):
                message = f"a step has rows by tokens_per_step, or by {other}; remove one of the two"
                yield finding(document, (*path, other), message)
        if document.value_at(("data", "streaming")) is True:
            yield finding(document, place, _ALL_ROWS)


def _together(document: Document) -> Iterator[Finding]:
    """Rows of a step by task are for steps of all tasks, which make passes of single backbones meaningless."""
    together = document.value_at(("training", "sampler")) == "together"
    tasks = [item["name"] for _, item in _items(document, ("tasks",)) if isinstance(item.get("name"), str)]
    given = document.value_at(("training", "rows_per_step"))
    for name in given if isinstance(given, dict) else ():
        place: KeyPath = ("training", "rows_per_step", name)
        if not together:
            message = "only steps of sampler: together have rows by task; set it, or remove the key"
            yield finding(document, place, message)
        elif name not in tasks:
            known = f"{suggest(name, tasks) or '.'} Tasks: {', '.join(tasks)}"
            yield finding(document, place, f"there is no task '{name}'{known}")
    backbones = document.value_at(("model", "backbones"))
    for name in backbones if together and isinstance(backbones, dict) else ():
        place = ("model", "backbones", name, "training", "epochs")
        if document.value_at(place) not in (None, document.value_at(("training", "epochs"))):
            message = "with sampler: together every step has rows of all backbones; remove it, and set training.epochs"
            yield finding(document, place, message)


def _sharded(document: Document) -> Iterator[Finding]:
    """What looks at the whole encoder at once cannot be had of its parts."""
    if document.value_at(("training", "fsdp")) is not True:
        return
    whole = "needs the whole encoder in each process, of which training.fsdp leaves it a part; remove one of the two"
    for path in (("training", "gradient_conflict"), ("continual", "ewc"), ("continual", "agem")):
        if document.value_at(path) is not None:
            yield finding(document, path, whole)
    if document.value_at(("training", "precision")) == "fp16":
        message = "scales its loss by the whole gradient, which no process has with training.fsdp; use bf16 or fp32"
        yield finding(document, ("training", "precision"), message)


def _streaming(document: Document) -> Iterator[Finding]:
    """What looks at all rows cannot be had of rows that come one after the other."""
    if document.value_at(("data", "streaming")) is not True:
        return
    if document.value_at(("training", "max_steps")) is None:
        message = "rows that come without an end need training.max_steps; set it"
        yield finding(document, ("data", "streaming"), message)
    if document.value_at(("training", "sampler")) not in (None, "round_robin"):
        yield finding(document, ("training", "sampler"), "data.streaming takes sources in turns; remove the key")
    for path in _WHOLE:
        if document.value_at(path) is not None:
            yield finding(document, path, _ALL_ROWS)


def _fractions(document: Document) -> Iterator[Finding]:
    shares = {key: _share(document, key) for key in ("valid_fraction", "test_fraction")}
    if sum(shares.values()) >= 1:
        given = [key for key in shares if ("data", key) in document.values] or ["valid_fraction"]
        written = " and ".join(f"{key} ({share:g})" for key, share in shares.items())
        yield finding(document, ("data", given[-1]), f"{written} leave no rows to train on; their sum must be below 1")


def _stopping(document: Document, data_paths: Sequence[KeyPath]) -> Iterator[Finding]:
    """Early stopping needs validation rows; a dataset by name may bring its own."""
    paths = [path for _, path in _data_paths(document, data_paths)]
    own = all(isinstance(path, (str, list)) or not path.get("valid") for path in paths)
    named = any(isinstance(path, str) and path.startswith(("hf://", "jenga/")) for path in paths)
    if document.value_at(("early_stopping",)) is None or _share(document, "valid_fraction") > 0:
        return
    if paths and own and not named:
        message = "there are no validation rows to watch: data.valid_fraction is 0 and no data_path gives valid"
        yield finding(document, ("early_stopping",), message)


def _stages(document: Document) -> Iterator[Finding]:
    """Stages have names and lengths of their own, each task learns in one, and nothing but they is continual."""
    stages = _items(document, ("stages",))
    given = document.value_at(("continual",))
    if not stages:
        for key in given if isinstance(given, dict) else ():
            # The prototypes are said by every run's config.yml, and are of no effect without stages.
            if key != "prototypes" and given[key] is not None:
                yield finding(document, ("continual", key), "is for a training in stages; add stages, or remove it")
        return
    whole: list[tuple[KeyPath, str]] = [
        (("early_stopping",), "would end the training in one of its stages; remove it, and set epochs of the stages"),
        (("training", "max_steps"), "the length of a stage is its epochs; remove it, and set training.epochs"),
    ]
    for path, message in whole:
        if document.value_at(path) is not None:
            yield finding(document, path, message)
    tasks = [item["name"] for _, item in _items(document, ("tasks",)) if isinstance(item.get("name"), str)]
    learning: set[str] = set()
    for path, stage in stages:
        own = stage.get("tasks")
        learning |= set(tasks) if not isinstance(own, list) else {name for name in own if isinstance(name, str)}
        for at, name in enumerate(own if isinstance(own, list) else ()):
            if isinstance(name, str) and name not in tasks:
                known = f"{suggest(name, tasks) or '.'} Tasks: {', '.join(tasks)}"
                yield finding(document, (*path, "tasks", at), f"there is no task '{name}'{known}")
    for path, item in _items(document, ("tasks",)):
        if isinstance(name := item.get("name"), str) and name not in learning:
            message = f"'{name}' learns in none of the stages; name it in one, or remove it"
            yield finding(document, (*path, "name"), message)


def _names(document: Document) -> Iterator[Finding]:
    lists: list[KeyPath] = [("tasks",), ("stages",), *((*path, "heads") for path, _ in _items(document, ("tasks",)))]
    for holder in lists:
        first: dict[str, KeyPath] = {}
        for path, item in _items(document, holder):
            if not isinstance(name := item.get("name"), str):
                continue
            if name in first:
                line = document.value_place((*first[name], "name")).line
                taken = f"{dotted(first[name])}{f' at line {line}' if line else ''}"
                yield finding(document, (*path, "name"), f"'{name}' is the name of {taken} already; rename one")
            first.setdefault(name, path)


def _joined_names(document: Document) -> Iterator[Finding]:
    """A metric is named by its task, or by task and head joined: ``a`` + ``b_c`` would be ``a_b`` + ``c``.

    Names that one list holds twice are `_names`' concern.
    """
    first: dict[str, tuple[KeyPath, KeyPath]] = {}
    tasks: dict[str, KeyPath] = {}
    for path, item in _items(document, ("tasks",)):
        if isinstance(name := item.get("name"), str):
            tasks.setdefault(name, path)
    for task, task_path in tasks.items():
        heads = [(path, head.get("name")) for path, head in _items(document, (*task_path, "heads"))]
        joined = [(path, f"{task}_{head}") for path, head in heads if isinstance(head, str)]
        for path, name in [(task_path, task), *joined]:
            holder, other = first.setdefault(name, (path[:-1], path))
            if holder != path[:-1]:
                line = document.value_place((*other, "name")).line
                taken = f"{dotted(other)}{f' at line {line}' if line else ''}"
                message = f"its metrics would be named '{name}_...', as those of {taken}; rename one"
                yield finding(document, (*path, "name"), message)


def _lengths(document: Document) -> Iterator[Finding]:
    """Weights are one a label; `labels` does not tell how many there are, since a tag head makes more of them."""
    for task, _ in _items(document, ("tasks",)):
        for path, head in _items(document, (*task, "heads")):
            size = _number(document, (*path, "num_labels"), None)
            for key in _PER_LABEL:
                weights = head.get(key)
                if size is not None and isinstance(weights, list) and len(weights) != size:
                    message = f"has length {len(weights)}, but num_labels is {size:g}; give one number for each"
                    yield finding(document, (*path, key), message)


def _addresses(document: Document, data_paths: Sequence[KeyPath]) -> Iterator[Finding]:
    for path, value in _data_paths(document, data_paths):
        for below, text in _texts(path, value):
            found = _ADDRESS.match(text)
            if not text.strip():
                yield finding(document, below, "must not be empty")
            elif found and found[1] not in _protocols():
                message = (
                    f"{found[1]}:// addresses are not read; allowed: those that fsspec knows, such as hf://, s3:// and "
                    "https://. Or download the file and give its path"
                )
                yield finding(document, below, message)


def _tracking(document: Document) -> Iterator[Finding]:
    """Who asks for tracking means it; who leaves it open has it where there is something to track with."""
    block = document.value_at(("tracking",))
    if not isinstance(block, dict) or block.get("enabled") is False or is_here("mlflow"):
        return
    asked = next((key for key in TrackingConfig.model_fields if key != "log_model" and block.get(key)), None)
    if asked is not None:
        message = f"needs MLflow, which is not installed here: {command('track')}; or set tracking.enabled: false"
        yield finding(document, ("tracking", asked), message)


def _protocols() -> list[str]:
    import fsspec

    known: list[str] = fsspec.available_protocols()
    return known


def _teachers(document: Document, language_tasks: frozenset[str]) -> Iterator[Finding]:
    """A teacher that changes nothing, a student of two origins, and logits of tokens that no task learns."""
    path: KeyPath = ("model", "teacher_student_config")
    settings = document.value_at(path)
    if not isinstance(settings, dict):
        return
    matched = any(settings.get(key) is not None for key in ("hidden_states", "attentions"))
    if settings.get("distillation_alpha") == 0 and settings.get("enabled", True) is True and not matched:
        message = "0 leaves the teacher no part in the loss; set enabled: false, or a share above 0"
        yield finding(document, (*path, "distillation_alpha"), message)
    for key in ("name", "base_model"):
        own = document.value_at(("model", key))
        if settings.get("student") and own is not None and own != settings.get("teacher_model"):
            message = "is another model than teacher_model, of whose layers student makes this one; remove one of them"
            yield finding(document, ("model", key), message)
    tasks = document.value_at(("tasks",))
    if settings.get("top_k") is not None and isinstance(tasks, list):
        kinds = [task.get("type") for task in tasks if isinstance(task, dict)]
        if not language_tasks & set(map(str, kinds)):
            message = (
                f"is for language models; no task here is of type {' or '.join(sorted(language_tasks))}. Remove it"
            )
            yield finding(document, (*path, "top_k"), message)


def _data_paths(document: Document, others: Sequence[KeyPath]) -> list[tuple[KeyPath, Any]]:
    """Every task's data_path, and `others`, that is text, a list or a mapping."""
    places: list[KeyPath] = [*((*path, "data_path") for path, _ in _items(document, ("tasks",))), *others]
    found = [(place, document.value_at(place)) for place in places]
    return [(place, value) for place, value in found if isinstance(value, (str, list, dict))]


def _rates(document: Document) -> Iterator[Finding]:
    if document.value_at(("peft",)) is not None:
        key, why = (
            "backbone",
            "is of an encoder that peft freezes; its adapters learn at learning_rate.adapters",
        )
        if document.value_at(("training", "layer_decay")) is not None:
            yield finding(document, ("training", "layer_decay"), "is of the layers of an encoder that peft freezes")
    else:
        key, why = "adapters", "is of parts that only the block peft makes; add it, or remove the rate"
    path = ("training", "learning_rate", key)
    if document.value_at(path) is not None:
        yield finding(document, path, why)


def frozen_from_nothing(document: Document, what: str) -> Iterator[Finding]:
    """Yield that adapters would freeze an encoder, `what`, whose weights are random."""
    if document.value_at(("peft",)) is not None:
        message = (
            f"freezes a pretrained encoder, but {what} starts from nothing; name a checkpoint in base_model, or remove "
            "the block"
        )
        place = document.key_place(("peft",))
        yield Finding("contradiction", ("peft",), place.problem("peft", message))


def parted_windows(document: Document, path: KeyPath) -> Iterator[Finding]:
    """Yield that parted encoders would wait for one another's windows, which the key at `path` makes of rows."""
    if document.value_at(path) is not None and document.value_at(("training", "fsdp")) is True:
        message = (
            "processes have as many windows as their rows ask for, and those of training.fsdp run each layer "
            "equally often; remove one of the two"
        )
        yield finding(document, path, message)


def _texts(path: KeyPath, value: Any) -> Iterator[tuple[KeyPath, str]]:
    if isinstance(value, str):
        yield path, value
    for key, below in value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else ()):
        yield from _texts((*path, key), below)


def _items(document: Document, path: KeyPath) -> list[tuple[KeyPath, dict[str, Any]]]:
    items = document.value_at(path)
    pairs = enumerate(items) if isinstance(items, list) else ()
    return [((*path, index), item) for index, item in pairs if isinstance(item, dict)]


def _share(document: Document, key: str) -> float:
    return float(_number(document, ("data", key), DataConfig.model_fields[key].default))


def _number(document: Document, path: KeyPath, default: Any) -> Any:
    value = document.value_at(path)
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else default


def finding(document: Document, path: KeyPath, message: str) -> Finding:
    """Return that the value at `path` contradicts another setting."""
    return Finding("contradiction", path, document.value_place(path).problem(dotted(path), message))
