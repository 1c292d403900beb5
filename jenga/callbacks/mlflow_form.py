"""A run's settings and numbers in the form and within the limits of MLflow."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jenga.config.schema import ExperimentConfig
from jenga.errors import redacted

TAG_LENGTH = 5000
_KEY_LENGTH, _VALUE_LENGTH = 250, 6000


def reason_of(error: Exception) -> str:
    """Return an error's message as one short line, without secrets and colours."""
    words = " ".join(re.sub(r"\x1b\[[\d;]*m", "", str(error)).split())
    return redacted(words)[:300].rstrip(". ") or type(error).__name__


def metric_name(name: str) -> str:
    """Return `name` in the characters and the length that MLflow takes.

    A name that had to change ends in a checksum, so that two names stay two.
    """
    clean = re.sub(r"[^/\w.\- :]", "_", name)
    if clean == name and len(name) <= _KEY_LENGTH:
        return name
    return f"{clean[: _KEY_LENGTH - 9]}_{zlib.crc32(name.encode()):08x}"


def parameters_of(config: ExperimentConfig) -> dict[str, str]:
    """Return the settings of a run by dotted name, list items under their `name`; what is unset is left out.

    Passwords in addresses are hidden. `tracking` may hold one elsewhere, and where a run is kept does not describe it,
    nor what might be searched.
    """
    found: dict[str, str] = {}
    _flatten(config.model_dump(mode="json", exclude={"tracking", "output_dir", "tune"}), "", found)
    return {metric_name(name): value for name, value in found.items()}


def _flatten(value: Any, prefix: str, found: dict[str, str]) -> None:
    named = isinstance(value, list) and value and all(isinstance(each, dict) and "name" in each for each in value)
    if isinstance(value, dict) or named:
        items = value.items() if isinstance(value, dict) else ((each["name"], each) for each in value)
        for name, each in items:
            _flatten(each, f"{prefix}.{name}".removeprefix("."), found)
    elif value is not None and value != []:
        text = redacted(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
        found[prefix] = text if len(text) <= _VALUE_LENGTH else f"{text[: _VALUE_LENGTH - 3]}..."


def training_metrics(record: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a training record of metrics.jsonl by their names in MLflow."""
    found = {"train_loss": record["loss"], "grad_norm": record["grad_norm"], "epoch": record["epoch"]}
    found |= {f"learning_rate_{group}": rate for group, rate in record["learning_rate"].items()}
    found |= {f"train_{task}_loss": loss for task, loss in record["task_loss"].items()}
    for task, losses in record["head_loss"].items():
        found |= {f"train_{task}_{head}_loss": loss for head, loss in losses.items()}
    return found


_FIGURE = re.compile(
    r'<figure class="plot"><figcaption>([^<]*)</figcaption>(?:(?!</figure>).)*?'
    r'(<svg viewBox="[^>]*role="img".*?</svg>)',
    re.DOTALL,
)
"""A figure of report.html: its title, and its picture behind its legend; names in both may have line breaks."""


def write_plots(report: Path, folder: Path) -> None:
    """Write the pictures of the report as files of their own, in its order, named by what they show."""
    folder.mkdir()
    page = report.read_text(encoding="utf-8")
    style = "".join(re.findall(r"<style>(.*?)</style>", page, re.DOTALL)).replace("&", "&amp;").replace("<", "&lt;")
    for place, (title, svg) in enumerate(_FIGURE.findall(page), start=1):
        name = re.sub(r"[^\w.-]+", "-", title).strip("-")[:100]
        begin = f'<svg xmlns="http://www.w3.org/2000/svg" {svg.removeprefix("<svg ").partition(">")[0]}>'
        content = f"{begin}<style>{style}</style>{svg.partition('>')[2]}\n"
        (folder / f"{place:02d}-{name}.svg").write_text(content, encoding="utf-8")
