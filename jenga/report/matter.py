"""The front matter of a model card: what the Hugging Face hub reads of it, and finds models by."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jenga.config.strict import UNSEEN
from jenga.errors import ConfigError
from jenga.labels import kind_named
from jenga.modalities import modality_of
from jenga.types import SHARED

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

    from jenga.report.card import RunFiles

_TASKS = frozenset({
    "text-classification", "token-classification", "text-generation", "audio-classification",
    "automatic-speech-recognition", "image-classification", "tabular-classification", "tabular-regression",
})  # fmt: skip
"""Those of the hub's names of tasks (`pipeline_tag`) that a head can be; https://huggingface.co/tasks."""
_METRICS: Mapping[str, tuple[str, dict[str, str]]] = {
    "macro_f1": ("f1", {"average": "macro"}),
    "micro_f1": ("f1", {"average": "micro"}),
    "weighted_f1": ("f1", {"average": "weighted"}),
    "auroc": ("roc_auc", {}),
    "auprc": ("average_precision", {}),
    "r2": ("r_squared", {}),
    "spearman": ("spearmanr", {}),
}
"""What the hub calls a metric of ours, and with which arguments, where it does not call it the same."""
_SPLITS = {"test": "test", "valid": "validation"}
_HUB_NAME = r"[\w-][\w.-]*"
_DIGITS = 6


def front_matter(files: RunFiles) -> str:
    """Return the front matter of a run's card; it says what the run's files say, and nothing where they do not."""
    from huggingface_hub import ModelCardData

    types = sorted({str(task["type"]) for task in files.config.get("tasks", [])})
    names = {_hub_task(files, head) for head in files.heads}
    results = list(_results(files))
    data = ModelCardData(
        library_name="jenga",
        # Of several the hub would show one alone, as if the model were nothing else.
        pipeline_tag=names.pop() if len(names) == 1 else None,
        tags=["jenga", "multi-task-learning", *types],
        base_model=_one_or_all(_bases(files)),
        datasets=_one_or_all(dict.fromkeys(name for each in paths(files).values() for name in _datasets(each))),
        model_name=_shown(files.project),
        eval_results=results or None,
    )
    if not results:
        data.model_name = None
    return f"---\n{data.to_yaml()}\n---"


def backbones(files: RunFiles) -> dict[str, dict[str, Any]]:
    """Return the block of each backbone with its peft, by name."""
    model = files.config.get("model", {})
    several: dict[str, dict[str, Any]] | None = model.get("backbones")
    return several or {SHARED: {**model, "peft": files.config.get("peft")}}


def file_name(path: str) -> str:
    """Return a path as a card shows it: it is published, and the machine's folders are nobody's business."""
    return Path(path).name if Path(path).is_absolute() else path


def _bases(files: RunFiles) -> list[str]:
    """Return the bases that are on the hub."""
    pretrained = files.run.get("pretrained") or ()
    if pretrained is True:  # as runs say it that were trained before there were several backbones
        pretrained = (SHARED,)
    bases = [str(block.get("base_model", "")) for name, block in backbones(files).items() if name in pretrained]
    return [
        base for base in bases if re.fullmatch(f"{_HUB_NAME}(/{_HUB_NAME})?", base) and not base.startswith("jenga/")
    ]


def paths(files: RunFiles) -> dict[str, list[str]]:
    """Return the rows of each task, as the configuration names them."""
    found = {}
    for task in files.config.get("tasks", []):
        given = task.get("data_path", [])
        entries = given.values() if isinstance(given, dict) else [given]
        names = (str(name) for entry in entries if entry for name in ([entry] if isinstance(entry, str) else entry))
        found[str(task["name"])] = list(dict.fromkeys(names))
    return found


def _datasets(given: Iterable[str]) -> Iterator[str]:
    """Yield those of `given` that are certainly data sets of the hub.

    Of ``hf://a/b``, which may be a data set's owner and name, or its name and configuration, nothing here says which.
    """
    for path in given:
        parts = path.removeprefix("hf://").strip("/").split("/")
        if path.startswith("hf://datasets/") and len(parts) > 2:
            # A revision may stand behind the name.
            yield f"{parts[1]}/{parts[2].partition('@')[0]}"
        elif path.startswith("hf://") and len(parts) in (1, 3) and parts[0] != "datasets":
            yield "/".join(parts[:2])


def _hub_task(files: RunFiles, head: Mapping[str, Any]) -> str | None:
    """Return what the hub calls the task of a head; None where it has no name for that."""
    blocks = backbones(files)
    backbone = next(
        (each.get("backbone") for each in files.config.get("tasks", []) if each["name"] == head["task"]), ""
    )
    block = next(iter(blocks.values())) if len(blocks) == 1 else blocks.get(str(backbone), {})
    try:
        noun = modality_of(str(block.get("backbone_type"))).hub_noun
        name = kind_named(head["kind"]).hub_task.format(noun)
    except (ConfigError, KeyError):
        return None  # a part of somebody's own that is not here, or a task of several inputs
    return name if name in _TASKS else None


def _results(files: RunFiles) -> Iterator[EvalResult]:
    """Yield the metrics of each head on the first of the evaluated splits, test where there is one."""
    from huggingface_hub import EvalResult

    split = next(iter(files.splits), None)
    types = {task["name"]: str(task["type"]) for task in files.config.get("tasks", [])}
    named = paths(files)
    for head in files.heads:
        known = list(dict.fromkeys(_datasets(named.get(head["task"], []))))
        name = _shown(", ".join(map(file_name, named.get(head["task"], []))) or files.project)
        for metric, value in head["metrics"].items():
            if not isinstance(value, int | float) or not math.isfinite(value):
                continue
            kind, arguments = _METRICS.get(metric, (metric, {}))
            yield EvalResult(
                task_type=_hub_task(files, head) or types.get(head["task"], "other"),
                # With a slash it would be taken for a data set of the hub.
                dataset_type=known[0] if len(known) == 1 else name.replace("/", "-"),
                dataset_name=name,
                dataset_split=_SPLITS.get(str(split), str(split)),
                metric_type=kind,
                metric_value=round(float(value), _DIGITS),
                metric_name=_shown(f"{head['task']} / {head['head']}: {metric}"),
                metric_args=arguments or None,
            )


def _one_or_all(names: Iterable[str]) -> str | list[str] | None:
    found = list(names)
    return found[0] if len(found) == 1 else found or None


def _shown(text: str) -> str:
    """Return `text` without characters that a terminal obeys."""
    return re.sub(rf"[{UNSEEN}]", "\N{REPLACEMENT CHARACTER}", text)
